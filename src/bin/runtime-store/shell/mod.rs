//! Verbs that print completions and manual pages for the shell.

pub(crate) mod completions;
pub(crate) mod ids;
pub(crate) mod man;
