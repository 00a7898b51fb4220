//! Copies of stores that another engine has: to a new file, and to a temporary one.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::OpenStore;
use crate::engine::redb::database::staged_backend::backend_of;
use crate::engine::redb::maintenance::backup::{BackupReport, refuse_in_the_way};
use crate::engine::redb::open::create;
use crate::engine::redb::schema::version::Schema;
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, FILES, IMPORTS, META, RUNTIMES, TOMBSTONES, TRANSCRIPTS, TableOf, WORKERS,
};
use crate::error::{Place, RuntimeError};
use crate::fs::staged_file::StagedFile;
use crate::ledger::raw_rows::{RawRow, RawRows};
use crate::ledger::stored::envelope::{self, KeyBytes, Record};
use crate::ledger::table_names::OPENINGS;
use redb::{Builder, Key, WriteTransaction};
use std::path::Path;
use std::sync::Arc;

/// The bytes of the rows that one commit of a copy writes, about. redb keeps a record of each page of a transaction in memory.
const PART_BYTES: usize = 16 << 20;

/// A copy that is being filled, in parts.
struct Filling<'a> {
    /// Begins the transaction of a part.
    begin: &'a dyn Fn() -> Result<WriteTransaction, RuntimeError>,
    at: RedbContext<'a>,
    source: &'a dyn RawRows,
    /// Whether a row that cannot be decoded ends the copy.
    is_checked: bool,
    rows: u64,
}

/// A row that waits for the rest of its part.
struct WaitingRow {
    owner: String,
    part: String,
    number: u64,
    value: Vec<u8>,
}

impl WaitingRow {
    fn new(row: &RawRow<'_>) -> Self {
        Self {
            owner: row.owner.to_owned(),
            part: row.part.to_owned(),
            number: row.number,
            value: row.value.to_vec(),
        }
    }

    fn raw(&self) -> RawRow<'_> {
        RawRow {
            owner: &self.owner,
            part: &self.part,
            number: self.number,
            value: &self.value,
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.owner.len() + self.part.len() + self.value.len()
    }
}

impl Filling<'_> {
    /// Copies all tables. Of `meta` a new store has its own rows, except for the number of the last opening.
    fn all(&mut self) -> Result<(), RuntimeError> {
        self.table(&META, |row| row.owner, |row| row.owner == OPENINGS)?;
        self.table(&RUNTIMES, |row| row.owner, |_| true)?;
        self.table(&WORKERS, |row| (row.owner, row.part), |_| true)?;
        self.table(&EVENTS, |row| (row.owner, row.number), |_| true)?;
        self.table(
            &TRANSCRIPTS,
            |row| (row.owner, row.part, row.number),
            |_| true,
        )?;
        self.table(&DIAGNOSTICS, |row| (row.owner, row.number), |_| true)?;
        self.table(&IMPORTS, |row| row.owner, |_| true)?;
        self.table(&TOMBSTONES, |row| (row.owner, row.part), |_| true)?;
        self.table(&FILES, |row| (row.owner, row.part, row.number), |_| true)
    }

    fn table<K: Key + 'static, R: Record>(
        &mut self,
        table: &TableOf<K, R>,
        key: impl for<'r> Fn(&RawRow<'r>) -> K::SelfType<'r>,
        is_wanted: impl Fn(&RawRow<'_>) -> bool,
    ) -> Result<(), RuntimeError>
    where
        for<'r> K::SelfType<'r>: KeyBytes,
    {
        let (mut part, mut bytes) = (Vec::new(), 0);
        self.source.each_raw(table.name, &mut |row| {
            if !is_wanted(&row) {
                return Ok(());
            }
            let row = WaitingRow::new(&row);
            bytes += row.bytes();
            part.push(row);
            if bytes >= PART_BYTES {
                bytes = 0;
                self.rows += self.write(table, &key, std::mem::take(&mut part))?;
            }
            Ok(())
        })?;
        self.rows += self.write(table, &key, part)?;
        Ok(())
    }

    /// Writes and commits rows of a table. Returns how many there were.
    fn write<K: Key + 'static, R: Record>(
        &self,
        table: &TableOf<K, R>,
        key: &impl for<'r> Fn(&RawRow<'r>) -> K::SelfType<'r>,
        part: Vec<WaitingRow>,
    ) -> Result<u64, RuntimeError>
    where
        for<'r> K::SelfType<'r>: KeyBytes,
    {
        let at = self.at;
        if part.is_empty() {
            return Ok(0);
        }
        let transaction = (self.begin)()?;
        let open = transaction.open_table(table.definition);
        let mut open = open.map_err(|error| at.redb(error))?;
        for row in &part {
            let row = row.raw();
            let key = key(&row);
            if self.is_checked {
                envelope::decode::<R>(table.name, &key, row.value).map_err(|message| {
                    at.corrupt(format!("table {}, key {key:?}: {message}", table.name))
                })?;
            }
            open.insert(&key, row.value)
                .map_err(|error| at.redb(error))?;
        }
        drop(open);
        transaction.commit().map_err(|error| at.redb(error))?;
        Ok(part.len() as u64)
    }
}

/// Copies the rows of `source` to a new store in a temporary file, also those that cannot be decoded.
pub(crate) fn to_temporary_file(source: &dyn RawRows) -> Result<Arc<OpenStore>, RuntimeError> {
    let store = create::in_temporary_file()?;
    let engine = store.engine();
    let at = engine.at("copy");
    let begin = || {
        let transaction = engine.begin_write(at)?;
        transaction.into_inner().ok_or_else(|| at.forked())
    };
    let mut filling = Filling {
        begin: &begin,
        at,
        source,
        is_checked: false,
        rows: 0,
    };
    filling.all()?;
    Ok(store)
}

/// Copies the rows of `source` to a new file at `path`, which appears atomically.
pub(crate) fn to_file(source: &dyn RawRows, path: &Path) -> Result<BackupReport, RuntimeError> {
    let place = Place::file(path);
    let at = RedbContext::new("back up", &place);
    refuse_in_the_way(at)?;
    let staged = StagedFile::beside(path).map_err(|error| at.io(error))?;
    let rows = at.guard(|| {
        create::create_in(backend_of(&staged, at)?, Schema::default(), at)?;
        let database = Builder::new().create_with_backend(backend_of(&staged, at)?);
        let database = database.map_err(|error| at.redb(error))?;
        let begin = || {
            let mut transaction = database.begin_write().map_err(|error| at.redb(error))?;
            transaction.set_two_phase_commit(true);
            Ok(transaction)
        };
        let mut filling = Filling {
            begin: &begin,
            at,
            source,
            is_checked: true,
            rows: 0,
        };
        filling.all()?;
        let rows = filling.rows;
        database.close().map_err(|error| at.redb(error))?;
        Ok(rows)
    })?;
    let bytes = staged.publish().map_err(|error| at.unpublished(error))?;
    Ok(BackupReport { rows, bytes })
}
