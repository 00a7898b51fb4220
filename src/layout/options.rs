//! What an import and an export can be told.

use crate::layout::report::Progress;
use crate::model::identity::RuntimeId;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// How long a line may be unless it is said otherwise.
pub const DEFAULT_MAX_LINE_BYTES: usize = 64 << 20;

/// How long a document may be unless it is said otherwise: it is held in memory. `runtime.json`
/// grows with every worker.
pub const DEFAULT_MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// How long a document of what may be an export of ours may be.
const MAX_OWN_DOCUMENT_BYTES: u64 = 1 << 30;

/// Told about progress, from a thread that works.
#[derive(Clone)]
struct OnProgress(Arc<dyn Fn(Progress) + Send + Sync>);

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnProgress")
    }
}

/// What an import does, and with what.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    pub(crate) runtimes: Vec<RuntimeId>,
    pub(crate) salvage: bool,
    pub(crate) dry_run: bool,
    pub(crate) replace: bool,
    max_line_bytes: usize,
    max_document_bytes: u64,
    progress: Option<OnProgress>,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            runtimes: Vec::new(),
            salvage: false,
            dry_run: false,
            replace: false,
            max_line_bytes: DEFAULT_MAX_LINE_BYTES,
            max_document_bytes: DEFAULT_MAX_DOCUMENT_BYTES,
            progress: None,
        }
    }
}

impl ImportOptions {
    /// A strict import of all runtimes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Imports only these runtimes. An empty list, the default, imports all.
    #[must_use]
    pub fn runtimes(mut self, runtimes: impl IntoIterator<Item = RuntimeId>) -> Self {
        self.runtimes = runtimes.into_iter().collect();
        self
    }

    /// Imports what is whole and reports the rest, instead of refusing a damaged directory.
    #[must_use]
    pub fn salvage(mut self, salvage: bool) -> Self {
        self.salvage = salvage;
        self
    }

    /// Reads and reports, and writes nothing.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Replaces runtimes that the store has already, whatever it knows of them.
    #[must_use]
    pub fn replace(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }

    /// How long a line may be; [`DEFAULT_MAX_LINE_BYTES`] unless set. A longer one is damage.
    #[must_use]
    pub fn max_line_bytes(mut self, max_line_bytes: usize) -> Self {
        self.max_line_bytes = max_line_bytes;
        self
    }

    /// How long `runtime.json` and a `worker.json` may be, as they are and as they will be exported;
    /// [`DEFAULT_MAX_DOCUMENT_BYTES`] unless set. A longer one is damage. It is held in memory, where
    /// it takes a few times as much.
    #[must_use]
    pub fn max_document_bytes(mut self, max_document_bytes: u64) -> Self {
        self.max_document_bytes = max_document_bytes;
        self
    }

    /// Calls `on_progress` now and then, from a thread that works.
    #[must_use]
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(OnProgress(Arc::new(on_progress)));
        self
    }

    /// The rules of a reading that goes on to the end of everything.
    pub(crate) fn lenient_rules(&self) -> Rules {
        Rules {
            is_strict: false,
            ..self.rules()
        }
    }

    /// The rules of a reading that takes whatever this crate can have written.
    pub(crate) fn rules_for_exports() -> Rules {
        let any_line = Self::new().max_line_bytes(usize::MAX);
        let any = any_line.max_document_bytes(MAX_OWN_DOCUMENT_BYTES);
        Rules {
            raises_counters: false,
            ..any.lenient_rules()
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            is_strict: !self.salvage,
            raises_counters: true,
            max_line_bytes: self.max_line_bytes,
            max_document_bytes: self.max_document_bytes,
        }
    }

    /// What to call with the number of bytes that were read.
    pub(crate) fn progress_over(
        &self,
        bytes_total: impl FnOnce() -> u64,
    ) -> Box<dyn Fn(u64) + Sync> {
        let Some(OnProgress(on_progress)) = self.progress.clone() else {
            return Box::new(|_| {});
        };
        let bytes_total = bytes_total();
        let done = AtomicU64::new(0);
        Box::new(move |bytes| {
            let bytes_done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            on_progress(Progress {
                bytes_done,
                bytes_total: bytes_total.max(bytes_done),
            });
        })
    }
}

/// What an export does with a runtime directory that is there already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExistingDirectory {
    /// Refuses.
    #[default]
    Refuse,
    /// Puts the export in its place: the old or the new directory at every moment, never a mix.
    Replace,
    /// Appends what is new and rewrites the snapshots; refuses a directory that is not an earlier
    /// state of the store. Every write to a log ends at the end of a line. What a reader finds after
    /// the last newline is the beginning of a line, of which the rest is being written or, after a
    /// kill, comes with the next update; it is never changed.
    Update,
}

/// What an export does, and with what.
#[derive(Clone, Debug, Default)]
pub struct ExportOptions {
    pub(crate) runtimes: Vec<RuntimeId>,
    pub(crate) existing: ExistingDirectory,
    progress: Option<OnProgress>,
}

impl ExportOptions {
    /// An export of all runtimes to new directories.
    pub fn new() -> Self {
        Self::default()
    }

    /// Exports only these runtimes. An empty list, the default, exports all.
    #[must_use]
    pub fn runtimes(mut self, runtimes: impl IntoIterator<Item = RuntimeId>) -> Self {
        self.runtimes = runtimes.into_iter().collect();
        self
    }

    /// What to do with a runtime directory that is there already.
    #[must_use]
    pub fn existing(mut self, existing: ExistingDirectory) -> Self {
        self.existing = existing;
        self
    }

    /// Calls `on_progress` now and then, from a thread that works. The total is not known.
    #[must_use]
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(OnProgress(Arc::new(on_progress)));
        self
    }

    /// What to call with the number of bytes that were written.
    pub(crate) fn progress_of_writing(&self) -> Box<dyn Fn(u64) + Sync> {
        let Some(OnProgress(on_progress)) = self.progress.clone() else {
            return Box::new(|_| {});
        };
        let done = Mutex::new(0);
        Box::new(move |bytes| {
            // Held while the host is told: what it is told only grows. It panicked? It is told on.
            let mut bytes_done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *bytes_done += bytes;
            on_progress(Progress {
                bytes_done: *bytes_done,
                bytes_total: 0,
            });
        })
    }
}

/// What a reading is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whether to stop at damage.
    pub(crate) is_strict: bool,
    /// Whether a counter that is behind is given on as it has to be, and not as it is.
    pub(crate) raises_counters: bool,
    pub(crate) max_line_bytes: usize,
    pub(crate) max_document_bytes: u64,
}
