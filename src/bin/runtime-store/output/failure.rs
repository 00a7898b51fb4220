//! How a run ends: its exit code, and the error with its causes and advice.

use redb_runtime_store::RuntimeError;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::layout::{Difference, Finding, FindingKind, LayoutError};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

/// The exit code of a run. clap itself ends most runs with wrong arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Done = 0,
    Failed = 1,
    WrongUse = 2,
    Locked = 3,
    Differs = 4,
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}

/// Why a run failed.
#[derive(Debug)]
pub(crate) enum Failure {
    Store(RuntimeError),
    Layout(LayoutError),
    Output(io::Error),
    WrongUse(String),
    /// No runtime was named, and the store has several.
    SeveralRuntimes {
        path: PathBuf,
        ids: Vec<RuntimeId>,
    },
    /// A followed log no longer contains the row that was printed last.
    Replaced {
        path: PathBuf,
        last: String,
    },
}

impl Failure {
    /// The failure of a search to begin: its pattern is an argument.
    pub(crate) fn of_pattern(error: RuntimeError) -> Self {
        match error {
            RuntimeError::InvalidRequest(why) => Self::WrongUse(why),
            error => Self::Store(error),
        }
    }

    /// Whether the reader closed standard output, which is no failure of the run.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == ErrorKind::BrokenPipe)
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Store(error) | Self::Layout(LayoutError::Store(error)) => store_status(error),
            Self::Layout(
                LayoutError::Refused { .. }
                | LayoutError::Conflict { .. }
                | LayoutError::FileConflict { .. }
                | LayoutError::NotAPrefix { .. },
            ) => Status::Differs,
            Self::WrongUse(_) | Self::SeveralRuntimes { .. } => Status::WrongUse,
            Self::Layout(_) | Self::Output(_) | Self::Replaced { .. } => Status::Failed,
        }
    }
}

impl Failure {
    /// What happened, followed by its causes: `message: cause: cause`. Only the message of a directory has
    /// several lines, and in it the library has escaped the newlines of names. Each line is still to be
    /// escaped.
    pub(crate) fn lines(&self) -> Vec<String> {
        let line = match self {
            Self::Layout(error) => {
                return error_chain(error).split('\n').map(str::to_owned).collect();
            }
            Self::Store(error) => error_chain(error),
            Self::Output(error) => format!("cannot write the output: {}", error_chain(error)),
            Self::WrongUse(message) => message.clone(),
            Self::SeveralRuntimes { path, ids } => {
                let (path, several) = (path.display(), ids.len());
                let head = format!("{path}: the store has {several} runtimes; name one of them:");
                let ids = ids
                    .iter()
                    .map(|id| format!("  --runtime {:?}", id.as_str()));
                return std::iter::once(head).chain(ids).collect();
            }
            Self::Replaced { path, last } => format!(
                "{}: the log was replaced: it no longer contains {last}, which was printed last",
                path.display()
            ),
        };
        vec![line]
    }

    /// What the user can do next: commands and options, which the library does not know.
    pub(crate) fn advice(&self) -> Option<String> {
        match self {
            Self::Store(error) | Self::Layout(LayoutError::Store(error)) => {
                store_advice(error).map(str::to_owned)
            }
            Self::Layout(error) => layout_advice(error),
            Self::Output(_)
            | Self::WrongUse(_)
            | Self::SeveralRuntimes { .. }
            | Self::Replaced { .. } => None,
        }
    }
}

/// An error's message, followed by its causes. Some errors of other crates end with the text of their
/// cause: no text is repeated.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !message.ends_with(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = error.source();
    }
    message
}

/// What the user can do on a full disk.
const NO_SPACE: &str =
    "free space on the disk, or run `runtime-store compact`, which returns the store's own";

/// What the user can do if the system refused to repair a store.
pub(crate) fn refused_repair_advice(error: &RuntimeError) -> Option<&'static str> {
    let RuntimeError::StoreIo { source, .. } = error else {
        return None;
    };
    Some(match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => NO_SPACE,
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            "to repair it, open it where it can be written; `runtime-store backup` makes a repaired copy"
        }
        _ => return None,
    })
}

fn store_advice(error: &RuntimeError) -> Option<&'static str> {
    Some(match error {
        RuntimeError::StoreLocked { .. } => {
            "wait for that process, or end it; continue it if it is stopped; reading works while a host has \
             the store open, but not while a process repairs the store or has exclusive access"
        }
        RuntimeError::CommitUncertain { source, .. } if source.kind() == ErrorKind::StorageFull => {
            NO_SPACE
        }
        RuntimeError::StoreIo { path, source, .. }
            if path.starts_with("postgres:") && source.to_string().contains("password") =>
        {
            "the password comes from PGPASSWORD or from ~/.pgpass, which only its owner may read"
        }
        RuntimeError::NeedsRepair { .. } => {
            "run the command without --no-repair to repair it first"
        }
        RuntimeError::StoreMissing { path, .. } if path.starts_with("postgres:") => {
            "check the URL and the schema in it; `runtime-store copy` and `import` create a store"
        }
        RuntimeError::StoreMissing { .. } => {
            "check the path; `runtime-store import` creates a store from a directory"
        }
        RuntimeError::NotAStore { path, .. } if path.join("runtimes").is_dir() => {
            "the directory contains `runtimes/`; `runtime-store import` creates a store from it"
        }
        RuntimeError::StoreSchemaTooOld { .. } => "`runtime-store migrate` migrates it",
        RuntimeError::StoreSchemaTooNew { .. } => {
            "use the version of runtime-store that belongs to the store's host"
        }
        RuntimeError::StoreCorrupt { .. } => {
            "keep the file; `runtime-store verify` lists all damage; restore a backup to its path"
        }
        RuntimeError::BytesAfterEnd { .. } => {
            "`runtime-store backup` makes a copy without these bytes; put it in the store's place"
        }
        RuntimeError::CopyConflict { .. } => {
            "use --replace to replace what the store already has, or --runtime to copy other runtimes"
        }
        RuntimeError::EventsPruned { .. } => {
            "without `--from` and `--start` the command begins with the first row that is left"
        }
        RuntimeError::RuntimeNotFound { .. } => "`runtime-store runtimes` lists the runtimes",
        RuntimeError::WorkerNotFound { .. } => "`runtime-store workers` lists the workers",
        _ => return None,
    })
}

fn layout_advice(error: &LayoutError) -> Option<String> {
    const REPLACE: &str = "use --replace to replace what the store already has";
    let advice = match error {
        LayoutError::Refused {
            findings,
            conflicts,
            ..
        } => {
            let is_newer = |f: &Finding| f.kind == FindingKind::Unsupported;
            // A salvage cannot read what a newer release wrote.
            let mut advice = match !findings.is_empty() && findings.iter().all(is_newer) {
                true => Vec::new(),
                false => vec!["use --salvage for a salvage import"],
            };
            if findings.iter().any(|f| f.kind == FindingKind::LineTooLong) {
                advice.push(MORE_LINE_BYTES);
            }
            if !conflicts.is_empty() {
                advice.push(REPLACE);
            }
            return (!advice.is_empty()).then(|| advice.join("\n"));
        }
        LayoutError::OnlyAlone { .. } => "use --runtime to export it alone, or --as a",
        LayoutError::Conflict { .. } => REPLACE,
        LayoutError::FileConflict { .. } => "use --replace to replace these files in the store",
        LayoutError::Exists { .. } => "use --replace or --update",
        LayoutError::NotAPrefix { difference, .. } if is_too_long(difference) => MORE_LINE_BYTES,
        LayoutError::NotAPrefix {
            has_pruned: true, ..
        } => return None,
        LayoutError::NotAPrefix { .. } => "use --replace to replace it",
        // Not --replace: the directory can have the only copy of what was pruned before the gap.
        LayoutError::PrunedGap { .. } | LayoutError::PrunedWorker { .. } => {
            "use --allow-gap to update it nevertheless"
        }
        LayoutError::NotForDryRun {
            source: RuntimeError::StoreSchemaTooOld { .. },
        } => "`runtime-store migrate` migrates it",
        LayoutError::NotForDryRun { .. } => "`runtime-store runtimes` repairs it",
        _ => return None,
    };
    Some(advice.to_owned())
}

pub(crate) const MORE_LINE_BYTES: &str = "use --max-line-bytes for longer lines";

/// Whether a line of the directory was not compared, because it is longer than the limit.
pub(crate) fn is_too_long(difference: &Difference) -> bool {
    let kind = FindingKind::LineTooLong.as_str();
    difference.what.starts_with(kind)
}

fn store_status(error: &RuntimeError) -> Status {
    match error {
        RuntimeError::StoreLocked { .. }
        | RuntimeError::StoreBusy { .. }
        | RuntimeError::StoreConflict { .. } => Status::Locked,
        RuntimeError::CopyConflict { .. }
        | RuntimeError::StoreCorrupt { .. }
        | RuntimeError::BytesAfterEnd { .. } => Status::Differs,
        _ => Status::Failed,
    }
}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::Store(error)
    }
}

impl From<LayoutError> for Failure {
    fn from(error: LayoutError) -> Self {
        Self::Layout(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
