//! Who is meant: runtimes, workers, and the pair that addresses a worker.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An id that was blank after trimming.
#[derive(Debug, thiserror::Error)]
#[error("an id must not be blank")]
pub struct BlankId;

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The id, or `None` where `id` is blank after trimming. The text is kept as given.
            pub fn new(id: impl Into<String>) -> Option<Self> {
                let id = id.into();
                (!id.trim().is_empty()).then_some(Self(id))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = BlankId;

            fn try_from(id: String) -> Result<Self, BlankId> {
                Self::new(id).ok_or(BlankId)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

string_id! {
    /// The id of a runtime: any text that is not blank.
    RuntimeId
}

string_id! {
    /// The id of a worker within its runtime: any text that is not blank.
    WorkerId
}

impl WorkerId {
    /// The id that a runtime generates for its `sequence`-th worker: `worker-00000001` for 1.
    pub fn generated(sequence: u64) -> Self {
        Self(format!("worker-{sequence:08x}"))
    }
}

/// The address of a worker. The pair is the authority, never a path or a display name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct WorkerRef {
    /// The runtime that owns the worker.
    pub runtime_id: RuntimeId,
    /// The worker within it.
    pub worker_id: WorkerId,
}

impl WorkerRef {
    /// The address of `worker_id` in `runtime_id`.
    pub fn new(runtime_id: RuntimeId, worker_id: WorkerId) -> Self {
        Self {
            runtime_id,
            worker_id,
        }
    }
}

impl fmt::Display for WorkerRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.runtime_id, self.worker_id)
    }
}
