//! A change set as columns of the tables, encoded once, however often it is written.

use crate::engine::postgres::keys::{is_long, keeper, key, long_texts};
use crate::engine::postgres::lock_row::place_in_order;
use crate::engine::postgres::wire::connection::{Call, Param};
use crate::engine::postgres::wire::server_error::ServerError;
use crate::engine::postgres::writes::statements as sql;
use crate::ledger::change_set::{ChangeSet, RuntimeChanges};
use crate::ledger::removals::{ALL, Removals};
use crate::ledger::stored::envelope::{self, KeyBytes, Record};
use crate::ledger::stored::record::MetaRecord;
use crate::ledger::table_names as table;
use std::collections::BTreeSet;

/// Bytes of a column, one value a row.
pub(crate) type Texts = Vec<Vec<u8>>;

/// The rows of one statement: the columns that it takes, in this order. Absent columns have no values.
#[derive(Default)]
pub(crate) struct Columns {
    owners: Texts,
    parts: Texts,
    numbers: Vec<i64>,
    records: Texts,
    /// The bytes of the texts and records.
    bytes: usize,
}

/// The rows of a batch, by statement and in the order of the statements.
#[derive(Default)]
pub(crate) struct Batch {
    statements: Vec<(&'static str, Columns)>,
    /// The texts of long keys that have a statement, with the runtimes that keep them.
    long_texts: BTreeSet<(String, String)>,
    /// The runtimes that the batch changes, in the order of their locks.
    pub(crate) runtimes: Vec<String>,
}

/// The most bytes of one statement with several rows. The server takes no message of a gigabyte; a row has at most half of
/// one.
const STATEMENT_BYTES: usize = 64 << 20;

/// A key, as columns.
struct Key<'k> {
    owner: &'k str,
    part: Option<&'k str>,
    number: Option<u64>,
}

/// The number of a row as the server has it.
pub(crate) fn number(number: u64) -> Result<i64, ServerError> {
    i64::try_from(number).map_err(|_| {
        ServerError::Invalid(format!(
            "the number {number} is above {}, the greatest that a store on PostgreSQL can have",
            i64::MAX
        ))
    })
}

/// Rejects changes with a number that the server has no type for. The batch that they join must not fail for the other
/// operations.
pub(crate) fn check(changes: &ChangeSet) -> Result<(), ServerError> {
    for staged in changes.runtimes.values() {
        let logs = staged.transcripts.values().chain(staged.rewritten.values());
        let last = logs.filter_map(|entries| entries.last_key_value());
        let last = last.map(|(position, _)| *position);
        let last = last.chain(staged.events.last_key_value().map(|(event, _)| *event));
        let diagnostic = staged.diagnostics.last_key_value();
        let last = last.chain(diagnostic.map(|(diagnostic, _)| *diagnostic));
        for greatest in last {
            number(greatest)?;
        }
    }
    Ok(())
}

/// The memory of a row, about.
fn bytes_of(owner: &str, part: Option<&str>, record: Option<&[u8]>) -> usize {
    owner.len() + part.map_or(0, str::len) + record.map_or(0, <[u8]>::len)
}

/// The runtimes that may keep texts of long keys of the removed rows of the runtime `id`.
fn keepers_of<'r>(id: &'r str, removed: &'r Removals) -> BTreeSet<&'r str> {
    let workers = removed.workers.iter().chain(removed.entries_below.keys());
    let parts = workers.chain(removed.files.iter().map(|(path, _)| path));
    let parts = parts.map(|part| (table::WORKERS, part));
    let tombstones = removed.tombstones.iter();
    let parts = parts.chain(tombstones.map(|part| (table::TOMBSTONES, part)));
    let parts = parts.filter(|(_, part)| is_long(part.as_bytes()));
    let mut keepers: BTreeSet<&str> = parts.map(|(table, part)| keeper(table, id, part)).collect();
    // All rows of the runtime go, also those that the removals do not name.
    if removed.runtime || removed.all_entries {
        keepers.insert(id);
    }
    keepers
}

/// The last number below `floor`.
fn last_below(floor: u64) -> i64 {
    match floor {
        ALL => i64::MAX,
        floor => i64::try_from(floor - 1).unwrap_or(i64::MAX),
    }
}

/// The bytes of a record in its envelope.
pub(crate) fn encoded<R: Record>(
    table: &str,
    key: &impl KeyBytes,
    row: &R,
) -> Result<Vec<u8>, ServerError> {
    let mut value = Vec::new();
    envelope::encode(table, key, row, &mut value).map_err(ServerError::Invalid)?;
    Ok(value)
}

impl Columns {
    /// The columns of one row.
    pub(crate) fn one(
        owner: &str,
        part: Option<&str>,
        number: Option<i64>,
        record: Vec<u8>,
    ) -> Self {
        let mut columns = Self::default();
        columns.push(owner, part, number, Some(record));
        columns
    }

    fn push(
        &mut self,
        owner: &str,
        part: Option<&str>,
        number: Option<i64>,
        record: Option<Vec<u8>>,
    ) {
        self.bytes += bytes_of(owner, part, record.as_deref());
        self.owners.push(key(owner).into_owned());
        self.parts.extend(part.map(|part| key(part).into_owned()));
        self.numbers.extend(number);
        self.records.extend(record);
    }

    /// The columns that have values, as parameters.
    pub(crate) fn params(&self) -> Vec<Param<'_>> {
        let mut params: Vec<Param<'_>> = vec![&self.owners];
        if !self.parts.is_empty() {
            params.push(&self.parts);
        }
        if !self.numbers.is_empty() {
            params.push(&self.numbers);
        }
        if !self.records.is_empty() {
            params.push(&self.records);
        }
        params
    }
}

impl Batch {
    /// Encodes `changes`.
    pub(crate) fn encode(changes: &ChangeSet) -> Result<Self, ServerError> {
        let mut batch = Self::default();
        // All of these statements come before those that write.
        for (id, staged) in &changes.runtimes {
            batch.remove(id, staged);
        }
        if let Some(last) = changes.last_opening {
            let key = table::OPENINGS;
            let record = encoded(table::META, &key, &MetaRecord::Number(last))?;
            batch.put(sql::PUT_META, key, None, None, Some(record));
            batch.runtimes.push(String::new());
        }
        for (id, staged) in &changes.runtimes {
            batch.write(id, staged)?;
        }
        batch.forget_texts(changes);
        batch.runtimes.extend(changes.runtimes.keys().cloned());
        batch
            .runtimes
            .sort_by(|a, b| place_in_order(a).cmp(&place_in_order(b)));
        batch.runtimes.dedup();
        Ok(batch)
    }

    /// The statements with their parameters.
    pub(crate) fn calls(&self) -> impl Iterator<Item = Call<'_>> {
        self.statements.iter().map(|(sql, columns)| Call {
            sql,
            params: columns.params(),
        })
    }

    fn put(
        &mut self,
        sql: &'static str,
        owner: &str,
        part: Option<&str>,
        number: Option<i64>,
        record: Option<Vec<u8>>,
    ) {
        let bytes = bytes_of(owner, part, record.as_deref());
        let last = self.statements.iter().rposition(|(of, _)| *of == sql);
        let last = last.filter(|at| self.statements[*at].1.bytes + bytes <= STATEMENT_BYTES);
        let at = last.unwrap_or_else(|| {
            self.statements.push((sql, Columns::default()));
            self.statements.len() - 1
        });
        self.statements[at].1.push(owner, part, number, record);
    }

    /// Puts the texts of the long keys of a row.
    fn put_texts(&mut self, table: &str, owner: &str, part: Option<&str>) {
        for (keeper, text) in long_texts(table, owner, part) {
            if self.long_texts.insert((keeper.to_owned(), text.to_owned())) {
                let record = Some(text.as_bytes().to_vec());
                self.put(sql::PUT_LONG_KEYS, keeper, Some(text), None, record);
            }
        }
    }

    /// Removes the texts of long keys that no row has any more.
    fn forget_texts(&mut self, changes: &ChangeSet) {
        let mut keepers = BTreeSet::new();
        for (id, staged) in &changes.runtimes {
            keepers.extend(keepers_of(id, &staged.removed));
        }
        for keeper in keepers {
            self.put(sql::FORGET_LONG_KEYS, keeper, None, None, None);
        }
    }

    fn remove(&mut self, id: &str, staged: &RuntimeChanges) {
        let removed = &staged.removed;
        if removed.runtime {
            self.put(sql::DELETE_RUNTIMES, id, None, None, None);
            self.put(sql::DELETE_IMPORTS, id, None, None, None);
        }
        for worker in &removed.workers {
            self.put(sql::DELETE_WORKERS, id, Some(worker), None, None);
        }
        if removed.events_below > 0 {
            let last = last_below(removed.events_below);
            self.put(sql::DELETE_EVENTS, id, None, Some(last), None);
        }
        for (worker, floor) in removed
            .entries_below
            .iter()
            .filter(|(_, floor)| **floor > 0)
        {
            let last = last_below(*floor);
            self.put(sql::DELETE_ENTRIES, id, Some(worker), Some(last), None);
        }
        if removed.all_entries {
            self.put(sql::DELETE_ALL_ENTRIES, id, None, None, None);
        }
        for diagnostic in &removed.diagnostics {
            // A greater number is that of no row.
            let number = i64::try_from(*diagnostic).unwrap_or(i64::MAX);
            self.put(sql::DELETE_DIAGNOSTICS, id, None, Some(number), None);
        }
        for worker in &removed.tombstones {
            self.put(sql::DELETE_TOMBSTONES, id, Some(worker), None, None);
        }
        for (path, chunk) in &removed.files {
            let number = i64::try_from(*chunk).unwrap_or(i64::MAX);
            self.put(sql::DELETE_FILES, id, Some(path), Some(number), None);
        }
    }

    fn add<R: Record>(
        &mut self,
        (sql, table): (&'static str, &str),
        key: Key<'_>,
        row: &R,
    ) -> Result<(), ServerError> {
        let Key {
            owner,
            part,
            number: of,
        } = key;
        let record = match (part, of) {
            (None, None) => encoded(table, &owner, row),
            (Some(part), None) => encoded(table, &(owner, part), row),
            (None, Some(of)) => encoded(table, &(owner, of), row),
            (Some(part), Some(of)) => encoded(table, &(owner, part, of), row),
        }?;
        let of = of.map(number).transpose()?;
        self.put_texts(table, owner, part);
        self.put(sql, owner, part, of, Some(record));
        Ok(())
    }

    fn write(&mut self, id: &str, staged: &RuntimeChanges) -> Result<(), ServerError> {
        let own = || Key {
            owner: id,
            part: None,
            number: None,
        };
        let of = |part| Key {
            part: Some(part),
            ..own()
        };
        let at = |number| Key {
            number: Some(number),
            ..own()
        };
        if let Some(row) = &staged.row {
            self.add((sql::PUT_RUNTIMES, table::RUNTIMES), own(), row)?;
        }
        for (worker, row) in &staged.workers {
            self.add((sql::PUT_WORKERS, table::WORKERS), of(worker), row)?;
        }
        for (event, row) in &staged.events {
            self.add((sql::ADD_EVENTS, table::EVENTS), at(*event), row)?;
        }
        for (logs, sql) in [
            (&staged.transcripts, sql::ADD_ENTRIES),
            (&staged.rewritten, sql::PUT_ENTRIES),
        ] {
            for (worker, entries) in logs {
                for (position, row) in entries {
                    let key = Key {
                        number: Some(*position),
                        ..of(worker)
                    };
                    self.add((sql, table::TRANSCRIPTS), key, row)?;
                }
            }
        }
        for (diagnostic, row) in &staged.diagnostics {
            let key = at(*diagnostic);
            self.add((sql::PUT_DIAGNOSTICS, table::DIAGNOSTICS), key, row)?;
        }
        if let Some(row) = &staged.import {
            self.add((sql::PUT_IMPORTS, table::IMPORTS), own(), row)?;
        }
        for (worker, row) in &staged.tombstones {
            self.add((sql::PUT_TOMBSTONES, table::TOMBSTONES), of(worker), row)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Batch, STATEMENT_BYTES, check, last_below, number};
    use crate::engine::postgres::wire::server_error::ServerError;
    use crate::engine::postgres::writes::statements as sql;
    use crate::ledger::change_set::ChangeSet;
    use crate::ledger::removals::{ALL, Removals};
    use crate::ledger::rows::EventRow;
    use crate::model::layout_form::LineForm;
    use crate::model::observation::RuntimeEventKind;

    fn event() -> EventRow<'static> {
        EventRow {
            worker_id: None,
            kind: RuntimeEventKind::RuntimeStarted,
            message: None,
            unknown: Vec::new(),
            recorded_at_ms: Some(1),
            form: LineForm::default(),
        }
    }

    #[test]
    fn numbers_above_int8_are_rejected() {
        assert_eq!(number(i64::MAX as u64).unwrap(), i64::MAX);
        let too_large = i64::MAX as u64 + 1;
        assert!(matches!(number(too_large), Err(ServerError::Invalid(_))));
        let mut changes = ChangeSet::default();
        changes.put_event("r", u64::MAX, event()).unwrap();
        let encoded = Batch::encode(&changes);
        assert!(matches!(encoded, Err(ServerError::Invalid(_))));
        assert!(matches!(check(&changes), Err(ServerError::Invalid(_))));
    }

    #[test]
    fn statement_is_split_before_it_is_too_large() {
        let text = "x".repeat(STATEMENT_BYTES / 3);
        let mut changes = ChangeSet::default();
        for number in 1..=4 {
            let row = EventRow {
                message: Some(text.clone().into()),
                ..event()
            };
            changes.put_event("r", number, row).unwrap();
        }
        let batch = Batch::encode(&changes).unwrap();
        let rows = batch
            .statements
            .iter()
            .map(|(_, columns)| columns.numbers.len());
        assert_eq!(rows.collect::<Vec<_>>(), [2, 2]);
    }

    #[test]
    fn removals_precede_writes_of_all_runtimes() {
        let mut changes = ChangeSet::default();
        changes.put_event("a", 7, event()).unwrap();
        let removed = Removals {
            events_below: 3,
            ..Removals::default()
        };
        changes.remove("b", removed, 0);
        let batch = Batch::encode(&changes).unwrap();
        let statements: Vec<&str> = batch.calls().map(|call| call.sql).collect();
        assert_eq!(statements, [sql::DELETE_EVENTS, sql::ADD_EVENTS]);
        assert_eq!(batch.runtimes, ["a", "b"]);
    }

    #[test]
    fn floor_above_all_removes_every_number() {
        assert_eq!(last_below(1), 0);
        assert_eq!(last_below(ALL), i64::MAX);
    }
}
