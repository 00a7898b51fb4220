//! The definitions of all tables, with their keys and values. Tables are opened only through these
//! definitions.
//!
//! Keys contain the ids as text, so that any redb viewer can read them. A value never repeats its
//! key. Key types are types of redb: the name of a type is stored in the file.

use crate::ledger::rows::{
    DiagnosticRow, EventRow, ImportRow, RuntimeRow, TranscriptRow, WorkerRow,
};
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::ledger::stored::record::MetaRecord;
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::ledger::table_names;
use redb::{Key, ReadOnlyTable, ReadTransaction, ReadableTable, TableError, Value};
use std::marker::PhantomData;

/// A table: its name, the type of its keys, and the record in its values.
pub(crate) struct TableOf<K: Key + 'static, R> {
    pub(crate) definition: redb::TableDefinition<'static, K, &'static [u8]>,
    pub(crate) name: &'static str,
    /// The schema version that created it.
    pub(crate) since: u32,
    // `fn() -> R`, because a definition holds no record: it is `Send` and `Sync` for any `R`.
    record: PhantomData<fn() -> R>,
}

impl<K: Key + 'static, R> TableOf<K, R> {
    const fn new(name: &'static str) -> Self {
        Self {
            definition: redb::TableDefinition::new(name),
            name,
            since: 1,
            record: PhantomData,
        }
    }

    /// A table that schema `since` created: a store of an older one, which is read before it is migrated, has none.
    const fn since(name: &'static str, since: u32) -> Self {
        Self {
            since,
            ..Self::new(name)
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

/// (Runtime id, worker id) → a worker that was deleted, whose id is never used again. (Empty, runtime id) → the deletions
/// of the runtime that still have rows to remove.
pub(crate) const TOMBSTONES: TableOf<(&str, &str), TombstoneRow> =
    TableOf::since(table_names::TOMBSTONES, 2);

/// (Runtime id or empty, path, number of the chunk) → a part of a file that the model has no place for, or of the own
/// text of a document; see [`kept_file`](crate::ledger::stored::kept_file).
pub(crate) const FILES: TableOf<(&str, &str, u64), FileChunkRow> =
    TableOf::since(table_names::FILES, 2);

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
