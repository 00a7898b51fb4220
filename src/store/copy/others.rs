//! What belongs to no runtime of the source: files, and import records of runtimes that were left out.

use crate::error::RuntimeError;
use crate::ledger::load_rows::LoadRows;
use crate::ledger::rows::{ImportRow, Rows};
use crate::ledger::snapshot_rows::SnapshotRows;
use crate::ledger::table_names::NO_RUNTIME;
use crate::store::bulk_load::BulkLoad;
use crate::store::copy::walk::each_path;

/// What to write.
#[derive(Debug, Default)]
pub(super) struct Others {
    /// Stored paths.
    pub(super) files: Vec<String>,
    records: Vec<String>,
    /// What the destination has with other content, in words.
    pub(super) conflicts: Vec<String>,
}

/// How the destination has a file or a record of the source.
enum Found {
    Nothing,
    Same,
    Other,
}

impl Others {
    /// Finds what the destination, which has `there`, lacks. `None` for a destination that does not exist yet.
    pub(super) fn find(
        source: &dyn SnapshotRows,
        there: Option<&dyn Rows>,
    ) -> Result<Self, RuntimeError> {
        let mut others = Self::default();
        each_path(source, NO_RUNTIME, |path| {
            let found = there.map(|there| file_in(there, source, path));
            match found.transpose()?.unwrap_or(Found::Nothing) {
                Found::Nothing => others.files.push(path.to_owned()),
                Found::Same => {}
                Found::Other => {
                    others.files.push(path.to_owned());
                    // Without `r/`, which all of these paths begin with.
                    let shown = path.strip_prefix("r/").unwrap_or(path);
                    others.conflicts.push(format!("file {shown}"));
                }
            }
            Ok(())
        })?;
        let mut last: Option<String> = None;
        while let Some((id, row)) = source.next_import(last.as_deref())? {
            others.record(source, there, (&id, &row))?;
            last = Some(id);
        }
        Ok(others)
    }

    fn record(
        &mut self,
        source: &dyn SnapshotRows,
        there: Option<&dyn Rows>,
        (id, row): (&str, &ImportRow),
    ) -> Result<(), RuntimeError> {
        // The record of a runtime goes with it. A runtime of the destination keeps its own.
        let is_of_runtime = |rows: &dyn Rows| Ok::<_, RuntimeError>(rows.runtime(id)?.is_some());
        if id != NO_RUNTIME && is_of_runtime(source)? {
            return Ok(());
        }
        let Some(there) = there else {
            self.records.push(id.to_owned());
            return Ok(());
        };
        if id != NO_RUNTIME && is_of_runtime(there)? {
            return Ok(());
        }
        match there.import(id)? {
            Some(found) if found == *row => return Ok(()),
            Some(_) => self.conflicts.push(match id {
                NO_RUNTIME => "the import record of no runtime".to_owned(),
                id => format!("the import record of {id}, which was left out"),
            }),
            None => {}
        }
        self.records.push(id.to_owned());
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty() && self.records.is_empty()
    }

    pub(super) fn records(&self) -> u64 {
        self.records.len() as u64
    }

    /// Writes to a load, in place of what it has.
    pub(super) fn write(
        &self,
        source: &dyn SnapshotRows,
        target: &dyn LoadRows,
    ) -> Result<(), RuntimeError> {
        for path in &self.files {
            BulkLoad::new(target).remove_file_of_no_runtime(path)?;
            let mut chunk = 0;
            while let Some(row) = source.file_chunk(NO_RUNTIME, path, chunk)? {
                target.put_file_chunk((NO_RUNTIME, path, chunk), &row)?;
                chunk += 1;
            }
        }
        for id in &self.records {
            if let Some(row) = source.import(id)? {
                target.put_import(id, &row)?;
            }
        }
        Ok(())
    }
}

/// How `there` has the file at `path` of `source`.
fn file_in(there: &dyn Rows, source: &dyn Rows, path: &str) -> Result<Found, RuntimeError> {
    if there.file_chunk(NO_RUNTIME, path, 0)?.is_some() {
        let mut chunk = 0;
        loop {
            let rows = [source, there].map(|rows| rows.file_chunk(NO_RUNTIME, path, chunk));
            let [of_source, of_there] = rows;
            let of_source = of_source?;
            match of_source == of_there? {
                false => return Ok(Found::Other),
                true if of_source.is_none() => return Ok(Found::Same),
                true => chunk += 1,
            }
        }
    }
    // A file and a directory of one name exclude each other.
    let (below, end) = (format!("{path}/"), format!("{path}0"));
    let below = there.file_keys(NO_RUNTIME, (&below, 0), Some(&end), 1)?;
    let mut above = path.rsplit_once('/');
    while let Some((directory, _)) = above.filter(|(directory, _)| *directory != "r") {
        if there.file_chunk(NO_RUNTIME, directory, 0)?.is_some() {
            return Ok(Found::Other);
        }
        above = directory.rsplit_once('/');
    }
    Ok(match below.is_empty() {
        true => Found::Nothing,
        false => Found::Other,
    })
}
