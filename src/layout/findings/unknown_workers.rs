//! Workers that events and diagnostics name but that have no directory.

use crate::layout::findings::finding::{Finding, FindingKind};
use std::collections::BTreeMap;
use std::path::Path;

/// The number of workers in a report; records that name further ones are only counted.
const NAMED_UNKNOWN_WORKERS: usize = 100;

/// The number of workers that are remembered until the log ends, since it can report them as deleted.
const REMEMBERED_WORKERS: usize = 1 << 16;

/// The unknown workers that records name.
#[derive(Default)]
pub(crate) struct UnknownWorkers {
    /// By worker: the position of the first record that names it, and the number of such records.
    named: BTreeMap<String, (Option<(u64, u64)>, u64)>,
    others: u64,
}

impl UnknownWorkers {
    /// Adds a record at a line and a byte that names the worker `id`.
    pub(crate) fn note(&mut self, id: &str, at: Option<(u64, u64)>) {
        if let Some((_, count)) = self.named.get_mut(id) {
            *count += 1;
        } else if self.named.len() < REMEMBERED_WORKERS {
            self.named.insert(id.to_owned(), (at, 1));
        } else {
            self.others += 1;
        }
    }

    /// Forgets a worker that the log reports as deleted: it has no directory for that reason.
    pub(crate) fn forget(&mut self, id: &str) {
        self.named.remove(id);
    }

    /// One finding for each worker. `what` is the kind of record, `path` the file.
    pub(crate) fn findings(self, what: &str, path: &Path) -> Vec<Finding> {
        let kind = FindingKind::UnknownWorker;
        let mut findings = Vec::new();
        let mut others = self.others;
        for (number, (id, (at, count))) in self.named.into_iter().enumerate() {
            if number >= NAMED_UNKNOWN_WORKERS {
                others += count;
                continue;
            }
            let names = match count {
                1 => format!("1 {what} names"),
                _ => format!("{count} {what}s name"),
            };
            let message = format!("{names} worker \"{id}\", which has no directory");
            findings.push(Finding::new(kind, path.to_owned(), message).placed(at));
        }
        if others > 0 {
            let message = format!("{others} more {what}s name other workers without a directory");
            findings.push(Finding::new(kind, path.to_owned(), message));
        }
        findings
    }
}
