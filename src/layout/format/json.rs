//! Reads and writes JSON records with unknown members. Reading preserves the unknown members; writing
//! appends them to the known members of their object.
//!
//! A record is parsed into its type, which ignores unknown members, and is serialized again in canonical
//! form. If that gives the bytes that were read, the record has no unknown members. Otherwise both texts
//! are walked in parallel, as deep as the known members, and each member that the canonical form lacks is
//! stored as its text. An explicit `null` of an optional member is stored in the same way.
//!
//! Valid JSON can have no value in memory: a number without a double, half of a surrogate pair, unlimited
//! nesting. Unknown members are stored as texts, so such values survive there. A member *name* that is not
//! valid Unicode is rejected.

use crate::layout::format::locate::{in_member_of, offset_of};
use crate::layout::format::node::{Members, Node, push_step};
use crate::layout::format::problem::{LONG_BYTES, Problem};
use crate::model::persisted::{Stored, UnknownMember};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

/// The bytes that some editors write before a text in UTF-8.
pub(crate) const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// The greatest number of unknown members of a record. In memory a member takes many times its bytes in the
/// text.
const MAX_UNKNOWN_MEMBERS: usize = 1 << 20;

/// The layout of the text of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// On one line: an event, a transcript entry.
    Line,
    /// Pretty-printed: `runtime.json`, `worker.json`.
    Document,
}

/// A record of the layout.
pub(crate) trait Record: Serialize + DeserializeOwned {
    /// Its tagged objects: their member `kind` determines their other members.
    const TAGGED: &'static [Tagged] = &[];
}

/// A tagged object of a record: its member `kind` determines its other members.
///
/// serde buffers all members of such an object in memory before it parses one, unknown members included. So
/// a large unknown member, or one without a value in memory, must be removed first.
pub(crate) struct Tagged {
    /// The names of the members that lead to the object.
    pub(crate) path: &'static [&'static str],
    /// The known members of an object of the given kind.
    pub(crate) members: fn(kind: &str) -> &'static [&'static str],
}

/// Reads one record from `bytes`, which contain nothing else but whitespace.
pub(crate) fn read<T>(bytes: &[u8], form: Form, scratch: &mut Vec<u8>) -> Result<Stored<T>, Problem>
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
    // Checked here, because serde also reads a struct from an array of its values.
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
            return Err(in_member_of(text, Problem::of(error, bytes)));
        }
        // The error can come from an unknown member without a value in memory. If the text is valid JSON,
        // parse it again without such members.
        is_json(text)?;
        let known = known_part::<T>(text).ok();
        let known = known.and_then(|known| serde_json::from_str(&known).ok());
        known.ok_or_else(|| in_member_of(text, Problem::of(error, bytes)))
    })
}

/// As [`parse`], but takes no unknown member into memory. Problems of the types have no position, because
/// they refer to a reduced text.
fn parse_long<T: Record>(text: &str) -> Result<T, Problem> {
    is_json(text)?;
    serde_json::from_str(&known_part::<T>(text)?)
        .map_err(|error| Problem::new(Problem::from(error).message))
}

/// Checks that the text is one JSON value. The problem has the position of the error.
fn is_json(text: &str) -> Result<(), Problem> {
    let json = serde_json::from_str::<&RawValue>(text);
    json.map(drop)
        .map_err(|error| Problem::of(error, text.as_bytes()))
}

/// The text of the record without the unknown members of its tagged objects.
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
                Node::Raw(json) if json.get().starts_with('{') => *node = Node::opened(json)?,
                Node::Raw(_) => return Err(unlike()),
                _ => {}
            }
        }
        let kind = match node.member("kind") {
            Some(Node::Raw(json)) => serde_json::from_str::<String>(json.get()).ok(),
            _ => None,
        };
        let kind = kind.ok_or_else(unlike)?;
        if let Node::Object(members) = node {
            members.retain(|(name, _)| (tagged.members)(&kind).contains(&name.as_str()));
        }
    }
    Ok(serde_json::to_string(&record)?)
}

pub(crate) fn text(bytes: &[u8]) -> Result<&str, Problem> {
    if bytes.starts_with(BYTE_ORDER_MARK) {
        return Err(Problem::at("it begins with a byte-order mark", bytes, 0));
    }
    std::str::from_utf8(bytes).map_err(|error| Problem {
        cut_off: error.error_len().is_none(),
        ..Problem::at("it is not UTF-8", bytes, error.valid_up_to())
    })
}

/// Appends the record in the form of the layout, with a newline.
pub(crate) fn write<T: Serialize>(
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
        // JSON strings have newlines escaped, so a newline in these texts is whitespace. A line must not have
        // one, and documents have LF line endings.
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

/// Adds to `unknown` every member of `input`, a part of `text`, that `canonical` lacks.
fn collect(
    text: &str,
    input: &RawValue,
    canonical: &Node<'_>,
    pointer: &mut String,
    unknown: &mut Vec<UnknownMember>,
) -> Result<(), Problem> {
    // serde accepts an array for a struct and an object for a variant without data. Reject both: an export
    // would not restore them.
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
        Node::Scalar(_) | Node::Raw(_) if input.get().starts_with(['{', '[']) => {
            unlike("a plain value was expected")
        }
        Node::Scalar(_) | Node::Raw(_) => Ok(()),
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
                        let many = format!("more than {MAX_UNKNOWN_MEMBERS} unknown members");
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
