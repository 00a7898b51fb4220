//! Workers that events and diagnostics name, and that have no directory.

use crate::layout::findings::finding::{Finding, FindingKind};
use std::collections::BTreeMap;
use std::path::Path;

/// How many workers without a directory are named; what names others is counted.
const NAMED_UNKNOWN_WORKERS: usize = 100;

/// Workers that records name and that are not there.
#[derive(Default)]
pub(crate) struct UnknownWorkers {
    /// Where the first that names a worker is, and how many do.
    named: BTreeMap<String, (Option<(u64, u64)>, u64)>,
    others: u64,
}

impl UnknownWorkers {
    /// Notes that what begins at a line and a byte names a worker.
    pub(crate) fn note(&mut self, id: &str, at: Option<(u64, u64)>) {
        if let Some((_, count)) = self.named.get_mut(id) {
            *count += 1;
        } else if self.named.len() < NAMED_UNKNOWN_WORKERS {
            self.named.insert(id.to_owned(), (at, 1));
        } else {
            self.others += 1;
        }
    }

    /// One for each worker that a `what` of a file names.
    pub(crate) fn findings(self, what: &str, path: &Path) -> Vec<Finding> {
        let kind = FindingKind::UnknownWorker;
        let mut findings = Vec::new();
        for (id, (at, count)) in self.named {
            let names = match count {
                1 => format!("1 {what} names"),
                _ => format!("{count} {what}s name"),
            };
            let message = format!("{names} worker \"{id}\", which is not there");
            findings.push(Finding::new(kind, path.to_owned(), message).placed(at));
        }
        if self.others > 0 {
            let others = self.others;
            let message = format!("{others} more {what}s name other workers that are not there");
            findings.push(Finding::new(kind, path.to_owned(), message));
        }
        findings
    }
}
