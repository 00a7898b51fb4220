//! Schema 2: rows of version 2, which have times and other additions; and two new tables.
//!
//! It rewrites no row, so it costs the same for a store of any size: a row says its version in its first byte,
//! and rows of version 1 are read as before. Only the version of the schema changes, so that programs that do not
//! know rows of version 2 reject the file.

use redb::{Error, TableDefinition, WriteTransaction};

/// (Runtime id, worker id) of deleted workers: their ids are never used again.
const TOMBSTONES: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("tombstones");

/// (Runtime id or empty, path, number of the chunk) of files that the model has no place for, and of documents that an
/// export would write otherwise.
const FILES: TableDefinition<(&str, &str, u64), &[u8]> = TableDefinition::new("files");

/// Creates the new tables, empty: a read transaction cannot open a table that is not there.
pub(crate) fn apply(transaction: &WriteTransaction) -> Result<(), Error> {
    transaction.open_table(TOMBSTONES)?;
    transaction.open_table(FILES)?;
    Ok(())
}
