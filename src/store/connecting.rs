//! Connecting to a store in a PostgreSQL database.

use crate::engine::postgres::open_store;
use crate::engine::postgres::options::PostgresOptions;
use crate::engine::redb::schema::migrate::MigrationPlan;
use crate::error::RuntimeError;
use crate::store::handle::Store;

impl Store {
    /// Connects to a store in a PostgreSQL database. Creates its schema if there is none.
    ///
    /// Any number of hosts can have the same store open and write to the same runtime. Every call makes a handle of its own;
    /// share one within a process.
    ///
    /// ```no_run
    /// use redb_runtime_store::{PostgresOptions, Store};
    ///
    /// let options = PostgresOptions::new("postgres://agents@db1.example,db2.example/agents");
    /// let store = Store::connect(options.schema("runtimes"))?;
    /// println!("{} runtimes", store.runtimes()?.len());
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// - `InvalidRequest` for an address that cannot be parsed, and for a server that can lose acknowledged commits.
    /// - `StoreMissing` for an empty schema that is not to be created.
    /// - `NotAStore` for a schema with tables of another program.
    /// - `StoreSchemaTooNew`, and `StoreSchemaTooOld`: [`PostgresOptions::migrate`] migrates the store.
    /// - `StoreBusy` if the server takes no more connections.
    /// - `StoreIo` if the server cannot be reached or refuses the user.
    pub fn connect(options: PostgresOptions) -> Result<Self, RuntimeError> {
        let store = Self::on_server(open_store::connect(&options)?, options.read_only);
        if !options.read_only {
            store.finish_deletions("connect")?;
        }
        Ok(store)
    }
}

impl PostgresOptions {
    /// Migrates the store to the version of its tables that this crate uses, in one transaction. Returns the version that
    /// it had. Stop the hosts of earlier versions first.
    ///
    /// # Errors
    ///
    /// As [`Store::connect`], except `StoreSchemaTooOld`.
    pub fn migrate(&self) -> Result<u32, RuntimeError> {
        open_store::migrate(self)
    }

    /// Returns what [`migrate`](Self::migrate) would do: from which version of the tables to which. Changes nothing. The plan
    /// has no copy: make a backup first.
    ///
    /// # Errors
    ///
    /// As [`migrate`](Self::migrate).
    pub fn migration_plan(&self) -> Result<MigrationPlan, RuntimeError> {
        let (found, supported) = open_store::versions(self)?;
        Ok(MigrationPlan {
            found,
            supported,
            backup: None,
            steps: Vec::new(),
        })
    }
}
