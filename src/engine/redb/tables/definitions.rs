//! The definitions of all tables, with their keys and values. Tables are opened only through these
//! definitions.
//!
//! Keys contain the ids as text, so that any redb viewer can read them. A value never repeats its
//! key. Key types are types of redb: the name of a type is stored in the file.

use crate::ledger::record::MetaRecord;
use crate::ledger::rows::{
    DiagnosticRow, EventRow, ImportRow, RuntimeRow, TranscriptRow, WorkerRow,
};
use crate::ledger::table_names;
use redb::{Key, ReadOnlyTable, ReadTransaction, ReadableTable, TableError, Value};
use std::marker::PhantomData;

/// A table: its name, the type of its keys, and the record in its values.
pub(crate) struct TableOf<K: Key + 'static, R> {
    pub(crate) definition: redb::TableDefinition<'static, K, &'static [u8]>,
    pub(crate) name: &'static str,
    // `fn() -> R`, because a definition holds no record: it is `Send` and `Sync` for any `R`.
    record: PhantomData<fn() -> R>,
}

impl<K: Key + 'static, R> TableOf<K, R> {
    const fn new(name: &'static str) -> Self {
        Self {
            definition: redb::TableDefinition::new(name),
            name,
            record: PhantomData,
        }
    }
}

/// Property → value: the schema version, the id of the store, the program that created it.
pub(crate) const META: TableOf<&str, MetaRecord> = TableOf::new(table_names::META);

/// Runtime id → name, status, limits, counters, worker counts by status.
pub(crate) const RUNTIMES: TableOf<&str, RuntimeRow> = TableOf::new(table_names::RUNTIMES);

/// (Runtime id, worker id) → status, request, next sequence, last event id, transcript length.
pub(crate) const WORKERS: TableOf<(&str, &str), WorkerRow> = TableOf::new(table_names::WORKERS);

/// (Runtime id, event id) → worker id, kind, message.
pub(crate) const EVENTS: TableOf<(&str, u64), EventRow<'static>> =
    TableOf::new(table_names::EVENTS);

/// The key has the position, not the sequence: the `start` of a query is a position, and the
/// sequences of an imported transcript can have gaps.
pub(crate) const TRANSCRIPTS: TableOf<(&str, &str, u64), TranscriptRow<'static>> =
    TableOf::new(table_names::TRANSCRIPTS);

/// (Runtime id, diagnostic id) → severity, code, message, worker id.
pub(crate) const DIAGNOSTICS: TableOf<(&str, u64), DiagnosticRow> =
    TableOf::new(table_names::DIAGNOSTICS);

/// Runtime id → the import of the runtime: source, fingerprint, counts, findings.
pub(crate) const IMPORTS: TableOf<&str, ImportRow> = TableOf::new(table_names::IMPORTS);

/// A transaction of either kind, to read tables from.
pub(crate) trait Tables {
    /// An open table.
    type Open<'t, K: Key + 'static, V: Value + 'static>: ReadableTable<K, V>
    where
        Self: 't;

    /// Opens a table for reading.
    fn open<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: redb::TableDefinition<'_, K, V>,
    ) -> Result<Self::Open<'_, K, V>, TableError>;
}

impl Tables for ReadTransaction {
    type Open<'t, K: Key + 'static, V: Value + 'static> = ReadOnlyTable<K, V>;

    fn open<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: redb::TableDefinition<'_, K, V>,
    ) -> Result<Self::Open<'_, K, V>, TableError> {
        self.open_table(definition)
    }
}

impl Tables for redb::WriteTransaction {
    type Open<'t, K: Key + 'static, V: Value + 'static> = redb::Table<'t, K, V>;

    fn open<K: Key + 'static, V: Value + 'static>(
        &self,
        definition: redb::TableDefinition<'_, K, V>,
    ) -> Result<Self::Open<'_, K, V>, TableError> {
        self.open_table(definition)
    }
}
