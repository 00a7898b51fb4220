//! How a run ends.

use redb_runtime_store::RuntimeError;
use redb_runtime_store::layout::{Finding, FindingKind, LayoutError};
use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::process::ExitCode;

/// How a run ended; the discriminant is the exit code. clap ends a run of wrong use itself.
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
    /// A log that was followed is another one now.
    Replaced {
        path: PathBuf,
        last: String,
    },
}

impl Failure {
    /// Whether the reader of our output went away, which is not our failure.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == ErrorKind::BrokenPipe)
    }

    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Store(error) | Self::Layout(LayoutError::Store(error)) => store_status(error),
            Self::Layout(
                LayoutError::Refused { .. }
                | LayoutError::Conflict { .. }
                | LayoutError::NotAPrefix { .. },
            ) => Status::Differs,
            Self::WrongUse(_) => Status::WrongUse,
            Self::Layout(_) | Self::Output(_) | Self::Replaced { .. } => Status::Failed,
        }
    }
}

impl Failure {
    /// The errors behind this one, outermost first.
    pub(crate) fn causes(&self) -> Vec<String> {
        let mut next = match self {
            Self::Store(error) => error.source(),
            Self::Layout(error) => error.source(),
            Self::Output(_) | Self::WrongUse(_) | Self::Replaced { .. } => None,
        };
        let mut causes = Vec::new();
        while let Some(cause) = next {
            causes.push(cause.to_string());
            next = cause.source();
        }
        causes
    }

    /// What the user can do next, where the message does not say it.
    pub(crate) fn advice(&self) -> Option<&'static str> {
        let error = match self {
            Self::Store(error) | Self::Layout(LayoutError::Store(error)) => error,
            Self::Layout(error) => return layout_advice(error),
            _ => return None,
        };
        Some(match error {
            RuntimeError::StoreLocked { .. } => {
                "end that process first, or wait for it; what only reads works beside a host, but not \
                 beside one that repairs the store or has it for itself alone"
            }
            RuntimeError::NeedsRepair { .. } => "without --no-repair it is repaired first",
            RuntimeError::StoreMissing { .. } => {
                "check the path; `runtime-store import` makes a store of a directory"
            }
            RuntimeError::NotAStore { path, .. } if path.join("runtimes").is_dir() => {
                "it has the layout of a directory store: `runtime-store import` makes a store of it"
            }
            RuntimeError::StoreSchemaTooNew { .. } => {
                "use the runtime-store that came with its host"
            }
            RuntimeError::StoreCorrupt { .. } => {
                "keep the file; `runtime-store verify` lists all damage; a backup can take its place"
            }
            RuntimeError::RuntimeNotFound { .. } => "`runtime-store runtimes` lists them",
            RuntimeError::WorkerNotFound { .. } => "`runtime-store workers` lists them",
            _ => return None,
        })
    }
}

/// The option that does what the message of the library advises.
fn layout_advice(error: &LayoutError) -> Option<&'static str> {
    Some(match error {
        LayoutError::Refused {
            findings,
            conflicts,
            ..
        } => {
            let is_too_long = |finding: &Finding| finding.kind == FindingKind::LineTooLong;
            match (findings.iter().any(is_too_long), conflicts.is_empty()) {
                (false, true) => "`--salvage` imports what is intact",
                (false, false) => {
                    "`--salvage` imports what is intact; `--replace` replaces runtimes that the store \
                     has"
                }
                (true, true) => {
                    "`--salvage` imports what is intact; `--max-line-bytes` allows longer lines"
                }
                (true, false) => {
                    "`--salvage` imports what is intact; `--max-line-bytes` allows longer lines; \
                     `--replace` replaces runtimes that the store has"
                }
            }
        }
        LayoutError::Conflict { .. } => "`--replace` replaces them",
        LayoutError::Exists { .. } => "`--replace` replaces it, `--update` updates it",
        LayoutError::NotAPrefix { .. } => "`--replace` replaces it",
        LayoutError::NotForDryRun {
            source: RuntimeError::StoreSchemaTooOld { .. },
        } => "`runtime-store migrate` migrates it",
        LayoutError::NotForDryRun { .. } => {
            "`runtime-store runtimes` opens it for writing and repairs it"
        }
        _ => return None,
    })
}

fn store_status(error: &RuntimeError) -> Status {
    match error {
        RuntimeError::StoreLocked { .. } | RuntimeError::StoreBusy { .. } => Status::Locked,
        RuntimeError::StoreCorrupt { .. } => Status::Differs,
        _ => Status::Failed,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Layout(error) => error.fmt(f),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
            Self::WrongUse(message) => f.write_str(message),
            Self::Replaced { path, last } => write!(
                f,
                "{}: the log was replaced: {last}, the last one that was printed, is not in it",
                path.display()
            ),
        }
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
