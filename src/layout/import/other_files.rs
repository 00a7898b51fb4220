//! Imports the files that belong to no runtime.

use crate::layout::compare::files::{ComparedFile, FileState, shown};
use crate::layout::compare::other_files::compare_others;
use crate::layout::error::LayoutError;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::options::Rules;
use crate::layout::read::listing::Listing;
use crate::layout::read::reading::{ReadOutcome, Reading, read_others};
use crate::layout::read::sink::{DiscardSink, Sink};
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::store::bulk_load::BulkLoad;
use crate::store::snapshot::Snapshot;
use std::collections::HashSet;
use std::path::PathBuf;

/// The decisions of an import about the files of no runtime.
pub(crate) struct OtherFilesPlan {
    pub(crate) reading: Reading,
    /// The stored paths of the files to write; empty without a store.
    pub(crate) to_write: HashSet<String>,
    /// The number of files to write, also without a store.
    pub(crate) files: u64,
    /// Files that the store has with other bytes.
    pub(crate) conflicts: Vec<PathBuf>,
}

/// Reads the files of no runtime, and compares them with those of the store, if there is one.
pub(crate) fn plan(
    snapshot: Option<&Snapshot>,
    listing: &Listing,
    (rules, replace): (Rules, bool),
    on_bytes: &dyn Fn(u64),
) -> Result<OtherFilesPlan, LayoutError> {
    let mut plan = OtherFilesPlan {
        reading: Reading::default(),
        to_write: HashSet::new(),
        files: 0,
        conflicts: Vec::new(),
    };
    if listing.others.is_empty() {
        return Ok(plan);
    }
    let Some(snapshot) = snapshot else {
        plan.reading = read_others(listing, rules, &mut DiscardSink, on_bytes)?;
        plan.files = plan.reading.counts.files;
        return Ok(plan);
    };
    let others = compare_others(snapshot, listing, rules, on_bytes)?;
    plan.reading = others.reading;
    for ComparedFile { stored, state, .. } in others.found {
        let state = match state {
            FileState::OnlyInDirectory => beside_stored(snapshot, &stored)?,
            state => state,
        };
        match state {
            FileState::Same => {}
            FileState::Different if !replace => {
                plan.conflicts.push(shown(listing.runtimes.path(), &stored));
            }
            FileState::Different | FileState::OnlyInDirectory => {
                plan.to_write.insert(stored);
            }
        }
    }
    plan.files = plan.to_write.len() as u64;
    Ok(plan)
}

/// The state of a file whose path the store does not have: it excludes a stored file that it has as its directory, and
/// stored files that have it as theirs.
fn beside_stored(snapshot: &Snapshot, stored: &str) -> Result<FileState, LayoutError> {
    let below = format!("{stored}/");
    let next = snapshot.next_file(None, &below, false)?;
    if next.is_some_and(|next| next.starts_with(&below)) {
        return Ok(FileState::Different);
    }
    let mut above = stored;
    while let Some((dir, _)) = above.rsplit_once('/') {
        if let Some(FileChunkRow::Bytes(_)) = snapshot.file_chunk(None, dir, 0)? {
            return Ok(FileState::Different);
        }
        above = dir;
    }
    Ok(FileState::OnlyInDirectory)
}

/// The finding about a file that a salvage import leaves out.
pub(crate) fn conflict(path: PathBuf) -> Finding {
    let message = "the store has another file of this name already; replace it or leave it out";
    Finding::new(FindingKind::Conflict, path, message)
}

/// Reads the files of no runtime again, and writes those of `to_write`.
pub(crate) fn load(
    load: &mut BulkLoad<'_>,
    listing: &Listing,
    (rules, to_write): (Rules, &HashSet<String>),
    on_bytes: &dyn Fn(u64),
) -> Result<(), LayoutError> {
    if to_write.is_empty() {
        return Ok(());
    }
    let mut writing = Writing { load, to_write };
    let mut reading = read_others(listing, rules, &mut writing, on_bytes)?;
    match reading.findings.pop() {
        // The plan accepted it: the directory changed since.
        Some(finding) if reading.outcome == ReadOutcome::Refused => Err(LayoutError::Refused {
            root: listing.runtimes.path().to_owned(),
            findings: vec![finding],
            conflicts: Vec::new(),
        }),
        _ => Ok(()),
    }
}

struct Writing<'w, 'l> {
    load: &'w mut BulkLoad<'l>,
    to_write: &'w HashSet<String>,
}

impl Sink for Writing<'_, '_> {
    fn file(&mut self, path: &str, chunk: u64, row: FileChunkRow) -> Result<(), LayoutError> {
        if !self.to_write.contains(path) {
            return Ok(());
        }
        if chunk == 0 {
            self.load.remove_file_of_no_runtime(path)?;
        }
        Ok(self.load.put_file_chunk(None, (path, chunk), &row)?)
    }
}
