//! The tables of a store, and the steps from one version of them to the next.
//!
//! The version is a row of `meta`. The transaction that runs the steps also writes it, so both are committed atomically. A
//! released step never changes.

use crate::engine::postgres::server::{Pooled, Server, quoted};
use crate::engine::postgres::wire::connection::Param;
use crate::engine::postgres::wire::server_error::ServerError;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::stored::envelope;
use crate::ledger::stored::record::MetaRecord;
use crate::ledger::table_names::{META, STORE_ID};
use crate::ledger::unique_id::unique_id;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_postgres::error::SqlState;

/// Step `n`, counted from 0, leads from version `n` to version `n + 1`. Steps are only appended.
const STEPS: &[&str] = &[
    include_str!("../../../migrations/postgres/0001_initial.sql"),
    include_str!("../../../migrations/postgres/0002_long_keys.sql"),
];

const SCHEMA_VERSION: &str = "schema_version";
const CREATED_BY: &str = "created_by";

/// How long a migration may take. A server that is gone is noticed by the connection.
const MIGRATION: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Gives the roles that may use the workers of the store the same rights on its other tables.
const SAME_RIGHTS: &str = "DO $$
DECLARE given record; other regclass;
BEGIN
    FOR given IN SELECT DISTINCT acl.grantee, acl.privilege_type
        FROM pg_class AS c, aclexplode(c.relacl) AS acl
        WHERE c.oid = 'workers'::regclass AND acl.grantee <> c.relowner
            AND acl.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        FOR other IN SELECT c.oid::regclass FROM pg_class AS c
            WHERE c.relkind = 'r' AND c.relnamespace =
                (SELECT w.relnamespace FROM pg_class AS w WHERE w.oid = 'workers'::regclass)
        LOOP
            EXECUTE format('GRANT %s ON %s TO %s', given.privilege_type, other,
                CASE given.grantee WHEN 0 THEN 'PUBLIC' ELSE given.grantee::regrole::text END);
        END LOOP;
    END LOOP;
END $$";

/// How often a creation is tried that another host's creation gets in the way of.
const TRIES: usize = 8;

/// The version of the tables that this crate reads and writes.
fn supported() -> u32 {
    STEPS.len() as u32
}

/// What was found in a schema.
enum Found {
    Nothing,
    Version(u32),
}

/// Checks that the schema has a store of this version, and creates one if it has none and `options` allow it.
pub(crate) fn prepare(server: &Arc<Server>, at: OpContext<'_>) -> Result<(), RuntimeError> {
    let deadline = server.deadline();
    let error = |error: ServerError| error.runtime(at);
    let mut connection = server.first(deadline).map_err(error)?;
    for _ in 0..TRIES {
        match find(&connection, &server.options.schema, deadline, at)? {
            Found::Version(found) => return refuse_other(found, at),
            Found::Nothing if server.options.read_only || !server.options.create => {
                return Err(at.missing());
            }
            Found::Nothing => match create(&mut connection, server, deadline, at) {
                Ok(()) => return Ok(()),
                Err(Creation::Raced) => {}
                Err(Creation::Failed(error)) => return Err(error),
            },
        }
    }
    Err(at.busy("other hosts create the store"))
}

fn refuse_other(found: u32, at: OpContext<'_>) -> Result<(), RuntimeError> {
    let (path, supported) = (at.path().to_owned(), supported());
    match found {
        found if found > supported => Err(RuntimeError::StoreSchemaTooNew {
            path,
            found,
            supported,
        }),
        found if found < supported => Err(RuntimeError::StoreSchemaTooOld {
            path,
            found,
            supported,
        }),
        _ => Ok(()),
    }
}

fn find(
    connection: &Pooled,
    schema: &str,
    deadline: Instant,
    at: OpContext<'_>,
) -> Result<Found, RuntimeError> {
    const TABLES: &str =
        "SELECT table_name::text FROM information_schema.tables WHERE table_schema = $1::text";
    let error = |error: ServerError| error.runtime(at);
    let rows = connection.query_once(TABLES, &[&schema], deadline);
    let rows = rows.map_err(error)?;
    let mut tables = rows.iter().map(|row| row.try_get::<_, String>(0));
    if rows.is_empty() {
        return Ok(Found::Nothing);
    }
    if !tables.any(|name| name.is_ok_and(|name| name == META)) {
        return Err(at.not_a_store("the schema has tables of another program"));
    }
    const VERSION: &str = "SELECT record FROM meta WHERE property = $1";
    let key = SCHEMA_VERSION.as_bytes();
    let rows = connection.query_once(VERSION, &[&key], deadline);
    let rows = rows.map_err(error)?;
    let Some(value) = rows.first().and_then(|row| row.try_get::<_, &[u8]>(0).ok()) else {
        return Err(at.not_a_store("the schema has tables of another program"));
    };
    version(value, at).map(Found::Version)
}

fn version(value: &[u8], at: OpContext<'_>) -> Result<u32, RuntimeError> {
    match envelope::decode::<MetaRecord>(META, &SCHEMA_VERSION, value) {
        Ok(MetaRecord::Number(version)) if version > 0 => Ok(version),
        Ok(_) => Err(at.corrupt("the schema version is not a positive number")),
        Err(message) => Err(at.corrupt(format!("table {META}, key {SCHEMA_VERSION:?}: {message}"))),
    }
}

const SCHEMA: &str = "SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = $1::text";

enum Creation {
    /// Another host creates the same schema.
    Raced,
    Failed(RuntimeError),
}

fn create(
    connection: &mut Pooled,
    server: &Server,
    deadline: Instant,
    at: OpContext<'_>,
) -> Result<(), Creation> {
    let facts = facts(at).map_err(Creation::Failed)?;
    let schema = quoted(&server.options.schema);
    let created = (|| {
        connection.begin("BEGIN");
        // To create a schema takes a right that the owner of an existing one need not have.
        let name: Param<'_> = &server.options.schema;
        if connection.query_once(SCHEMA, &[name], deadline)?.is_empty() {
            connection.run(&format!("CREATE SCHEMA IF NOT EXISTS {schema}"), deadline)?;
        }
        for step in STEPS {
            connection.run(step, deadline)?;
        }
        for (property, record) in &facts {
            put_meta(connection, property, record, deadline)?;
        }
        connection.run("COMMIT", deadline)
    })();
    match created {
        Ok(()) => {
            connection.ended();
            Ok(())
        }
        Err(ServerError::Refused(code, _))
            if [
                SqlState::UNIQUE_VIOLATION,
                SqlState::DUPLICATE_TABLE,
                SqlState::DUPLICATE_SCHEMA,
                SqlState::DUPLICATE_OBJECT,
            ]
            .contains(&code) =>
        {
            connection.begin("BEGIN");
            Err(Creation::Raced)
        }
        Err(error) => Err(Creation::Failed(error.runtime(at))),
    }
}

fn put_meta(
    connection: &Pooled,
    property: &str,
    record: &[u8],
    deadline: Instant,
) -> Result<u64, ServerError> {
    const PUT: &str = "INSERT INTO meta (property, record) VALUES ($1, $2)
        ON CONFLICT (property) DO UPDATE SET record = excluded.record";
    connection.execute(PUT, &[&property.as_bytes(), &record], deadline)
}

/// The rows of `meta` of a new store.
fn facts(at: OpContext<'_>) -> Result<Vec<(&'static str, Vec<u8>)>, RuntimeError> {
    let created_by = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));
    let facts = [
        (SCHEMA_VERSION, MetaRecord::Number(supported())),
        (STORE_ID, MetaRecord::Text(unique_id(at)?)),
        (CREATED_BY, MetaRecord::Text(created_by.to_owned())),
    ];
    let encoded = facts.into_iter().map(|(property, record)| {
        let mut value = Vec::new();
        envelope::encode(META, &property, &record, &mut value)
            .map_err(RuntimeError::InvalidRequest)?;
        Ok((property, value))
    });
    encoded.collect()
}

/// The version of the tables that the schema has, and the one that this crate uses.
pub(crate) fn versions(
    server: &Arc<Server>,
    at: OpContext<'_>,
) -> Result<(u32, u32), RuntimeError> {
    let deadline = server.deadline();
    let connection = server.first(deadline);
    let connection = connection.map_err(|error| error.runtime(at))?;
    match find(&connection, &server.options.schema, deadline, at)? {
        Found::Nothing => Err(at.missing()),
        Found::Version(found) if found > supported() => {
            refuse_other(found, at).map(|()| (found, supported()))
        }
        Found::Version(found) => Ok((found, supported())),
    }
}

/// Runs the steps after the version that the schema has, in one transaction. Returns the version before. Other hosts that
/// migrate the same store wait, for the lock time-out of their options at most.
pub(crate) fn migrate(server: &Arc<Server>, at: OpContext<'_>) -> Result<u32, RuntimeError> {
    let error = |error: ServerError| error.runtime(at);
    let mut connection = server.first(server.deadline()).map_err(error)?;
    // A step can write every row of the store.
    let deadline = Instant::now() + MIGRATION;
    if let Found::Nothing = find(&connection, &server.options.schema, deadline, at)? {
        return Err(at.missing());
    }
    connection.begin("BEGIN; SET LOCAL enable_seqscan TO on; SET LOCAL enable_hashjoin TO on");
    const LOCKED: &str = "SELECT record FROM meta WHERE property = $1 FOR UPDATE";
    let rows = connection.query_once(LOCKED, &[&SCHEMA_VERSION.as_bytes()], deadline);
    let rows = rows.map_err(error)?;
    let value = rows.first().and_then(|row| row.try_get::<_, &[u8]>(0).ok());
    let found = version(value.unwrap_or_default(), at)?;
    if found > supported() {
        refuse_other(found, at)?;
    }
    for step in &STEPS[found as usize..] {
        connection.run(step, deadline).map_err(error)?;
    }
    connection.run(SAME_RIGHTS, deadline).map_err(error)?;
    let mut value = Vec::new();
    let record = MetaRecord::Number(supported());
    envelope::encode(META, &SCHEMA_VERSION, &record, &mut value)
        .map_err(RuntimeError::InvalidRequest)?;
    put_meta(&connection, SCHEMA_VERSION, &value, deadline).map_err(error)?;
    connection.run("COMMIT", deadline).map_err(error)?;
    connection.ended();
    Ok(found)
}
