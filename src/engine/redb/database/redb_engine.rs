//! The redb engine of an open store: its database, and the commit of a batch.

use crate::commit::clock::Clock;
use crate::commit::engine::Engine;
use crate::commit::failure::Failure;
use crate::commit::queue::CommitQueue;
use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::registry::Registration;
use crate::engine::redb::database::sharing::Sharing;
use crate::engine::redb::file::checked_pages::BadPages;
use crate::engine::redb::file::file_id::{FileId, has_links};
use crate::engine::redb::file::one_sync::{self, OneSync};
use crate::engine::redb::file::shared_file::LockTimeout;
use crate::engine::redb::file::unclean::Recovery;
use crate::engine::redb::file::write_gate::FileSize;
use crate::engine::redb::tables::view::View;
use crate::error::{Place, RuntimeError};
use crate::fs::process::{Owned, Process};
use crate::ledger::change_set::ChangeSet;
use crate::ledger::context::OpContext;
use crate::ledger::rows::Rows;
use crate::model::management::RuntimeBackendKind;
use redb::{Database, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

/// The file size from which on commits save the allocator state of redb, so that an open after a
/// crash does not walk the whole file.
///
/// Measured without a disk (tmpfs): the walk takes 0.22 s at 64 MiB and 2.4 s at 1 GB, but 0.1 and
/// 0.2 ms if the state was saved. Saving it adds 0.04 ms to each commit at 64 MiB and 0.08 ms at 1
/// GB: six writes more, one of them of 64 KB for each GB, since redb saves the whole state each time.
///
/// On a disk the cost differs. On one whose two syncs took 8 ms no difference could be seen up to 270
/// MB. On one that syncs in 0.8 ms an input into 2,000,000 rows took 2.2 ms, and 0.8 ms without the
/// saved state; but then an open after a kill took 2.6 s for 1 GB. The open is the promise.
pub(crate) const QUICK_REPAIR_BYTES: u64 = 64 << 20;

/// Erases the unused bytes of the file of a database, and closes and opens the database without releasing the locks on
/// its file: the page cache of redb has these bytes, too. Returns `false` if a damaged page leaves open which pages are
/// free.
pub(crate) type Erase =
    Box<dyn Fn(Database, RedbContext<'_>) -> Result<(Database, bool), RuntimeError> + Send + Sync>;

/// A database that is open for writing.
pub(crate) struct Writer {
    pub(crate) database: Database,
    size: FileSize,
    /// The file size from which on commits save the allocator state.
    quick_repair_from: u64,
    /// `None` for stores in memory.
    erase: Option<Erase>,
    /// The file, to ask how many links it has. Declared after `database`, which gives up the locks.
    file: Option<File>,
    /// `None` if all commits take two syncs.
    one_sync: Option<OneSync>,
    /// The outcome of the recovery, if the file was not closed cleanly.
    pub(crate) recovery: Option<Recovery>,
}

impl Writer {
    /// A writer over `database`, whose file has the size `size`.
    pub(crate) fn new(database: Database, size: FileSize, erase: Option<Erase>) -> Self {
        Self {
            database,
            size,
            quick_repair_from: QUICK_REPAIR_BYTES,
            erase,
            file: None,
            one_sync: None,
            recovery: None,
        }
    }

    /// With the outcome of the recovery of its file.
    pub(crate) fn recovered(self, recovery: Option<Recovery>) -> Self {
        Self { recovery, ..self }
    }

    /// With commits of one sync, for a file whose backend `one_sync` belongs to.
    pub(crate) fn with_one_sync(self, one_sync: Option<OneSync>) -> Self {
        Self { one_sync, ..self }
    }

    /// With another file size from which on commits save the allocator state.
    pub(crate) fn quick_repair_from(self, bytes: u64) -> Self {
        Self {
            quick_repair_from: bytes,
            ..self
        }
    }

    /// With the file that the database is in, if its links can be counted.
    pub(crate) fn in_file(self, file: Option<File>) -> Self {
        Self { file, ..self }
    }

    /// Whether the file has no name any more.
    fn is_deleted(&self) -> bool {
        self.file.as_ref().is_some_and(|file| !has_links(file))
    }

    /// Whether commits have to save the allocator state. Call this after all writes of a
    /// transaction: one transaction can make a small file large.
    pub(crate) fn is_large(&self) -> bool {
        self.size.bytes() >= self.quick_repair_from
    }

    /// Overwrites the bytes of the file that no row of the last commit is in. Returns whether it could.
    ///
    /// Also persists the allocator state of redb, which closing the database does without growing the file. A commit
    /// that saves the state needs new pages, and redb grows a file by doubling it.
    pub(crate) fn erase_unused(self, at: RedbContext<'_>) -> Result<(Self, bool), RuntimeError> {
        let Some(erase) = &self.erase else {
            return Ok((self, true));
        };
        let (database, is_whole) = erase(self.database, at)?;
        Ok((Self { database, ..self }, is_whole))
    }
}

/// The redb database of a store.
pub(crate) enum Handle {
    /// Open for writing and reading.
    Writer(Writer),
    /// Open for reading.
    Reader(ReadOnlyDatabase),
    /// Closed, for every handle of the store.
    Closed,
}

impl Handle {
    /// With the file that the database is in, if its links can be counted.
    pub(crate) fn in_file(self, file: Option<File>) -> Self {
        match self {
            Self::Writer(writer) => Self::Writer(writer.in_file(file)),
            other => other,
        }
    }
}

/// An open store: the commit queue over the redb engine.
pub(crate) type OpenStore = CommitQueue<RedbEngine>;

/// The redb engine of one open store. It caches no state of the runtimes: every operation reads the
/// rows that it decides on.
pub(crate) struct RedbEngine {
    place: Place,
    /// The process that opened the store.
    process: Process,
    /// The place, as a path that the working directory of the process does not change.
    absolute_path: PathBuf,
    /// The path of the latest open. A directory of the first path may have been renamed since.
    last_path: Mutex<PathBuf>,
    pub(crate) backend: RuntimeBackendKind,
    pub(crate) sharing: Sharing,
    pub(crate) bad_pages: Arc<BadPages>,
    /// Whether the file was not closed cleanly and is read without a repair of it.
    pub(crate) recovered_in_memory: bool,
    /// The outcome of the recovery, if this process opened the file for writing and it was not closed cleanly.
    pub(crate) recovery: Option<Recovery>,
    /// Dates the changes.
    pub(crate) clock: Clock,
    handle: RwLock<Handle>,
    /// Declared after `handle`, so that the file is closed before the registry lets another open of
    /// it begin.
    registration: Option<Registration<OpenStore>>,
}

impl RedbEngine {
    pub(crate) fn new(
        place: Place,
        backend: RuntimeBackendKind,
        sharing: Sharing,
        handle: Handle,
        bad_pages: Arc<BadPages>,
        registration: Option<Registration<OpenStore>>,
    ) -> Self {
        let recovery = match &handle {
            Handle::Writer(writer) => writer.recovery,
            _ => None,
        };
        let path = place.name();
        let absolute_path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        Self {
            last_path: Mutex::new(absolute_path.clone()),
            process: Process::current(),
            absolute_path,
            place,
            backend,
            sharing,
            bad_pages,
            recovered_in_memory: false,
            recovery,
            clock: Clock::default(),
            handle: RwLock::new(handle),
            registration,
        }
    }

    /// The context of `operation` on this store.
    pub(crate) fn at(&self, operation: &'static str) -> RedbContext<'_> {
        self.within(OpContext::new(operation, &self.place))
    }

    fn handle(&self, at: OpContext<'_>) -> Result<RwLockReadGuard<'_, Handle>, RuntimeError> {
        at.refuse_fork(self.process)?;
        self.handle.read().map_err(|_| RuntimeError::StatePoisoned)
    }

    /// Takes a snapshot of the last commit.
    pub(crate) fn begin_read(
        &self,
        at: RedbContext<'_>,
    ) -> Result<Owned<ReadTransaction>, RuntimeError> {
        let handle = self.handle(at.operation())?;
        let transaction = match &*handle {
            Handle::Writer(writer) => writer.database.begin_read(),
            Handle::Reader(database) => database.begin_read(),
            Handle::Closed => return Err(at.closed()),
        };
        let transaction = transaction.map_err(|error| at.redb(error))?;
        Ok(Owned::new(transaction, self.process))
    }

    /// Begins a write transaction that commits in two phases. With several writers it waits for the
    /// write transactions of other processes.
    pub(crate) fn begin_write(
        &self,
        at: RedbContext<'_>,
    ) -> Result<Owned<WriteTransaction>, RuntimeError> {
        let handle = self.handle(at.operation())?;
        let database = match &*handle {
            Handle::Writer(writer) => &writer.database,
            Handle::Reader(_) => return Err(at.read_only()),
            Handle::Closed => return Err(at.closed()),
        };
        let mut transaction = database.begin_write().map_err(|error| at.redb(error))?;
        // Needed for memory and the exclusive mode. In the modes that share the file redb always
        // commits in two phases.
        transaction.set_two_phase_commit(true);
        Ok(Owned::new(transaction, self.process))
    }

    /// Makes the commit of `transaction` save the allocator state, if the file is large by now.
    pub(crate) fn save_free_pages(
        &self,
        transaction: &mut WriteTransaction,
        at: OpContext<'_>,
    ) -> Result<(), RuntimeError> {
        if let Handle::Writer(writer) = &*self.handle(at)? {
            transaction.set_quick_repair(writer.is_large());
        }
        Ok(())
    }

    /// Runs `read` on a snapshot of the last commit.
    pub(crate) fn read<T>(
        &self,
        operation: &'static str,
        read: impl FnOnce(&View<'_, ReadTransaction>) -> Result<T, RuntimeError>,
    ) -> Result<T, RuntimeError> {
        let at = self.at(operation);
        at.guard(|| {
            let transaction = self.begin_read(at)?;
            read(&View {
                tables: &*transaction,
                at,
            })
        })
    }

    /// Closes the file for every handle of the store. A second close succeeds.
    pub(crate) fn close_file(&self, at: RedbContext<'_>) -> Result<(), RuntimeError> {
        at.refuse_fork(self.process)?;
        let mut handle = self
            .handle
            .write()
            .map_err(|_| RuntimeError::StatePoisoned)?;
        match std::mem::replace(&mut *handle, Handle::Closed) {
            Handle::Writer(writer) => {
                at.guard(|| writer.database.close().map_err(|error| at.redb(error)))
            }
            Handle::Reader(database) => {
                at.guard(|| database.close().map_err(|error| at.redb(error)))
            }
            Handle::Closed => Ok(()),
        }
    }

    /// Whether this process has the file open for writing.
    pub(crate) fn is_writer(&self, at: OpContext<'_>) -> Result<bool, RuntimeError> {
        Ok(matches!(*self.handle(at)?, Handle::Writer(..)))
    }

    /// Runs `work` with exclusive use of the database in this process: snapshots that are requested
    /// meanwhile wait. If `work` returns no database, the store is closed.
    pub(crate) fn with_writer(
        &self,
        at: RedbContext<'_>,
        work: impl FnOnce(Writer) -> (Option<Writer>, Result<(), RuntimeError>),
    ) -> Result<(), RuntimeError> {
        at.refuse_fork(self.process)?;
        let mut handle = self
            .handle
            .write()
            .map_err(|_| RuntimeError::StatePoisoned)?;
        match std::mem::replace(&mut *handle, Handle::Closed) {
            Handle::Writer(writer) => {
                // If `work` panics, the store is closed: the database was moved into it.
                let (writer, result) = work(writer);
                *handle = writer.map_or(Handle::Closed, Handle::Writer);
                result
            }
            Handle::Reader(reader) => {
                *handle = Handle::Reader(reader);
                Err(at.read_only())
            }
            Handle::Closed => Err(at.closed()),
        }
    }

    /// The identity of the file, if the store is in a file and the system has identities.
    pub(crate) fn file(&self) -> Option<FileId> {
        self.registration.as_ref().map(Registration::file)
    }

    /// Records that `path` led to the file when it was opened there.
    pub(crate) fn found_at(&self, path: &Path) {
        let mut found = self
            .last_path
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *found = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    }

    /// A path that leads to the file now, or the reason why there is none. The path of the first
    /// open is tried first, then that of the latest.
    pub(crate) fn file_path(&self) -> Result<PathBuf, &'static str> {
        let is_there = |path: &Path| std::fs::metadata(path).ok();
        let leads_to =
            |file, path: &Path| is_there(path).and_then(|there| FileId::of(&there)) == Some(file);
        let path = &self.absolute_path;
        let Some(file) = self.file() else {
            return match self.backend {
                RuntimeBackendKind::Memory => Err("the store is in memory"),
                _ if is_there(path).is_none() => Err("the store is not in a file of its own"),
                _ => Ok(path.clone()),
            };
        };
        if leads_to(file, path) {
            return Ok(path.clone());
        }
        if !self.process.is_current() {
            return Err("the store was opened in another process");
        }
        let last = self
            .last_path
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        match leads_to(file, &last) {
            true => Ok(last.clone()),
            false => Err("the file was moved: the path of the store no longer leads to it"),
        }
    }

    /// Whether a commit to the file that is open is lost to every later open of the store: the file was
    /// deleted, or another one is at its path. A file that was renamed, or whose directory was, is not.
    pub(crate) fn is_moved(&self, at: OpContext<'_>) -> bool {
        let Some(file) = self.file() else {
            return false;
        };
        let there = std::fs::metadata(&self.absolute_path).ok();
        match there.as_ref().and_then(FileId::of) {
            Some(there) if there == file => false,
            Some(_) => self.file_path().is_err(),
            None => match self.handle(at).as_deref() {
                Ok(Handle::Writer(writer)) => writer.is_deleted(),
                _ => false,
            },
        }
    }

    /// The size of the file in bytes, also if no path leads to it any more. `None` for a store
    /// without a file, and if the path is lost while other processes may change the size.
    pub(crate) fn file_bytes(&self, at: RedbContext<'_>) -> Result<Option<u64>, RuntimeError> {
        if let Ok(path) = self.file_path() {
            let metadata = std::fs::metadata(path).map_err(|error| at.io(error))?;
            return Ok(Some(metadata.len()));
        }
        match &*self.handle(at.operation())? {
            Handle::Writer(writer) if self.file().is_some() && !self.others_write() => {
                Ok(Some(writer.size.bytes()))
            }
            _ => Ok(None),
        }
    }

    fn others_write(&self) -> bool {
        self.sharing == Sharing::ManyWriters
    }

    /// Whether an access to the file failed. redb then rejects every later access, which a snapshot
    /// shows.
    pub(crate) fn has_failed(&self) -> bool {
        let failed = |error| matches!(error, RuntimeError::StoreFailed { .. });
        self.begin_read(self.at("open")).is_err_and(failed)
    }

    /// Removes the store from the registry, so that the next open of the file opens it again.
    pub(crate) fn vacate(&self) {
        if let Some(registration) = &self.registration {
            registration.vacate();
        }
    }

    /// The context of an operation of the queue, with the damaged pages of this store.
    fn within<'a>(&'a self, at: OpContext<'a>) -> RedbContext<'a> {
        RedbContext::of(at)
            .noting(&self.bad_pages)
            .of_process(self.process)
    }

    /// Lets the commit of `changes` take one sync, if it may.
    fn one_sync(&self, changes: &ChangeSet) -> Option<OneSync> {
        // A load has written its rows to the transaction already, any number of them.
        if changes.is_empty() || changes.bytes() > one_sync::MAX_BYTES {
            return None;
        }
        let handle = self.handle.read().ok()?;
        match &*handle {
            Handle::Writer(writer) => writer.one_sync.clone(),
            _ => None,
        }
    }

    /// Commits `transaction`. A failure before the commit of redb begins leaves the file unchanged;
    /// a later one leaves the outcome unknown.
    fn commit_transaction(
        &self,
        mut transaction: WriteTransaction,
        at: RedbContext<'_>,
    ) -> Result<(), Failure> {
        self.save_free_pages(&mut transaction, at.operation())
            .map_err(Failure::before_commit)?;
        match at.guard(|| Ok(transaction.commit())) {
            Ok(outcome) => outcome.map_err(in_commit)?,
            // A panic during a commit leaves the outcome as unknown as an error does.
            Err(panic) => {
                return Err(Failure::Uncertain(
                    std::io::ErrorKind::Other,
                    panic.to_string(),
                ));
            }
        }
        // After the last sync and before any acknowledgement: a file that loses its name later had it
        // when the commit was acknowledged.
        match self.is_moved(at.operation()) {
            false => Ok(()),
            true => Err(Failure::Moved),
        }
    }
}

/// A failure within the commit of redb: the file may have the batch or not.
fn in_commit(error: redb::CommitError) -> Failure {
    match redb::Error::from(error) {
        redb::Error::Io(source) => match LockTimeout::of(&source) {
            // No lock fails once the header names the commit; see `SharedFile`.
            Some(timeout) => Failure::Locked {
                holder: timeout.holder,
            },
            None => Failure::Uncertain(source.kind(), source.to_string()),
        },
        other => Failure::Uncertain(std::io::ErrorKind::Other, other.to_string()),
    }
}

impl RedbEngine {
    /// The syncs of the file since it was opened for writing, and its length in bytes.
    pub(crate) fn file_counters(&self) -> (u64, u64) {
        match &*self.handle.read().unwrap_or_else(PoisonError::into_inner) {
            Handle::Writer(writer) => {
                let skipped = writer.one_sync.as_ref().map_or(0, OneSync::skipped);
                (writer.size.syncs() - skipped, writer.size.bytes())
            }
            _ => (0, 0),
        }
    }
}

impl Engine for RedbEngine {
    fn file_bytes(&self) -> u64 {
        self.file_counters().1
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    type Snapshot = Owned<ReadTransaction>;
    type Turn = Owned<WriteTransaction>;

    fn place(&self) -> &Place {
        &self.place
    }

    fn stages_ahead(&self) -> bool {
        // With several writers other processes change the committed rows that a staged operation
        // has read.
        !self.others_write()
    }

    fn survives(&self, _: &Failure) -> bool {
        // redb rejects every access after a failed one.
        false
    }

    fn others_may_commit(&self) -> bool {
        // A store that is open for reading only follows the commits of a writer in another process.
        let at = OpContext::new("open", &self.place);
        self.others_write() || !self.is_writer(at).unwrap_or(false)
    }

    fn snapshot(&self, at: OpContext<'_>) -> Result<Owned<ReadTransaction>, RuntimeError> {
        let at = self.within(at);
        at.guard(|| self.begin_read(at))
    }

    fn snapshot_rows<'a>(
        &'a self,
        snapshot: &'a Owned<ReadTransaction>,
        at: OpContext<'a>,
    ) -> impl Rows + 'a {
        View {
            tables: &**snapshot,
            at: self.within(at),
        }
    }

    fn release(&self, snapshot: Owned<ReadTransaction>, at: OpContext<'_>) {
        // redb can panic on a damaged file when a snapshot is released. The caller holds the lock
        // of the queue, which a panic would poison.
        let _ = self.within(at).guard(|| {
            drop(snapshot);
            Ok(())
        });
    }

    fn begin(&self, at: OpContext<'_>) -> Result<Owned<WriteTransaction>, RuntimeError> {
        let at = self.within(at);
        at.guard(|| self.begin_write(at))
    }

    fn turn_rows<'a>(
        &'a self,
        turn: &'a Owned<WriteTransaction>,
        at: OpContext<'a>,
    ) -> impl Rows + 'a {
        View {
            tables: &**turn,
            at: self.within(at),
        }
    }

    fn commit(
        &self,
        turn: Owned<WriteTransaction>,
        changes: &ChangeSet,
        at: OpContext<'_>,
    ) -> Result<(), Failure> {
        let at = self.within(at);
        let one_sync = self.one_sync(changes);
        let _armed = one_sync.as_ref().map(OneSync::arm);
        if let Err(error) = at.guard(|| changes.write(&turn, at)) {
            // On a damaged file redb can panic again when it undoes the transaction. Unguarded,
            // that panic would leave the queue waiting for this commit.
            let _ = at.guard(|| {
                drop(turn);
                Ok(())
            });
            return Err(Failure::before_commit(error));
        }
        match turn.into_inner() {
            Some(turn) => self.commit_transaction(turn, at),
            None => Err(Failure::Forked),
        }
    }

    fn abort(&self, turn: Owned<WriteTransaction>, at: OpContext<'_>) -> Result<(), RuntimeError> {
        let at = self.within(at);
        at.guard(|| match turn.into_inner() {
            Some(turn) => turn.abort().map_err(|error| at.redb(error)),
            None => Err(at.forked()),
        })
    }
}

impl Drop for RedbEngine {
    /// Closes the file. An error or a panic of redb cannot be reported from here. In a fork nothing is
    /// closed: the locks are those of the parent.
    fn drop(&mut self) {
        if !self.process.is_current() {
            let handle = self
                .handle
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(std::mem::replace(handle, Handle::Closed));
            return;
        }
        drop(self.close_file(self.at("close")));
    }
}
