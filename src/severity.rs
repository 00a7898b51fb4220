//! How much a finding matters, of a directory or of a store.

use serde::Serialize;
use std::fmt;

/// How much a finding of an [import](crate::layout) or of a
/// [verification](crate::store::VerifyReport) matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know: everything reads, and nothing is wrong with it.
    Info,
    /// Something is not as a host would write it; all that is there reads as it is.
    Warning,
    /// A directory: something that was there is left out. A store: it is damaged.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}
