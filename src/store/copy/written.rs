//! Writes the rows of a runtime to a load.

use crate::ledger::convert;
use crate::ledger::load_rows::LoadRows;
use crate::ledger::rows::{DiagnosticRow, ImportRow, RuntimeRow, WorkerRow};
use crate::ledger::run::Run;
use crate::ledger::stored::kept_file::{FileChunkRow, FileKey};
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::model::identity::RuntimeId;
use crate::store::copy::walk::{Receiver, Stopped};

/// Writes to `target`.
pub(super) struct Written<'a> {
    pub(super) target: &'a dyn LoadRows,
    pub(super) id: &'a RuntimeId,
}

impl Receiver for Written<'_> {
    fn runtime(&mut self, row: &RuntimeRow) -> Result<(), Stopped> {
        // Also where the destination has no such runtime: of an earlier one rows can be left.
        self.target.remove_runtime(self.id.as_str())?;
        Ok(self.target.put_runtime(self.id.as_str(), row)?)
    }

    fn events(&mut self, run: &Run) -> Result<(), Stopped> {
        Ok(self.target.append_events(self.id.as_str(), run)?)
    }

    fn workers(&mut self, page: &[(String, WorkerRow)]) -> Result<(), Stopped> {
        Ok(self.target.put_workers(self.id.as_str(), page)?)
    }

    fn entries(&mut self, worker: &str, run: &Run) -> Result<(), Stopped> {
        Ok(self
            .target
            .append_entries((self.id.as_str(), worker), run)?)
    }

    fn diagnostics(&mut self, page: &[(u64, DiagnosticRow)]) -> Result<(), Stopped> {
        Ok(self.target.put_diagnostics(self.id.as_str(), page)?)
    }

    fn tombstones(&mut self, page: &[(String, TombstoneRow)]) -> Result<(), Stopped> {
        let at = self.target.at();
        let rows = page.iter().map(|(worker, row)| {
            let worker = convert::worker_ref(self.id, worker);
            Ok((worker.map_err(|message| at.corrupt(message))?, row.clone()))
        });
        let rows: Vec<_> = rows.collect::<Result<_, Stopped>>()?;
        Ok(self.target.put_tombstones(&rows)?)
    }

    fn import(&mut self, row: &ImportRow) -> Result<(), Stopped> {
        Ok(self.target.put_import(self.id.as_str(), row)?)
    }

    fn file_chunk(&mut self, key: &FileKey, row: &FileChunkRow) -> Result<(), Stopped> {
        let key = (self.id.as_str(), key.path.as_str(), key.chunk);
        Ok(self.target.put_file_chunk(key, row)?)
    }
}
