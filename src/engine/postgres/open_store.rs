//! Connecting to a store, and closing it.

use crate::commit::engine::Engine;
use crate::engine::postgres::engine::{PostgresEngine, PostgresStore};
use crate::engine::postgres::options::PostgresOptions;
use crate::engine::postgres::schema;
use crate::engine::postgres::server::Server;
use crate::engine::postgres::wire::address::Address;
use crate::error::{Place, RuntimeError};
use crate::ledger::context::OpContext;
use crate::ledger::unique_id::unique_id;
use std::sync::Arc;

/// The longest name of a schema, in bytes. The server would cut longer ones.
const MAX_SCHEMA_BYTES: usize = 63;

/// The server that `options` name, and the place of the store in it.
fn server_of(
    options: &PostgresOptions,
    operation: &'static str,
) -> Result<(Arc<Server>, Place), RuntimeError> {
    let name = &options.schema;
    if name.is_empty() || name.len() > MAX_SCHEMA_BYTES || name.contains('\0') {
        return Err(RuntimeError::InvalidRequest(format!(
            "a schema has a name of 1 to {MAX_SCHEMA_BYTES} bytes without NUL"
        )));
    }
    let address = Address::parse(&options.url).map_err(RuntimeError::InvalidRequest)?;
    let place = Place::named(&format!("{}?schema={name}", address.name));
    let at = OpContext::new(operation, &place);
    let server = Server::new(options.clone(), address, unique_id(at)?);
    let server = server.map_err(|error| at.io(error))?;
    Ok((Arc::new(server), place))
}

/// Connects to the store that `options` name.
pub(crate) fn connect(options: &PostgresOptions) -> Result<Arc<PostgresStore>, RuntimeError> {
    let (server, place) = server_of(options, "connect")?;
    let at = OpContext::new("connect", &place);
    schema::prepare(&server, at)?;
    server.renew_leases().map_err(|error| at.io(error))?;
    let guards = options.guards;
    let engine = PostgresEngine::new(place, server);
    Ok(Arc::new(PostgresStore::new(engine).guarded(guards)))
}

/// Migrates the store that `options` name. Returns the version that it had.
pub(crate) fn migrate(options: &PostgresOptions) -> Result<u32, RuntimeError> {
    let (server, place) = server_of(options, "migrate")?;
    schema::migrate(&server, OpContext::new("migrate", &place))
}

/// The versions of the store that `options` name: that of its tables, and the one that this crate uses.
pub(crate) fn versions(options: &PostgresOptions) -> Result<(u32, u32), RuntimeError> {
    let (server, place) = server_of(options, "plan a migration")?;
    schema::versions(&server, OpContext::new("plan a migration", &place))
}

impl PostgresStore {
    /// Closes the connections for every handle of the store. Operations that were accepted are committed first.
    pub(crate) fn close(&self) -> Result<(), RuntimeError> {
        let at = OpContext::new("close", self.engine().place());
        self.refuse_fork(at)?;
        self.refuse_within()?;
        self.background.finish()?;
        self.end_queue(at)?;
        // A lease that cannot be ended now ends by itself.
        let _ = self.engine().server.release_leases();
        self.engine().server.close();
        // Wakes the followers, which find the store closed.
        self.commits.announce();
        Ok(())
    }
}
