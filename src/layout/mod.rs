//! The JSON/JSONL directory layout: importing it into a store, exporting a store to it, and
//! comparing the two.
//!
//! ```text
//! <root>/runtimes/id-<hex>/runtime.json
//!                          events.jsonl
//!                          workers/id-<hex>/worker.json
//!                                           transcript.jsonl
//! ```
//!
//! `<hex>` is an id's UTF-8 bytes in lower-case hex. The documents are pretty-printed JSON, the logs
//! one JSON object a line. Members that this version does not know are kept, and exported again
//! after the known ones.
//!
//! The source is only ever read. Nothing here follows a symbolic link below the root. Logs are
//! streamed in both directions: memory does not grow with them.

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
#[cfg(test)]
mod unreadable_tests;

pub use compare::directory::{compare, compare_runtimes};
pub use error::{Conflict, LayoutError};
pub use export::directory::export;
pub use export::line::write_line;
pub use findings::finding::{Finding, FindingKind, FindingText};
pub use import::directory::{check, import};
pub use import::to_path::import_to_path;
pub use options::{
    DEFAULT_MAX_DOCUMENT_BYTES, DEFAULT_MAX_LINE_BYTES, ExistingDirectory, ExportOptions,
    ImportOptions,
};
pub use report::{
    Comparison, Difference, ExportOutcome, ExportReport, ImportOutcome, ImportReport, Progress,
    RuntimeExport, RuntimeImport,
};
