//! Access to the file system outside redb: hooks for fault injection, names, and files that appear
//! atomically.

pub(crate) mod names;
pub(crate) mod process;
pub(crate) mod remove;
pub(crate) mod staged_file;
pub(crate) mod staging;
#[cfg(not(feature = "fault-injection"))]
pub(crate) mod steps;
#[cfg(feature = "fault-injection")]
#[doc(hidden)]
pub mod steps;
