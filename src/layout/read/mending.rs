//! Takes out of a damaged document what is certain.
//!
//! A member is certain if it is complete, if no other part of the text is needed to read it, and if a document that
//! lacks no other member is valid with it. All other members have the values of a document that was made from the
//! directory's name and its logs. Of an array whose items are not all valid, such as the diagnostics, the valid ones are
//! taken.

use crate::layout::format::json::BYTE_ORDER_MARK;
use crate::layout::format::locate::offset_of;
use crate::layout::format::node::Members;
use crate::layout::format::problem::Problem;
use crate::layout::read::documents::{Document, parse};
use crate::model::persisted::Stored;
use serde::Deserializer as _;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::HashSet;
use std::fmt;

/// The greatest number of members that are looked at: each one is tried in a document of its own.
const MAX_MEMBERS: usize = 65_536;

/// A document that was made of a damaged one.
pub(crate) struct Mended<T> {
    pub(crate) stored: Stored<T>,
    /// The members that have their values from the damaged document.
    pub(crate) taken: HashSet<String>,
}

/// Mends the document of `of` with the values of `made`.
pub(crate) fn mended<T: Document>(
    damaged: &[u8],
    made: T,
    of: &T::Of,
    scratch: &mut Vec<u8>,
) -> Result<Mended<T>, Problem> {
    let canonical = serde_json::to_string(&made)?;
    let Members(members) = serde_json::from_str(&canonical)?;
    let mut members: Vec<(String, String)> = members
        .into_iter()
        .map(|(name, value)| (name, value.get().to_owned()))
        .collect();
    let count = members.len();
    let mut taken = HashSet::new();
    let text = readable(damaged);
    for (name, value) in complete_members(text) {
        if taken.contains(&name) {
            continue;
        }
        let is_valid = |json: &str, scratch: &mut Vec<u8>| {
            let tried = text_of(&members[..count], Some((&name, json)));
            parse::<T>(tried.as_bytes(), of, &[], scratch).is_ok()
        };
        let json = match is_valid(value.get(), scratch) {
            true => Some(value.get().to_owned()),
            false => valid_items(value, |json| is_valid(json, scratch)),
        };
        if let Some(json) = json {
            match members.iter_mut().find(|(known, _)| *known == name) {
                Some((_, of_made)) => *of_made = json,
                None => members.push((name.clone(), json)),
            }
            taken.insert(name);
        }
    }
    let text = text_of(&members, None);
    match parse::<T>(text.as_bytes(), of, &[], scratch) {
        Ok((stored, _)) => Ok(Mended { stored, taken }),
        Err(_) => Ok(Mended {
            stored: Stored {
                value: made,
                unknown: Vec::new(),
            },
            taken: HashSet::new(),
        }),
    }
}

/// The text up to the first byte that is not UTF-8.
fn readable(bytes: &[u8]) -> &str {
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let first = bytes.utf8_chunks().next();
    first.map_or("", |chunk| chunk.valid())
}

/// The text of an object; the value of `instead` stands in place of that of its name.
fn text_of(members: &[(String, String)], instead: Option<(&str, &str)>) -> String {
    let mut text = String::from("{");
    let mut is_there = instead.is_none();
    let mut add = |name: &str, json: &str| {
        if text.len() > 1 {
            text.push(',');
        }
        // A name is a string, which can always be written.
        text.push_str(&serde_json::to_string(name).unwrap_or_default());
        text.push(':');
        text.push_str(json);
    };
    for (name, json) in members {
        match instead.filter(|(other, _)| other == name) {
            Some((_, json)) => {
                is_there = true;
                add(name, json);
            }
            None => add(name, json),
        }
    }
    if let Some((name, json)) = instead.filter(|_| !is_there) {
        add(name, json);
    }
    text + "}"
}

/// The array of the items of `array` that are valid alone; `None` if it is no array, or has no valid item.
fn valid_items(array: &RawValue, mut is_valid: impl FnMut(&str) -> bool) -> Option<String> {
    let items: Vec<&RawValue> = serde_json::from_str(array.get()).ok()?;
    let valid: Vec<&str> = items
        .into_iter()
        .map(RawValue::get)
        .filter(|item| is_valid(&format!("[{item}]")))
        .collect();
    (!valid.is_empty()).then(|| format!("[{}]", valid.join(",")))
}

/// The members of an object up to the first one that is damaged, in the order of the text.
fn complete_members(text: &str) -> Vec<(String, &RawValue)> {
    let mut members = Vec::new();
    let mut reader = serde_json::Deserializer::from_str(text);
    // The error is that of the damage.
    let _ = reader.deserialize_map(Collecting(&mut members));
    // The text can end in a number.
    let is_ended = |(_, value): &(String, &RawValue)| {
        let rest = &text[offset_of(value, text) + value.get().len()..];
        rest.trim_ascii_start().starts_with([',', '}'])
    };
    if members.last().is_some_and(|last| !is_ended(last)) {
        members.pop();
    }
    members
}

/// Collects the members of an object, also if an error follows.
struct Collecting<'o, 'de>(&'o mut Vec<(String, &'de RawValue)>);

impl<'de> Visitor<'de> for Collecting<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while self.0.len() < MAX_MEMBERS
            && let Some(member) = map.next_entry()?
        {
            self.0.push(member);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        let members = complete_members(text).into_iter();
        members
            .map(|(name, value)| format!("{name}={}", value.get()))
            .collect()
    }

    #[test]
    fn members_before_the_damage_are_complete() {
        let whole = r#"{"a": 1, "b": {"c": "\ud800"}, "d": [1, 2] }"#;
        assert_eq!(names(whole), ["a=1", "b={\"c\": \"\\ud800\"}", "d=[1, 2]"]);
        for end in 0..whole.len() {
            let expected = match end {
                0..8 => 0,
                8..30 => 1,
                _ => 2,
            };
            assert_eq!(names(&whole[..end]).len(), expected, "{}", &whole[..end]);
        }
        assert_eq!(names("{\"a\": 12"), Vec::<String>::new());
        assert_eq!(names("{\"a\": 12\0\0"), Vec::<String>::new());
        assert_eq!(names("[1]"), Vec::<String>::new());
        assert_eq!(names("\0\0"), Vec::<String>::new());
        assert_eq!(readable(b"\xEF\xBB\xBF{\"a\":\"\xFF\"}"), "{\"a\":\"");
    }
}
