//! The rows of a backup: read and digested on one thread, inserted on another.
//!
//! Rows travel as bytes, packed into batches. The digest covers these bytes, so a row that changes
//! on the way, in memory or on disk, makes the digest of the copy another one.

use crate::commit::within::Within;
use crate::engine::redb::context::RedbContext;
use crate::engine::redb::maintenance::progress::Meter;
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, FILES, IMPORTS, META, RUNTIMES, TOMBSTONES, TRANSCRIPTS, TableOf, WORKERS,
};
use crate::engine::redb::tables::view::View;
use crate::error::RuntimeError;
use crate::ledger::deletion;
use crate::ledger::stored::envelope::{self, KeyBytes, Record};
use crate::ledger::stored::kept_file::parsed_path;
use crate::ledger::stored::tombstone::Unfinished;
use crate::ledger::table_names::UNFINISHED;
use redb::{CursorError, CursorMut, Key, ReadTransaction, Value, WriteTransaction};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::{panic, thread};
use xxhash_rust::xxh3::Xxh3;

/// A batch is full when it has this many bytes. A larger row makes a batch of its own.
const BATCH_BYTES: usize = 256 << 10;

/// The capacity of the queue between the threads, in batches.
const WAITING_BATCHES: usize = 4;

/// The bytes of a length before a key or a value.
const LENGTH_BYTES: usize = size_of::<u64>();

/// Rows of one table. Each is a key and a value, each after its length: without the lengths, other
/// pairs of the same bytes would give the same digest.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// Whether the table has no more rows.
    is_last: bool,
}

impl Batch {
    fn push(&mut self, part: &[u8]) {
        self.bytes
            .extend_from_slice(&(part.len() as u64).to_le_bytes());
        self.bytes.extend_from_slice(part);
    }

    /// The keys and values, in turn.
    fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk::<LENGTH_BYTES>()?;
            let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
            let (part, after) = after.split_at_checked(length)?;
            rest = after;
            Some(part)
        })
    }
}

/// The thread that inserts rows has stopped: more rows are of no use.
struct Stopped;

/// The rows that unfinished deletions have left. A copy has none of them.
struct Hidden(BTreeMap<String, Unfinished>);

impl Hidden {
    fn of(source: &View<'_, ReadTransaction>) -> Result<Self, RuntimeError> {
        let mut all = BTreeMap::new();
        let mut last: Option<String> = None;
        while let Some(runtime) = deletion::next_unfinished(source, last.as_deref())? {
            all.insert(runtime.clone(), deletion::unfinished(source, &runtime)?);
            last = Some(runtime);
        }
        Ok(Self(all))
    }

    /// Whether the rows of a runtime are left out.
    fn runtime(&self, runtime: &str) -> bool {
        !self.0.is_empty() && self.0.get(runtime).is_some_and(|left| left.is_whole)
    }

    /// Whether a file is left out.
    fn file(&self, runtime: &str, path: &str) -> bool {
        if self.0.is_empty() {
            return false;
        }
        let worker = parsed_path(path).and_then(|(worker, _)| worker);
        worker.map_or_else(
            || self.runtime(runtime),
            |worker| self.worker(runtime, &worker),
        )
    }

    /// Whether the entries of a worker are left out.
    fn worker(&self, runtime: &str, worker: &str) -> bool {
        !self.0.is_empty()
            && self
                .0
                .get(runtime)
                .is_some_and(|left| left.is_whole || left.workers.iter().any(|left| left == worker))
    }
}

/// Reads every row of a store, and passes it on in batches.
struct Reader<'a, F> {
    source: &'a View<'a, ReadTransaction>,
    /// Whether each row is decoded, with its checksum.
    is_decoding: bool,
    digest: Xxh3,
    batch: Batch,
    pass_on: F,
}

/// The end of a reading that was not finished.
enum Halt {
    Failed(RuntimeError),
    Stopped,
}

impl From<RuntimeError> for Halt {
    fn from(error: RuntimeError) -> Self {
        Self::Failed(error)
    }
}

impl<F: FnMut(&mut Batch) -> Result<(), Stopped>> Reader<'_, F> {
    /// Reads all tables. Returns the digest of their rows.
    fn all(mut self) -> Result<u128, Halt> {
        let hidden = Hidden::of(self.source)?;
        self.table(&META, |_| false)?;
        self.table(&RUNTIMES, |_| false)?;
        self.table(&WORKERS, |key| hidden.runtime(key.0))?;
        self.table(&EVENTS, |key| hidden.runtime(key.0))?;
        self.table(&TRANSCRIPTS, |key| hidden.worker(key.0, key.1))?;
        self.table(&DIAGNOSTICS, |key| hidden.runtime(key.0))?;
        self.table(&IMPORTS, |_| false)?;
        self.table(&TOMBSTONES, |key| {
            key.0 == UNFINISHED || hidden.runtime(key.0)
        })?;
        self.table(&FILES, |key| hidden.file(key.0, key.1))?;
        Ok(self.digest.digest128())
    }

    /// Reads a table without the rows that `is_hidden` names.
    fn table<K, R>(
        &mut self,
        table: &TableOf<K, R>,
        is_hidden: impl for<'k> Fn(&K::SelfType<'k>) -> bool,
    ) -> Result<(), Halt>
    where
        K: Key + 'static,
        R: Record,
        for<'k> K::SelfType<'k>: KeyBytes + std::borrow::Borrow<K::SelfType<'k>>,
    {
        self.digest.update(table.name.as_bytes());
        let (source, is_decoding, mut is_stopped) = (self.source, self.is_decoding, false);
        let read = source.walk(table, .., |key, value| {
            if is_hidden(&key) {
                return Ok(());
            }
            if is_decoding {
                envelope::decode::<R>(table.name, &key, value).map_err(|message| {
                    let message = format!("table {}, key {key:?}: {message}", table.name);
                    source.at.corrupt(message)
                })?;
            }
            self.batch.push(<K as Value>::as_bytes(&key).as_ref());
            self.batch.push(value);
            if self.batch.bytes.len() >= BATCH_BYTES && self.send().is_err() {
                is_stopped = true;
                // Ends the walk; the error of the thread that stopped is returned instead.
                return Err(source.at.corrupt("the copy stopped"));
            }
            Ok(())
        });
        if is_stopped {
            return Err(Halt::Stopped);
        }
        read?;
        self.batch.is_last = true;
        self.send().map_err(|Stopped| Halt::Stopped)
    }

    fn send(&mut self) -> Result<(), Stopped> {
        self.digest.update(&self.batch.bytes);
        (self.pass_on)(&mut self.batch)?;
        self.batch.bytes.clear();
        self.batch.is_last = false;
        Ok(())
    }
}

/// Reads every row that `source` sees, and counts it. Returns the digest of the rows.
///
/// The rows are not decoded: a copy with the digest of rows that could be decoded has the same bytes.
pub(crate) fn digest_rows(
    source: &View<'_, ReadTransaction>,
    meter: &mut Meter,
) -> Result<u128, RuntimeError> {
    let reader = Reader {
        source,
        is_decoding: false,
        digest: Xxh3::new(),
        batch: Batch::default(),
        pass_on: |batch: &mut Batch| {
            // A row has two parts.
            batch.parts().step_by(2).for_each(|_| meter.step());
            Ok(())
        },
    };
    match reader.all() {
        Ok(digest) => Ok(digest),
        Err(Halt::Failed(error)) => Err(error),
        Err(Halt::Stopped) => Err(source.at.corrupt("the copy stopped")),
    }
}

/// Copies every row that `source` sees to the empty database of `target`. Returns the digest of the
/// rows that were read. Another thread reads and verifies them; this one inserts and counts them.
pub(crate) fn copy_rows(
    source: &View<'_, ReadTransaction>,
    (target, at): (&WriteTransaction, RedbContext<'_>),
    meter: &mut Meter,
) -> Result<u128, RuntimeError> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING_BATCHES);
        let within = Within::current();
        let reading = thread::Builder::new()
            .spawn_scoped(scope, move || {
                within.enter();
                send_rows(source, &sender)
            })
            .map_err(|error| at.io(error))?;
        let mut writer = Writer {
            target,
            at,
            from: source.at,
            receiver: &receiver,
            meter,
        };
        let written = writer.all();
        // The reader stops at its next batch, if it has not ended.
        drop(receiver);
        let read = reading
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        match read {
            Ok(digest) => written.map(|()| digest),
            // The writer found the end of the batches too early because of this.
            Err(Halt::Failed(error)) => Err(error),
            Err(Halt::Stopped) => Err(written.err().unwrap_or_else(|| incomplete(at))),
        }
    })
}

fn send_rows(source: &View<'_, ReadTransaction>, sender: &SyncSender<Batch>) -> Result<u128, Halt> {
    let reader = Reader {
        source,
        is_decoding: true,
        digest: Xxh3::new(),
        batch: Batch::default(),
        pass_on: |batch: &mut Batch| {
            let next = Batch {
                bytes: Vec::with_capacity(batch.bytes.capacity()),
                is_last: false,
            };
            let full = std::mem::replace(batch, next);
            sender.send(full).map_err(|_| Stopped)
        },
    };
    reader.all()
}

/// The error for rows that end before all tables are complete.
fn incomplete(at: RedbContext<'_>) -> RuntimeError {
    at.corrupt("the copy was discarded: not all rows were read")
}

/// Inserts the rows of all tables, in the order in which they are read.
struct Writer<'a> {
    target: &'a WriteTransaction,
    at: RedbContext<'a>,
    /// The context of the source: a key out of order is damage there.
    from: RedbContext<'a>,
    receiver: &'a Receiver<Batch>,
    meter: &'a mut Meter,
}

impl Writer<'_> {
    fn all(&mut self) -> Result<(), RuntimeError> {
        self.table(&META)?;
        self.table(&RUNTIMES)?;
        self.table(&WORKERS)?;
        self.table(&EVENTS)?;
        self.table(&TRANSCRIPTS)?;
        self.table(&DIAGNOSTICS)?;
        self.table(&IMPORTS)?;
        self.table(&TOMBSTONES)?;
        self.table(&FILES)
    }

    /// Inserts the rows of a table through one cursor. That takes about a third of the time of
    /// single inserts, and fills the pages.
    fn table<K: Key + 'static, R>(&mut self, table: &TableOf<K, R>) -> Result<(), RuntimeError> {
        let at = self.at;
        // The copy has every table, also those without rows: a read transaction cannot open a
        // missing table.
        let mut open = self
            .target
            .open_table(table.definition)
            .map_err(|error| at.redb(error))?;
        let unbounded: Bound<K::SelfType<'_>> = Bound::Unbounded;
        let mut cursor = open
            .upper_bound_mut(unbounded)
            .map_err(|error| at.redb(error))?;
        loop {
            let batch = self.receiver.recv().map_err(|_| incomplete(at))?;
            self.insert(table, &mut cursor, &batch)?;
            if batch.is_last {
                return cursor.close().map_err(|error| at.redb(error));
            }
        }
    }

    fn insert<K: Key + 'static, R>(
        &mut self,
        table: &TableOf<K, R>,
        cursor: &mut CursorMut<'_, K, &'static [u8]>,
        batch: &Batch,
    ) -> Result<(), RuntimeError> {
        let mut parts = batch.parts();
        while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
            let inserted = cursor.insert_before(<K as Value>::from_bytes(key), value);
            inserted.map_err(|error| match error {
                CursorError::UnorderedKey => self
                    .from
                    .corrupt(format!("table {}: a key is out of order", table.name)),
                error => self.at.redb(error),
            })?;
            self.meter.step();
        }
        Ok(())
    }
}
