//! What the server counts of a store: rows and bytes by runtime and worker, and the space of the tables.

use crate::engine::postgres::rows::key_bytes::part_bytes_sql;
use crate::engine::postgres::rows::long_texts::LongTexts;
use crate::engine::postgres::rows::reader::limit;
use crate::engine::postgres::rows::source::{Scope, Source};
use crate::engine::postgres::snapshot::PgSnapshot;
use crate::engine::postgres::wire::server_error::ServerError;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::ledger::table_names as table;
use std::collections::BTreeMap;
use tokio_postgres::Row;

/// Rows and their bytes.
pub(crate) type Count = (u64, u64);

/// The space of a table.
pub(crate) struct TableSpace {
    pub(crate) name: &'static str,
    pub(crate) count: Count,
    /// The bytes of its pages, and those of its indexes.
    pub(crate) table_bytes: u64,
    pub(crate) index_bytes: u64,
}

/// Counts of a whole store.
pub(crate) struct Counts {
    pub(crate) tables: Vec<TableSpace>,
    /// By table and runtime.
    pub(crate) by_runtime: BTreeMap<(&'static str, String), Count>,
    /// The largest workers, the largest first: runtime, worker, bytes, entries.
    pub(crate) largest: Vec<(String, String, u64, u64)>,
}

/// The queries of the tables with rows of runtimes. A file is counted with its first chunk, and the own text of a document is
/// none.
const BY_RUNTIME: [(&str, &str); 5] = [
    (
        table::WORKERS,
        concat!(
            "SELECT runtime, count(*), sum(",
            part_bytes_sql!("runtime"),
            " + length(worker) + length(record))::int8 FROM workers GROUP BY runtime"
        ),
    ),
    (
        table::EVENTS,
        concat!(
            "SELECT runtime, count(*), sum(",
            part_bytes_sql!("runtime"),
            " + 8 + length(record))::int8 FROM events GROUP BY runtime"
        ),
    ),
    (
        table::TRANSCRIPTS,
        concat!(
            "SELECT runtime, count(*), sum(",
            part_bytes_sql!("runtime"),
            " + ",
            part_bytes_sql!("worker"),
            " + 8 + length(record))::int8 FROM transcripts GROUP BY runtime"
        ),
    ),
    (
        table::DIAGNOSTICS,
        concat!(
            "SELECT runtime, count(*), sum(",
            part_bytes_sql!("runtime"),
            " + 8 + length(record))::int8 FROM diagnostics GROUP BY runtime"
        ),
    ),
    (
        table::FILES,
        concat!(
            "SELECT runtime, count(*) FILTER (WHERE number = 0 AND text <> 'r/runtime.json'
                AND (text NOT LIKE 'w/%/worker.json' OR text LIKE 'w/%/%/worker.json')), sum(",
            part_bytes_sql!("runtime"),
            " + ",
            part_bytes_sql!("text"),
            " + 8 + length(record))::int8 FROM (SELECT runtime, number, record,
                CASE WHEN length(path) <= 1024 THEN path ELSE coalesce((SELECT l.text
                    FROM long_keys AS l WHERE l.runtime = f.runtime AND l.key = f.path), path)
                END AS text FROM files AS f) AS texts GROUP BY runtime"
        ),
    ),
];

const LARGEST: &str = concat!(
    "SELECT w.runtime, w.worker, (",
    part_bytes_sql!("w.runtime"),
    " + length(w.worker) + length(w.record) + coalesce(t.bytes, 0))::int8 AS size,
        coalesce(t.entries, 0)::int8
    FROM workers AS w LEFT JOIN (
        SELECT runtime, worker, count(*) AS entries, sum(",
    part_bytes_sql!("runtime"),
    " + ",
    part_bytes_sql!("worker"),
    " + 8 + length(record)) AS bytes
        FROM transcripts GROUP BY runtime, worker
    ) AS t ON t.runtime = w.runtime AND t.worker = w.worker
    ORDER BY size DESC, w.runtime, w.worker LIMIT $1"
);

/// Name, rows, bytes of records, bytes of pages, bytes of indexes.
const SPACE: &str = "
    SELECT 'meta', count(*), coalesce(sum(length(record)), 0)::int8,
        pg_table_size('meta'), pg_indexes_size('meta') FROM meta
    UNION ALL SELECT 'runtimes', count(*), coalesce(sum(length(record)), 0)::int8,
        pg_table_size('runtimes'), pg_indexes_size('runtimes') FROM runtimes
    UNION ALL SELECT 'workers', count(*), coalesce(sum(length(record)), 0)::int8,
        pg_table_size('workers'), pg_indexes_size('workers') FROM workers
    UNION ALL SELECT 'events', count(*), coalesce(sum(length(record)), 0)::int8,
        pg_table_size('events'), pg_indexes_size('events') FROM events
    UNION ALL SELECT 'transcripts', count(*), coalesce(sum(length(record)), 0)::int8,
        pg_table_size('transcripts'), pg_indexes_size('transcripts') FROM transcripts
    UNION ALL SELECT 'diagnostics', count(*), coalesce(sum(length(record)), 0)::int8,
        pg_table_size('diagnostics'), pg_indexes_size('diagnostics') FROM diagnostics
    UNION ALL SELECT 'imports', count(*), coalesce(sum(length(record)), 0)::int8,
        pg_table_size('imports'), pg_indexes_size('imports') FROM imports
    UNION ALL SELECT 'tombstones', count(*), coalesce(sum(length(record)), 0)::int8,
        pg_table_size('tombstones'), pg_indexes_size('tombstones') FROM tombstones
    UNION ALL SELECT 'files', count(*), coalesce(sum(length(record)), 0)::int8,
        pg_table_size('files'), pg_indexes_size('files') FROM files";

const ROWS: &str = "SELECT (SELECT count(*) FROM meta) + (SELECT count(*) FROM runtimes)
    + (SELECT count(*) FROM workers) + (SELECT count(*) FROM events)
    + (SELECT count(*) FROM transcripts) + (SELECT count(*) FROM diagnostics)
    + (SELECT count(*) FROM imports) + (SELECT count(*) FROM tombstones)
    + (SELECT count(*) FROM files)";

/// Counts the rows of all tables that a store in a file has, too.
pub(crate) fn count_rows(snapshot: &PgSnapshot) -> Result<u64, ServerError> {
    snapshot.allow_scans()?;
    let rows = snapshot.query(Scope::Hint, ROWS, &[])?;
    let rows = rows.first().map(|row| number(row, 0));
    Ok(rows.transpose()?.unwrap_or(0))
}

/// Counts what `snapshot` sees, with keys as the server has them, and the `most` largest workers.
pub(crate) fn count(
    snapshot: &PgSnapshot,
    most: usize,
    at: OpContext<'_>,
) -> Result<Counts, RuntimeError> {
    let (texts, error) = (LongTexts::new(snapshot, at), |error: ServerError| {
        error.runtime(at)
    });
    // Every row is read: without an index that is faster.
    snapshot.allow_scans().map_err(error)?;
    let mut by_runtime = BTreeMap::new();
    for (table, sql) in BY_RUNTIME {
        for row in snapshot.query(Scope::Hint, sql, &[]).map_err(error)? {
            let owner = bytes(&row, 0).map_err(error)?;
            let count = numbers(&row, 1).map_err(error)?;
            by_runtime.insert((table, texts.owner(table, owner)?), count);
        }
    }
    let most = limit(most);
    let largest = snapshot.query(Scope::Hint, LARGEST, &[&most]);
    let largest = largest.map_err(error)?;
    let largest = largest.iter().map(|row| {
        let (owner, part) = (bytes(row, 0).map_err(error)?, bytes(row, 1).map_err(error)?);
        let (bytes, entries) = numbers(row, 2).map_err(error)?;
        let worker = texts.part(table::WORKERS, owner, part)?;
        Ok((texts.owner(table::WORKERS, owner)?, worker, bytes, entries))
    });
    let largest = largest.collect::<Result<_, RuntimeError>>()?;
    let space = snapshot.query(Scope::Hint, SPACE, &[]).map_err(error)?;
    let tables = space.iter().map(|row| {
        let name: &str = row.try_get(0)?;
        Ok(TableSpace {
            name: table::with_name(name.as_bytes()).unwrap_or(table::META),
            count: numbers(row, 1)?,
            table_bytes: number(row, 3)?,
            index_bytes: number(row, 4)?,
        })
    });
    Ok(Counts {
        tables: tables.collect::<Result<_, ServerError>>().map_err(error)?,
        by_runtime,
        largest,
    })
}

fn number(row: &Row, column: usize) -> Result<u64, ServerError> {
    let number: i64 = row.try_get(column)?;
    Ok(u64::try_from(number).unwrap_or(0))
}

/// The number in a column, and that in the next one.
fn numbers(row: &Row, column: usize) -> Result<Count, ServerError> {
    Ok((number(row, column)?, number(row, column + 1)?))
}

fn bytes(row: &Row, column: usize) -> Result<&[u8], ServerError> {
    Ok(row.try_get(column)?)
}
