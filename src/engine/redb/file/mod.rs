//! The file below redb: commits of one sync and their recovery, page checks and their layout, the page
//! walk, the write gate, file identity and locks.

pub(crate) mod checked_pages;
pub(crate) mod commit_diff;
pub(crate) mod erase;
pub(crate) mod file_id;
pub(crate) mod lock_holder;
pub(crate) mod one_sync;
pub(crate) mod page_layout;
pub(crate) mod page_walk;
pub(crate) mod planted;
pub(crate) mod recovered;
pub(crate) mod shared_file;
pub(crate) mod tolerant;
pub(crate) mod unclean;
#[cfg(feature = "fault-injection")]
pub(crate) mod watched;
pub(crate) mod write_gate;
