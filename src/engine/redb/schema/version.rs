//! The version of a store's tables, and the steps from one version to the next.
//!
//! The version stands in the `meta` table, and is written in the transaction of the steps that lead
//! to it. A step, once released, never changes; it has its own copy of the definitions it needs.
//! What reads the version never changes either: an older program has to see that it is too old.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::tables::definitions::{META, Tables};
use crate::engine::redb::tables::row_writer::RowWriter;
use crate::engine::redb::tables::view::View;
use crate::error::RuntimeError;
use crate::ledger::record::MetaRecord;
use redb::{ReadTransaction, TableError, TableHandle, WriteTransaction};

#[path = "../../../../migrations/0001_initial.rs"]
mod initial;

/// What makes one version out of the one before it.
pub(crate) type Step = fn(&WriteTransaction) -> Result<(), redb::Error>;

/// Step `n` (from 0) makes version `n + 1` out of version `n`. Only ever added to.
const STEPS: &[Step] = &[initial::apply];

/// The version that this crate reads and writes.
pub(crate) const SUPPORTED: u32 = STEPS.len() as u32;

/// The steps that stores are opened with.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Schema {
    /// Steps to come: none but in tests of the steps' machinery.
    later: &'static [Step],
}

const SCHEMA_VERSION: &str = "schema_version";
const STORE_ID: &str = "store_id";
const CREATED_BY: &str = "created_by";

/// Tells whether a record makes sense as a fact.
type IsRight = fn(&MetaRecord) -> bool;

/// Every fact of a store, and what it has to look like.
pub(crate) const FACTS: &[(&str, IsRight)] = &[
    (
        SCHEMA_VERSION,
        |fact| matches!(fact, MetaRecord::Number(version) if *version > 0),
    ),
    (
        STORE_ID,
        |fact| matches!(fact, MetaRecord::Text(id) if !id.is_empty()),
    ),
    (CREATED_BY, |fact| matches!(fact, MetaRecord::Text(_))),
];

impl Schema {
    #[cfg(feature = "fault-injection")]
    pub(crate) fn with_later(later: &'static [Step]) -> Self {
        Self { later }
    }

    /// The version that the steps lead to.
    pub(crate) fn supported(self) -> u32 {
        SUPPORTED + self.later.len() as u32
    }

    /// Makes a new store out of an empty database: all steps, the version, and the store's own
    /// facts.
    pub(crate) fn create(
        self,
        transaction: &WriteTransaction,
        store_id: String,
        at: RedbContext<'_>,
    ) -> Result<(), RuntimeError> {
        self.migrate(transaction, 0, at)?;
        let created_by = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
        let facts = [
            (STORE_ID, MetaRecord::Text(store_id)),
            (CREATED_BY, MetaRecord::Text(created_by.to_owned())),
        ];
        RowWriter { transaction, at }.write(&META, facts.iter().map(|(key, row)| (*key, row)))
    }

    /// Runs the steps that a store of version `found` lacks, and writes the version, in
    /// `transaction`.
    pub(crate) fn migrate(
        self,
        transaction: &WriteTransaction,
        found: u32,
        at: RedbContext<'_>,
    ) -> Result<(), RuntimeError> {
        for step in STEPS.iter().chain(self.later).skip(found as usize) {
            step(transaction).map_err(|error| at.redb(error))?;
        }
        let version = (SCHEMA_VERSION, &MetaRecord::Number(self.supported()));
        RowWriter { transaction, at }.write(&META, std::iter::once(version))
    }

    /// Refuses what this crate cannot read. Returns the version of what it can, if need be after
    /// a migration.
    pub(crate) fn check(
        self,
        transaction: &ReadTransaction,
        at: RedbContext<'_>,
    ) -> Result<u32, RuntimeError> {
        match version(transaction, at)? {
            found if found > self.supported() => Err(RuntimeError::StoreSchemaTooNew {
                path: at.path().to_owned(),
                found,
                supported: self.supported(),
            }),
            found => Ok(found),
        }
    }
}

/// The schema version of the store. A database without one is not ours.
pub(crate) fn version(
    transaction: &ReadTransaction,
    at: RedbContext<'_>,
) -> Result<u32, RuntimeError> {
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
