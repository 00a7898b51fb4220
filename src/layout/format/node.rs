//! A record as a tree of its members. Values that are not taken apart are held as their JSON text.

use crate::layout::format::problem::Problem;
use crate::model::persisted::UnknownMember;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;

/// The greatest number of members of an object that is taken apart. In memory a member takes many times its
/// bytes in the text.
const MAX_MEMBERS: usize = 65_536;

/// Appends a name to a JSON pointer.
pub(crate) fn push_step(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// A part of a record. The tree is as deep as the types of this version; deeper values from outside stay texts,
/// so that no input makes the recursion deep.
pub(crate) enum Node<'a> {
    Object(Vec<(String, Node<'a>)>),
    Array(Vec<Node<'a>>),
    Scalar(&'a RawValue),
    /// A value of any form that is copied as its text.
    Raw(&'a RawValue),
}

impl<'a> Node<'a> {
    /// Takes an object or an array apart, by one level. Its members or items stay texts.
    pub(crate) fn opened(json: &'a RawValue) -> Result<Self, Problem> {
        let raw = |json| Self::Raw(json);
        Ok(match json.get().as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(json.get())?;
                let named = |(name, value)| (name, raw(value));
                Self::Object(members.into_iter().map(named).collect())
            }
            Some(b'[') => {
                let items: Vec<&'a RawValue> = serde_json::from_str(json.get())?;
                Self::Array(items.into_iter().map(raw).collect())
            }
            _ => Self::Scalar(json),
        })
    }

    /// The member `name` of an object, or the item with that index of an array.
    pub(crate) fn member(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Object(members) => {
                let member = members.iter_mut().find(|(member, _)| member == name);
                member.map(|(_, node)| node)
            }
            Self::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
            Self::Scalar(_) | Self::Raw(_) => None,
        }
    }

    /// Takes a record in canonical form apart completely. Its depth is that of the types.
    pub(crate) fn parse(json: &'a RawValue) -> Result<Self, Problem> {
        let mut node = Self::opened(json)?;
        match &mut node {
            Self::Object(members) => {
                let mut values = members.iter_mut().map(|(_, value)| value);
                values.try_for_each(Self::parse_raw)?;
            }
            Self::Array(items) => items.iter_mut().try_for_each(Self::parse_raw)?,
            Self::Scalar(_) | Self::Raw(_) => {}
        }
        Ok(node)
    }

    fn parse_raw(&mut self) -> Result<(), Problem> {
        if let Self::Raw(json) = self {
            *self = Self::parse(json)?;
        }
        Ok(())
    }

    /// Adds an unknown member after the known members of its object. A known member of the same name wins,
    /// because a record with the name twice could not be read.
    pub(crate) fn add(
        &mut self,
        member: &UnknownMember,
        json: &'a RawValue,
    ) -> Result<(), Problem> {
        let UnknownMember { pointer, name, .. } = member;
        let gone = || {
            Problem::new(format!(
                "the record has no object at {pointer:?} for the unknown member {name:?}"
            ))
        };
        let mut node = self;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            node = node.member(&step).ok_or_else(gone)?;
        }
        let Self::Object(members) = node else {
            return Err(gone());
        };
        // Compare with the known members only: they come first, and a text can have very many unknown ones.
        let known = members
            .iter()
            .take_while(|(_, node)| !matches!(node, Self::Raw(_)));
        if known.map(|(known, _)| known).all(|known| known != name) {
            members.push((name.clone(), Self::Raw(json)));
        }
        Ok(())
    }
}

impl Serialize for Node<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Object(members) => {
                let mut out = serializer.serialize_map(Some(members.len()))?;
                for (name, node) in members {
                    out.serialize_entry(name, node)?;
                }
                out.end()
            }
            Self::Array(items) => {
                let mut out = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    out.serialize_element(item)?;
                }
                out.end()
            }
            Self::Scalar(json) | Self::Raw(json) => json.serialize(serializer),
        }
    }
}

/// The members of an object in the order of the text, duplicates included.
pub(crate) struct Members<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    if members.len() >= MAX_MEMBERS {
                        let message = format!("an object has more than {MAX_MEMBERS} members");
                        return Err(A::Error::custom(message));
                    }
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(InOrder).map(Members)
    }
}
