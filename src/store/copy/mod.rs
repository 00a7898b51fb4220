//! Copying runtimes from one store to another, whichever engines have them.
//!
//! A copy reads one snapshot of its source. It writes loads to its destination: transactions that have one runtime or
//! several small ones, always whole, so no reader and no later copy finds a part of a runtime. It can be killed, or
//! lose its connection, at any time. Then it is run again, and finds each runtime in one of these states:
//!
//! | the destination has | because | the copy |
//! |---|---|---|
//! | no row of it | its load was not reached, or was undone | writes it |
//! | hidden rows of it | an earlier runtime with this id was deleted, and the deletion is unfinished | removes them and writes it, in one load |
//! | the same rows | its load was committed | skips it |
//! | other rows | a host has changed one of the two, or they never were the same | writes nothing at all, or replaces it in one load |
//!
//! A commit whose outcome is unknown leads to the first state or to the third. Other content is looked for in a snapshot
//! before the first load. A runtime that another host of the destination creates after that is compared within its load.
//!
//! What readers of the source do not see is not copied: rows of unfinished deletions, of forks under way and below floors.
//! Each row is decoded, which verifies its checksum, and encoded again. So rows of an older version are equal to those that
//! a copy has written of them.
//!
//! Work that is open in the source is unfinished in the destination from its next opening on: a copy raises the number of
//! the last opening to that of the source.

pub(crate) mod compared;
pub(crate) mod copying;
pub(crate) mod options;
pub(crate) mod others;
pub(crate) mod report;
pub(crate) mod walk;
pub(crate) mod written;
