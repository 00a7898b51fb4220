//! SQLite as a careful host would use it: WAL, `synchronous=FULL`, tables WITHOUT ROWID, prepared
//! statements, and one transaction for an input.

use crate::bare_redb::CACHE_BYTES;
use crate::peer::{InputPeer, Sender};
use crate::workload::{
    ACCEPTED, Dataset, Inputs, RUNTIME, STARTED, Tally, runtime_id, worker_name,
};
use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptEntry, TranscriptRole};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, TransactionBehavior, params};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

const SCHEMA: &str = "
    CREATE TABLE runtimes (
        runtime_id TEXT PRIMARY KEY, display_name TEXT, status INTEGER NOT NULL,
        max_transcript_projection_items INTEGER NOT NULL, max_event_batch_items INTEGER NOT NULL,
        next_worker_sequence INTEGER NOT NULL, next_event_id INTEGER NOT NULL,
        next_diagnostic_id INTEGER NOT NULL, running_workers INTEGER NOT NULL,
        stopped_workers INTEGER NOT NULL, cancelled_workers INTEGER NOT NULL
    ) WITHOUT ROWID;
    CREATE TABLE workers (
        runtime_id TEXT NOT NULL, worker_id TEXT NOT NULL, status INTEGER NOT NULL,
        request TEXT NOT NULL, next_transcript_sequence INTEGER NOT NULL,
        last_event_id INTEGER NOT NULL, transcript_len INTEGER NOT NULL,
        PRIMARY KEY (runtime_id, worker_id)
    ) WITHOUT ROWID;
    CREATE TABLE events (
        runtime_id TEXT NOT NULL, event_id INTEGER NOT NULL, worker_id TEXT,
        kind INTEGER NOT NULL, message TEXT,
        PRIMARY KEY (runtime_id, event_id)
    ) WITHOUT ROWID;
    CREATE TABLE transcripts (
        runtime_id TEXT NOT NULL, worker_id TEXT NOT NULL, position INTEGER NOT NULL,
        sequence INTEGER NOT NULL, role INTEGER NOT NULL, event_id INTEGER NOT NULL,
        content TEXT NOT NULL,
        PRIMARY KEY (runtime_id, worker_id, position)
    ) WITHOUT ROWID;";

const INSERT_EVENT: &str = "INSERT INTO events VALUES (?1, ?2, ?3, ?4, NULL)";
const INSERT_ENTRY: &str = "INSERT INTO transcripts VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
const INSERT_RUNTIME: &str = "INSERT INTO runtimes
    VALUES (?1, NULL, 0, 256, 256, ?2, ?3, 1, ?4, 0, 0)";
const INSERT_WORKER: &str = "INSERT INTO workers VALUES (?1, ?2, 0, '{}', ?3, ?4, ?5)";

/// Checks the runtime and takes the next event id in one statement, instead of a read and a write.
const TAKE_EVENT_ID: &str = "UPDATE runtimes SET next_event_id = next_event_id + 1
    WHERE runtime_id = ?1 AND status = 0 RETURNING next_event_id - 1";
const TAKE_POSITION: &str = "UPDATE workers
    SET next_transcript_sequence = next_transcript_sequence + 1,
        transcript_len = transcript_len + 1, last_event_id = ?3
    WHERE runtime_id = ?1 AND worker_id = ?2 AND status = 0
    RETURNING next_transcript_sequence - 1, transcript_len - 1";

const LAST_EVENTS: &str = "SELECT event_id, worker_id, kind, message FROM events
    WHERE runtime_id = ?1 ORDER BY event_id DESC LIMIT ?2";
const TRANSCRIPT_PAGE: &str = "SELECT sequence, role, event_id, content FROM transcripts
    WHERE runtime_id = ?1 AND worker_id = ?2 AND position >= ?3 ORDER BY position LIMIT ?4";

// As numbers, like the store's own enums: texts would only make SQLite's rows larger.
const RUNTIME_STARTED: u8 = 0;
const WORKER_CREATED: u8 = 2;
const INPUT_ACCEPTED: u8 = 3;
const ROLE_USER: u8 = 0;

/// Opens a connection; every commit that it makes is on disk.
pub(crate) fn connect(path: &Path) -> Result<Connection> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(120))?;
    let cache_kib = CACHE_BYTES >> 10;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-{cache_kib};"
    ))?;
    Ok(connection)
}

/// How threads share the database. Whichever is faster stands for SQLite.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Connections {
    /// Each thread has its own, and waits for the lock of the file.
    Own,
    /// All use one, and wait for its mutex.
    Shared,
}

pub(crate) struct Sqlite {
    path: PathBuf,
    connections: Connections,
    shared: Mutex<Connection>,
    names: Vec<String>,
}

impl Sqlite {
    pub(crate) fn create(path: &Path, workers: usize, connections: Connections) -> Result<Self> {
        let dataset = Dataset { inputs: 0, workers };
        build(path, &dataset, &Inputs::new())?;
        Ok(Self {
            path: path.to_owned(),
            connections,
            shared: Mutex::new(connect(path)?),
            names: (0..workers).map(worker_name).collect(),
        })
    }
}

impl InputPeer for Sqlite {
    fn sender(&self) -> Result<Box<dyn Sender + '_>> {
        Ok(match self.connections {
            Connections::Shared => Box::new(self),
            Connections::Own => Box::new(OwnConnection {
                connection: connect(&self.path)?,
                names: &self.names,
            }),
        })
    }

    fn tally(&self) -> Result<Tally> {
        let connection = connect(&self.path)?;
        let mut statement = connection.prepare("SELECT worker_id, content FROM transcripts")?;
        let mut rows = statement.query([])?;
        let mut tally = Tally::default();
        while let Some(row) = rows.next()? {
            let name = row.get_ref(0)?.as_str()?;
            let worker = self.names.iter().position(|worker| worker == name);
            tally.add(
                worker.context("an unknown worker")?,
                row.get_ref(1)?.as_str()?,
            );
        }
        Ok(tally)
    }
}

impl Sender for &Sqlite {
    fn send(&mut self, worker: usize, text: &str) -> Result<()> {
        let mut connection = self.shared.lock().expect("no sender panics");
        send(&mut connection, &self.names[worker], text)
    }
}

struct OwnConnection<'a> {
    connection: Connection,
    names: &'a [String],
}

impl Sender for OwnConnection<'_> {
    fn send(&mut self, worker: usize, text: &str) -> Result<()> {
        send(&mut self.connection, &self.names[worker], text)
    }
}

fn send(connection: &mut Connection, worker: &str, text: &str) -> Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let event: i64 = transaction
        .prepare_cached(TAKE_EVENT_ID)?
        .query_row([RUNTIME], |row| row.get(0))?;
    transaction.prepare_cached(INSERT_EVENT)?.execute(params![
        RUNTIME,
        event,
        worker,
        INPUT_ACCEPTED
    ])?;
    let (sequence, position): (i64, i64) = transaction
        .prepare_cached(TAKE_POSITION)?
        .query_row(params![RUNTIME, worker, event], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    transaction.prepare_cached(INSERT_ENTRY)?.execute(params![
        RUNTIME, worker, position, sequence, ROLE_USER, event, text
    ])?;
    Ok(transaction.commit()?)
}

/// Builds a database that holds `dataset`.
pub(crate) fn build(path: &Path, dataset: &Dataset, inputs: &Inputs) -> Result<()> {
    let mut connection = connect(path)?;
    connection.execute_batch(SCHEMA)?;
    let transaction = connection.transaction()?;
    let runtime = dataset.runtime();
    transaction.execute(
        INSERT_RUNTIME,
        params![
            RUNTIME,
            runtime.next_worker_sequence as i64,
            runtime.next_event_id as i64,
            dataset.workers as i64
        ],
    )?;
    for index in 0..dataset.workers {
        let (name, worker) = (worker_name(index), dataset.worker(index));
        let (next, len) = (worker.next_transcript_sequence, dataset.entries(index));
        transaction.prepare_cached(INSERT_WORKER)?.execute(params![
            RUNTIME,
            name,
            next as i64,
            worker.last_event_id as i64,
            len as i64
        ])?;
        let mut insert = transaction.prepare_cached(INSERT_ENTRY)?;
        for position in 0..len {
            let entry = dataset.entry(inputs, index, position);
            insert.execute(params![
                RUNTIME,
                name,
                position as i64,
                entry.sequence as i64,
                ROLE_USER,
                entry.event_id as i64,
                entry.content
            ])?;
        }
    }
    {
        let mut insert = transaction.prepare_cached(INSERT_EVENT)?;
        for id in 1..=dataset.events() {
            let event = dataset.event(id);
            let worker = event
                .worker_ref
                .map(|worker| String::from(worker.worker_id));
            insert.execute(params![RUNTIME, id as i64, worker, kind_number(event.kind)])?;
        }
    }
    transaction.commit()?;
    // The log goes into the database, so that reads find everything in one place.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}

/// How SQLite copies a database. Whichever is faster stands for SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Copying {
    /// Its backup of pages, in one step.
    Pages,
    /// `VACUUM INTO`: its rows, in sorted order.
    Rows,
}

/// Copies the database to `copy`, and syncs the copy. A copy that a crash cut off is thrown away, so its writes
/// need no journal.
pub(crate) fn back_up(from: &Connection, copy: &Path, copying: Copying) -> Result<()> {
    if copying == Copying::Rows {
        let copy = copy.to_str().context("a path in UTF-8")?;
        from.execute("VACUUM INTO ?1", [copy])?;
        return Ok(File::open(copy)?.sync_all()?);
    }
    let mut to = Connection::open(copy)?;
    to.execute_batch("PRAGMA journal_mode=OFF; PRAGMA synchronous=FULL;")?;
    let backup = Backup::new(from, &mut to)?;
    ensure!(
        backup.step(-1)? == StepResult::Done,
        "the backup is cut short"
    );
    Ok(())
}

/// How SQLite reads a database that it checks. Whichever is faster stands for SQLite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reading {
    /// From memory that the whole file is mapped to.
    Mapped,
    /// Through its page cache, which has the size of ours.
    Cached,
}

/// How much of a database is mapped into memory to be checked: all of it.
const MAPPED_BYTES: u64 = 1 << 33;

/// Has SQLite check the whole database.
pub(crate) fn check(path: &Path, reading: Reading) -> Result<()> {
    let connection = Connection::open(path)?;
    match reading {
        Reading::Mapped => connection.pragma_update(None, "mmap_size", MAPPED_BYTES as i64)?,
        Reading::Cached => {
            let kib = -i64::try_from(CACHE_BYTES >> 10)?;
            connection.pragma_update(None, "cache_size", kib)?;
        }
    }
    let found: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure!(found == "ok", "SQLite found {found}");
    Ok(())
}

fn kind_number(kind: RuntimeEventKind) -> u8 {
    match kind {
        RuntimeEventKind::RuntimeStarted => RUNTIME_STARTED,
        RuntimeEventKind::WorkerCreated => WORKER_CREATED,
        _ => INPUT_ACCEPTED,
    }
}

/// The last `limit` events.
pub(crate) fn last_events(connection: &Connection, limit: usize) -> Result<Vec<RuntimeEvent>> {
    let runtime = runtime_id();
    let mut statement = connection.prepare_cached(LAST_EVENTS)?;
    let mut rows = statement.query(params![RUNTIME, limit as i64])?;
    let mut events = Vec::with_capacity(limit);
    while let Some(row) = rows.next()? {
        let worker: Option<String> = row.get(1)?;
        let worker = worker.and_then(WorkerId::new);
        let (kind, standard) = match row.get(2)? {
            RUNTIME_STARTED => (RuntimeEventKind::RuntimeStarted, STARTED),
            WORKER_CREATED => (RuntimeEventKind::WorkerCreated, "worker created"),
            _ => (RuntimeEventKind::WorkerInputAccepted, ACCEPTED),
        };
        let message: Option<String> = row.get(3)?;
        events.push(RuntimeEvent {
            id: row.get::<_, i64>(0)? as u64,
            worker_ref: worker.map(|worker| WorkerRef::new(runtime.clone(), worker)),
            kind,
            message: message.unwrap_or_else(|| standard.to_owned()),
        });
    }
    events.reverse();
    Ok(events)
}

/// A page of a worker's transcript.
pub(crate) fn transcript_page(
    connection: &Connection,
    worker: &WorkerRef,
    start: usize,
    limit: usize,
) -> Result<Vec<TranscriptEntry>> {
    let mut statement = connection.prepare_cached(TRANSCRIPT_PAGE)?;
    let name = worker.worker_id.as_str();
    let mut rows = statement.query(params![RUNTIME, name, start as i64, limit as i64])?;
    let mut entries = Vec::with_capacity(limit);
    while let Some(row) = rows.next()? {
        entries.push(TranscriptEntry {
            sequence: row.get::<_, i64>(0)? as u64,
            worker_ref: worker.clone(),
            role: match row.get(1)? {
                ROLE_USER => TranscriptRole::User,
                _ => TranscriptRole::System,
            },
            content: row.get(3)?,
            event_id: row.get::<_, i64>(2)? as u64,
        });
    }
    Ok(entries)
}
