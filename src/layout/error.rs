//! Errors of imports, exports and comparisons.

use crate::error::RuntimeError;
use crate::layout::dir::error::DirError;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::names::{self, RUNTIMES};
use crate::layout::report::Difference;
use crate::model::identity::{RuntimeId, WorkerId};
use crate::model::visible::Visible;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// The number of differences of one runtime in a message.
const LISTED: usize = 10;

/// Why an import, an export or a comparison failed.
///
/// [`Display`](fmt::Display) does not repeat the cause: [`source`](std::error::Error::source) has it. Paths,
/// ids and quoted text are escaped as by [`Visible`]: every line of a message is one of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The store returned an error.
    #[error(transparent)]
    Store(#[from] RuntimeError),
    /// An operation of the file system failed.
    #[error("cannot {operation} {path}", path = Visible(path.display()))]
    Io {
        /// The operation, such as `open`.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// The root has no `runtimes` directory.
    #[error("{path}: no `runtimes` directory here{found}", path = Visible(path.display()))]
    NoLayout {
        /// The root.
        path: PathBuf,
        /// The entry of that name which is no directory, in words; or an empty text.
        found: String,
    },
    /// The root has a `runtimes` directory and a `runtime.json`: two layouts, and no way to say which one is meant.
    #[error("{path}: both `runtimes` and `runtime.json` are here; move the one away that is not meant", path = Visible(path.display()))]
    TwoLayouts {
        /// The root.
        path: PathBuf,
    },
    /// An export was killed while it put a runtime into this root: `runtime.json` is missing, and the other members can
    /// be of two exports. Nothing was read.
    #[error(
        "{path}: an export was killed while it put a runtime here; the next export into this root completes it, \
         and the members that are not in their place are in {left}",
        path = Visible(path.display()),
        left = Visible(left.display())
    )]
    UnfinishedExport {
        /// The root.
        path: PathBuf,
        /// The temporary directory of the export.
        left: PathBuf,
    },
    /// The path is that of `runtimes` or of a runtime directory, not of the root above.
    #[error("{path}: not the root of a directory; give {root}", path = Visible(path.display()), root = Visible(root.display()))]
    BelowRoot {
        /// The path that was given.
        path: PathBuf,
        /// The root.
        root: PathBuf,
    },
    /// A runtime of a form without `runtimes` can only be exported alone, since it lies in the root. Nothing was written.
    #[error(
        "runtime {} lies in the root of its directory, so it cannot be exported with others: export it alone, or in form a",
        Visible(runtime_id)
    )]
    OnlyAlone {
        /// The runtime.
        runtime_id: RuntimeId,
    },
    /// The directory does not have a requested runtime.
    #[error("{path}: no runtime {} in this directory", Visible(runtime_id), path = Visible(path.display()))]
    RuntimeNotInDirectory {
        /// The root.
        path: PathBuf,
        /// The requested runtime.
        runtime_id: RuntimeId,
    },
    /// A strict import found damage. The store is unchanged.
    #[error("{root}: nothing was imported:{damage}{list}{advice}", root = Visible(root.display()),
        damage = Damage(root, findings), list = Listed(conflicts), advice = advice(findings, conflicts))]
    Refused {
        /// The root.
        root: PathBuf,
        /// The first damage of every damaged runtime.
        findings: Vec<Finding>,
        /// Intact runtimes that the store has already with other content.
        conflicts: Vec<Conflict>,
    },
    /// The store has runtimes of the directory already, with other content. The store is unchanged.
    #[error("{root}: nothing was imported:{list}\nreplace these runtimes or leave them out", root = Visible(root.display()),
        list = Listed(conflicts))]
    Conflict {
        /// The root.
        root: PathBuf,
        /// The runtimes.
        conflicts: Vec<Conflict>,
    },
    /// The store has files of no runtime already, with other bytes. The store is unchanged.
    #[error("nothing was imported: the store has other files of these names:{list}\nreplace them or move them away",
        list = Listed(&shown(paths)))]
    FileConflict {
        /// The files of the directory.
        paths: Vec<PathBuf>,
    },
    /// A dry run needs to read a store that must be repaired or migrated first. The store is
    /// unchanged.
    #[error("a dry run does not {needed}", needed = before_dry_run(source))]
    NotForDryRun {
        /// Why the store cannot be opened read-only.
        source: RuntimeError,
    },
    /// An import into a new store found a file at the path when it was done. That file is unchanged,
    /// and nothing was imported.
    #[error("{path}: a file appeared here during the import; nothing was imported", path = Visible(path.display()))]
    StoreAppeared {
        /// The path.
        path: PathBuf,
    },
    /// The export would overwrite a runtime directory. Nothing was written.
    #[error(
        "{path}: the runtime directory exists; replace it, update it or choose another root",
        path = Visible(path.display())
    )]
    Exists {
        /// The runtime directory.
        path: PathBuf,
    },
    /// An entry that is no runtime directory stands where the export would write.
    #[error("{path}: {}; nothing was written", Visible(message), path = Visible(path.display()))]
    InTheWay {
        /// The path of that entry.
        path: PathBuf,
        /// Its kind, in words.
        message: String,
    },
    /// The export is complete and its directories are in their places, but syncing `runtimes` failed: a
    /// power loss can undo it. A directory that it replaced stays under a temporary name; the next export
    /// removes it.
    #[error(
        "{path}: the export is complete, but a power loss may still undo it: the directory could not be synced",
        path = Visible(path.display())
    )]
    DurabilityUncertain {
        /// The `runtimes` directory.
        path: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
    /// Another export is writing to the same root.
    #[error("{path}: another export is under way here", path = Visible(path.display()))]
    Busy {
        /// The `runtimes` directory.
        path: PathBuf,
    },
    /// The directory of this id would have a name that is too long for a file system. Nothing was
    /// written.
    #[error(
        "{subject}: the name of its directory would have {bytes} bytes, the limit is {limit}",
        subject = Subject(runtime_id, worker_id)
    )]
    NameTooLong {
        /// The runtime.
        runtime_id: RuntimeId,
        /// The worker; `None` where the id of the runtime is too long.
        worker_id: Option<WorkerId>,
        /// The length of the name, in bytes.
        bytes: usize,
        /// The longest possible name, in bytes.
        limit: usize,
    },
    /// An update found a directory that is not an earlier state of the store. The directory is
    /// unchanged.
    #[error("{difference}\nthe directory is not an earlier state of the store; {}", instead(*has_pruned))]
    NotAPrefix {
        /// The first difference.
        difference: Box<Difference>,
        /// Whether the store has pruned rows of this runtime: the directory can be their only copy.
        has_pruned: bool,
    },
    /// An update found a directory that lacks rows which the store has pruned: the result would have a gap. Nothing was
    /// changed.
    #[error(
        "{path}: {what}s {first} to {last} are missing: the store has pruned them, and the directory ends before them",
        path = Visible(path.display())
    )]
    PrunedGap {
        /// The log.
        path: PathBuf,
        /// The name of the numbers: `event id` or `position`.
        what: &'static str,
        /// The first missing number.
        first: u64,
        /// The last missing number.
        last: u64,
    },
    /// An update found a directory that never had a worker which the store has pruned. Nothing was changed.
    #[error(
        "{path}: worker {} is missing: the store has pruned it, and the directory never had it",
        Visible(worker_id), path = Visible(path.display())
    )]
    PrunedWorker {
        /// The directory that the worker would have.
        path: PathBuf,
        /// The worker.
        worker_id: WorkerId,
    },
    /// A stored record cannot be written in this layout: a member that the store keeps has no place
    /// in it.
    #[error("{path}: {}", Visible(message), path = Visible(path.display()))]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The reason.
        message: String,
    },
}

impl From<DirError> for LayoutError {
    fn from(error: DirError) -> Self {
        match error {
            DirError::Io {
                operation,
                path,
                source,
            } => Self::Io {
                operation,
                path,
                source,
            },
            DirError::Exists { path } => Self::Exists { path },
            DirError::InTheWay { path, message } => Self::InTheWay { path, message },
            DirError::Busy { path } => Self::Busy { path },
            DirError::Unwritable { path, message } => Self::Unwritable { path, message },
        }
    }
}

impl LayoutError {
    pub(crate) fn io(
        operation: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(io::Error) -> Self {
        move |source| DirError::io(operation, path)(source).into()
    }
}

/// The advice about a directory that cannot be updated.
fn instead(has_pruned: bool) -> &'static str {
    match has_pruned {
        true => {
            "choose another root and keep this directory: it can have the only copy of rows that the store has pruned"
        }
        false => "replace it or choose another root",
    }
}

fn before_dry_run(source: &RuntimeError) -> &'static str {
    match source {
        RuntimeError::StoreSchemaTooOld { .. } => "migrate a store",
        _ => "repair a store",
    }
}

/// A runtime that the directory and the store have with different content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Conflict {
    /// The runtime.
    pub runtime_id: RuntimeId,
    /// Its directory.
    pub path: PathBuf,
    /// The first 100 differences.
    pub differences: Vec<Difference>,
    /// The number of all differences.
    pub total: u64,
}

impl Conflict {
    /// The runtime, the number of differences and the first difference, in one line.
    pub(crate) fn in_one_line(&self) -> String {
        let mut line = self.summary();
        if let Some(first) = self.differences.first() {
            line.push_str(&format!(", the first: {first}"));
        }
        line + "; replace the runtime or leave it out"
    }

    fn summary(&self) -> String {
        let id = Visible(&self.runtime_id);
        match self.total {
            0 => format!("runtime \"{id}\" is in the store already"),
            1 => format!("runtime \"{id}\" is in the store already, with 1 difference"),
            total => format!("runtime \"{id}\" is in the store already, with {total} differences"),
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.summary())?;
        for difference in self.differences.iter().take(LISTED) {
            write!(f, "\n    {difference}")?;
        }
        let listed = self.differences.len().min(LISTED) as u64;
        if self.total > listed && listed > 0 {
            write!(f, "\n    and {} more", self.total - listed)?;
        }
        Ok(())
    }
}

fn shown(paths: &[PathBuf]) -> Vec<String> {
    let shown = paths.iter().map(|path| Visible(path.display()).to_string());
    shown.collect()
}

/// All items, each on its line: a user who repairs the directory needs every one.
struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|item| write!(f, "\n  {item}"))
    }
}

/// The first damage of every damaged runtime, with the id of the runtime.
struct Damage<'a>(&'a Path, &'a [Finding]);

impl fmt::Display for Damage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runtimes = self.0.join(RUNTIMES);
        for finding in self.1 {
            let below = finding.path.strip_prefix(&runtimes).ok();
            let dir = below.and_then(|below| below.components().next());
            let id = dir.and_then(|dir| {
                names::decode::<RuntimeId>(dir.as_os_str().as_encoded_bytes()).ok()
            });
            match id {
                Some(id) => write!(f, "\n  runtime \"{}\": {finding}", Visible(id))?,
                None => write!(f, "\n  {finding}")?,
            }
        }
        Ok(())
    }
}

/// The advice about damage and conflicts.
fn advice(findings: &[Finding], conflicts: &[Conflict]) -> String {
    let mut advice = String::new();
    // A salvage cannot read what a newer release wrote.
    if findings.is_empty() || findings.iter().any(|f| f.kind != FindingKind::Unsupported) {
        advice
            .push_str("\na salvage import imports everything that is intact and reports the rest");
    }
    if findings.iter().any(|f| f.kind == FindingKind::LineTooLong) {
        advice.push_str("\na higher limit of the line length imports longer lines");
    }
    if !conflicts.is_empty() {
        advice.push_str("\nruntimes that the store has already: replace them or leave them out");
    }
    advice
}

struct Subject<'a>(&'a RuntimeId, &'a Option<WorkerId>);

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(worker) => {
                write!(
                    f,
                    "worker {} of runtime {}",
                    Visible(worker),
                    Visible(self.0)
                )
            }
            None => write!(f, "runtime {}", Visible(self.0)),
        }
    }
}
