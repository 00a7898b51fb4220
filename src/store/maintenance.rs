//! Backup, compaction, census and verification of an open store.

use crate::engine::redb::maintenance::backup::{BackupOptions, BackupReport, back_up};
use crate::engine::redb::maintenance::census::{Census, CensusOptions, take_census};
use crate::engine::redb::maintenance::compact::{CompactReport, compact};
use crate::engine::redb::maintenance::verify::check::{verify, verify_file};
use crate::engine::redb::maintenance::verify::options::VerifyOptions;
use crate::engine::redb::maintenance::verify::report::VerifyReport;
use crate::error::RuntimeError;
use crate::store::handle::Store;
use std::path::Path;

impl Store {
    /// Copies the store to `path`; see [`backup_with`](Self::backup_with).
    ///
    /// # Errors
    ///
    /// As [`backup_with`](Self::backup_with).
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<BackupReport, RuntimeError> {
        self.backup_with(path, &BackupOptions::default())
    }

    /// Copies the store, as of one moment and without its free space, to `path`, while everybody
    /// goes on reading and writing. The copy is the same store, down to its id, at that moment.
    ///
    /// It is written beside `path`, read back and compared, synced, and renamed into place: what is
    /// at `path` is whole. A backup that was killed leaves nothing there, but a directory
    /// `.NAME.partial-XXXXXX` beside it, with six letters or digits, which the next one to the same
    /// path removes. Takes constant memory. Pages that are replaced in the store
    /// meanwhile are free again when the backup ends.
    ///
    /// # Errors
    ///
    /// `StoreIo` naming `path` where something is there already (`AlreadyExists`), where the path ends
    /// in a separator (`IsADirectory`), or where the copy cannot be written; naming the store where it cannot be read. `StoreCorrupt` where a row
    /// of the store does not read: nothing is at `path` then. `StoreClosed`.
    pub fn backup_with(
        &self,
        path: impl AsRef<Path>,
        options: &BackupOptions,
    ) -> Result<BackupReport, RuntimeError> {
        back_up(self.engine(), path.as_ref(), options)
    }

    /// Counts what the store holds; see [`census_with`](Self::census_with).
    ///
    /// # Errors
    ///
    /// As [`census_with`](Self::census_with).
    pub fn census(&self) -> Result<Census, RuntimeError> {
        self.census_with(&CensusOptions::default())
    }

    /// Counts what the store holds, by runtime, worker and table, and what is unused of the file,
    /// as of one moment and while everybody goes on. Reads the whole store, in constant memory but
    /// for a few words for each runtime.
    ///
    /// # Errors
    ///
    /// The errors of every read: `StoreIo`, `StoreCorrupt`, `StoreClosed`.
    pub fn census_with(&self, options: &CensusOptions) -> Result<Census, RuntimeError> {
        take_census(self.engine(), options)
    }

    /// Moves what is in the file together, and gives the rest back to the system. Durable when it
    /// returns; a crash in the middle leaves the same store.
    ///
    /// The file grows again with the next commits: redb grows it by doubling. Killed in the middle, a
    /// large store is repaired by walking it when it is opened next; killed afterwards it is not.
    ///
    /// Needs the file to itself: writers wait, and so do reads that begin meanwhile, also those of
    /// other processes. Takes about as long as writing what is in the store, in constant memory. A
    /// store in memory shrinks, and reports zeros.
    ///
    /// # Errors
    ///
    /// `StoreBusy`, with the reason, while somebody reads an old state: a snapshot, a backup, another
    /// process. Nothing is changed then. `StoreReadOnly`, `StoreClosed`, `StoreFailed`; `StoreIo`
    /// and `StoreCorrupt`, after which every write is `StoreFailed` until the store is opened again.
    pub fn compact(&self) -> Result<CompactReport, RuntimeError> {
        self.refuse_read_only("compact")?;
        compact(&self.shared)
    }

    /// Verifies the whole store; see [`verify_with`](Self::verify_with).
    ///
    /// # Errors
    ///
    /// As [`verify_with`](Self::verify_with).
    pub fn verify(&self) -> Result<VerifyReport, RuntimeError> {
        self.verify_with(&VerifyOptions::default())
    }

    /// Verifies the store: redb's own check of every page, the checksum of every value, and the
    /// rules across tables, as of one moment. Damage is no error but a finding, and all of it is
    /// listed, not the first. Nothing is changed. Takes constant memory.
    ///
    /// redb's check needs a file that nobody commits to. Writers of this process wait for it, and
    /// where several processes may write all of them do. Where one other process writes, it is made
    /// between that one's commits, and left out, with a finding, where these leave no room. It is
    /// left out for stores in memory.
    ///
    /// # Errors
    ///
    /// `StoreIo`, `StoreClosed`, `StoreFailed`: what keeps the store from being verified.
    pub fn verify_with(&self, options: &VerifyOptions) -> Result<VerifyReport, RuntimeError> {
        verify(&self.shared, options)
    }

    /// Checks every page of the file at `path`, of a store that is too damaged to be opened, and lists
    /// the damaged ones, with their tables. Changes nothing, and needs no lock: nobody may have the
    /// store open, or commits are waited out as [`verify_with`](Self::verify_with) does.
    ///
    /// Of `options` the number of findings and the progress of the pages count. Rows are not looked at, which is a finding.
    ///
    /// # Errors
    ///
    /// `StoreIo`; `NotAStore` where the file is empty.
    pub fn verify_file(
        path: impl AsRef<Path>,
        options: &VerifyOptions,
    ) -> Result<VerifyReport, RuntimeError> {
        verify_file(path.as_ref(), options)
    }
}
