//! Schema 1: the tables of the first release.

use redb::{Error, TableDefinition, WriteTransaction};

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const RUNTIMES: TableDefinition<&str, &[u8]> = TableDefinition::new("runtimes");
const WORKERS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("workers");
const EVENTS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("events");
const TRANSCRIPTS: TableDefinition<(&str, &str, u64), &[u8]> = TableDefinition::new("transcripts");
const DIAGNOSTICS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("diagnostics");
const IMPORTS: TableDefinition<&str, &[u8]> = TableDefinition::new("imports");

/// Creates every table, empty: a read transaction cannot open a table that is not there.
pub(crate) fn apply(transaction: &WriteTransaction) -> Result<(), Error> {
    transaction.open_table(META)?;
    transaction.open_table(RUNTIMES)?;
    transaction.open_table(WORKERS)?;
    transaction.open_table(EVENTS)?;
    transaction.open_table(TRANSCRIPTS)?;
    transaction.open_table(DIAGNOSTICS)?;
    transaction.open_table(IMPORTS)?;
    Ok(())
}
