//! One runtime of the source, row by row in constant memory.

use crate::engine::redb::maintenance::progress::Meter;
use crate::error::RuntimeError;
use crate::ledger::convert::stored_size;
use crate::ledger::deletion::unfinished;
use crate::ledger::rows::{DiagnosticRow, ImportRow, PAGE_ROWS, Rows, RuntimeRow, WorkerRow};
use crate::ledger::run::Run;
use crate::ledger::stored::kept_file::{FileChunkRow, FileKey, parsed_path};
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::table_names as table;
use crate::ledger::whole::refuse_miscounted;
use crate::store::snapshot::until_error;

/// Why a walk ends early.
pub(super) enum Stopped {
    /// The receiver has seen enough.
    Early,
    Failed(RuntimeError),
}

impl From<RuntimeError> for Stopped {
    fn from(error: RuntimeError) -> Self {
        Self::Failed(error)
    }
}

/// Receives the rows of one runtime: its own row first, then those of each table in the order of their keys. Each method
/// ignores its rows by default.
pub(super) trait Receiver {
    fn runtime(&mut self, row: &RuntimeRow) -> Result<(), Stopped> {
        let _ = row;
        Ok(())
    }

    fn events(&mut self, run: &Run) -> Result<(), Stopped> {
        let _ = run;
        Ok(())
    }

    fn workers(&mut self, page: &[(String, WorkerRow)]) -> Result<(), Stopped> {
        let _ = page;
        Ok(())
    }

    fn entries(&mut self, worker: &str, run: &Run) -> Result<(), Stopped> {
        let _ = (worker, run);
        Ok(())
    }

    fn diagnostics(&mut self, page: &[(u64, DiagnosticRow)]) -> Result<(), Stopped> {
        let _ = page;
        Ok(())
    }

    fn tombstones(&mut self, page: &[(String, TombstoneRow)]) -> Result<(), Stopped> {
        let _ = page;
        Ok(())
    }

    fn import(&mut self, row: &ImportRow) -> Result<(), Stopped> {
        let _ = row;
        Ok(())
    }

    fn file_chunk(&mut self, key: &FileKey, row: &FileChunkRow) -> Result<(), Stopped> {
        let _ = (key, row);
        Ok(())
    }

    /// All rows were passed.
    fn end(&mut self) -> Result<(), Stopped> {
        Ok(())
    }
}

/// Counts the rows, for a dry run.
pub(super) struct Counted;

impl Receiver for Counted {}

/// How many rows a walk has passed on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Passed {
    pub(super) workers: u64,
    pub(super) events: u64,
    pub(super) entries: u64,
    pub(super) diagnostics: u64,
    pub(super) files: u64,
    /// The bytes of events, entries and files.
    pub(super) bytes: u64,
}

/// A walk over the runtime `id`.
pub(super) struct Walk<'a, R> {
    pub(super) rows: &'a dyn Rows,
    pub(super) id: &'a str,
    pub(super) receiver: R,
    pub(super) meter: &'a mut Meter,
    pub(super) passed: Passed,
}

impl<R: Receiver> Walk<'_, R> {
    /// Passes all rows to the receiver. `row` is that of the runtime.
    pub(super) fn run(&mut self, row: &RuntimeRow) -> Result<(), Stopped> {
        self.receiver.runtime(row)?;
        self.events(row)?;
        self.workers(row)?;
        self.diagnostics(row)?;
        self.tombstones()?;
        if let Some(import) = self.rows.import(self.id)? {
            self.receiver.import(&import)?;
        }
        self.files()?;
        self.receiver.end()
    }

    fn events(&mut self, row: &RuntimeRow) -> Result<(), Stopped> {
        let mut run = Run::new(table::EVENTS, &self.id);
        let (rows, id) = (self.rows, self.id);
        until_error(|stop| {
            rows.events(id, row.first_event_id, usize::MAX, &mut |number, row| {
                run.push(number, &row)?;
                self.meter.step();
                match run.is_full() {
                    true => stop.unless(rows.at(), self.pass_events(&mut run)),
                    false => Ok(()),
                }
            })
        })?;
        self.pass_events(&mut run)
    }

    fn pass_events(&mut self, run: &mut Run) -> Result<(), Stopped> {
        let run = run.take();
        self.passed.events += stored_size(run.len());
        self.passed.bytes += stored_size(run.bytes());
        match run.len() {
            0 => Ok(()),
            _ => self.receiver.events(&run),
        }
    }

    fn workers(&mut self, row: &RuntimeRow) -> Result<(), Stopped> {
        let mut last: Option<String> = None;
        let mut seen = 0;
        loop {
            let page = self.rows.workers(self.id, last.as_deref(), PAGE_ROWS)?;
            let Some((worker, _)) = page.last() else {
                break;
            };
            last = Some(worker.clone());
            seen += page.len();
            self.passed.workers += stored_size(page.len());
            self.receiver.workers(&page)?;
            for (worker, row) in &page {
                self.meter.step();
                self.entries(worker, row)?;
            }
        }
        let counted = row.workers();
        refuse_miscounted(self.rows.at(), table::WORKERS, seen, counted)?;
        Ok(())
    }

    fn entries(&mut self, worker: &str, row: &WorkerRow) -> Result<(), Stopped> {
        let (rows, id) = (self.rows, self.id);
        let mut run = Run::new(table::TRANSCRIPTS, &(id, worker));
        let before = self.passed.entries;
        let mut expected = row.first_position;
        until_error(|stop| {
            let first = row.first_position;
            rows.transcript(id, worker, first, usize::MAX, &mut |position, entry| {
                if position != expected {
                    let message = format!("position {expected} of the transcript of {worker:?}");
                    return Err(rows.at().corrupt(format!("{message} is missing")));
                }
                expected = position.saturating_add(1);
                run.push(position, &entry)?;
                self.meter.step();
                match run.is_full() {
                    true => stop.unless(rows.at(), self.pass_entries(worker, &mut run)),
                    false => Ok(()),
                }
            })
        })?;
        self.pass_entries(worker, &mut run)?;
        let counted = row.transcript_len.saturating_sub(row.first_position);
        let seen = usize::try_from(self.passed.entries - before).unwrap_or(usize::MAX);
        refuse_miscounted(rows.at(), table::TRANSCRIPTS, seen, counted)?;
        Ok(())
    }

    fn pass_entries(&mut self, worker: &str, run: &mut Run) -> Result<(), Stopped> {
        let run = run.take();
        self.passed.entries += stored_size(run.len());
        self.passed.bytes += stored_size(run.bytes());
        match run.len() {
            0 => Ok(()),
            _ => self.receiver.entries(worker, &run),
        }
    }

    fn diagnostics(&mut self, row: &RuntimeRow) -> Result<(), Stopped> {
        let (mut next, mut seen) = (Some(0), 0);
        while let Some(first) = next {
            let page = self.rows.diagnostics(self.id, first, PAGE_ROWS)?;
            let Some((last, _)) = page.last() else {
                break;
            };
            next = last.checked_add(1);
            seen += page.len();
            self.receiver.diagnostics(&page)?;
        }
        self.passed.diagnostics = stored_size(seen);
        let counted = row.diagnostics;
        refuse_miscounted(self.rows.at(), table::DIAGNOSTICS, seen, counted)?;
        Ok(())
    }

    fn tombstones(&mut self) -> Result<(), Stopped> {
        let mut last: Option<String> = None;
        loop {
            let page = self.rows.tombstones(self.id, last.as_deref(), PAGE_ROWS)?;
            let Some((worker, _)) = page.last() else {
                return Ok(());
            };
            last = Some(worker.clone());
            self.receiver.tombstones(&page)?;
        }
    }

    fn files(&mut self) -> Result<(), Stopped> {
        let (rows, id) = (self.rows, self.id);
        each_file_key(rows, id, |key| {
            let Some(chunk) = rows.file_chunk(id, &key.path, key.chunk)? else {
                let message = format!("table files: {:?} lacks chunk {}", key.path, key.chunk);
                return Err(rows.at().corrupt(message).into());
            };
            self.passed.files += u64::from(key.chunk == 0);
            self.passed.bytes += key.bytes;
            self.receiver.file_chunk(key, &chunk)
        })
    }
}

/// Passes the key of every chunk of the visible files of `owner` to `each`. Those of workers whose deletion is unfinished
/// are hidden.
pub(super) fn each_file_key(
    rows: &dyn Rows,
    owner: &str,
    mut each: impl FnMut(&FileKey) -> Result<(), Stopped>,
) -> Result<(), Stopped> {
    let hidden = match owner {
        table::NO_RUNTIME => Vec::new(),
        owner => unfinished(rows, owner)?.workers,
    };
    let is_hidden = |path: &str| {
        !hidden.is_empty()
            && parsed_path(path)
                .is_some_and(|(worker, _)| worker.is_some_and(|worker| hidden.contains(&worker)))
    };
    let mut from = (String::new(), 0);
    loop {
        let page = rows.file_keys(owner, (&from.0, from.1), None, PAGE_ROWS)?;
        for key in page.iter().filter(|key| !is_hidden(&key.path)) {
            each(key)?;
        }
        let last = page.last().filter(|_| page.len() == PAGE_ROWS);
        match last.and_then(|last| Some((last.path.clone(), last.chunk.checked_add(1)?))) {
            Some(next) => from = next,
            None => return Ok(()),
        }
    }
}

/// Passes the path of every visible file of `owner` to `each`.
pub(super) fn each_path(
    rows: &dyn Rows,
    owner: &str,
    mut each: impl FnMut(&str) -> Result<(), RuntimeError>,
) -> Result<(), RuntimeError> {
    let walked = each_file_key(rows, owner, |key| match key.chunk {
        0 => Ok(each(&key.path)?),
        _ => Ok(()),
    });
    match walked {
        Err(Stopped::Failed(error)) => Err(error),
        Ok(()) | Err(Stopped::Early) => Ok(()),
    }
}
