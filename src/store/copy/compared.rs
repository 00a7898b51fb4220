//! Compares the rows of a runtime with those that the destination has.

use crate::error::RuntimeError;
use crate::ledger::rows::{DiagnosticRow, ImportRow, Rows, RuntimeRow, WorkerRow};
use crate::ledger::run::Run;
use crate::ledger::stored::kept_file::{FileChunkRow, FileKey};
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::table_names as table;
use crate::store::copy::walk::{Receiver, Stopped, each_file_key};

/// Compares with `rows`. It stops the walk at the first difference.
pub(super) struct Compared<'a> {
    rows: &'a dyn Rows,
    id: &'a str,
    /// The first event id that is not compared yet.
    next_event: Option<u64>,
    next_diagnostic: Option<u64>,
    last_tombstone: Option<String>,
    has_import: bool,
    /// How many chunks of files were compared.
    chunks: u64,
}

/// Stops the walk unless `is_same`.
fn same(is_same: bool) -> Result<(), Stopped> {
    match is_same {
        true => Ok(()),
        false => Err(Stopped::Early),
    }
}

impl<'a> Compared<'a> {
    pub(super) fn new(rows: &'a dyn Rows, id: &'a str) -> Self {
        Self {
            rows,
            id,
            next_event: Some(0),
            next_diagnostic: Some(0),
            last_tombstone: None,
            has_import: false,
            chunks: 0,
        }
    }

    /// The first event from `from` on, up to the number of rows of `run`, encoded.
    fn events_like(&self, run: &Run, from: u64) -> Result<Run, RuntimeError> {
        let mut found = Run::new(table::EVENTS, &self.id);
        let rows = self.rows;
        rows.events(self.id, from, run.len(), &mut |number, row| {
            found.push(number, &row)
        })?;
        Ok(found)
    }
}

impl Receiver for Compared<'_> {
    fn runtime(&mut self, row: &RuntimeRow) -> Result<(), Stopped> {
        self.next_event = Some(row.first_event_id);
        same(self.rows.runtime(self.id)?.as_ref() == Some(row))
    }

    fn events(&mut self, run: &Run) -> Result<(), Stopped> {
        // From the last row on and not from the first of the run: the ids can have gaps.
        let Some(from) = self.next_event else {
            return Err(Stopped::Early);
        };
        same(self.events_like(run, from)?.is_same(run))?;
        self.next_event = run.last().and_then(|last| last.checked_add(1));
        Ok(())
    }

    fn workers(&mut self, page: &[(String, WorkerRow)]) -> Result<(), Stopped> {
        // Both runtimes have the same number of workers, so equal rows leave no others.
        for (worker, row) in page {
            same(self.rows.worker(self.id, worker)?.as_ref() == Some(row))?;
        }
        Ok(())
    }

    fn entries(&mut self, worker: &str, run: &Run) -> Result<(), Stopped> {
        // Both transcripts have the same ends, and their positions have no gaps.
        let mut found = Run::new(table::TRANSCRIPTS, &(self.id, worker));
        let first = run.rows().next().map_or(0, |(first, _)| first);
        let rows = self.rows;
        rows.transcript(self.id, worker, first, run.len(), &mut |position, row| {
            found.push(position, &row)
        })?;
        same(found.is_same(run))
    }

    fn diagnostics(&mut self, page: &[(u64, DiagnosticRow)]) -> Result<(), Stopped> {
        let Some(from) = self.next_diagnostic else {
            return Err(Stopped::Early);
        };
        same(self.rows.diagnostics(self.id, from, page.len())? == page)?;
        self.next_diagnostic = page.last().and_then(|(last, _)| last.checked_add(1));
        Ok(())
    }

    fn tombstones(&mut self, page: &[(String, TombstoneRow)]) -> Result<(), Stopped> {
        let after = self.last_tombstone.as_deref();
        same(self.rows.tombstones(self.id, after, page.len())? == page)?;
        self.last_tombstone = page.last().map(|(worker, _)| worker.clone());
        Ok(())
    }

    fn import(&mut self, row: &ImportRow) -> Result<(), Stopped> {
        self.has_import = true;
        same(self.rows.import(self.id)?.as_ref() == Some(row))
    }

    fn file_chunk(&mut self, key: &FileKey, row: &FileChunkRow) -> Result<(), Stopped> {
        self.chunks += 1;
        let found = self.rows.file_chunk(self.id, &key.path, key.chunk)?;
        same(found.as_ref() == Some(row))
    }

    fn end(&mut self) -> Result<(), Stopped> {
        let last = self.rows.last_event_id(self.id)?;
        same(last.is_none_or(|last| self.next_event.is_none_or(|next| last < next)))?;
        let after = self.last_tombstone.as_deref();
        same(self.rows.tombstones(self.id, after, 1)?.is_empty())?;
        same(self.has_import || self.rows.import(self.id)?.is_none())?;
        let mut chunks = 0;
        each_file_key(self.rows, self.id, |_| {
            chunks += 1;
            Ok(())
        })?;
        same(chunks == self.chunks)
    }
}
