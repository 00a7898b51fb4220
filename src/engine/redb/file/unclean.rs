//! The last commit of a file that was not closed.
//!
//! A commit of one sync ([`one_sync`](crate::engine::redb::file::one_sync)) writes the header that names it
//! together with its pages, so after a power loss the header can be in the file without the pages. Its flag for
//! two phases is cleared until the sync is done. The invariants:
//!
//! - *The flag is set*: the pages and the slot of the primary commit were written and synced before.
//! - *A page is used again one commit later at the earliest.* While commit N + 1 is written, N is whole; it
//!   can only write over pages that N replaced, which N - 1 needs.
//! - *N + 1 begins when N is durable*: after its sync succeeded, or after a recovery.
//!
//! So the newer of two whole slots is durable, or the older one is whole. With the primary slot P and the other
//! slot S, whole or torn by their own checksums:
//!
//! | flag | P | S | then | the recovery |
//! |---|---|---|---|---|
//! | set | whole | older than P | P is durable | changes nothing |
//! | set | whole | torn, or newer than P | P is durable, a later commit was never acknowledged | copies P over S |
//! | set | torn | | damage | leaves the file to redb, which reports it |
//! | cleared | torn | whole | the header of P was torn: S is durable | makes S the primary, and copies it |
//! | cleared | whole | torn | the slot of a later commit was torn: P is durable | copies P over S |
//! | cleared | torn | torn | damage | leaves the file to redb |
//! | cleared | whole | whole | the newer one is durable, or the older one is whole | compares their pages |
//!
//! The comparison ([`commit_diff`](crate::engine::redb::file::commit_diff)) verifies the pages that only one
//! of the two commits has, from the roots down:
//!
//! | the newer commit | the older commit | then | the recovery |
//! |---|---|---|---|
//! | whole | whole | after a failed sync the newer one can be in the page cache alone | writes its pages again and makes it the primary |
//! | damaged | whole | the newer one was never acknowledged | makes the older one the primary, and copies it |
//! | whole so far | damaged | a later commit had begun: the newer one is durable | makes the newer one the primary |
//! | damaged | damaged | damage | leaves the file to redb |
//!
//! If the flag is cleared, the recovery writes the header twice: with the flag cleared, together with the
//! pages; then it syncs; then with the flag. One header with the flag would not do: after a failed sync the slot
//! can be in the page cache alone, and if of the header only the flags reached the disk, they would name an
//! older commit as durable. If a header is torn while the recovery writes it, the next recovery finds a row with
//! the same outcome.
//!
//! Copying a slot over the other removes a commit that was given up: it would seem whole after a later crash.
//! The mark for an unflushed primary stays as it was found: redb syncs before it clears it. redb itself
//! writes and syncs the header once more before its first commit. An error of a read or a write is an
//! error of the open, and never a reason to return to an older commit.
//!
//! After a power loss before the flag was on the disk, bit rot in a page of the last commit cannot be told from
//! a write that was lost. So a recovery that rolls back is reported.

use crate::engine::redb::file::commit_diff::{AddedPage, Difference, difference};
use crate::engine::redb::file::page_layout::{HEADER_BYTES, Header};
use crate::engine::redb::file::planted::{Planted, PlantedBug};
use redb::StorageBackend;
use std::io;

/// The outcome of the recovery of a store that was not closed cleanly; see
/// [`Store::recovery`](crate::Store::recovery).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Recovery {
    /// The last commit was known to be durable.
    Durable,
    /// The last commit is complete. It was not known to be durable, so its pages were written and synced
    /// again.
    Completed {
        /// How many pages.
        pages: u64,
    },
    /// The last commit was not complete, and the store has the commit before it. No operation of the
    /// last commit was acknowledged, unless the disk changed one of its pages later.
    RolledBack,
    /// redb chose the last complete commit, and verified all pages to do so.
    LeftToRedb,
}

/// The writes that bring a file in order before redb reads it: those with the flag cleared, a sync, and the
/// header with the flag.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) outcome: Recovery,
    /// Pages to write again as they are.
    pub(crate) rewrite: Vec<AddedPage>,
    /// The header with the flag cleared; `None` if the flag was set.
    pub(crate) unproven: Option<Vec<u8>>,
    /// The header with the flag; `None` if the header stays as it is.
    pub(crate) header: Option<Vec<u8>>,
}

impl Plan {
    fn unchanged(outcome: Recovery) -> Self {
        Self {
            outcome,
            rewrite: Vec::new(),
            unproven: None,
            header: None,
        }
    }

    /// Makes the chosen commit in the header `bytes` the primary one, and copies it over the other slot if
    /// `alone`.
    fn choose(outcome: Recovery, bytes: &[u8], chosen: Chosen, alone: bool) -> Self {
        let was_proven = Header::parse(bytes).is_some_and(Header::is_two_phase);
        let mut header = bytes.to_vec();
        if chosen == Chosen::Secondary {
            Header::swap_primary(&mut header);
        }
        if alone {
            Header::copy_primary(&mut header);
        }
        // redb repairs the record of free pages then.
        Header::set_unclean(&mut header);
        let unproven = (!was_proven).then(|| header.clone());
        Header::set_two_phase(&mut header, true);
        Self {
            outcome,
            rewrite: Vec::new(),
            unproven,
            header: Some(header),
        }
    }
}

/// The commit that becomes the last one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Chosen {
    Primary,
    Secondary,
}

/// Finds the last commit of `file`, which has `len` bytes and no writer. `None` for a file that was closed, and
/// for one that redb rejects. Writes nothing.
///
/// A file that seems closed without the flag was repaired by another redb and not closed since: the commits of
/// closing have two phases.
///
/// # Errors
///
/// Those of reading the file.
pub(crate) fn plan(
    file: &impl StorageBackend,
    len: u64,
    planted: Planted,
) -> io::Result<Option<Plan>> {
    let mut bytes = vec![0; HEADER_BYTES];
    if len < HEADER_BYTES as u64 {
        return Ok(None);
    }
    file.read(0, &mut bytes)?;
    let is_closed = |header: &Header<'_>| !header.is_unclean() && header.is_two_phase();
    let Some(header) = Header::parse(&bytes).filter(|header| !is_closed(header)) else {
        return Ok(None);
    };
    let (primary, secondary) = (header.primary(), header.secondary());
    let is_older = secondary.is_whole() && secondary.id() <= primary.id();
    Ok(Some(
        match (
            header.is_two_phase(),
            primary.is_whole(),
            secondary.is_whole(),
        ) {
            (true, false, _) => Plan::unchanged(Recovery::LeftToRedb),
            (true, true, _) if is_older || planted.is(PlantedBug::AbandonedSlotKept) => {
                Plan::unchanged(Recovery::Durable)
            }
            (true, true, _) => Plan::choose(Recovery::Durable, &bytes, Chosen::Primary, true),
            (false, false, false) => Plan::unchanged(Recovery::LeftToRedb),
            (false, false, true) => {
                Plan::choose(Recovery::Durable, &bytes, Chosen::Secondary, true)
            }
            (false, true, false) => Plan::choose(Recovery::Durable, &bytes, Chosen::Primary, true),
            (false, true, true) => compared(file, len, &bytes, planted)?,
        },
    ))
}

/// A plan for the header `bytes`, whose slots are both whole.
fn compared(
    file: &impl StorageBackend,
    len: u64,
    bytes: &[u8],
    planted: Planted,
) -> io::Result<Plan> {
    if planted.is(PlantedBug::PrimaryTrusted) {
        return Ok(Plan::choose(
            Recovery::Durable,
            bytes,
            Chosen::Primary,
            false,
        ));
    }
    let left_to_redb = Plan::unchanged(Recovery::LeftToRedb);
    let Some(header) = Header::parse(bytes) else {
        return Ok(left_to_redb);
    };
    let Some(geometry) = header.geometry().filter(|geometry| geometry.is_valid()) else {
        return Ok(left_to_redb);
    };
    let (primary, secondary) = (header.primary(), header.secondary());
    // The primary can be the older one: if of its header only the flags reached the disk, or only the slot.
    let (newer, older, slots) =
        match secondary.id() > primary.id() && !planted.is(PlantedBug::OlderPrimary) {
            true => (Chosen::Secondary, Chosen::Primary, (secondary, primary)),
            false => (Chosen::Primary, Chosen::Secondary, (primary, secondary)),
        };
    Ok(match difference(file, len, geometry, slots, planted)? {
        Difference::Whole(rewrite) => {
            let pages = rewrite.len() as u64;
            let plan = Plan::choose(Recovery::Completed { pages }, bytes, newer, false);
            Plan { rewrite, ..plan }
        }
        Difference::NewDamaged => {
            let alone = !planted.is(PlantedBug::AbandonedSlotKept);
            Plan::choose(Recovery::RolledBack, bytes, older, alone)
        }
        Difference::OldDamaged => Plan::choose(Recovery::Durable, bytes, newer, false),
        Difference::BothDamaged | Difference::Unknown => left_to_redb,
    })
}

#[cfg(test)]
#[path = "unclean_tests.rs"]
mod tests;
