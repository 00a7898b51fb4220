//! Deletion in bounded steps.
//!
//! The first commit of a deletion removes the row that every reader starts at: that of the worker, or that of
//! the runtime. So from then on all of it is hidden, without a flag that a reader could forget. Rows that exceed the
//! bytes of one commit are removed by later ones. Until the last of these, a row of `tombstones` lists the deletion;
//! the next open for writing continues it, and with several writers the next writes do.
//!
//! A step reads the rows that are left within its own commit. So it does not matter who takes the steps, in which
//! process, or whether two take them at the same time.

use crate::error::RuntimeError;
use crate::ledger::convert::size;
use crate::ledger::removals::{ALL, Removals};
use crate::ledger::rows::{PAGE_ROWS, Rows};
use crate::ledger::stored::kept_file::{RUNTIME_DOCUMENT, after_files, worker_files};
use crate::ledger::stored::tombstone::{TombstoneRow, Unfinished};
use crate::ledger::table_names::UNFINISHED;
use crate::ledger::transaction::Transaction;
use crate::ledger::whole::each_diagnostic;
use std::ops::ControlFlow;

/// The bytes of rows that one commit of a deletion removes: other operations wait for no longer commit.
pub(crate) const STEP_BYTES: usize = 4 << 20;

/// The bytes of rows that a commit of another operation removes with its own changes.
const SHARE_BYTES: usize = 1 << 20;

/// How many runtimes with unfinished deletions a commit of another operation tries, where others have them locked.
const SHARED_RUNTIMES: usize = 8;

/// The bytes of a row besides its texts, about.
pub(crate) const ROW_BYTES: usize = 64;

/// The unfinished deletions of a runtime.
pub(crate) fn unfinished(rows: &dyn Rows, runtime: &str) -> Result<Unfinished, RuntimeError> {
    match rows.tombstone(UNFINISHED, runtime)? {
        Some(TombstoneRow::Unfinished(unfinished)) => Ok(unfinished),
        Some(_) => Err(rows.at().corrupt(format!(
            "table tombstones, key {:?}: no list of unfinished deletions",
            (UNFINISHED, runtime)
        ))),
        None => Ok(Unfinished::default()),
    }
}

/// The first runtime after `after` that has unfinished deletions.
pub(crate) fn next_unfinished(
    rows: &dyn Rows,
    after: Option<&str>,
) -> Result<Option<String>, RuntimeError> {
    let page = rows.tombstones(UNFINISHED, after, 1)?;
    Ok(page.into_iter().next().map(|(runtime, _)| runtime))
}

/// Removes up to `budget` bytes of the rows that unfinished deletions of a runtime have left, and at least one row.
/// Returns whether none is left.
pub(crate) fn step(
    transaction: &mut Transaction<'_>,
    runtime: &str,
    budget: usize,
) -> Result<bool, RuntimeError> {
    let mut left = unfinished(transaction, runtime)?;
    // A fork under way is no deletion. If its process ends, the next opening deletes it.
    let forks = transaction.opening().map_or(Vec::new(), |opening| {
        let is_forking = |worker: &mut String| opening.is_forking((runtime, worker.as_str()));
        match left.is_whole {
            true => Vec::new(),
            false => left.workers.extract_if(.., is_forking).collect(),
        }
    });
    if left == Unfinished::default() {
        return Ok(true);
    }
    let listed = left.workers.len();
    let mut part = Part::new(runtime, budget);
    while let Some(worker) = left.workers.first()
        && part.entries(transaction, worker)?
        && part.files_of(transaction, worker)?
    {
        left.workers.remove(0);
    }
    if left.workers.is_empty() && left.is_whole {
        left.is_whole = !part.rest_of_runtime(transaction)?;
    }
    transaction
        .changes()
        .remove(runtime, part.removed, part.bytes);
    let is_done = left == Unfinished::default();
    if is_done || left.workers.len() < listed {
        left.workers.extend(forks);
        put_unfinished(transaction, runtime, left)?;
    }
    Ok(is_done)
}

/// Removes a share of the rows that an unfinished deletion of any runtime has left, in the commit of another operation.
/// `is_free` says whether the rows of a runtime can be changed without a wait; rows that cannot are left.
pub(crate) fn share(
    transaction: &mut Transaction<'_>,
    is_free: impl Fn(&str) -> bool,
) -> Result<(), RuntimeError> {
    let mut last: Option<String> = None;
    for _ in 0..SHARED_RUNTIMES {
        let Some(runtime) = next_unfinished(transaction, last.as_deref())? else {
            return Ok(());
        };
        if is_free(&runtime) {
            // The list of unfinished deletions changes, too.
            return match is_free(UNFINISHED) {
                true => step(transaction, &runtime, SHARE_BYTES).map(|_| ()),
                false => Ok(()),
            };
        }
        last = Some(runtime);
    }
    Ok(())
}

/// Stores what is left of the deletions of a runtime; nothing if they are done.
fn put_unfinished(
    transaction: &mut Transaction<'_>,
    runtime: &str,
    unfinished: Unfinished,
) -> Result<(), RuntimeError> {
    if unfinished == Unfinished::default() {
        let mut removed = Removals::default();
        removed.tombstones.insert(runtime.to_owned());
        transaction.changes().remove(UNFINISHED, removed, 0);
        return Ok(());
    }
    let row = TombstoneRow::Unfinished(unfinished);
    transaction
        .changes()
        .put_tombstone(UNFINISHED, runtime, row)
}

/// Lists the deletion of a worker whose row the caller removes: steps remove its other rows. A fork lists its new worker
/// until that has a row.
pub(crate) fn list_worker(
    transaction: &mut Transaction<'_>,
    runtime: &str,
    worker: &str,
) -> Result<(), RuntimeError> {
    let mut left = unfinished(transaction, runtime)?;
    // Before the others, whose rows must not use up the budget.
    left.workers.insert(0, worker.to_owned());
    put_unfinished(transaction, runtime, left)
}

/// Takes a worker whose entries are complete from that list. Returns whether it was there.
pub(crate) fn end_fork(
    transaction: &mut Transaction<'_>,
    runtime: &str,
    worker: &str,
) -> Result<bool, RuntimeError> {
    let mut left = unfinished(transaction, runtime)?;
    let listed = left.workers.len();
    left.workers.retain(|listed| listed != worker);
    let was_there = left.workers.len() < listed && !left.is_whole;
    put_unfinished(transaction, runtime, left)?;
    Ok(was_there)
}

/// Begins the deletion of the transcript and the files of a worker whose row the caller removes, of up to `budget` bytes.
/// Returns whether all of it is removed.
pub(crate) fn begin_worker(
    transaction: &mut Transaction<'_>,
    runtime: &str,
    worker: &str,
    budget: usize,
) -> Result<bool, RuntimeError> {
    list_worker(transaction, runtime, worker)?;
    Ok(step(transaction, runtime, budget)?
        || !unfinished(transaction, runtime)?
            .workers
            .iter()
            .any(|left| left == worker))
}

/// The rows of the own text of `runtime.json`. It has the texts of the diagnostics that the runtime had when it was
/// imported, so it goes with each of them. All of it goes in one commit: a part would be a damaged text.
pub(crate) fn runtime_document(
    rows: &dyn Rows,
    runtime: &str,
) -> Result<Vec<(String, u64)>, RuntimeError> {
    let end = format!("{RUNTIME_DOCUMENT}\0");
    let keys = rows.file_keys(runtime, (RUNTIME_DOCUMENT, 0), Some(&end), usize::MAX)?;
    Ok(keys.into_iter().map(|key| (key.path, key.chunk)).collect())
}

/// The size of the files of a worker.
pub(crate) fn bytes_of_files(
    rows: &dyn Rows,
    runtime: &str,
    worker: &str,
) -> Result<u64, RuntimeError> {
    let first = worker_files(worker);
    let end = after_files(&first);
    let (mut from, mut bytes) = ((first, 0), 0);
    loop {
        let page = rows.file_keys(runtime, (&from.0, from.1), Some(&end), PAGE_ROWS)?;
        let Some(last) = page.last() else {
            return Ok(bytes);
        };
        from = (last.path.clone(), last.chunk.saturating_add(1));
        bytes += page.iter().map(|key| key.bytes).sum::<u64>();
    }
}

/// Begins the deletion of a whole runtime. Returns whether all of it is removed.
pub(crate) fn begin_runtime(
    transaction: &mut Transaction<'_>,
    runtime: &str,
    budget: usize,
) -> Result<bool, RuntimeError> {
    let removed = Removals {
        runtime: true,
        ..Removals::default()
    };
    transaction.changes().remove(runtime, removed, ROW_BYTES);
    let mut left = unfinished(transaction, runtime)?;
    left.is_whole = true;
    put_unfinished(transaction, runtime, left)?;
    step(transaction, runtime, budget)
}

/// The rows that one step removes.
struct Part<'a> {
    runtime: &'a str,
    budget: usize,
    bytes: usize,
    removed: Removals,
}

impl<'a> Part<'a> {
    fn new(runtime: &'a str, budget: usize) -> Self {
        Self {
            runtime,
            budget,
            bytes: 0,
            removed: Removals::default(),
        }
    }

    /// Counts a row. Returns whether the part has room for it: the first row always fits.
    fn takes(&mut self, text_bytes: usize) -> bool {
        let is_full = self.bytes > 0 && self.bytes + ROW_BYTES + text_bytes > self.budget;
        if !is_full {
            self.bytes += ROW_BYTES + text_bytes;
        }
        !is_full
    }

    /// Adds the entries of a worker. Returns whether all of them are in the part.
    fn entries(&mut self, rows: &dyn Rows, worker: &str) -> Result<bool, RuntimeError> {
        let (at, runtime) = (rows.at(), self.runtime);
        let (mut end, mut is_full) = (0, false);
        let read = rows.transcript(runtime, worker, 0, usize::MAX, &mut |position, row| {
            is_full = !self.takes(row.text_bytes() + worker.len());
            if is_full {
                // Ends the read. The error is not returned.
                return Err(at.closed());
            }
            end = position.saturating_add(1);
            Ok(())
        });
        if !is_full {
            read?;
            end = ALL;
        }
        self.removed.raise_entries(worker.to_owned(), end);
        Ok(!is_full)
    }

    /// Adds the events. Returns whether all of them are in the part.
    fn events(&mut self, rows: &dyn Rows) -> Result<bool, RuntimeError> {
        let (at, runtime) = (rows.at(), self.runtime);
        let (mut end, mut is_full) = (0, false);
        let read = rows.events(runtime, 0, usize::MAX, &mut |id, row| {
            is_full = !self.takes(row.text_bytes());
            if is_full {
                return Err(at.closed());
            }
            end = id.saturating_add(1);
            Ok(())
        });
        if !is_full {
            read?;
            end = ALL;
        }
        self.removed.events_below = end;
        Ok(!is_full)
    }

    /// Adds all rows of a runtime that has no row of its own. Returns whether all of them are in the part.
    fn rest_of_runtime(&mut self, rows: &dyn Rows) -> Result<bool, RuntimeError> {
        if !(self.events(rows)? && self.workers(rows)? && self.diagnostics(rows)?) {
            return Ok(false);
        }
        if !self.files(rows, "", None)? {
            return Ok(false);
        }
        // A damaged store can have entries without a worker, and a later worker of the same id must not get them.
        self.removed.all_entries = true;
        self.tombstones(rows)
    }

    fn workers(&mut self, rows: &dyn Rows) -> Result<bool, RuntimeError> {
        let mut last: Option<String> = None;
        loop {
            let page = rows.workers(self.runtime, last.as_deref(), PAGE_ROWS)?;
            last = page.last().map(|(worker, _)| worker.clone());
            for (worker, row) in page {
                if !(self.entries(rows, &worker)? && self.takes(row.text_bytes() + worker.len())) {
                    return Ok(false);
                }
                self.removed.workers.insert(worker);
            }
            if last.is_none() {
                return Ok(true);
            }
        }
    }

    /// Adds the files of a worker. Returns whether all of them are in the part.
    fn files_of(&mut self, rows: &dyn Rows, worker: &str) -> Result<bool, RuntimeError> {
        let first = worker_files(worker);
        self.files(rows, &first, Some(&after_files(&first)))
    }

    /// Adds the files from the path `first` on and below the path `end`. Returns whether all of them are in the part.
    fn files(
        &mut self,
        rows: &dyn Rows,
        first: &str,
        end: Option<&str>,
    ) -> Result<bool, RuntimeError> {
        let mut from = (first.to_owned(), 0);
        loop {
            let page = rows.file_keys(self.runtime, (&from.0, from.1), end, PAGE_ROWS)?;
            let Some(last) = page.last() else {
                return Ok(true);
            };
            from = (last.path.clone(), last.chunk.saturating_add(1));
            for key in page {
                if !self.takes(size(key.bytes) + key.path.len()) {
                    return Ok(false);
                }
                self.removed.files.insert((key.path, key.chunk));
            }
        }
    }

    fn diagnostics(&mut self, rows: &dyn Rows) -> Result<bool, RuntimeError> {
        each_diagnostic(rows, self.runtime, 0, |id, row| {
            if !self.takes(row.text_bytes()) {
                return Ok(ControlFlow::Break(()));
            }
            self.removed.diagnostics.insert(id);
            Ok(ControlFlow::Continue(()))
        })
    }

    fn tombstones(&mut self, rows: &dyn Rows) -> Result<bool, RuntimeError> {
        let mut last: Option<String> = None;
        loop {
            let page = rows.tombstones(self.runtime, last.as_deref(), PAGE_ROWS)?;
            last = page.last().map(|(worker, _)| worker.clone());
            for (worker, _) in page {
                if !self.takes(worker.len()) {
                    return Ok(false);
                }
                self.removed.tombstones.insert(worker);
            }
            if last.is_none() {
                return Ok(true);
            }
        }
    }
}

/// The diagnostics of a worker, with the bytes of their texts, found by a read of all diagnostics of its runtime. A
/// snapshot is read before the operation, which other writers wait for.
#[derive(Debug, Default)]
pub(crate) struct DiagnosticsOf {
    found: Vec<u64>,
    /// The number of all diagnostics of the runtime, and the id after the last.
    counted: u64,
    next: u64,
}

impl DiagnosticsOf {
    /// Reads the diagnostics of `worker` from the id `next` on.
    pub(crate) fn read_on(
        &mut self,
        rows: &dyn Rows,
        runtime: &str,
        worker: &str,
    ) -> Result<(), RuntimeError> {
        each_diagnostic(rows, runtime, self.next, |id, row| {
            self.counted += 1;
            if row.worker_id.as_deref() == Some(worker) {
                self.found.push(id);
            }
            self.next = id.saturating_add(1);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(())
    }

    /// The diagnostics of the worker as `rows` has them: those that were found and later ones, if the runtime
    /// `counted` as many as that; else all are read again.
    pub(crate) fn confirmed(
        mut self,
        rows: &dyn Rows,
        (runtime, worker): (&str, &str),
        counted: u64,
    ) -> Result<Vec<u64>, RuntimeError> {
        self.read_on(rows, runtime, worker)?;
        let mut is_same = self.counted == counted;
        for id in &self.found {
            let page = rows.diagnostics(runtime, *id, 1)?;
            let row = page.first().filter(|(found, _)| found == id);
            is_same &= row.is_some_and(|(_, row)| row.worker_id.as_deref() == Some(worker));
        }
        if !is_same {
            self = Self::default();
            self.read_on(rows, runtime, worker)?;
        }
        Ok(self.found)
    }
}
