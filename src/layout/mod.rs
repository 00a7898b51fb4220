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

mod against;
mod ahead;
mod compare;
mod crlf;
mod document;
mod error;
mod export;
mod finding;
mod findings;
mod gaps;
mod import;
mod json;
mod kept;
mod known;
mod line;
mod lines;
mod listing;
mod log;
mod names;
mod node;
mod options;
mod parallel;
mod parts;
mod problem;
mod reader;
mod report;
mod salvage;
mod scan;
mod source;
mod staging;
mod to_path;
mod unknown_workers;
#[cfg(test)]
mod unreadable_tests;
mod update;
mod walk;

pub use compare::{compare, compare_runtimes};
pub use error::{Conflict, LayoutError};
pub use export::export;
pub use finding::{Finding, FindingKind, FindingText};
pub use import::{check, import};
pub use line::write_line;
pub use options::{
    DEFAULT_MAX_DOCUMENT_BYTES, DEFAULT_MAX_LINE_BYTES, ExistingDirectory, ExportOptions,
    ImportOptions,
};
pub use report::{
    Comparison, Difference, ExportOutcome, ExportReport, ImportOutcome, ImportReport, Progress,
    RuntimeExport, RuntimeImport,
};
pub use to_path::import_to_path;
