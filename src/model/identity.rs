//! Ids of runtimes and workers, and the address of a worker.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::sync::Arc;

/// The longest id of a runtime or a worker that an operation accepts, in bytes: 64 KiB. Every row of a log
/// has the id of its runtime in its key, so a long id costs its length for each row.
pub const MAX_ID_BYTES: usize = 64 << 10;

/// The beginning of the name of a directory of the layout that belongs to an id.
pub(crate) const ID_PREFIX: &str = "id-";

/// The name of the directory of an id in the layout: [`ID_PREFIX`] and its bytes in lower-case hex.
pub(crate) fn directory_name(id: &str) -> String {
    format!("{ID_PREFIX}{}", hex(id.as_bytes()))
}

/// Bytes in lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// The bytes of lower-case hex: the inverse of [`hex`]. `None` for an odd number of digits or another character.
pub(crate) fn bytes_of_hex(hex: &[u8]) -> Option<Vec<u8>> {
    let (pairs, rest) = hex.as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit_value(*high)? << 4 | digit_value(*low)?);
    let bytes = pairs.iter().map(byte).collect();
    if rest.is_empty() { bytes } else { None }
}

fn digit_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// A text that is no id: it contains only white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id must not be blank")]
pub struct BlankId;

macro_rules! string_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// Clones share the text, so cloning does not allocate.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id, or `None` if `id` contains only white space. The text is not trimmed.
            pub fn new(id: impl Into<String>) -> Option<Self> {
                Self::from_text(&id.into())
            }

            /// [`new`](Self::new) of borrowed text.
            pub(crate) fn from_text(id: &str) -> Option<Self> {
                (!id.trim().is_empty()).then(|| Self(id.into()))
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

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = BlankId;

            fn from_str(id: &str) -> Result<Self, BlankId> {
                Self::from_text(id).ok_or(BlankId)
            }
        }

        impl TryFrom<&str> for $name {
            type Error = BlankId;

            fn try_from(id: &str) -> Result<Self, BlankId> {
                id.parse()
            }
        }

        impl TryFrom<String> for $name {
            type Error = BlankId;

            fn try_from(id: String) -> Result<Self, BlankId> {
                id.parse()
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let id = String::deserialize(deserializer)?;
                Self::from_text(&id).ok_or_else(|| D::Error::custom(BlankId))
            }
        }
    };
}

string_id! {
    /// The id of a runtime: any text that is not blank. An operation rejects one that is longer than
    /// [`MAX_ID_BYTES`] with [`InvalidRequest`](crate::RuntimeError::InvalidRequest).
    RuntimeId
}

string_id! {
    /// The id of a worker within its runtime: any text that is not blank. An operation rejects one that is
    /// longer than [`MAX_ID_BYTES`] with [`InvalidRequest`](crate::RuntimeError::InvalidRequest).
    WorkerId
}

impl WorkerId {
    /// The id that a runtime generates for its `sequence`-th worker: `worker-00000001` for 1.
    pub(crate) fn generated(sequence: u64) -> Self {
        Self(format!("worker-{sequence:08x}").into())
    }
}

/// The address of a worker: the ids of its runtime and of the worker. Paths and display names identify
/// nothing.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_convert_from_and_to_text() {
        let id: WorkerId = "w 1".parse().unwrap();
        assert_eq!(id.as_ref(), "w 1");
        assert_eq!(RuntimeId::try_from("w 1").unwrap().as_str(), id.as_str());
        assert_eq!(WorkerId::try_from(String::from("w 1")), Ok(id));
        for blank in ["", " \t\n"] {
            assert_eq!(blank.parse::<RuntimeId>(), Err(BlankId));
            let json = serde_json::to_string(blank).unwrap();
            let error = serde_json::from_str::<RuntimeId>(&json).unwrap_err();
            assert!(
                error.to_string().starts_with(&BlankId.to_string()),
                "{error}"
            );
        }
    }

    #[test]
    fn worker_ids_have_eight_hex_digits() {
        let id = |sequence| String::from(WorkerId::generated(sequence));
        assert_eq!(id(1), "worker-00000001");
        assert_eq!(id(0xABC), "worker-00000abc");
        assert_eq!(id(0x1_0000_0000), "worker-100000000");
    }
}
