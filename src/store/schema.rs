//! The version of a store's tables, and the steps from one version to the next.
//!
//! The version stands in the `meta` table, and is written in the transaction of the step that it
//! names. A step, once released, never changes; it has its own copy of the definitions it needs.

use super::context::At;
use super::read::View;
use super::record::MetaRecord;
use super::tables::{META, Tables};
use super::transaction::RowWriter;
use crate::error::RuntimeError;
use redb::{ReadTransaction, TableError, TableHandle, WriteTransaction};

#[path = "../../migrations/0001_initial.rs"]
mod initial;

type Step = fn(&WriteTransaction) -> Result<(), TableError>;

/// Step `n` (from 0) makes version `n + 1` out of version `n`. Only ever added to.
const STEPS: &[Step] = &[initial::apply];

/// The version that this crate reads and writes.
pub(crate) const SUPPORTED: u32 = STEPS.len() as u32;

const SCHEMA_VERSION: &str = "schema_version";
const STORE_ID: &str = "store_id";
const CREATED_BY: &str = "created_by";

/// Makes a new store out of an empty database: all steps, the version, and the store's own facts.
pub(crate) fn create(
    transaction: &WriteTransaction,
    store_id: String,
    at: At<'_>,
) -> Result<(), RuntimeError> {
    migrate(transaction, 0, at)?;
    let created_by = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let facts = [
        (STORE_ID, MetaRecord::Text(store_id)),
        (CREATED_BY, MetaRecord::Text(created_by.to_owned())),
    ];
    RowWriter { transaction, at }.write(&META, facts.iter().map(|(key, row)| (*key, row)))
}

/// Runs the steps that a store of version `found` lacks, and writes the version, in `transaction`.
pub(crate) fn migrate(
    transaction: &WriteTransaction,
    found: u32,
    at: At<'_>,
) -> Result<(), RuntimeError> {
    for step in STEPS.iter().skip(found as usize) {
        step(transaction).map_err(|error| at.redb(error))?;
    }
    let version = (SCHEMA_VERSION, &MetaRecord::Number(SUPPORTED));
    RowWriter { transaction, at }.write(&META, std::iter::once(version))
}

/// The schema version of the store. A database without one is not ours.
pub(crate) fn version(transaction: &ReadTransaction, at: At<'_>) -> Result<u32, RuntimeError> {
    let mut tables = transaction
        .list_tables()
        .map_err(|error| at.redb(error))?
        .map(|table| table.name().to_owned());
    if !tables.any(|name| name == META.name) {
        return Err(at.not_a_store("it is a redb database of another program"));
    }
    if let Err(error @ TableError::TableTypeMismatch { .. }) = transaction.open(META.definition) {
        return Err(at.not_a_store(format!("it is a redb database of another program: {error}")));
    }
    let view = View {
        tables: transaction,
        at,
    };
    match view.get(&META, SCHEMA_VERSION)? {
        Some(MetaRecord::Number(version)) if version > 0 => Ok(version),
        Some(_) => Err(at.corrupt("the schema version is not a number from 1")),
        None => Err(at.not_a_store("it is a redb database of another program")),
    }
}

/// Refuses what this crate cannot read. Returns the version of what it can.
pub(crate) fn check(transaction: &ReadTransaction, at: At<'_>) -> Result<u32, RuntimeError> {
    match version(transaction, at)? {
        found if found > SUPPORTED => Err(RuntimeError::StoreSchemaTooNew {
            path: at.path.to_owned(),
            found,
            supported: SUPPORTED,
        }),
        found => Ok(found),
    }
}
