//! Keys: ids and paths as columns of an index.
//!
//! An entry of an index has at most about 2,700 bytes, and an id can have 64 KiB. A text of up to [`PREFIX`] bytes is its
//! own key. The key of a longer one is its first [`PREFIX`] bytes, a byte that no text in UTF-8 has, and its SHA-256. The
//! table `long_keys` stores the text under two keys: that of its runtime, and its own. For the id of a runtime both are the
//! same. The first one is empty for files that belong to no runtime.
//!
//! Keys have the order of their texts, except within a [`Family`].

use crate::ledger::table_names::{TOMBSTONES, UNFINISHED};
use sha2::{Digest, Sha256};
use std::borrow::Cow;

/// The most bytes of a text that is its own key. Two keys and a number fit into an entry of an index.
pub(crate) const PREFIX: usize = 1024;

/// Follows the prefix of a longer text.
const MARK: u8 = 0xFF;

/// Above all keys: no text in UTF-8 begins with it.
pub(crate) const ABOVE_ALL: &[u8] = &[MARK];

const DIGEST_BYTES: usize = 32;

/// Whether a key has the form of one. A key of another form was written by another program.
pub(crate) fn is_whole(key: &[u8]) -> bool {
    !is_long(key) || (key.len() == PREFIX + 1 + DIGEST_BYTES && key[PREFIX] == MARK)
}

/// Whether the text of a key, or the text itself, is longer than a key.
pub(crate) fn is_long(key: &[u8]) -> bool {
    key.len() > PREFIX
}

/// The key of `text`.
pub(crate) fn key(text: &str) -> Cow<'_, [u8]> {
    let bytes = text.as_bytes();
    if !is_long(bytes) {
        return Cow::Borrowed(bytes);
    }
    let mut key = bytes[..PREFIX].to_vec();
    key.push(MARK);
    key.extend_from_slice(&Sha256::digest(bytes));
    Cow::Owned(key)
}

/// The runtime under which `long_keys` has the text `part` of a row of `owner`. The mark of an unfinished deletion has the
/// id of a runtime as its part.
pub(crate) fn keeper<'t, T: AsRef<[u8]> + ?Sized>(table: &str, owner: &'t T, part: &'t T) -> &'t T {
    let is_mark = table == TOMBSTONES && owner.as_ref() == UNFINISHED.as_bytes();
    if is_mark { part } else { owner }
}

/// The long texts of a row's key, each with the runtime that keeps it.
pub(crate) fn long_texts<'t>(
    table: &str,
    owner: &'t str,
    part: Option<&'t str>,
) -> impl Iterator<Item = (&'t str, &'t str)> + use<'t> {
    let part = part.map(|part| (keeper(table, owner, part), part));
    let texts = [(owner, owner)].into_iter().chain(part);
    texts.filter(|(_, text)| is_long(text.as_bytes()))
}

/// The keys of all long texts with the same first [`PREFIX`] bytes. They are in the order of their digests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Family {
    /// At most as great as each of them.
    pub(crate) lower: Vec<u8>,
    /// Greater than each of them, and less than all keys that follow.
    pub(crate) upper: Vec<u8>,
}

impl Family {
    /// The family of a key, or of a text; `None` for a short one.
    pub(crate) fn of(key: &[u8]) -> Option<Self> {
        let prefix = is_long(key).then(|| &key[..PREFIX])?;
        let mut lower = prefix.to_vec();
        lower.push(MARK);
        let mut upper = lower.clone();
        upper.resize(PREFIX + DIGEST_BYTES + 2, MARK);
        Some(Self { lower, upper })
    }
}

#[cfg(test)]
mod tests {
    use super::{ABOVE_ALL, Family, PREFIX, key};
    use std::collections::BTreeSet;

    /// Texts around the length of a prefix, in their order.
    fn texts() -> Vec<String> {
        let prefixes = ["a".repeat(PREFIX), format!("{}é", "a".repeat(PREFIX - 1))];
        let tails = ["", "\0", "a", "b", "\u{10ffff}"];
        let long = prefixes
            .iter()
            .flat_map(|prefix| tails.map(|tail| format!("{prefix}{tail}")));
        let mut texts: BTreeSet<String> = long.collect();
        texts.extend(["", "a", "b", "\u{10ffff}"].map(str::to_owned));
        texts.insert("a".repeat(PREFIX - 1));
        texts.into_iter().collect()
    }

    #[test]
    fn keys_have_the_order_of_texts_between_families() {
        for (at, less) in texts().iter().enumerate() {
            for greater in &texts()[at + 1..] {
                let (a, b) = (key(less), key(greater));
                assert_ne!(a, b);
                if Family::of(&a).is_none() || Family::of(&a) != Family::of(&b) {
                    assert!(a < b, "{less:?} {greater:?}");
                }
            }
        }
    }

    #[test]
    fn family_has_its_keys_and_no_others() {
        for of in texts() {
            let Some(family) = Family::of(of.as_bytes()) else {
                continue;
            };
            assert_eq!(Family::of(&key(&of)).as_ref(), Some(&family));
            for text in texts() {
                let is_in = family.lower.as_slice() <= &*key(&text)
                    && *key(&text) < *family.upper.as_slice();
                assert_eq!(is_in, Family::of(text.as_bytes()).as_ref() == Some(&family));
            }
        }
    }

    #[test]
    fn keys_fit_into_an_index() {
        for text in texts() {
            assert!(key(&text).len() <= PREFIX + 33);
            assert!(*key(&text) < *ABOVE_ALL);
        }
    }
}
