//! The one error type of runtimes and stores.

use crate::model::identity::{RuntimeId, WorkerId};
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The place of a store, which errors name. It displays as the path of the store's file.
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

    /// A place that is no file, under a name for messages.
    pub(crate) fn named(name: &str) -> Self {
        Self {
            name: PathBuf::from(name),
            is_file: false,
        }
    }

    /// The path of the store's file; `None` for a store that is in no file, such as one in memory.
    pub fn as_path(&self) -> Option<&Path> {
        self.is_file.then_some(&self.name)
    }

    /// The path, or the name in its stead: what the errors have that carry a `path`.
    pub(crate) fn name(&self) -> &Path {
        &self.name
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.display().fmt(f)
    }
}

/// Why an operation was refused or failed.
///
/// Errors of the store name its place, and the operation where there can be more than one. Unless a
/// variant says otherwise, an operation that returned an error left nothing behind.
///
/// The message of an error does not contain its cause: [`source`](std::error::Error::source) returns
/// it. Print both to say all that is known.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// The runtime was stopped: everything stays readable, every change is refused.
    #[error("runtime {runtime_id} is stopped")]
    RuntimeStopped {
        /// The stopped runtime.
        runtime_id: RuntimeId,
    },
    /// A worker ref of another runtime.
    #[error(
        "worker {worker_id} belongs to runtime {actual_runtime_id}, this is runtime {expected_runtime_id}"
    )]
    WrongRuntime {
        /// The runtime that was asked.
        expected_runtime_id: RuntimeId,
        /// The runtime that the ref names.
        actual_runtime_id: RuntimeId,
        /// The worker that the ref names.
        worker_id: WorkerId,
    },
    /// An event cursor of another runtime.
    #[error(
        "the cursor belongs to runtime {actual_runtime_id}, this is runtime {expected_runtime_id}"
    )]
    WrongRuntimeCursor {
        /// The runtime that was asked.
        expected_runtime_id: RuntimeId,
        /// The runtime that the cursor names.
        actual_runtime_id: RuntimeId,
    },
    /// No such worker.
    #[error("runtime {runtime_id} has no worker {worker_id}")]
    WorkerNotFound {
        /// The runtime that was asked.
        runtime_id: RuntimeId,
        /// The worker that it does not have.
        worker_id: WorkerId,
    },
    /// No such runtime in the store.
    #[error("{path}: no runtime {runtime_id} in this store", path = path.display())]
    RuntimeNotFound {
        /// The store.
        path: PathBuf,
        /// The runtime that it does not have.
        runtime_id: RuntimeId,
    },
    /// More items were asked for than the runtime's limits allow.
    #[error("{requested} items were requested, the limit is {max}")]
    LimitTooLarge {
        /// What was asked for.
        requested: usize,
        /// What the limit is.
        max: usize,
    },
    /// A request that makes no sense, in words.
    #[error("invalid request: {0}")]
    InvalidRequest(String),
    /// The system refused an access to the store's files. A write that fails like this is not in
    /// the store.
    #[error("{path}: {operation} failed", path = path.display())]
    StoreIo {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no store at the path.
    #[error("{path}: no such file", path = path.display())]
    StoreMissing {
        /// What was being done.
        operation: &'static str,
        /// Where the store was looked for.
        path: PathBuf,
    },
    /// The store's path leads to another file now, or to none: the file that is open was renamed,
    /// removed or replaced. Open the path again to get the file that is there.
    #[error(
        "{place}: {operation}: the file that is open was moved or replaced; open the store again"
    )]
    StoreMoved {
        /// The operation that found it out.
        operation: &'static str,
        /// The place that the store was opened at.
        place: Place,
    },
    /// The store's file is damaged. It was not changed.
    #[error("{path}: {operation}: the store is damaged: {message}", path = path.display())]
    StoreCorrupt {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong, naming table and key where it is a value.
        message: String,
    },
    /// What is at the path is no store of ours. It was not touched.
    #[error("{path}: this is not a runtime store: {message}", path = path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        message: String,
    },
    /// The store was written by a newer version of this crate. It was not touched.
    #[error(
        "{path}: the store has schema version {found}, this program reads up to {supported}",
        path = path.display()
    )]
    StoreSchemaTooNew {
        /// The file.
        path: PathBuf,
        /// The schema version that it carries.
        found: u32,
        /// The newest that this version of the crate reads.
        supported: u32,
    },
    /// The store was written by an older version of this crate, and a read-only open cannot bring it
    /// up to date. It was not touched.
    #[error(
        "{path}: the store has schema version {found}, this program reads {supported}; open it for \
         writing once to migrate it",
        path = path.display()
    )]
    StoreSchemaTooOld {
        /// The file.
        path: PathBuf,
        /// The schema version that it carries.
        found: u32,
        /// The version that this version of the crate reads.
        supported: u32,
    },
    /// Another process has the store open.
    #[error(
        "{path}: the store is open in another process{holder}",
        path = path.display(),
        holder = holder.map(|pid| format!(" (process {pid})")).unwrap_or_default()
    )]
    StoreLocked {
        /// The file.
        path: PathBuf,
        /// The id of that process, where the system tells it.
        holder: Option<u32>,
    },
    /// The operation needs the store to itself, and somebody uses it. Nothing was changed.
    #[error("{path}: {operation}: the store is in use: {reason}", path = path.display())]
    StoreBusy {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// Who uses it and how, as far as the system tells it.
        reason: String,
    },
    /// The store was not closed cleanly, and a read-only open cannot repair it.
    #[error(
        "{path}: the store was not closed cleanly; open it for writing once to repair it",
        path = path.display()
    )]
    NeedsRepair {
        /// The file.
        path: PathBuf,
    },
    /// A write on a store that was opened read-only.
    #[error("{path}: {operation}: the store was opened read-only", path = path.display())]
    StoreReadOnly {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The store was closed.
    #[error("{path}: {operation}: the store was closed", path = path.display())]
    StoreClosed {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The commit failed on its way to the disk: whether the operation is in the store is unknown
    /// until it is opened again. It is there wholly or not at all.
    #[error(
        "{path}: the commit failed, its outcome is unknown until the store is opened again",
        path = path.display()
    )]
    CommitUncertain {
        /// The file.
        path: PathBuf,
        /// What failed.
        source: io::Error,
    },
    /// An earlier access to the file failed: writes, and reads of the file, are refused until the
    /// store is opened again.
    #[error(
        "{path}: {operation}: an earlier access to the file failed, open the store again",
        path = path.display()
    )]
    StoreFailed {
        /// What was being done.
        operation: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A thread panicked in the middle of the store's own bookkeeping. Open the store again.
    #[error("the state of the store is unknown after a panic, open it again")]
    StatePoisoned,
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
mod tests {
    use super::{RuntimeError, with_causes};
    use std::error::Error;
    use std::io;
    use std::path::PathBuf;

    #[test]
    fn message_leaves_the_cause_to_the_source() {
        let (path, cause) = (PathBuf::from("a.redb"), "No space left");
        let errors = [
            RuntimeError::StoreIo {
                operation: "open",
                path: path.clone(),
                source: io::Error::other(cause),
            },
            RuntimeError::CommitUncertain {
                path,
                source: io::Error::other(cause),
            },
        ];
        for error in errors {
            assert!(!error.to_string().contains(cause), "{error}");
            assert_eq!(error.source().unwrap().to_string(), cause);
            assert_eq!(with_causes(&error), format!("{error}: {cause}"));
        }
    }
}
