//! Attributes: a JSON object of the host on a worker or a transcript entry.

use super::persisted::UnknownMember;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fmt;

/// The greatest length of the attributes of a worker or an entry, as compact JSON, in bytes: 64 KiB. Members whose names
/// begin with `$` do not count.
pub const MAX_ATTRIBUTES_BYTES: usize = 64 << 10;

/// The prefix of the names of the store's own members.
const OF_STORE: char = '$';

/// Of an entry: the key of its input, and a hash of it.
pub(crate) const ONCE: &str = "$once";

/// The value of [`ONCE`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Once {
    pub(crate) key: String,
    /// A hash of the input, in hex. A redaction removes it: a short text could be guessed from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<String>,
}

/// Of a worker: its open work, by name.
pub(crate) const OPEN_WORK: &str = "$open_work";

/// Of open work: the number of the opening of the store.
const OPENING: &str = "opening";

/// Of a worker: the worker it was forked from, and the position.
pub(crate) const FORKED_FROM: &str = "$forked_from";

/// Of an entry: the time at which its text was replaced.
pub(crate) const REDACTED: &str = "$redacted";

/// A JSON object of the host, on a worker or a transcript entry: a title, the name of a model, counts of tokens. The store
/// gives its members no meaning, except those whose names begin with `$`, which are its own.
///
/// Members are sorted by name. A number is one that fits into 64 bits, as an integer or as a floating-point number.
///
/// ```
/// use redb_runtime_store::attributes::Attributes;
///
/// let attributes = Attributes::new().with("title", "Report")?.with("tokens", 1200)?;
/// assert_eq!(attributes.get::<u64>("tokens"), Some(1200));
/// assert_eq!(attributes.to_json(), r#"{"title":"Report","tokens":1200}"#);
/// # Ok::<(), redb_runtime_store::attributes::InvalidAttributes>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Attributes(Map<String, Value>);

/// The reason why a value is no attribute, or a text no attributes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid attributes: {0}")]
pub struct InvalidAttributes(pub(crate) String);

impl Attributes {
    /// No attributes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parses a JSON object.
    ///
    /// # Errors
    ///
    /// [`InvalidAttributes`] for a text that is no JSON object, and for a number that has no value of 64 bits.
    pub fn from_json(json: &str) -> Result<Self, InvalidAttributes> {
        serde_json::from_str(json).map_err(|error| InvalidAttributes(error.to_string()))
    }

    /// Adds a member, or replaces the one of this name.
    ///
    /// # Errors
    ///
    /// [`InvalidAttributes`] for a value that has no JSON form.
    pub fn with(
        mut self,
        name: impl Into<String>,
        value: impl Serialize,
    ) -> Result<Self, InvalidAttributes> {
        let name = name.into();
        let value = serde_json::to_value(value)
            .map_err(|error| InvalidAttributes(format!("{name}: {error}")))?;
        self.0.insert(name, value);
        Ok(self)
    }

    /// The member `name` as a value of the type `T`; `None` if there is no such member, or if it is no such value.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        T::deserialize(self.0.get(name)?).ok()
    }

    /// The names of the members, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The compact JSON.
    pub fn to_json(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// Whether each member of `part` is here with the same value. A member that is an object needs the members of that
    /// object only.
    pub fn contains(&self, part: &Self) -> bool {
        contains(&self.0, &part.0)
    }

    /// Applies a JSON merge patch (RFC 7396): a member with `null` removes the one of that name, an object is merged, any
    /// other value replaces.
    pub(crate) fn merge(&mut self, patch: Self) {
        merge(&mut self.0, patch.0);
    }

    /// The first name, at the top level, that is the store's.
    pub(crate) fn name_of_store(&self) -> Option<&str> {
        self.names().find(|name| name.starts_with(OF_STORE))
    }

    /// The members of the host.
    pub(crate) fn of_host(mut self) -> Self {
        self.0.retain(|name, _| !name.starts_with(OF_STORE));
        self
    }

    /// The members of the store.
    pub(crate) fn of_store(mut self) -> Self {
        self.0.retain(|name, _| name.starts_with(OF_STORE));
        self
    }

    /// The length of the members of the host as compact JSON, in bytes.
    pub(crate) fn host_bytes(&self) -> usize {
        let is_of_host = |(name, _): &(&String, &Value)| !name.starts_with(OF_STORE);
        let members = self.0.iter().filter(is_of_host);
        // A member has its name in quotes, which cannot be shorter than in JSON, a colon and a comma.
        let bytes = members.map(|(name, value)| {
            Value::from(name.as_str()).to_string().len() + value.to_string().len() + 2
        });
        bytes.sum::<usize>() + 1
    }

    /// The openings of the store that open work of a worker names.
    pub(crate) fn openings(&self) -> impl Iterator<Item = &Value> {
        let all = self.0.get(OPEN_WORK).and_then(Value::as_object);
        let work = all.into_iter().flat_map(|all| all.values());
        work.filter_map(|work| work.get(OPENING))
    }

    /// Removes the openings, whose numbers have a meaning in one store only.
    fn remove_openings(&mut self) {
        let all = self.0.get_mut(OPEN_WORK).and_then(Value::as_object_mut);
        let work = all.into_iter().flat_map(|all| all.values_mut());
        for work in work.filter_map(Value::as_object_mut) {
            work.remove(OPENING);
        }
    }

    pub(crate) fn insert(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name)
    }
}

/// The member with the attributes of a record: of a `worker.json` and of a line of a transcript.
const MEMBER: &str = "attributes";

/// The place of the attributes in the unknown members of a record; `None` if it has none. The error says why a member of
/// that name is no attributes: it stays an unknown member.
fn place_of(unknown: &[UnknownMember]) -> Result<Option<usize>, String> {
    let is_it = |member: &UnknownMember| member.pointer.is_empty() && member.name == MEMBER;
    let Some(place) = unknown.iter().position(is_it) else {
        return Ok(None);
    };
    if unknown[place + 1..].iter().any(is_it) {
        return Err(format!("{MEMBER} is there more than once"));
    }
    match Attributes::from_json(&unknown[place].json) {
        Err(_) => Err(format!("{MEMBER} is no JSON object that can be stored")),
        Ok(attributes) if attributes.host_bytes() > MAX_ATTRIBUTES_BYTES => Err(format!(
            "{MEMBER} has {} bytes, the limit is {MAX_ATTRIBUTES_BYTES}",
            attributes.host_bytes()
        )),
        Ok(attributes) if attributes.openings().next().is_some() => Err(format!(
            "{MEMBER} has open work with the number of an opening"
        )),
        // It says nothing, and must not be lost in an export.
        Ok(attributes) if attributes.is_empty() => Ok(None),
        Ok(_) => Ok(Some(place)),
    }
}

/// Puts the attributes before the other unknown members, where an export writes them. The error says why a member of that
/// name is no attributes.
pub(crate) fn put_first(unknown: &mut [UnknownMember]) -> Result<(), String> {
    if let Some(place) = place_of(unknown)? {
        unknown[..=place].rotate_right(1);
    }
    Ok(())
}

/// Takes the attributes out of the unknown members of a record.
pub(crate) fn taken_from(unknown: &mut Vec<UnknownMember>) -> Option<String> {
    // A member that is no attributes stays. An import has reported it.
    let place = place_of(unknown).ok()??;
    Some(unknown.remove(place).json)
}

/// Attributes of a worker as an export has them.
pub(crate) fn exported(stored: String) -> String {
    if !stored.contains(OPENING) {
        return stored;
    }
    match Attributes::from_json(&stored) {
        Ok(mut attributes) if attributes.openings().next().is_some() => {
            attributes.remove_openings();
            attributes.to_json()
        }
        _ => stored,
    }
}

/// Whether a record with these unknown members was redacted.
pub(crate) fn are_redacted(unknown: &[UnknownMember]) -> bool {
    let attributes = place_of(unknown).ok().flatten();
    let attributes = attributes.and_then(|place| Attributes::from_json(&unknown[place].json).ok());
    attributes.is_some_and(|attributes| attributes.0.contains_key(REDACTED))
}

/// Gives a record the attributes of a later state of it.
pub(crate) fn catch_up(old: &mut Vec<UnknownMember>, new: &[UnknownMember]) {
    if old.iter().chain(new).all(|member| member.name != MEMBER) {
        return;
    }
    remove_from(old);
    let is_it = |member: &&UnknownMember| member.pointer.is_empty() && member.name == MEMBER;
    if let Some(member) = new.iter().find(is_it) {
        old.insert(0, member.clone());
    }
}

/// Removes the unknown member that is named like the attributes.
pub(crate) fn remove_from(unknown: &mut Vec<UnknownMember>) {
    unknown.retain(|member| !member.pointer.is_empty() || member.name != MEMBER);
}

/// The unknown members of a record with its attributes, which come first.
pub(crate) fn added_to(
    unknown: Vec<UnknownMember>,
    attributes: Option<String>,
) -> Vec<UnknownMember> {
    let Some(json) = attributes else {
        return unknown;
    };
    let member = UnknownMember {
        pointer: String::new(),
        name: MEMBER.to_owned(),
        json,
    };
    std::iter::once(member).chain(unknown).collect()
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

fn contains(whole: &Map<String, Value>, part: &Map<String, Value>) -> bool {
    part.iter()
        .all(|(name, wanted)| match (whole.get(name), wanted) {
            (Some(Value::Object(whole)), Value::Object(wanted)) => contains(whole, wanted),
            (found, wanted) => found == Some(wanted),
        })
}

fn merge(target: &mut Map<String, Value>, patch: Map<String, Value>) {
    for (name, value) in patch {
        match value {
            Value::Null => drop(target.remove(&name)),
            Value::Object(patch) => {
                let member = target.entry(name).or_insert(Value::Null);
                if !member.is_object() {
                    *member = Value::Object(Map::new());
                }
                if let Value::Object(member) = member {
                    merge(member, patch);
                }
            }
            value => drop(target.insert(name, value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(json: &str) -> Attributes {
        Attributes::from_json(json).unwrap()
    }

    /// The examples of RFC 7396, appendix A, that have an object on both sides.
    #[test]
    fn merge_patches_follow_the_examples_of_the_rfc() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (
                r#"{"a":{"b":"c"}}"#,
                r#"{"a":{"b":"d","c":null}}"#,
                r#"{"a":{"b":"d"}}"#,
            ),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"a":1,"e":null}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
        ] {
            let mut merged = of(target);
            merged.merge(of(patch));
            assert_eq!(merged.to_json(), result, "{target} and {patch}");
        }
    }

    #[test]
    fn part_is_contained_with_equal_values() {
        let whole = of(r#"{"a":1,"b":{"c":[1,2],"d":null},"e":"x"}"#);
        for part in [
            "{}",
            r#"{"a":1}"#,
            r#"{"b":{"d":null}}"#,
            r#"{"b":{"c":[1,2]},"e":"x"}"#,
        ] {
            assert!(whole.contains(&of(part)), "{part}");
        }
        for part in [
            r#"{"a":2}"#,
            r#"{"f":null}"#,
            r#"{"b":{"c":[1]}}"#,
            r#"{"a":{"b":1}}"#,
        ] {
            assert!(!whole.contains(&of(part)), "{part}");
        }
    }

    #[test]
    fn attributes_come_first_and_what_is_none_stays() {
        let member = |name: &str, json: &str| UnknownMember {
            pointer: String::new(),
            name: name.to_owned(),
            json: json.to_owned(),
        };
        let all = [
            member("x", "1"),
            member("attributes", r#"{"a": 1}"#),
            member("y", "2"),
        ];
        let mut unknown = all.to_vec();
        put_first(&mut unknown).unwrap();
        let names: Vec<&str> = unknown.iter().map(|member| &*member.name).collect();
        assert_eq!(names, ["attributes", "x", "y"]);
        let taken = taken_from(&mut unknown);
        assert_eq!(taken.as_deref(), Some(r#"{"a": 1}"#));
        assert_eq!(unknown, [all[0].clone(), all[2].clone()]);
        assert_eq!(added_to(unknown, taken)[0], all[1]);
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(MAX_ATTRIBUTES_BYTES));
        for json in ["1", "[]", &large, r#"{"a":1e999}"#] {
            let mut unknown = vec![member("x", "1"), member("attributes", json)];
            put_first(&mut unknown).unwrap_err();
            assert_eq!(taken_from(&mut unknown), None);
            assert_eq!(unknown[1].json, json);
        }
        let mut empty = vec![member("x", "1"), member("attributes", "{}")];
        put_first(&mut empty).unwrap();
        assert_eq!(taken_from(&mut empty), None);
        assert_eq!(empty[1].name, "attributes");
        let mut twice = vec![all[1].clone(), all[1].clone()];
        put_first(&mut twice).unwrap_err();
    }

    #[test]
    fn members_of_the_store_do_not_count() {
        let host = of(r#"{"a":"\u0001","b":[1]}"#);
        assert_eq!(host.host_bytes(), host.to_json().len());
        let mut both = host.clone();
        both.insert("$key", Value::from("k"));
        assert_eq!(both.host_bytes(), host.host_bytes());
        assert_eq!(
            (both.name_of_store(), host.name_of_store()),
            (Some("$key"), None)
        );
    }
}
