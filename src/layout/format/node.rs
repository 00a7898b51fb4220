//! A record as a tree of its members, every value that is not looked into as the text that it is.

use crate::layout::format::problem::Problem;
use crate::model::persisted::UnknownMember;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;

/// How many members an object may have that is taken apart: in memory each takes many times its bytes.
const MAX_MEMBERS: usize = 65_536;

/// Appends a name to a JSON pointer.
pub(crate) fn push_step(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

/// A record in its canonical form. As deep as the types are, not as deep as what came from
/// outside.
pub(crate) enum Node<'a> {
    Object(Vec<(String, Node<'a>)>),
    Array(Vec<Node<'a>>),
    Scalar(&'a RawValue),
    /// A member that is only kept, of any form.
    Kept(&'a RawValue),
}

impl<'a> Node<'a> {
    /// The members of an object or the items of an array, themselves as they are.
    pub(crate) fn opened(json: &'a RawValue) -> Result<Self, Problem> {
        let kept = |json| Self::Kept(json);
        Ok(match json.get().as_bytes().first() {
            Some(b'{') => {
                let Members(members) = serde_json::from_str(json.get())?;
                let named = |(name, value)| (name, kept(value));
                Self::Object(members.into_iter().map(named).collect())
            }
            Some(b'[') => {
                let items: Vec<&'a RawValue> = serde_json::from_str(json.get())?;
                Self::Array(items.into_iter().map(kept).collect())
            }
            _ => Self::Scalar(json),
        })
    }

    /// The member `name` of an object, the item of that index of an array.
    pub(crate) fn member(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Object(members) => {
                let member = members.iter_mut().find(|(member, _)| member == name);
                member.map(|(_, node)| node)
            }
            Self::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
            Self::Scalar(_) | Self::Kept(_) => None,
        }
    }

    /// All of a record in its canonical form.
    pub(crate) fn parse(json: &'a RawValue) -> Result<Self, Problem> {
        let mut node = Self::opened(json)?;
        match &mut node {
            Self::Object(members) => {
                let mut values = members.iter_mut().map(|(_, value)| value);
                values.try_for_each(Self::parse_kept)?;
            }
            Self::Array(items) => items.iter_mut().try_for_each(Self::parse_kept)?,
            Self::Scalar(_) | Self::Kept(_) => {}
        }
        Ok(node)
    }

    fn parse_kept(&mut self) -> Result<(), Problem> {
        if let Self::Kept(json) = self {
            *self = Self::parse(json)?;
        }
        Ok(())
    }

    /// Adds an unknown member after the known ones of its object. A known member of the same name
    /// wins: twice the same name is not readable.
    pub(crate) fn add(
        &mut self,
        member: &UnknownMember,
        json: &'a RawValue,
    ) -> Result<(), Problem> {
        let UnknownMember { pointer, name, .. } = member;
        let gone = || {
            Problem::new(format!(
                "there is no object at {pointer:?} to put {name:?} in"
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
        // They come first; behind them can be as many as a text holds.
        let known = members
            .iter()
            .take_while(|(_, node)| !matches!(node, Self::Kept(_)));
        if known.map(|(known, _)| known).all(|known| known != name) {
            members.push((name.clone(), Self::Kept(json)));
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
            Self::Scalar(json) | Self::Kept(json) => json.serialize(serializer),
        }
    }
}

/// The members of an object in the order in which they came, duplicates included.
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
