//! Commits with one sync.
//!
//! redb commits in two phases: it writes the pages and a header with the new commit in the secondary slot,
//! syncs, makes that slot the primary one, and syncs again. The first sync keeps the header from naming pages
//! that are not on the disk. This backend, below redb, leaves it out, and instead marks the header until the
//! one sync is done: it clears the flag for two phases. After a crash in between
//! [`unclean`](crate::engine::redb::file::unclean) finds out whether the commit is complete.
//!
//! | state | redb | this backend | on disk |
//! |---|---|---|---|
//! | `Armed` | writes pages | passes them | pages that no header names |
//! | `Armed` | grows the file, and syncs that | passes both; the commit takes two syncs | the same |
//! | `Armed` | writes the header with the new slot | holds the header: `Held` | the same |
//! | `Held` | writes pages | passes them | the same |
//! | `Held` | syncs | does not: `Skipped` | the same |
//! | `Skipped` | writes the header with the new primary | writes it with the flag cleared: `Named` | any part of the commit |
//! | `Named` | writes the header again | writes it with the flag cleared | the same |
//! | `Named` | syncs | syncs: `Off` | the commit |
//! | `Off` | clears the mark of the header, where processes share the file | passes the header, which has the flag | the commit, known to be durable |
//!
//! A commit that ends before `Skipped` leaves nothing in the file that names it. One that ends in `Skipped` or
//! `Named`, or whose sync fails, leaves `Failed`: until the store is opened again, every header that redb still
//! writes has the flag cleared. redb rejects commits then, but may write a header that it has in its cache.
//!
//! In an exclusive file redb writes no header after the sync, so this backend writes one with the flag. It is
//! not synced: until it is on the disk, a crash costs a comparison of the last two commits.
//!
//! The flag on disk means that the primary commit is durable. A redb without this crate is right about such a
//! file too: without the flag it verifies all pages, and takes the other slot where one is missing.
//!
//! Only the commits of the queue are armed, and only those of few bytes. Opening, growing, migrating, loading,
//! compacting and closing take the syncs that redb makes.

use crate::engine::redb::file::page_layout::Header;
use crate::engine::redb::file::planted::{Planted, PlantedBug};
use crate::engine::redb::file::write_gate::locks_of_file;
use redb::StorageBackend;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A commit of more bytes of rows takes two syncs. A recovery reads and writes all pages of a commit, which can
/// be some for each row, and the time of a second sync is small against that of writing so much.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// The progress of a commit of one sync.
#[derive(Debug, Default)]
enum Commit {
    /// redb's syncs pass.
    #[default]
    Off,
    /// Rows of the commit may be written.
    Armed,
    /// redb wrote this header, with the new commit in the secondary slot. It is not in the file.
    Held(Vec<u8>),
    /// The first sync was left out.
    Skipped,
    /// The header in the file names the commit, without the flag. This is the one with the flag.
    Named(Vec<u8>),
    /// The last commit may be in the file, and is not known to be durable.
    Failed,
}

/// Arms the backend of a store for a commit of one sync.
#[derive(Clone, Debug, Default)]
pub(crate) struct OneSync {
    commit: Arc<Mutex<Commit>>,
    /// The syncs of redb that were left out.
    skipped: Arc<AtomicU64>,
}

impl OneSync {
    /// The state is whole after any panic: each change is one assignment.
    fn commit(&self) -> MutexGuard<'_, Commit> {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of syncs that were left out.
    pub(crate) fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    /// Lets the next commit take one sync, until the guard is dropped.
    pub(crate) fn arm(&self) -> Armed<'_> {
        let mut commit = self.commit();
        if !matches!(*commit, Commit::Failed) {
            *commit = Commit::Armed;
        }
        Armed(self)
    }
}

/// The commits of a store take one sync as long as this exists.
#[derive(Debug)]
pub(crate) struct Armed<'a>(&'a OneSync);

impl Drop for Armed<'_> {
    /// A header that is still held is dropped with the commit, which was not finished.
    fn drop(&mut self) {
        let mut commit = self.0.commit();
        *commit = match *commit {
            Commit::Off | Commit::Armed | Commit::Held(_) => Commit::Off,
            Commit::Skipped | Commit::Named(_) | Commit::Failed => Commit::Failed,
        };
    }
}

/// A backend over `file` whose commits take one sync while they are armed.
#[derive(Debug)]
pub(crate) struct OneSyncFile<B> {
    file: B,
    one_sync: OneSync,
    planted: Planted,
}

impl<B: StorageBackend> OneSyncFile<B> {
    pub(crate) fn new(file: B, one_sync: OneSync, planted: Planted) -> Self {
        Self {
            file,
            one_sync,
            planted,
        }
    }

    fn write_header(&self, data: &[u8]) -> io::Result<()> {
        let mut commit = self.one_sync.commit();
        match &*commit {
            Commit::Armed if has_new_slot(data) => {
                *commit = Commit::Held(data.to_vec());
                Ok(())
            }
            Commit::Skipped | Commit::Named(_) => {
                self.write_unproven(data)?;
                *commit = Commit::Named(data.to_vec());
                Ok(())
            }
            Commit::Failed => self.write_unproven(data),
            _ => {
                self.end(&mut commit)?;
                self.file.write(0, data)
            }
        }
    }

    /// Writes a header whose primary commit is not known to be durable.
    fn write_unproven(&self, header: &[u8]) -> io::Result<()> {
        let mut header = header.to_vec();
        Header::set_two_phase(&mut header, false);
        self.file.write(0, &header)
    }

    /// Ends a commit of one sync before its header names it.
    fn end(&self, commit: &mut Commit) -> io::Result<()> {
        if let Commit::Held(header) = &*commit {
            self.file.write(0, header)?;
        }
        if matches!(commit, Commit::Armed | Commit::Held(_)) {
            *commit = Commit::Off;
        }
        Ok(())
    }

    /// Notes in the file that the commit in `header` is durable. Without the note a crash costs a comparison
    /// of two commits, so an error of the write does not matter.
    fn note_durable(&self, header: &[u8]) {
        // Where processes share the file redb writes this header itself, under its lock.
        if !Header::parse(header).is_some_and(Header::is_unflushed) {
            let _ = self.file.write(0, header);
        }
    }
}

/// Whether `data` is a header with a commit in its secondary slot that is newer than the primary.
fn has_new_slot(data: &[u8]) -> bool {
    Header::parse(data).is_some_and(|header| header.secondary().id() > header.primary().id())
}

impl<B: StorageBackend> StorageBackend for OneSyncFile<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if !self.planted.is(PlantedBug::GrowthUnsynced) {
            self.end(&mut self.one_sync.commit())?;
        }
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut commit = self.one_sync.commit();
        if let Commit::Held(_) = *commit {
            *commit = Commit::Skipped;
            self.one_sync.skipped.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        if matches!(*commit, Commit::Armed) && self.planted.is(PlantedBug::GrowthUnsynced) {
            return Ok(());
        }
        let synced = self.file.sync_data();
        if let Commit::Named(header) = &*commit {
            if synced.is_ok() {
                self.note_durable(header);
            }
            *commit = match synced {
                Ok(()) => Commit::Off,
                Err(_) => Commit::Failed,
            };
        }
        synced
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match offset {
            0 => self.write_header(data),
            _ => self.file.write(offset, data),
        }
    }

    locks_of_file!();
}
