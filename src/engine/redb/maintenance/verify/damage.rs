//! How a verification goes on behind damage: which keys cannot be read, and which key comes next.

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
/// Where others commit meanwhile, a page may be another one by now. So all this is only where to look:
/// what is read there is checked.
#[derive(Debug, Default)]
pub(crate) struct Damage(BTreeMap<&'static str, Vec<DamagedPage>>);

impl Damage {
    pub(crate) fn new(found: DamagedPages) -> Self {
        let mut tables: BTreeMap<&'static str, Vec<DamagedPage>> = BTreeMap::new();
        for page in found.pages {
            if let Some(table) = page.table {
                tables.entry(table).or_default().push(page);
            }
        }
        Self(tables)
    }

    /// The first page of `table` that is damaged and can have the key `key` or greater ones.
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

    /// Whether the row with `key` would be in a page that is damaged.
    pub(crate) fn covers<K: Key>(&self, table: &str, key: &[u8]) -> bool {
        self.from::<K>(table, Some(key)).is_some_and(|page| {
            let after = page.after.as_deref();
            after.is_none_or(|after| K::compare(after, key).is_lt())
        })
    }
}

/// The smallest key that is greater than `key`, where a key ends in a number or in a text; none after
/// the greatest number.
pub(crate) fn next_key(mut key: Vec<u8>, ends_in_number: bool) -> Option<Vec<u8>> {
    if !ends_in_number {
        // redb stores no length of a text that a key ends in.
        key.push(0);
        return Some(key);
    }
    let number = key.last_chunk_mut::<8>()?;
    *number = u64::from_le_bytes(*number).checked_add(1)?.to_le_bytes();
    Some(key)
}

/// Where rows cannot be read; of a store whose file cannot be looked at, nothing is known.
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

/// Whether `key` is past the end of a range.
pub(crate) fn is_past<K: Key>(key: &[u8], end: Bound<&Vec<u8>>) -> bool {
    match end {
        Bound::Included(end) => K::compare(key, end).is_gt(),
        Bound::Excluded(end) => K::compare(key, end).is_ge(),
        Bound::Unbounded => false,
    }
}

/// Tells damage, in its own words, from what was read, and from what keeps the store from being
/// read. Path and operation are the same for all damage.
pub(crate) fn split_damage<T>(
    read: Result<T, RuntimeError>,
) -> Result<(Option<T>, Option<String>), RuntimeError> {
    match read {
        Ok(read) => Ok((Some(read), None)),
        Err(RuntimeError::StoreCorrupt { message, .. }) => Ok((None, Some(message))),
        Err(error) => Err(error),
    }
}
