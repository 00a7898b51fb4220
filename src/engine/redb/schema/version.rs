//! The schema version of a store, and the steps from one version to the next.
//!
//! The version is stored in the `meta` table. The transaction that runs the steps also writes the
//! version, so both are committed atomically. A released step never changes, and has its own copy
//! of the definitions that it needs. The code that reads the version never changes either: an older
//! program must be able to see that the store is too new for it.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::tables::definitions::{META, Tables};
use crate::engine::redb::tables::row_writer::RowWriter;
use crate::engine::redb::tables::view::View;
use crate::error::RuntimeError;
use crate::ledger::stored::record::MetaRecord;
use crate::ledger::table_names::{OPENINGS, STORE_ID};
use redb::{ReadTransaction, StorageError, TableError, TableHandle, WriteTransaction};

#[path = "../../../../migrations/0001_initial.rs"]
mod initial;

#[path = "../../../../migrations/0002_times.rs"]
mod times;

/// A migration step, from one version to the next.
pub(crate) type Step = fn(&WriteTransaction) -> Result<(), redb::Error>;

/// Step `n`, counted from 0, migrates version `n` to version `n + 1`. Steps are only appended.
const STEPS: &[Step] = &[initial::apply, times::apply];

/// What each step does to a store, for the plan of a migration.
const DESCRIPTIONS: &[&str] = &[
    "creates the tables",
    "adds tables for deleted workers and for files; rewrites no row, and a row gets its new form, with a time, when \
     it changes",
];

/// The migration steps that an open uses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schema {
    /// The released steps; fewer only in tests of migrations.
    released: &'static [Step],
    /// Steps after the released ones; not empty only in tests of migrations.
    later: &'static [Step],
}

const SCHEMA_VERSION: &str = "schema_version";
const CREATED_BY: &str = "created_by";

/// Whether a property has a valid value.
type IsRight = fn(&MetaRecord) -> bool;

/// The properties that every `meta` table has, with the check of the value.
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

/// The properties that a `meta` table can have.
pub(crate) const OPTIONAL_FACTS: &[(&str, IsRight)] = &[(
    OPENINGS,
    |fact| matches!(fact, MetaRecord::Number(number) if *number > 0),
)];

impl Default for Schema {
    fn default() -> Self {
        Self {
            released: STEPS,
            later: &[],
        }
    }
}

impl Schema {
    /// The released steps and `later`.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn with_later(later: &'static [Step]) -> Self {
        Self {
            released: STEPS,
            later,
        }
    }

    /// The steps of the release that wrote schema `version`, which does not know later ones.
    #[cfg(feature = "fault-injection")]
    pub(crate) fn of_release(version: u32) -> Self {
        Self {
            released: &STEPS[..STEPS.len().min(version as usize)],
            later: &[],
        }
    }

    /// The version after the last step.
    pub(crate) fn supported(self) -> u32 {
        (self.released.len() + self.later.len()) as u32
    }

    /// What the steps after version `found` do, each with the version that it leads to.
    pub(crate) fn steps_after(self, found: u32) -> Vec<(u32, &'static str)> {
        let versions = found + 1..=self.supported();
        let described = |version: u32| {
            let description = DESCRIPTIONS.get(version as usize - 1);
            (version, *description.unwrap_or(&"a step of a test"))
        };
        versions.map(described).collect()
    }

    /// Creates the tables of a new store in an empty database: runs all steps, and writes the
    /// version and the properties of the store.
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

    /// Runs the steps after version `found` in `transaction`, and writes the new version.
    pub(crate) fn migrate(
        self,
        transaction: &WriteTransaction,
        found: u32,
        at: RedbContext<'_>,
    ) -> Result<(), RuntimeError> {
        for step in self.released.iter().chain(self.later).skip(found as usize) {
            step(transaction).map_err(|error| at.redb(error))?;
        }
        let version = (SCHEMA_VERSION, &MetaRecord::Number(self.supported()));
        RowWriter { transaction, at }.write(&META, std::iter::once(version))
    }

    /// Returns the schema version of the store. Rejects a store that is newer than this crate, and
    /// a database that is no store.
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

/// The schema version of the store. A database without one belongs to another program.
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
    // Another program can have a table of the same name.
    match transaction.open(META.definition) {
        Err(error @ TableError::TableTypeMismatch { .. }) => {
            let message = format!("it is a redb database of another program: {error}");
            return Err(at.not_a_store(message));
        }
        // The next read would only say that an earlier one failed.
        Err(TableError::Storage(error @ StorageError::Io(_))) => return Err(at.redb(error)),
        _ => {}
    }
    let view = View {
        tables: transaction,
        at,
    };
    match view.get(&META, SCHEMA_VERSION)? {
        Some(MetaRecord::Number(version)) if version > 0 => Ok(version),
        Some(_) => Err(at.corrupt("the schema version is not a positive number")),
        None => Err(at.not_a_store("it is a redb database of another program")),
    }
}
