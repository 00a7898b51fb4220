//! Severity of findings in a directory or a store.

use serde::Serialize;
use std::fmt;

/// Severity of a finding of an [import](crate::layout) or a [verification](crate::store::VerifyReport).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Information: all data can be read and is correct.
    Info,
    /// An irregularity that a host does not write; the existing data can be read unchanged.
    Warning,
    /// Damage. An import left existing data of the directory out, or the store is corrupt.
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
