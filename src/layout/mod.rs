//! The JSON directory layout: imports a directory into a store, exports a store to a directory, and
//! compares the two. [`compare_stores`] compares two stores by the same rules.
//!
//! ```text
//! <root>/runtimes/id-<hex>/runtime.json
//!                          events.jsonl
//!                          workers/id-<hex>/worker.json
//!                                           transcript.jsonl
//! ```
//!
//! `<hex>` is the UTF-8 bytes of an id in lower-case hex. `runtime.json` and `worker.json` are
//! pretty-printed JSON; a log has one JSON object a line. The store keeps members that this version
//! does not know, and an export writes them after the known ones.
//!
//! Members of a store that retention or deletions have changed stand after those of the model, where they say
//! something. `runtime.json`: `first_event_id`, the floor of the event log; `pruned_workers`, the workers
//! that retention removed, without a directory or with one that lacks their last entries, with `worker_id`, `transcript_len`, `next_transcript_sequence` and
//! `last_event_id`; `deleted_workers`, the ids of deleted workers that no event of the log reports.
//! `worker.json`: `first_position`, the floor of the transcript, and `pinned`.
//!
//! An import never writes to the directory. Neither an import nor an export follows a symbolic link
//! below the root. Both stream the logs: memory does not grow with the length of a log.
//!
//! The rooms, in the order in which they may import each other: `format` (names, documents, JSON,
//! lines), `dir` (directories that are read or written), `findings`, `read` (one directory, read once),
//! `compare`, `import`, `export`.

mod compare;
mod dir;
mod error;
mod export;
mod findings;
mod format;
mod import;
mod options;
mod read;
mod report;
mod stores_report;
#[cfg(test)]
mod unreadable_tests;

pub use crate::model::layout_form::{LayoutForm, WorkerOrigin};
pub use compare::directory::{compare, compare_runtimes, compare_with};
pub use compare::stores::compare_stores;
pub use error::{Conflict, LayoutError};
pub use export::directory::export;
pub use export::line::{write_line, write_recorded_line};
pub use findings::finding::{Finding, FindingKind, FindingText};
pub use import::directory::{check, import};
pub use import::to_path::import_to_path;
pub use options::{
    CompareOptions, DEFAULT_MAX_DOCUMENT_BYTES, DEFAULT_MAX_LINE_BYTES, ExistingDirectory,
    ExportOptions, ImportOptions,
};
pub use report::{
    Comparison, Difference, DifferenceKind, DifferenceWindow, ExportOutcome, ExportReport,
    FormALosses, ImportOutcome, ImportReport, Progress, RuntimeExport, RuntimeImport,
};
pub use stores_report::{StoreComparison, StoreDifference};
