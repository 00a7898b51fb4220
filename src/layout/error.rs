//! Why an import, an export or a comparison was given up.

use crate::error::RuntimeError;
use crate::layout::dir::error::DirError;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::names::{self, RUNTIMES};
use crate::layout::report::Difference;
use crate::model::identity::{RuntimeId, WorkerId};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::{fmt, io};

/// How many differences of one runtime a message lists.
const LISTED: usize = 10;

/// Why an import, an export or a comparison was given up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// The store refused.
    #[error(transparent)]
    Store(#[from] RuntimeError),
    /// The system refused an access to the directory.
    #[error("cannot {operation} {path}", path = path.display())]
    Io {
        /// What was being done.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no layout under the root.
    #[error("{path}: no `runtimes` directory here{found}", path = path.display())]
    NoLayout {
        /// The root.
        path: PathBuf,
        /// What there is instead, in words; or nothing.
        found: String,
    },
    /// A runtime that was asked for is not in the directory.
    #[error("{path}: no runtime {runtime_id} in this directory", path = path.display())]
    RuntimeNotInDirectory {
        /// The root.
        path: PathBuf,
        /// The runtime that was asked for.
        runtime_id: RuntimeId,
    },
    /// A strict import met damage. The store is as it was.
    #[error("{root}: nothing was imported:{damage}{list}\n{advice}", root = root.display(),
        damage = Damage(root, findings), list = Listed(conflicts), advice = advice(findings, conflicts))]
    Refused {
        /// The root.
        root: PathBuf,
        /// The first damage of every bad runtime.
        findings: Vec<Finding>,
        /// Runtimes that are whole, and that the store has already with other content.
        conflicts: Vec<Conflict>,
    },
    /// The store has runtimes of the directory already, and they say something else. The store is
    /// as it was.
    #[error("{root}: nothing was imported:{list}\nreplace these runtimes or leave them out", root = root.display(),
        list = Listed(conflicts))]
    Conflict {
        /// The root.
        root: PathBuf,
        /// The runtimes.
        conflicts: Vec<Conflict>,
    },
    /// A dry run met a store that has to be repaired or migrated before it can be read. It was not
    /// touched.
    #[error("a dry run does not {needed}", needed = before_dry_run(source))]
    NotForDryRun {
        /// Why the store cannot be read as it is.
        source: RuntimeError,
    },
    /// An import that was to make a store found one at its path when it was done.
    #[error("{path}: a file appeared here during the import; nothing was imported", path = path.display())]
    StoreAppeared {
        /// The path.
        path: PathBuf,
    },
    /// An export would write over a runtime directory.
    #[error(
        "{path}: the runtime directory exists; replace it, update it or choose another root",
        path = path.display()
    )]
    Exists {
        /// The runtime directory.
        path: PathBuf,
    },
    /// An export found something that it does not write over.
    #[error("{path}: {message}; nothing was written", path = path.display())]
    InTheWay {
        /// What is there.
        path: PathBuf,
        /// What it is.
        message: String,
    },
    /// Another export works on the same root.
    #[error("{path}: another export is under way here", path = path.display())]
    Busy {
        /// The `runtimes` directory.
        path: PathBuf,
    },
    /// An id whose directory would have a name that is too long for a file system. Nothing was
    /// written.
    #[error(
        "{subject}: the name of its directory would have {bytes} bytes, the limit is {limit}",
        subject = Subject(runtime_id, worker_id)
    )]
    NameTooLong {
        /// The runtime.
        runtime_id: RuntimeId,
        /// The worker, where it is a worker's id.
        worker_id: Option<WorkerId>,
        /// How long the name would be.
        bytes: usize,
        /// How long a name may be.
        limit: usize,
    },
    /// An update found a directory that is not the beginning of what the store says. It was not
    /// changed.
    #[error(
        "{difference}\nthe directory is not an earlier state of the store; replace it or choose another root"
    )]
    NotAPrefix {
        /// The first difference.
        difference: Box<Difference>,
    },
    /// A stored record cannot be written in this layout.
    #[error("{path}: {message}", path = path.display())]
    Unwritable {
        /// The file that was to be written.
        path: PathBuf,
        /// Why not.
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

fn before_dry_run(source: &RuntimeError) -> &'static str {
    match source {
        RuntimeError::StoreSchemaTooOld { .. } => "migrate a store: migrate it first",
        _ => "repair a store: open it for writing first, which repairs it",
    }
}

/// A runtime that is in the directory and in the store, with different content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Conflict {
    /// The runtime.
    pub runtime_id: RuntimeId,
    /// Its directory.
    pub path: PathBuf,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// How many differences there are.
    pub total: u64,
}

impl Conflict {
    /// The runtime, how much differs and the first difference, in one line.
    pub(crate) fn in_one_line(&self) -> String {
        let mut line = self.summary();
        if let Some(first) = self.differences.first() {
            line.push_str(&format!(", the first: {first}"));
        }
        line + "; replace the runtime or leave it out"
    }

    fn summary(&self) -> String {
        let id = &self.runtime_id;
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

/// Every one: who has to repair them must know which they are.
struct Listed<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|item| write!(f, "\n  {item}"))
    }
}

/// The first damage of every bad runtime, with the runtime's id.
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
                Some(id) => write!(f, "\n  runtime \"{id}\": {finding}")?,
                None => write!(f, "\n  {finding}")?,
            }
        }
        Ok(())
    }
}

/// What to do about damage and conflicts.
fn advice(findings: &[Finding], conflicts: &[Conflict]) -> String {
    let mut advice =
        "a salvage import imports everything that is intact and reports the rest".to_owned();
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
            Some(worker) => write!(f, "worker {worker} of runtime {}", self.0),
            None => write!(f, "runtime {}", self.0),
        }
    }
}
