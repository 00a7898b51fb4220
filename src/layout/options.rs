//! Options of an import and of an export.

use crate::commit::within;
use crate::layout::report::Progress;
use crate::model::identity::RuntimeId;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Default limit for the length of a line of a log, in bytes: 64 MiB.
pub const DEFAULT_MAX_LINE_BYTES: usize = 64 << 20;

/// Default limit for the length of `runtime.json` and of a `worker.json`, in bytes: 64 MiB. A document
/// is held in memory, and `runtime.json` grows with every diagnostic.
pub const DEFAULT_MAX_DOCUMENT_BYTES: u64 = 64 << 20;

/// Limit for the documents of a directory that this crate may have exported, in bytes.
const MAX_OWN_DOCUMENT_BYTES: u64 = 1 << 30;

/// The callback for progress. The thread that reads or writes calls it.
#[derive(Clone)]
struct OnProgress(Arc<dyn Fn(Progress) + Send + Sync>);

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnProgress")
    }
}

/// Options of an import. The default is a strict import of all runtimes.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    pub(crate) runtimes: Vec<RuntimeId>,
    pub(crate) salvage: bool,
    pub(crate) dry_run: bool,
    pub(crate) replace: bool,
    pub(crate) without_files: bool,
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
            without_files: false,
            max_line_bytes: DEFAULT_MAX_LINE_BYTES,
            max_document_bytes: DEFAULT_MAX_DOCUMENT_BYTES,
            progress: None,
        }
    }
}

/// The name of the callback of an import.
const IMPORTS: &str = "the progress callback of an import";

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

    /// Imports everything that is intact and reports the rest, instead of refusing a damaged
    /// directory. Default: off.
    #[must_use]
    pub fn salvage(mut self, salvage: bool) -> Self {
        self.salvage = salvage;
        self
    }

    /// Reads the directory and reports, but writes nothing. Default: off.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Replaces runtimes that the store has already, without comparing them first. Default: off.
    #[must_use]
    pub fn replace(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }

    /// Leaves out the files and directories that are not part of the layout, with a finding
    /// [`FileLeftOut`](super::FindingKind::FileLeftOut) for each. Otherwise the store has them as they are, in chunks
    /// of at most 1 MiB, and an export writes them again. Default: off.
    #[must_use]
    pub fn without_files(mut self, without_files: bool) -> Self {
        self.without_files = without_files;
        self
    }

    /// Limit for the length of a line of a log, in bytes. Default: [`DEFAULT_MAX_LINE_BYTES`]. A longer
    /// line is damage.
    #[must_use]
    pub fn max_line_bytes(mut self, max_line_bytes: usize) -> Self {
        self.max_line_bytes = max_line_bytes;
        self
    }

    /// Limit for the length of `runtime.json` and of a `worker.json`, in bytes. Default:
    /// [`DEFAULT_MAX_DOCUMENT_BYTES`]. It applies to the file and to the document that an export would
    /// write. A longer document is damage. In memory a document takes a few times its length.
    #[must_use]
    pub fn max_document_bytes(mut self, max_document_bytes: u64) -> Self {
        self.max_document_bytes = max_document_bytes;
        self
    }

    /// Calls `on_progress` after every read of a file, from the thread that reads.
    ///
    /// Writers of the store wait for the import. So the callback must not change a store or wait for
    /// one, except in a dry run; such a call fails with
    /// [`InvalidRequest`](crate::RuntimeError::InvalidRequest). See
    /// [closures and callbacks](crate::guide::transactions#closures-and-callbacks).
    #[must_use]
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(OnProgress(Arc::new(on_progress)));
        self
    }

    /// The rules of a reading that reports damage and continues.
    pub(crate) fn lenient_rules(&self) -> Rules {
        Rules {
            is_strict: false,
            ..self.rules()
        }
    }

    /// The rules of a reading that accepts everything that this crate can have exported, with lines of up to
    /// `max_line_bytes`.
    pub(crate) fn rules_for_exports(max_line_bytes: usize) -> Rules {
        let lines = Self::new().max_line_bytes(max_line_bytes);
        let any = lines.max_document_bytes(MAX_OWN_DOCUMENT_BYTES);
        Rules {
            raises_counters: false,
            ..any.lenient_rules()
        }
    }

    pub(crate) fn rules(&self) -> Rules {
        Rules {
            is_strict: !self.salvage,
            raises_counters: true,
            without_files: self.without_files,
            max_line_bytes: self.max_line_bytes,
            max_document_bytes: self.max_document_bytes,
        }
    }

    /// Returns the function to call with the number of bytes of each read. `is_waited_for` says whether
    /// writers of a store may wait for the import.
    pub(crate) fn progress_over(
        &self,
        is_waited_for: bool,
        bytes_total: impl FnOnce() -> u64,
    ) -> Box<dyn Fn(u64) + Sync> {
        let Some(OnProgress(on_progress)) = self.progress.clone() else {
            return Box::new(|_| {});
        };
        let bytes_total = bytes_total();
        let done = AtomicU64::new(0);
        Box::new(move |bytes| {
            let bytes_done = done.fetch_add(bytes, Ordering::Relaxed) + bytes;
            let progress = Progress {
                bytes_done,
                bytes_total: bytes_total.max(bytes_done),
            };
            match is_waited_for {
                true => within::callback(IMPORTS, || on_progress(progress)),
                false => on_progress(progress),
            }
        })
    }
}

/// Whether an export may change a runtime directory that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExistingDirectory {
    /// Returns [`LayoutError::Exists`](super::LayoutError::Exists).
    #[default]
    Refuse,
    /// Replaces the directory atomically: a reader finds the old directory or the new one.
    Replace,
    /// Appends new records to the logs and rewrites the documents. A directory that is not an earlier
    /// state of the store is refused.
    ///
    /// Every write to a log ends at the end of a line. Bytes after the last newline are the beginning
    /// of a line whose rest is being written or, after a kill, follows with the next update. An update
    /// only completes such a line and never changes it.
    Update,
}

/// Options of a comparison. The default compares all runtimes.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    pub(crate) runtimes: Vec<RuntimeId>,
    pub(crate) max_line_bytes: usize,
}

impl Default for CompareOptions {
    fn default() -> Self {
        Self {
            runtimes: Vec::new(),
            max_line_bytes: DEFAULT_MAX_LINE_BYTES,
        }
    }
}

impl CompareOptions {
    /// A comparison of all runtimes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Compares only these runtimes. An empty list, the default, compares all.
    #[must_use]
    pub fn runtimes(mut self, runtimes: impl IntoIterator<Item = RuntimeId>) -> Self {
        self.runtimes = runtimes.into_iter().collect();
        self
    }

    /// Limit for the length of a line of a log, in bytes. Default: [`DEFAULT_MAX_LINE_BYTES`]. A longer
    /// line is a difference.
    #[must_use]
    pub fn max_line_bytes(mut self, max_line_bytes: usize) -> Self {
        self.max_line_bytes = max_line_bytes;
        self
    }
}

/// Options of an export. The default exports all runtimes to new directories.
#[derive(Clone, Debug)]
pub struct ExportOptions {
    pub(crate) runtimes: Vec<RuntimeId>,
    pub(crate) existing: ExistingDirectory,
    pub(crate) times: bool,
    pub(crate) form_a: bool,
    pub(crate) allow_gap: bool,
    pub(crate) max_line_bytes: usize,
    progress: Option<OnProgress>,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self {
            runtimes: Vec::new(),
            existing: ExistingDirectory::default(),
            times: false,
            form_a: false,
            allow_gap: false,
            max_line_bytes: DEFAULT_MAX_LINE_BYTES,
            progress: None,
        }
    }
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

    /// Whether to refuse, replace or update runtime directories that exist. Default: refuse.
    #[must_use]
    pub fn existing(mut self, existing: ExistingDirectory) -> Self {
        self.existing = existing;
        self
    }

    /// Whether each line of a log that has a time gets a last member `"recorded_at"`: RFC 3339, UTC, with milliseconds.
    /// Default: off, so that the lines are those of the original layout. Its readers skip the member, and an import
    /// takes it back. With [`ExistingDirectory::Update`], lines that are there already stay as they are.
    #[must_use]
    pub fn times(mut self, times: bool) -> Self {
        self.times = times;
        self
    }

    /// Whether runtimes that were imported in a later form of the layout are written in form a, the one of runtimes that
    /// were not imported: see [the forms](crate::guide::directory_forms). Default: off, every runtime is written in its
    /// own form. Form a has no place for some of what later forms have; the report lists that.
    #[must_use]
    pub fn form_a(mut self, form_a: bool) -> Self {
        self.form_a = form_a;
        self
    }

    /// Whether an update may append to a log that ends before the first row that the store still has. The rows between
    /// were pruned before the directory got them, so the log has a gap from then on, and an import counts the positions
    /// of the entries behind it without them. The same holds for a worker that retention removed: the update lists it in
    /// `pruned_workers`, so that later updates accept it. Default: off, such a directory is refused as
    /// [`PrunedGap`](super::LayoutError::PrunedGap) or [`PrunedWorker`](super::LayoutError::PrunedWorker).
    #[must_use]
    pub fn allow_gap(mut self, allow_gap: bool) -> Self {
        self.allow_gap = allow_gap;
        self
    }

    /// Limit for the length of a line that [`ExistingDirectory::Update`] reads of an existing log, in bytes.
    /// Default: [`DEFAULT_MAX_LINE_BYTES`]. A directory with a longer line is refused as
    /// [`NotAPrefix`](super::LayoutError::NotAPrefix). Lines of any length are written.
    #[must_use]
    pub fn max_line_bytes(mut self, max_line_bytes: usize) -> Self {
        self.max_line_bytes = max_line_bytes;
        self
    }

    /// Calls `on_progress` about every 64 KiB of a log, from the thread that writes. The total is 0: it
    /// is not known in advance.
    #[must_use]
    pub fn on_progress(mut self, on_progress: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(OnProgress(Arc::new(on_progress)));
        self
    }

    /// Returns the function to call with the number of bytes of each write.
    pub(crate) fn progress_of_writing(&self) -> Box<dyn Fn(u64) + Sync> {
        let Some(OnProgress(on_progress)) = self.progress.clone() else {
            return Box::new(|_| {});
        };
        let done = Mutex::new(0);
        Box::new(move |bytes| {
            // Locked during the call, so that the host sees numbers that only grow. A panic of the
            // host poisons the lock; the count is still right.
            let mut bytes_done = done.lock().unwrap_or_else(PoisonError::into_inner);
            *bytes_done += bytes;
            on_progress(Progress {
                bytes_done: *bytes_done,
                bytes_total: 0,
            });
        })
    }
}

/// The rules that a reading follows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Whether to stop at damage.
    pub(crate) is_strict: bool,
    /// Whether a counter that is behind its log is raised on its way to the sink.
    pub(crate) raises_counters: bool,
    /// Whether the files that are not part of the layout are left out.
    pub(crate) without_files: bool,
    pub(crate) max_line_bytes: usize,
    pub(crate) max_document_bytes: u64,
}

impl Rules {
    /// Whether damage is put right on the way to the sink: records are sorted, documents are rebuilt.
    pub(crate) fn mends(&self) -> bool {
        !self.is_strict && self.raises_counters
    }
}
