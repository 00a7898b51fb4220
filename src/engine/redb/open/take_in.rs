//! Copies of stores that another engine has, in a temporary file.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::OpenStore;
use crate::engine::redb::maintenance::progress::Meter;
use crate::engine::redb::open::create;
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, FILES, IMPORTS, META, RUNTIMES, TOMBSTONES, TRANSCRIPTS, TableOf, WORKERS,
};
use crate::error::{Place, RuntimeError};
use crate::ledger::raw_rows::{RawRow, RawRows};
use crate::ledger::stored::envelope::{KeyBytes, Record};
use crate::ledger::table_names::{OPENINGS, STORE_ID};
use redb::{Key, WriteTransaction};
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
    meter: &'a mut Meter,
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
    /// Copies all tables. Of `meta` the copy has the id of the store and the number of its last opening.
    fn all(&mut self) -> Result<(), RuntimeError> {
        self.table(
            &META,
            |row| row.owner,
            |row| [STORE_ID, OPENINGS].contains(&row.owner),
        )?;
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
                self.write(table, &key, std::mem::take(&mut part))?;
            }
            Ok(())
        })?;
        self.write(table, &key, part)
    }

    /// Writes and commits rows of a table.
    fn write<K: Key + 'static, R: Record>(
        &mut self,
        table: &TableOf<K, R>,
        key: &impl for<'r> Fn(&RawRow<'r>) -> K::SelfType<'r>,
        part: Vec<WaitingRow>,
    ) -> Result<(), RuntimeError>
    where
        for<'r> K::SelfType<'r>: KeyBytes,
    {
        let at = self.at;
        if part.is_empty() {
            return Ok(());
        }
        let transaction = (self.begin)()?;
        let open = transaction.open_table(table.definition);
        let mut open = open.map_err(|error| at.redb(error))?;
        for row in &part {
            let row = row.raw();
            open.insert(&key(&row), row.value)
                .map_err(|error| at.redb(error))?;
            self.meter.step();
        }
        drop(open);
        transaction.commit().map_err(|error| at.redb(error))
    }
}

/// Copies the rows of `source` to a new store in a temporary file, also those that cannot be decoded. The file is in `dir`, or
/// where the system has such files. Errors name `place`.
pub(crate) fn to_temporary_file(
    source: &dyn RawRows,
    (place, dir): (&Place, Option<&Path>),
    meter: &mut Meter,
) -> Result<Arc<OpenStore>, RuntimeError> {
    let store = create::in_temporary_file(place, dir)?;
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
        meter,
    };
    filling.all()?;
    Ok(store)
}
