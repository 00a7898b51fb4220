//! Why a commit failed.

use crate::error::{RuntimeError, with_causes};
use crate::ledger::context::OpContext;

/// Why a commit failed, to be told to each of its operations.
#[derive(Clone)]
pub(crate) enum Failure {
    /// On the way to the disk: it may be there.
    Uncertain(std::io::ErrorKind, String),
    /// Before that: it is not there.
    Refused(std::io::ErrorKind, String),
    /// The file is damaged; it is not there.
    Corrupt(String),
    /// An earlier access to the file failed, and redb takes nothing any more; it is not there.
    Earlier,
}

impl Failure {
    pub(crate) fn error(&self, at: OpContext<'_>) -> RuntimeError {
        match self {
            Self::Uncertain(kind, message) => RuntimeError::CommitUncertain {
                path: at.path().to_owned(),
                source: std::io::Error::new(*kind, message.clone()),
            },
            Self::Refused(kind, message) => at.io(std::io::Error::new(*kind, message.clone())),
            Self::Corrupt(message) => at.corrupt(message.clone()),
            Self::Earlier => at.failed(),
        }
    }

    /// A failure before the commit began: nothing of the batch is in the file.
    pub(crate) fn before_commit(error: RuntimeError) -> Self {
        match error {
            RuntimeError::StoreIo { source, .. } => {
                Self::Refused(source.kind(), source.to_string())
            }
            RuntimeError::StoreCorrupt { message, .. } => Self::Corrupt(message),
            RuntimeError::StoreFailed { .. } => Self::Earlier,
            other => Self::Refused(std::io::ErrorKind::Other, with_causes(&other)),
        }
    }
}
