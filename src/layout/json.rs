//! JSON records with members that this version does not know: reading keeps them, writing puts
//! them back after the known ones.
//!
//! A record is parsed into its type, which ignores what it does not know, and written again in the
//! canonical form. Where that gives the bytes that were read, nothing was ignored. Otherwise the
//! two are walked side by side, as deep as the known members go, and every member that the
//! canonical form lacks is kept as it came. An explicit `null` of a member that is left out when
//! it is empty is kept in the same way.

use super::scan;
use crate::store::{Stored, UnknownMember};
use serde::de::{DeserializeOwned, MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;

/// What some editors put before a text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// On one line: an event, a transcript entry.
    Line,
    /// Pretty-printed: `runtime.json`, `worker.json`.
    Document,
}

/// Why bytes are not the record that they should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// What is wrong, without a place.
    pub(super) message: String,
    /// The line within the bytes, from 1; 0 where there is none to name.
    pub(super) line: usize,
    /// The byte within the line, from 0.
    pub(super) column: usize,
    /// Whether the bytes end too early: they could be the beginning of a record.
    pub(super) cut_off: bool,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            line: 0,
            column: 0,
            cut_off: false,
        }
    }

    fn not_an_object() -> Self {
        Self::new("a JSON object was expected")
    }

    /// Why `bytes` could not be parsed.
    fn of(error: serde_json::Error, bytes: &[u8]) -> Self {
        let mut problem = Self::from(error);
        // To the parser a number that stops too early is a wrong one, where other values are cut off.
        let is_at_end = problem.line == 1 && problem.column + 1 == bytes.len();
        problem.cut_off |= is_at_end
            && problem.message == "invalid number"
            && matches!(bytes.last(), Some(b'-' | b'+' | b'.' | b'e' | b'E'));
        problem
    }
}

/// Why bytes do not begin with a whole record.
#[derive(Debug)]
pub(super) struct NoRecord {
    pub(super) problem: Problem,
    /// How many of the bytes can be the beginning of one.
    pub(super) read: usize,
}

impl NoRecord {
    fn of(problem: Problem, bytes: &[u8]) -> Self {
        let read = match problem.line {
            1 if !problem.cut_off => problem.column.min(bytes.len()),
            // All of them, as far as is known.
            _ => bytes.len(),
        };
        Self { problem, read }
    }
}

impl From<serde_json::Error> for Problem {
    fn from(error: serde_json::Error) -> Self {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let text = error.to_string();
        Self {
            message: text.strip_suffix(&place).unwrap_or(&text).to_owned(),
            line: error.line(),
            column: error.column().saturating_sub(1),
            cut_off: error.is_eof(),
        }
    }
}

/// Reads one record that takes up all of `bytes`, but for whitespace.
pub(super) fn read<T>(bytes: &[u8], form: Form, scratch: &mut Vec<u8>) -> Result<Stored<T>, Problem>
where
    T: DeserializeOwned + Serialize,
{
    let text = text(bytes)?;
    let value: T = serde_json::from_str(text).map_err(|error| Problem::of(error, bytes))?;
    let mut unknown = Vec::new();
    scratch.clear();
    write_canonical(&value, form, scratch)?;
    if scratch.trim_ascii_end() != bytes.trim_ascii_end() {
        scratch.clear();
        write_canonical(&value, Form::Line, scratch)?;
        let canonical = serde_json::from_slice::<&RawValue>(scratch)?;
        let input = serde_json::from_str::<&RawValue>(text)?;
        collect(
            input,
            &Node::parse(canonical)?,
            &mut String::new(),
            &mut unknown,
        )?;
    }
    Ok(Stored { value, unknown })
}

/// Reads the whole record that `bytes` begin with, and says how long it is.
pub(super) fn read_prefix<T>(
    bytes: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<(Stored<T>, usize), NoRecord>
where
    T: DeserializeOwned + Serialize,
{
    let mut records = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    match records.next() {
        Some(Ok(record)) => drop(record),
        Some(Err(error)) => return Err(NoRecord::of(Problem::of(error, bytes), bytes)),
        None => {
            let problem = Problem::new("there is no record here");
            return Err(NoRecord { problem, read: 0 });
        }
    }
    let length = records.byte_offset();
    match read(&bytes[..length], Form::Line, scratch) {
        Ok(record) => Ok((record, length)),
        Err(problem) => Err(NoRecord {
            problem,
            read: length,
        }),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        return Err(Problem::new("it begins with a byte-order mark"));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line_start = before
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(0, |i| i + 1);
        Problem {
            message: "it is not UTF-8".into(),
            line: 1 + before.iter().filter(|b| **b == b'\n').count(),
            column: before.len() - line_start,
            cut_off: error.error_len().is_none(),
        }
    })
}

/// Appends the record as the layout has it, with the newline that ends it.
pub(super) fn write<T: Serialize>(
    value: &T,
    unknown: &[UnknownMember],
    form: Form,
    out: &mut Vec<u8>,
) -> Result<(), Problem> {
    if unknown.is_empty() {
        write_canonical(value, form, out)?;
    } else {
        let canonical = serde_json::to_string(value)?;
        let mut tree = Node::parse(serde_json::from_str(&canonical)?)?;
        // In a line a newline can only be whitespace: strings have it escaped.
        let texts: Vec<String> = unknown
            .iter()
            .map(|member| match form {
                Form::Line => member.json.replace(['\n', '\r'], " "),
                Form::Document => member.json.clone(),
            })
            .collect();
        for (member, text) in unknown.iter().zip(&texts) {
            tree.add(member, serde_json::from_str(text)?)?;
        }
        write_canonical(&tree, form, out)?;
    }
    out.push(b'\n');
    Ok(())
}

fn write_canonical<T: Serialize>(value: &T, form: Form, out: &mut Vec<u8>) -> Result<(), Problem> {
    match form {
        Form::Line => serde_json::to_writer(out, value)?,
        Form::Document => serde_json::to_writer_pretty(out, value)?,
    }
    Ok(())
}

/// How many bytes from the beginning of `text` stand in a JSON string as they are: up to a quote, a
/// backslash or a control character.
pub(super) fn plain_length(text: &str) -> usize {
    let is_plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    scan::length_of::<8>(text.as_bytes(), is_plain)
}

/// Adds every member of `input` that `canonical` lacks to `unknown`.
fn collect(
    input: &RawValue,
    canonical: &Node<'_>,
    pointer: &mut String,
    unknown: &mut Vec<UnknownMember>,
) -> Result<(), Problem> {
    match canonical {
        // Types are read leniently: an array for an object, an object for an enum's name.
        Node::Scalar(_) | Node::Kept(_) if input.get().starts_with(['{', '[']) => Err(
            Problem::new(format!("{pointer}: a plain value was expected")),
        ),
        Node::Scalar(_) | Node::Kept(_) => Ok(()),
        Node::Array(nodes) => {
            let items: Vec<&RawValue> = serde_json::from_str(input.get())?;
            for (index, (item, node)) in items.into_iter().zip(nodes).enumerate() {
                let length = pointer.len();
                pointer.push_str(&format!("/{index}"));
                collect(item, node, pointer, unknown)?;
                pointer.truncate(length);
            }
            Ok(())
        }
        Node::Object(known) => {
            if !input.get().starts_with('{') {
                return Err(Problem::not_an_object());
            }
            let members: Members<'_> = serde_json::from_str(input.get())?;
            for (name, value) in members.0 {
                let Some((_, node)) = known.iter().find(|(known, _)| *known == name) else {
                    unknown.push(UnknownMember {
                        pointer: pointer.clone(),
                        name,
                        json: value.get().to_owned(),
                    });
                    continue;
                };
                let length = pointer.len();
                pointer.push('/');
                pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
                collect(value, node, pointer, unknown)?;
                pointer.truncate(length);
            }
            Ok(())
        }
    }
}

/// A record in its canonical form. As deep as the types are, not as deep as what came from
/// outside.
enum Node<'a> {
    Object(Vec<(String, Node<'a>)>),
    Array(Vec<Node<'a>>),
    Scalar(&'a RawValue),
    /// A member that is only kept, of any form.
    Kept(&'a RawValue),
}

impl<'a> Node<'a> {
    fn parse(json: &'a RawValue) -> Result<Self, Problem> {
        match json.get().as_bytes().first() {
            Some(b'{') => serde_json::from_str::<Members<'a>>(json.get())?
                .0
                .into_iter()
                .map(|(name, value)| Ok((name, Self::parse(value)?)))
                .collect::<Result<_, Problem>>()
                .map(Self::Object),
            Some(b'[') => serde_json::from_str::<Vec<&'a RawValue>>(json.get())?
                .into_iter()
                .map(Self::parse)
                .collect::<Result<_, Problem>>()
                .map(Self::Array),
            _ => Ok(Self::Scalar(json)),
        }
    }

    /// Adds an unknown member after the known ones of its object. A known member of the same name
    /// wins: twice the same name is not readable.
    fn add(&mut self, member: &UnknownMember, json: &'a RawValue) -> Result<(), Problem> {
        let UnknownMember { pointer, name, .. } = member;
        let gone = || {
            Problem::new(format!(
                "there is no object at {pointer:?} to put {name:?} in"
            ))
        };
        let mut node = self;
        for step in pointer.split('/').skip(1) {
            let step = step.replace("~1", "/").replace("~0", "~");
            node = match node {
                Self::Object(members) => members
                    .iter_mut()
                    .find(|(name, _)| *name == step)
                    .map(|(_, node)| node),
                Self::Array(items) => step.parse().ok().and_then(|i: usize| items.get_mut(i)),
                Self::Scalar(_) | Self::Kept(_) => None,
            }
            .ok_or_else(gone)?;
        }
        let Self::Object(members) = node else {
            return Err(gone());
        };
        let is_known =
            |(known, node): &(String, Self)| known == name && !matches!(node, Self::Kept(_));
        if !members.iter().any(is_known) {
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
struct Members<'a>(Vec<(String, &'a RawValue)>);

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
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(InOrder).map(Members)
    }
}
