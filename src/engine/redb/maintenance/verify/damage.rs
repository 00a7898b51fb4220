//! The damaged parts of tables: which keys cannot be read, and at which key a verification can
//! continue.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::RedbEngine;
use crate::engine::redb::file::page_walk::{DamagedPage, DamagedPages};
use crate::engine::redb::maintenance::page_check;
use crate::error::RuntimeError;
use redb::Key;
use std::collections::BTreeMap;
use std::ops::Bound;

/// The damaged pages of each table, in the order of their keys.
///
/// If other processes commit meanwhile, a page can have other contents by now. So this only says
/// where to continue; every row that is read there is checked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damage(BTreeMap<&'static str, Vec<DamagedPage>>);

impl Damage {
    /// Groups the damaged pages by table. Pages of redb itself have no rows of ours.
    pub(crate) fn new(found: DamagedPages) -> Self {
        let mut tables: BTreeMap<&'static str, Vec<DamagedPage>> = BTreeMap::new();
        for page in found.pages {
            if let Some(table) = page.table {
                tables.entry(table).or_default().push(page);
            }
        }
        Self(tables)
    }

    /// Whether the system failed to read a page.
    pub(crate) fn has_unread(&self) -> bool {
        self.0.values().flatten().any(|page| page.error.is_some())
    }

    /// Whether the page at byte `offset` is one of these.
    pub(crate) fn names(&self, offset: u64) -> bool {
        self.0.values().flatten().any(|page| page.offset == offset)
    }

    /// The first damaged page of `table` that can contain the key `key` or a greater one.
    pub(crate) fn from<K: Key>(&self, table: &str, key: Option<&[u8]>) -> Option<&DamagedPage> {
        let pages = self.0.get(table)?;
        let Some(key) = key else {
            return pages.first();
        };
        let ends_before = |page: &DamagedPage| {
            let last = page.last.as_deref();
            last.is_some_and(|last| K::compare(last, key).is_lt())
        };
        pages.get(pages.partition_point(ends_before))
    }

    /// Whether the row of `key` would be in a damaged page.
    pub(crate) fn covers<K: Key>(&self, table: &str, key: &[u8]) -> bool {
        self.from::<K>(table, Some(key)).is_some_and(|page| {
            let after = page.after.as_deref();
            after.is_none_or(|after| K::compare(after, key).is_lt())
        })
    }
}

/// The smallest key greater than `key`. Keys end in a number or in a text. `None` after the
/// greatest number.
pub(crate) fn next_key(mut key: Vec<u8>, ends_in_number: bool) -> Option<Vec<u8>> {
    if !ends_in_number {
        // redb stores no length for a text at the end of a key, so one more byte makes the next
        // key.
        key.push(0);
        return Some(key);
    }
    let number = key.last_chunk_mut::<8>()?;
    *number = u64::from_le_bytes(*number).checked_add(1)?.to_le_bytes();
    Some(key)
}

/// Finds the damaged parts of the tables. Returns none if the file of the store cannot be found.
pub(crate) fn find_damage(
    engine: &RedbEngine,
    at: RedbContext<'_>,
) -> Result<Damage, RuntimeError> {
    let Ok(path) = engine.file_path() else {
        return Ok(Damage::default());
    };
    let found = page_check::find_damage(&path, at)?;
    Ok(found.map(Damage::new).unwrap_or_default())
}

/// Whether `key` lies past the end of a range.
pub(crate) fn is_past<K: Key>(key: &[u8], end: Bound<&Vec<u8>>) -> bool {
    match end {
        Bound::Included(end) => K::compare(key, end).is_gt(),
        Bound::Excluded(end) => K::compare(key, end).is_ge(),
        Bound::Unbounded => false,
    }
}

/// Separates damage from other errors: returns the rows that were read, or the message of the
/// damage. Errors that prevent reading at all are passed on. The message omits the operation and
/// the path, which are the same for all findings.
pub(crate) fn split_damage<T>(
    read: Result<T, RuntimeError>,
) -> Result<(Option<T>, Option<String>), RuntimeError> {
    match read {
        Ok(read) => Ok((Some(read), None)),
        Err(RuntimeError::StoreCorrupt { message, .. }) => Ok((None, Some(message))),
        Err(error) => Err(error),
    }
}
