//! The id of a runtime that lies in the root of its directory: the directory does not have it.

use crate::layout::error::LayoutError;
use crate::layout::options::Rules;
use crate::layout::read::listing::{Listing, NEW_ID};
use crate::layout::read::reading::read_runtime;
use crate::layout::read::sink::DiscardSink;
use crate::model::identity::RuntimeId;
use crate::store::snapshot::Snapshot;

/// Names the runtime in the root, for an import: as the stored runtime that was imported from the same bytes, or else
/// with an id that the store does not have.
pub(crate) fn name_for_import(
    listing: &mut Listing,
    snapshot: Option<&Snapshot>,
    rules: Rules,
) -> Result<(), LayoutError> {
    let Some(snapshot) = snapshot.filter(|_| listing.is_unnamed) else {
        return Ok(());
    };
    let id = match imported_from(listing, snapshot, rules)? {
        Some(id) => Some(id),
        None => unused_id(snapshot)?,
    };
    listing.name(id);
    Ok(())
}

/// Names the runtime in the root, for a comparison: as the only wanted runtime, as the one that was imported from the
/// same bytes, or as the only one of the store that lies in a root.
pub(crate) fn name_for_compare(
    listing: &mut Listing,
    snapshot: &Snapshot,
    wanted: &[RuntimeId],
    rules: Rules,
) -> Result<(), LayoutError> {
    if !listing.is_unnamed {
        return Ok(());
    }
    let id = match wanted {
        [only] => Some(only.clone()),
        _ => match imported_from(listing, snapshot, rules)? {
            Some(id) => Some(id),
            None => match in_roots(snapshot)?.as_slice() {
                [only] => Some(only.clone()),
                _ => None,
            },
        },
    };
    listing.name(id);
    Ok(())
}

/// The stored runtimes that lie in the root of their directory.
fn in_roots(snapshot: &Snapshot) -> Result<Vec<RuntimeId>, LayoutError> {
    let mut found = Vec::new();
    for id in snapshot.runtime_ids()? {
        if snapshot.layout_form(&id)?.is_in_root() {
            found.push(id);
        }
    }
    Ok(found)
}

/// The stored runtime that was imported from the same bytes.
fn imported_from(
    listing: &Listing,
    snapshot: &Snapshot,
    rules: Rules,
) -> Result<Option<RuntimeId>, LayoutError> {
    let candidates = in_roots(snapshot)?;
    let Some(entry) = listing.entries.first().filter(|_| !candidates.is_empty()) else {
        return Ok(None);
    };
    let mut discard = DiscardSink;
    let reading = read_runtime(&listing.runtimes, entry, rules, &mut discard, &|_| {})?;
    for id in candidates {
        let record = snapshot.import_record(&id)?;
        if record.is_some_and(|record| record.fingerprint == reading.fingerprint) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

/// The first of `runtime`, `runtime-2`, `runtime-3` and so on that the store does not have.
fn unused_id(snapshot: &Snapshot) -> Result<Option<RuntimeId>, LayoutError> {
    let mut number = 1_u64;
    loop {
        let id = match number {
            1 => RuntimeId::new(NEW_ID),
            _ => RuntimeId::new(format!("{NEW_ID}-{number}")),
        };
        match id {
            Some(id) if snapshot.runtime(&id)?.is_some() => number += 1,
            id => return Ok(id),
        }
    }
}
