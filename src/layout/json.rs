//! JSON records with members that this version does not know: reading keeps them, writing puts
//! them back after the known ones.
//!
//! A record is parsed into its type, which ignores what it does not know, and written again in the
//! canonical form. Where that gives the bytes that were read, nothing was ignored. Otherwise the
//! two are walked side by side, as deep as the known members go, and every member that the
//! canonical form lacks is kept as it came. An explicit `null` of a member that is left out when
//! it is empty is kept in the same way.
//!
//! A text can be JSON and no value in memory: a number without a double, half of a surrogate pair,
//! nesting without end. In a member that is only kept it stays a text. A *name* that is no text is
//! refused.

use super::scan;
use crate::store::{Stored, UnknownMember};
use serde::de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use std::fmt;

/// What some editors put before a text.
pub(super) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// How many members an object may have, and how many unknown ones a record: they are taken apart in
/// memory, where each takes many times its bytes.
const MAX_MEMBERS: usize = 65_536;
const MAX_UNKNOWN_MEMBERS: usize = 1 << 20;

/// From this length on a record is not taken apart only to say better what is wrong with it.
const LONG_BYTES: usize = 1 << 20;

/// How deep the values of records that this version knows are at most.
const MAX_DEPTH: usize = 8;

/// How a record is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// On one line: an event, a transcript entry.
    Line,
    /// Pretty-printed: `runtime.json`, `worker.json`.
    Document,
}

/// A record of the layout.
pub(super) trait Record: Serialize + DeserializeOwned {
    /// Its objects whose `kind` says what else is in them.
    const TAGGED: &'static [Tagged] = &[];
}

/// Where in a record an object is whose member `kind` says what else is in it.
///
/// The type of such an object takes all members into memory before it looks at any, those that it
/// does not know included.
pub(super) struct Tagged {
    /// The names of the members that lead to it.
    pub(super) path: &'static [&'static str],
    /// The members that an object of a kind has.
    pub(super) members: fn(kind: &str) -> &'static [&'static str],
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

    /// What is wrong at an offset in `bytes`.
    fn at(message: impl Into<String>, bytes: &[u8], offset: usize) -> Self {
        let before = &bytes[..offset];
        let newline = before.iter().rposition(|byte| *byte == b'\n');
        Self {
            message: message.into(),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            column: offset - newline.map_or(0, |index| index + 1),
            cut_off: false,
        }
    }

    /// The same, with the member of `text` that it is in.
    fn in_member_of(mut self, text: &str) -> Self {
        let offset = self.offset_in(text.as_bytes());
        let is_short = |offset: &usize| *offset < text.len() && text.len() < LONG_BYTES;
        let Some(offset) = offset.filter(is_short) else {
            return self;
        };
        // Where the text is no JSON, the place says it all.
        let Ok(record) = serde_json::from_str::<&RawValue>(text) else {
            return self;
        };
        // The place can be that before a value.
        let before = |byte: &u8| matches!(byte, b':' | b',' | b' ' | b'\t' | b'\r' | b'\n');
        let skipped = text.as_bytes()[offset..]
            .iter()
            .take_while(|byte| before(byte));
        let offset = offset + skipped.count();
        let cut_off = self.cut_off;
        let (pointer, value) = innermost(text, record, offset);
        if is_integer(value) && self.message.contains("floating point") {
            self.message = format!("the number {} does not fit into 64 bits", value.get());
        }
        if self.message == "expected value" {
            self.message = "a string was expected".into();
        }
        self = Self {
            cut_off,
            ..Self::at(self.message, text.as_bytes(), offset)
        };
        if !pointer.is_empty() {
            self.message = format!("{pointer}: {}", self.message);
        }
        self
    }

    /// The offset in all of `bytes`, if it has a place.
    pub(super) fn offset_in(&self, bytes: &[u8]) -> Option<usize> {
        let mut newlines = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        let line_start = match self.line {
            0 => return None,
            1 => 0,
            line => newlines.nth(line - 2).map_or(0, |(index, _)| index + 1),
        };
        Some(line_start + self.column)
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
    /// How many bytes were looked at to know that.
    pub(super) work: usize,
}

impl NoRecord {
    /// Of the first `length` bytes.
    fn of(problem: Problem, length: usize, work: usize) -> Self {
        let read = match problem.line {
            1 if !problem.cut_off => problem.column.min(length),
            // All of them, as far as is known.
            _ => length,
        };
        Self {
            problem,
            read,
            work,
        }
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
    T: Record,
{
    let text = text(bytes)?;
    let value: T = parse(text)?;
    let mut unknown = Vec::new();
    scratch.clear();
    write_canonical(&value, form, scratch)?;
    if scratch.trim_ascii_end() != bytes.trim_ascii_end() {
        scratch.clear();
        write_canonical(&value, Form::Line, scratch)?;
        let canonical = serde_json::from_slice::<&RawValue>(scratch)?;
        let input = serde_json::from_str::<&RawValue>(text)?;
        let canonical = Node::parse(canonical)?;
        collect(text, input, &canonical, &mut String::new(), &mut unknown)?;
    }
    Ok(Stored { value, unknown })
}

fn parse<T: Record>(text: &str) -> Result<T, Problem> {
    // An array is read as the values of the members, in their order.
    let bytes = text.as_bytes();
    let start = bytes.len() - text.trim_ascii_start().len();
    if !matches!(bytes.get(start), None | Some(b'{')) {
        is_json(text)?;
        return Err(Problem::at("a JSON object was expected", bytes, start));
    }
    if text.len() >= LONG_BYTES && !T::TAGGED.is_empty() {
        return parse_long(text);
    }
    serde_json::from_str(text).or_else(|error| {
        if T::TAGGED.is_empty() || !error.is_syntax() {
            return Err(Problem::of(error, bytes).in_member_of(text));
        }
        // What no value can hold can stand before the place where it ends.
        is_json(text)?;
        let known = known_part::<T>(text).ok();
        let known = known.and_then(|known| serde_json::from_str(&known).ok());
        known.ok_or_else(|| Problem::of(error, bytes).in_member_of(text))
    })
}

/// As [`parse`], but nothing is taken into memory that the types do not know. What is wrong has no
/// place.
fn parse_long<T: Record>(text: &str) -> Result<T, Problem> {
    is_json(text)?;
    serde_json::from_str(&known_part::<T>(text)?)
        .map_err(|error| Problem::new(Problem::from(error).message))
}

/// Whether the text is one JSON value; if not, where it ceases to be.
fn is_json(text: &str) -> Result<(), Problem> {
    let json = serde_json::from_str::<&RawValue>(text);
    json.map(drop)
        .map_err(|error| Problem::of(error, text.as_bytes()))
}

/// The record without the members of its tagged objects that their types do not know.
fn known_part<T: Record>(text: &str) -> Result<String, Problem> {
    let mut record = Node::opened(serde_json::from_str(text)?)?;
    for tagged in T::TAGGED {
        let unlike = || {
            let path = tagged.path.join("/");
            Problem::new(format!("/{path}: a JSON object with a kind was expected"))
        };
        let mut node = &mut record;
        for step in tagged.path {
            node = node.member(step).ok_or_else(unlike)?;
            match node {
                Node::Kept(json) if json.get().starts_with('{') => *node = Node::opened(json)?,
                Node::Kept(_) => return Err(unlike()),
                _ => {}
            }
        }
        let kind = match node.member("kind") {
            Some(Node::Kept(json)) => serde_json::from_str::<String>(json.get()).ok(),
            _ => None,
        };
        let kind = kind.ok_or_else(unlike)?;
        if let Node::Object(members) = node {
            members.retain(|(name, _)| (tagged.members)(&kind).contains(&name.as_str()));
        }
    }
    Ok(serde_json::to_string(&record)?)
}

/// Reads the whole record that `bytes` begin with, and says how long it is.
pub(super) fn read_prefix<T>(
    bytes: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<(Stored<T>, usize), NoRecord>
where
    T: Record,
{
    let length = match length_of_json(bytes) {
        Ok(Some(length)) => length,
        Ok(None) => {
            let problem = Problem::new("there is no record here");
            return Err(NoRecord::of(problem, 0, 0));
        }
        Err(problem) => return Err(no_record::<T>(bytes, problem)),
    };
    match read(&bytes[..length], Form::Line, scratch) {
        Ok(record) => Ok((record, length)),
        Err(problem) => Err(NoRecord::of(problem, length, length)),
    }
}

/// Why `bytes` are not the record that they begin as, where they are no JSON either. The types can
/// tell sooner than the grammar that they cannot go on as they do.
fn no_record<T: Record>(bytes: &[u8], problem: Problem) -> NoRecord {
    let work = NoRecord::of(problem.clone(), bytes.len(), 0).read;
    if work >= LONG_BYTES {
        return NoRecord::of(problem, bytes.len(), work);
    }
    let mut records = serde_json::Deserializer::from_slice(bytes).into_iter::<T>();
    match records.next() {
        Some(Err(error)) if error.is_data() => {
            NoRecord::of(Problem::of(error, bytes), bytes.len(), 2 * work)
        }
        _ => NoRecord::of(problem, bytes.len(), 2 * work),
    }
}

/// How long the JSON value is that `bytes` begin with; `None` where nothing but whitespace is there.
fn length_of_json(bytes: &[u8]) -> Result<Option<usize>, Problem> {
    let mut values = serde_json::Deserializer::from_slice(bytes).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => Ok(Some(values.byte_offset())),
        Some(Err(error)) => Err(Problem::of(error, bytes)),
        None => Ok(None),
    }
}

fn text(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        return Err(Problem::at("it begins with a byte-order mark", bytes, 0));
    }
    std::str::from_utf8(bytes).map_err(|error| Problem {
        cut_off: error.error_len().is_none(),
        ..Problem::at("it is not UTF-8", bytes, error.valid_up_to())
    })
}

/// Where `part` begins in the text that it is a part of.
fn offset_of(part: &RawValue, text: &str) -> usize {
    part.get().as_ptr().addr() - text.as_ptr().addr()
}

fn is_integer(value: &RawValue) -> bool {
    let text = value.get();
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits != "0" && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The value in `record` that the byte at `offset` is in, and the pointer to it; no deeper than
/// records are.
fn innermost<'t>(text: &'t str, record: &'t RawValue, offset: usize) -> (String, &'t RawValue) {
    let (mut pointer, mut value) = (String::new(), record);
    let holds = |value: &RawValue| {
        let start = offset_of(value, text);
        (start..start + value.get().len()).contains(&offset)
    };
    for _ in 0..MAX_DEPTH {
        let inner = match Node::opened(value) {
            Ok(Node::Object(members)) => members.into_iter().find_map(|(name, node)| match node {
                Node::Kept(value) if holds(value) => Some((name, value)),
                _ => None,
            }),
            Ok(Node::Array(items)) => {
                items
                    .into_iter()
                    .zip(0..)
                    .find_map(|(node, index)| match node {
                        Node::Kept(value) if holds(value) => Some((format!("{index}"), value)),
                        _ => None,
                    })
            }
            _ => None,
        };
        let Some((name, inner)) = inner else {
            break;
        };
        push_step(&mut pointer, &name);
        value = inner;
    }
    (pointer, value)
}

/// A part of a document, and where it is in it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'t> {
    pub(super) line: u64,
    pub(super) byte: u64,
    pub(super) bytes: &'t [u8],
}

/// The value of a member of a document.
pub(super) fn member<'t>(document: &'t [u8], name: &str) -> Option<Part<'t>> {
    let text = std::str::from_utf8(document).ok()?;
    let value = raw_member(text, name)?;
    parts(text, &[value]).pop()
}

/// The items of an array that a member of a document is; none where it is not.
pub(super) fn items<'t>(document: &'t [u8], name: &str) -> Vec<Part<'t>> {
    let text = std::str::from_utf8(document).unwrap_or_default();
    let array =
        raw_member(text, name).map(|array| serde_json::from_str::<Vec<&RawValue>>(array.get()));
    match array {
        Some(Ok(items)) => parts(text, &items),
        _ => Vec::new(),
    }
}

fn raw_member<'t>(text: &'t str, name: &str) -> Option<&'t RawValue> {
    let Members(members) = serde_json::from_str(text).ok()?;
    let member = members.into_iter().find(|(member, _)| member == name);
    member.map(|(_, value)| value)
}

/// Where values of `text` are, which come in the order of their places.
fn parts<'t>(text: &'t str, values: &[&'t RawValue]) -> Vec<Part<'t>> {
    let (mut line, mut counted) = (1, 0);
    let placed = values.iter().map(|value| {
        let start = offset_of(value, text);
        let between = &text.as_bytes()[counted..start];
        line += between.iter().filter(|byte| **byte == b'\n').count() as u64;
        counted = start;
        Part {
            line,
            byte: start as u64,
            bytes: value.get().as_bytes(),
        }
    });
    placed.collect()
}

fn push_step(pointer: &mut String, name: &str) {
    pointer.push('/');
    pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
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
                Form::Document => member.json.replace("\r\n", "\n"),
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

/// Adds every member of `input`, a part of `text`, that `canonical` lacks to `unknown`.
fn collect(
    text: &str,
    input: &RawValue,
    canonical: &Node<'_>,
    pointer: &mut String,
    unknown: &mut Vec<UnknownMember>,
) -> Result<(), Problem> {
    // Types are read leniently: an array for an object, an object for an enum's name.
    let unlike = |what: &str| {
        let message = match pointer.is_empty() {
            true => what.to_owned(),
            false => format!("{pointer}: {what}"),
        };
        Err(Problem::at(
            message,
            text.as_bytes(),
            offset_of(input, text),
        ))
    };
    match canonical {
        Node::Scalar(_) | Node::Kept(_) if input.get().starts_with(['{', '[']) => {
            unlike("a plain value was expected")
        }
        Node::Scalar(_) | Node::Kept(_) => Ok(()),
        Node::Array(nodes) => {
            let items: Vec<&RawValue> = serde_json::from_str(input.get())?;
            for (index, (item, node)) in items.into_iter().zip(nodes).enumerate() {
                let length = pointer.len();
                push_step(pointer, &index.to_string());
                collect(text, item, node, pointer, unknown)?;
                pointer.truncate(length);
            }
            Ok(())
        }
        Node::Object(known) => {
            if !input.get().starts_with('{') {
                return unlike("a JSON object was expected");
            }
            let members: Members<'_> = serde_json::from_str(input.get())?;
            for (name, value) in members.0 {
                let Some((_, node)) = known.iter().find(|(known, _)| *known == name) else {
                    if unknown.len() >= MAX_UNKNOWN_MEMBERS {
                        let many = format!("more than {MAX_UNKNOWN_MEMBERS} members are unknown");
                        return Err(Problem::new(many));
                    }
                    unknown.push(UnknownMember {
                        pointer: pointer.clone(),
                        name,
                        json: value.get().to_owned(),
                    });
                    continue;
                };
                let length = pointer.len();
                push_step(pointer, &name);
                collect(text, value, node, pointer, unknown)?;
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
    /// The members of an object or the items of an array, themselves as they are.
    fn opened(json: &'a RawValue) -> Result<Self, Problem> {
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
    fn member(&mut self, name: &str) -> Option<&mut Self> {
        match self {
            Self::Object(members) => {
                let member = members.iter_mut().find(|(member, _)| member == name);
                member.map(|(_, node)| node)
            }
            Self::Array(items) => items.get_mut(name.parse::<usize>().ok()?),
            Self::Scalar(_) | Self::Kept(_) => None,
        }
    }

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
