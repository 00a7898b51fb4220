//! The error type of runtimes and stores.

use crate::model::attributes::InvalidAttributes;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::visible::Visible;
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The location of a store in errors. Its `Display` is the path of the store's file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    name: PathBuf,
    is_file: bool,
}

impl Place {
    /// The file at `path`.
    pub(crate) fn file(path: &Path) -> Self {
        Self {
            name: path.to_owned(),
            is_file: true,
        }
    }

    /// A place that is not a file, with a name for messages.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: PathBuf::from(name),
            is_file: false,
        }
    }

    /// The path of the store's file; `None` for a store without a file, such as one in memory.
    pub fn as_path(&self) -> Option<&Path> {
        self.is_file.then_some(&self.name)
    }

    /// The path, or the name of a place without a file, for the errors that have a `path`.
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Visible(self.name.display()).fmt(f)
    }
}

/// The reason why an operation was rejected or failed.
///
/// Errors of the store name its place and, if several operations can return them, the operation. An
/// operation that returned an error changed nothing, unless the variant says otherwise.
///
/// `Display` prints the error without its cause; [`source`](std::error::Error::source) returns the cause.
/// Print both. A message is one line, in which paths, ids and quoted text are escaped as by [`Visible`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The runtime was stopped: reads work, every change is rejected.
    #[error("runtime {} is stopped", Visible(runtime_id))]
    RuntimeStopped {
        /// The stopped runtime.
        runtime_id: RuntimeId,
    },
    /// The worker ref belongs to another runtime.
    #[error(
        "worker {} belongs to runtime {}, this is runtime {}",
        Visible(worker_id),
        Visible(actual_runtime_id),
        Visible(expected_runtime_id)
    )]
    WrongRuntime {
        /// The runtime of the call.
        expected_runtime_id: RuntimeId,
        /// The runtime in the ref.
        actual_runtime_id: RuntimeId,
        /// The worker in the ref.
        worker_id: WorkerId,
    },
    /// The event cursor belongs to another runtime.
    #[error(
        "the cursor belongs to runtime {}, this is runtime {}",
        Visible(actual_runtime_id),
        Visible(expected_runtime_id)
    )]
    WrongRuntimeCursor {
        /// The runtime of the call.
        expected_runtime_id: RuntimeId,
        /// The runtime in the cursor.
        actual_runtime_id: RuntimeId,
    },
    /// The runtime has no such worker.
    #[error("runtime {} has no worker {}", Visible(runtime_id), Visible(worker_id))]
    WorkerNotFound {
        /// The runtime of the call.
        runtime_id: RuntimeId,
        /// The unknown worker.
        worker_id: WorkerId,
    },
    /// The store has no such runtime.
    #[error("{path}: no runtime {} in this store", Visible(runtime_id), path = Visible(path.display()))]
    RuntimeNotFound {
        /// The store's file.
        path: PathBuf,
        /// The unknown runtime.
        runtime_id: RuntimeId,
    },
    /// The cursor or the position is below the floor of its log: rows that it has not returned yet were pruned.
    ///
    /// `requested` and `first` are event ids for an event log, and positions for the follower of a transcript. To
    /// continue with the rows that remain, start at `first`. Retention removes rows, see
    /// [`Runtime::prune`](crate::Runtime::prune).
    #[error("{requested} was requested, but everything before {first} was pruned")]
    EventsPruned {
        /// The event id or the position that was requested.
        requested: u64,
        /// The first event id or position that can be read.
        first: u64,
    },
    /// A read requested more items than the limit of the runtime.
    #[error("{requested} items were requested, the limit is {max}")]
    LimitTooLarge {
        /// The requested number of items.
        requested: usize,
        /// The limit, in items.
        max: usize,
    },
    /// An input with this key was accepted, and it was another input. Nothing was written.
    #[error(
        "worker {} of runtime {} accepted another input with the key {}",
        Visible(&worker_ref.worker_id),
        Visible(&worker_ref.runtime_id),
        Visible(key)
    )]
    KeyReused {
        /// The worker.
        worker_ref: WorkerRef,
        /// The key.
        key: String,
    },
    /// The runtime has a worker with this id that another request created. Nothing was written.
    #[error(
        "runtime {} has a worker {} that another request created",
        Visible(&worker_ref.runtime_id),
        Visible(&worker_ref.worker_id)
    )]
    WorkerExists {
        /// The worker.
        worker_ref: WorkerRef,
    },
    /// A transcript entry has more bytes than the host allows; see
    /// [`StoreOptions::max_entry_bytes`](crate::store::StoreOptions::max_entry_bytes). Nothing was written.
    #[error("a transcript entry has {bytes} bytes, the limit of the store is {max}")]
    EntryTooLarge {
        /// The length of the content and of the attributes, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        max: u64,
    },
    /// The file has as many bytes as the host allows, or more; see
    /// [`StoreOptions::max_store_bytes`](crate::store::StoreOptions::max_store_bytes). Nothing was written. Reading, stopping,
    /// deleting, pruning and compacting work.
    #[error("{place}: the file has {bytes} bytes, the limit is {max}")]
    StoreFull {
        /// The store.
        place: Place,
        /// The length of the file, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        max: u64,
    },
    /// The request is invalid; the text says why.
    #[error("invalid request: {}", Visible(.0))]
    InvalidRequest(String),
    /// The system returned an error for an access to the store's files. A write that fails with this error
    /// is not in the store.
    #[error("{path}: {operation} failed", path = Visible(path.display()))]
    StoreIo {
        /// The operation.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The path does not exist, or the schema on the server has no store.
    #[error("{path}: {missing}", path = Visible(path.display()), missing = missing_at(path))]
    StoreMissing {
        /// The operation.
        operation: &'static str,
        /// The path of the missing store.
        path: PathBuf,
    },
    /// The store's path leads to another file now, or the file that is open was deleted. No operation is
    /// acknowledged in a file that no path leads to. Every later write is rejected with this error; reads
    /// return the rows of the old file. Open the path again to get the file that is at the path.
    #[error(
        "{place}: {operation}: the file that is open was deleted or replaced; open the store again"
    )]
    StoreMoved {
        /// The operation that found the move.
        operation: &'static str,
        /// The place that the store was opened at.
        place: Place,
        /// Whether the operation was committed to the old file, and is lost unless that file is kept
        /// under another name. Otherwise it is in no file.
        is_uncertain: bool,
    },
    /// The system does not lock the store's file: its file system, or the sandbox of the process, has no
    /// open-file-description locks. They keep two processes from writing to one file, so no store is
    /// opened or created without them, with any [`Sharing`](crate::store::Sharing). The file was not
    /// changed. Move the store to a local file system, or let the sandbox permit `fcntl` with the
    /// `F_OFD_` commands.
    #[error(
        "{place}: {operation}: the file system or the sandbox has no open-file-description locks, which \
         keep two processes from writing to one file; move the store to a local file system"
    )]
    LocksUnsupported {
        /// The operation that found it out.
        operation: &'static str,
        /// The place of the store.
        place: Place,
    },
    /// The calling process is a fork of the process that opened the store. A store belongs to the process
    /// that opened it. The call changed nothing, in the file or of its locks. Open the store in
    /// this process, after the parent closed it.
    #[error(
        "{place}: {operation}: the store was opened in another process, of which this one is a fork; \
         open it in this process"
    )]
    StoreForked {
        /// The operation.
        operation: &'static str,
        /// The place that the store was opened at.
        place: Place,
    },
    /// The store's file is corrupt. It was not changed.
    #[error("{path}: {operation}: the store is corrupt: {}", Visible(message), path = Visible(path.display()))]
    StoreCorrupt {
        /// The operation.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// A description of the damage; for a value it names the table and the key.
        message: String,
    },
    /// Bytes that are not the store's follow its end, as after a power loss or a transfer. The store can be
    /// read, but redb does not write to such a file. It was not changed. A [backup](crate::Store::backup)
    /// of the store, opened read-only, does not have these bytes: put it in the file's place.
    #[error(
        "{place}: {operation}: the store can be read but not written, because it ends {bytes} bytes before \
         its file; a backup of it can be written"
    )]
    BytesAfterEnd {
        /// The operation that found it out.
        operation: &'static str,
        /// The place of the store.
        place: Place,
        /// How many bytes there are after the end.
        bytes: u64,
    },
    /// The path leads to a directory or to a file that is not a store. It was not changed.
    #[error("{path}: not a runtime store: {}", Visible(message), path = Visible(path.display()))]
    NotAStore {
        /// The path.
        path: PathBuf,
        /// A description of the file or directory.
        message: String,
    },
    /// A newer version of this crate wrote the store. The file was not changed.
    #[error(
        "{path}: the store has schema version {found}, this program reads up to {supported}",
        path = Visible(path.display())
    )]
    StoreSchemaTooNew {
        /// The file.
        path: PathBuf,
        /// The schema version of the store.
        found: u32,
        /// The newest schema version that this version of the crate reads.
        supported: u32,
    },
    /// An older version of this crate wrote the store, and it was opened read-only or with
    /// [`migrate(false)`](crate::store::StoreOptions::migrate). The file was not changed.
    #[error(
        "{path}: the store has schema version {found}, this program reads {supported}; open it for \
         writing once to migrate it",
        path = Visible(path.display())
    )]
    StoreSchemaTooOld {
        /// The file.
        path: PathBuf,
        /// The schema version of the store.
        found: u32,
        /// The schema version that this version of the crate reads.
        supported: u32,
    },
    /// Another process has the store open.
    #[error(
        "{path}: the store is open in another process{holder}",
        path = Visible(path.display()),
        holder = holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    StoreLocked {
        /// The file.
        path: PathBuf,
        /// The id of that process, if the system reports it.
        holder: Option<u32>,
    },
    /// The operation needs exclusive access, and the store is in use. Nothing was changed.
    #[error("{path}: {operation}: the store is in use: {}", Visible(reason), path = Visible(path.display()))]
    StoreBusy {
        /// The operation.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The processes that use the store, as far as the system reports them.
        reason: String,
    },
    /// Another host changed the runtime while the operation was on its way, and the connection to the server was lost or the
    /// server undid its transaction. Nothing was changed. The same call can succeed.
    #[error("{place}: {operation}: another host changed the runtime meanwhile; repeat the call")]
    StoreConflict {
        /// The operation.
        operation: &'static str,
        /// The place of the store.
        place: Place,
    },
    /// A copy found other content in the store that it goes to. Nothing of it was changed.
    #[error(
        "{place}: the store has other content already: {found}; replace it or leave it out",
        found = OtherContent(runtimes, others)
    )]
    CopyConflict {
        /// The place of the store that the copy goes to.
        place: Place,
        /// The runtimes that both stores have, with different content.
        runtimes: Vec<RuntimeId>,
        /// The import records and files of no runtime that differ, in words.
        others: Vec<String>,
    },
    /// The store was not closed cleanly, and a read-only open cannot repair it.
    /// [`StoreOptions::recover_in_memory`](crate::store::StoreOptions::recover_in_memory) reads it all the
    /// same.
    #[error(
        "{path}: the store was not closed cleanly; open it for writing once to repair it",
        path = Visible(path.display())
    )]
    NeedsRepair {
        /// The file.
        path: PathBuf,
    },
    /// The operation writes, and the store was opened read-only.
    #[error("{path}: {operation}: the store was opened read-only", path = Visible(path.display()))]
    StoreReadOnly {
        /// The operation.
        operation: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The store was closed.
    #[error("{path}: {operation}: the store was closed", path = Visible(path.display()))]
    StoreClosed {
        /// The operation.
        operation: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The commit failed on its way to the disk. The operation is stored completely or not at all; which of
    /// the two is unknown until the store is opened again.
    #[error(
        "{path}: the commit failed, its outcome is unknown until the store is opened again",
        path = Visible(path.display())
    )]
    CommitUncertain {
        /// The file.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The operation is complete and its file is in its place, but syncing the directory failed: a power
    /// loss can undo it. Check the result, or repeat the operation.
    #[error(
        "{place}: {operation}: the file is complete, but a power loss may still remove it: its directory could not be synced"
    )]
    DurabilityUncertain {
        /// The operation.
        operation: &'static str,
        /// The place of the file that it made.
        place: Place,
        /// The error of the system.
        source: io::Error,
    },
    /// An earlier access to the file failed. Writes, and reads of the file, are rejected until the store is
    /// opened again.
    #[error(
        "{path}: {operation}: an earlier access to the file failed; open the store again",
        path = Visible(path.display())
    )]
    StoreFailed {
        /// The operation.
        operation: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A thread panicked while it changed the store's state in memory. Open the store again.
    #[error("a thread panicked and left the state of the store unknown; open the store again")]
    StatePoisoned,
}

/// What is missing at the place of a store.
fn missing_at(path: &Path) -> &'static str {
    match path.starts_with("postgres:") {
        true => "no store in this schema",
        false => "no such file",
    }
}

/// The most names of a list in a message.
const MOST_LISTED: usize = 10;

/// Lists what differs, each name escaped.
struct OtherContent<'a>(&'a [RuntimeId], &'a [String]);

impl fmt::Display for OtherContent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runtimes = self.0.iter().map(|id| format!("runtime {}", Visible(id)));
        let others = self.1.iter().map(|name| Visible(name).to_string());
        let names: Vec<String> = runtimes.chain(others).take(MOST_LISTED).collect();
        f.write_str(&names.join(", "))?;
        match (self.0.len() + self.1.len()).saturating_sub(MOST_LISTED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl From<InvalidAttributes> for RuntimeError {
    fn from(error: InvalidAttributes) -> Self {
        Self::InvalidRequest(error.to_string())
    }
}

/// The result of most functions of this crate.
pub type Result<T, E = RuntimeError> = std::result::Result<T, E>;

/// The meaning of an error for the caller, independent of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The call does not fit the model or the state of its runtime or worker. Another call can.
    Rejected,
    /// A runtime, a worker, a row or a file is not there.
    NotFound,
    /// Another process uses the store. The same call succeeds once that process is done.
    InUse,
    /// The handle was closed, is read-only, or belongs to another process. The store itself is not the reason.
    Handle,
    /// The store has to be opened again: the path leads to another file, or an access failed.
    Reopen,
    /// The file has to be repaired, migrated or replaced, or read by a newer version of this crate.
    File,
    /// The file is damaged.
    Damaged,
    /// The system refused an access.
    System,
    /// The operation may be stored or not.
    Uncertain,
}

impl RuntimeError {
    /// The meaning of the error for the caller.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::RuntimeStopped { .. }
            | Self::WrongRuntime { .. }
            | Self::WrongRuntimeCursor { .. }
            | Self::LimitTooLarge { .. }
            | Self::KeyReused { .. }
            | Self::WorkerExists { .. }
            | Self::EntryTooLarge { .. }
            | Self::StoreFull { .. }
            | Self::CopyConflict { .. }
            | Self::InvalidRequest(_) => ErrorKind::Rejected,
            Self::WorkerNotFound { .. }
            | Self::RuntimeNotFound { .. }
            | Self::EventsPruned { .. }
            | Self::StoreMissing { .. } => ErrorKind::NotFound,
            Self::StoreLocked { .. } | Self::StoreBusy { .. } | Self::StoreConflict { .. } => {
                ErrorKind::InUse
            }
            Self::StoreReadOnly { .. } | Self::StoreClosed { .. } | Self::StoreForked { .. } => {
                ErrorKind::Handle
            }
            Self::StoreMoved {
                is_uncertain: true, ..
            }
            | Self::CommitUncertain { .. }
            | Self::DurabilityUncertain { .. } => ErrorKind::Uncertain,
            Self::StoreMoved { .. } | Self::StoreFailed { .. } | Self::StatePoisoned => {
                ErrorKind::Reopen
            }
            Self::BytesAfterEnd { .. }
            | Self::NotAStore { .. }
            | Self::StoreSchemaTooNew { .. }
            | Self::StoreSchemaTooOld { .. }
            | Self::NeedsRepair { .. } => ErrorKind::File,
            Self::StoreCorrupt { .. } => ErrorKind::Damaged,
            Self::StoreIo { .. } | Self::LocksUnsupported { .. } => ErrorKind::System,
        }
    }

    /// Whether the same call can succeed later without a change by the caller: nothing was changed, and another process
    /// only has to be done with the store. After a [`StoreLocked`](Self::StoreLocked) of an operation, unlike one of an
    /// open, the store has to be opened again first: the repeated call returns
    /// [`StoreFailed`](Self::StoreFailed) otherwise.
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::InUse
    }
}

/// The message of `error` followed by those of its causes.
pub(crate) fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

#[cfg(test)]
#[path = "error_tests.rs"]
mod tests;
