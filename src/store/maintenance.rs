//! Backup, compaction, census and verification of an open store.

use crate::commit::metrics::StoreMetrics;
use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::OpenStore;
use crate::engine::redb::maintenance::backup::{BackupOptions, BackupReport, back_up};
use crate::engine::redb::maintenance::census::{Census, CensusOptions, take_census};
use crate::engine::redb::maintenance::compact::{CompactReport, compact};
use crate::engine::redb::maintenance::verify::check::{verify, verify_file};
use crate::engine::redb::maintenance::verify::options::VerifyOptions;
use crate::engine::redb::maintenance::verify::report::VerifyReport;
use crate::engine::redb::open::existing::has_a_writer;
use crate::error::{Place, RuntimeError};
#[cfg(feature = "postgres")]
use crate::store::any_store::AnyStore;
use crate::store::handle::Store;
#[cfg(feature = "postgres")]
use crate::store::server_work;
use std::path::Path;
use std::sync::Arc;

impl Store {
    /// Copies the store to `path`; see [`backup_with`](Self::backup_with).
    ///
    /// ```
    /// # let directory = tempfile::tempdir().unwrap();
    /// # let path = directory.path().join("agents.redb");
    /// # let store = redb_runtime_store::Store::open(&path)?;
    /// # let copy = directory.path().join("agents-monday.redb");
    /// let report = store.backup(copy)?;
    /// println!("{} rows, {} bytes", report.rows, report.bytes);
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`backup_with`](Self::backup_with).
    pub fn backup(&self, path: impl AsRef<Path>) -> Result<BackupReport, RuntimeError> {
        self.backup_with(path, &BackupOptions::default())
    }

    /// Copies a snapshot of the store to `path`, without free space. Reads and writes continue during the
    /// copy. The copy has the rows of the snapshot and the id of the store.
    ///
    /// The backup writes a temporary file next to `path`, reads it back and compares it, syncs it, and
    /// renames it to `path`: the copy appears atomically, and is on disk when this returns. A killed backup
    /// leaves nothing at `path`, and possibly a directory `.NAME.partial-XXXXXX` next to it, with six
    /// letters or digits; the next backup into that directory removes it, under whatever name. The copy has
    /// rows only: text that was removed or replaced, and that free pages of the store still contain, is not
    /// in it. Takes constant memory. The store cannot reuse pages that the snapshot has before the backup
    /// ends. The rows of a store on a server come into another temporary file in the same directory first.
    ///
    /// # Errors
    ///
    /// `StoreIo` with `path` if the path exists (`AlreadyExists`), ends in a separator (`IsADirectory`), or
    /// cannot be written; with the path of the store if the store cannot be read. `StoreCorrupt` if a row
    /// of the store is corrupt. `StoreClosed`. `DurabilityUncertain` if the copy is complete and at `path`,
    /// but its directory cannot be synced: a power loss can remove it. After every other error nothing is at
    /// `path`, or the file that was there before.
    pub fn backup_with(
        &self,
        path: impl AsRef<Path>,
        options: &BackupOptions,
    ) -> Result<BackupReport, RuntimeError> {
        #[cfg(feature = "postgres")]
        if let AnyStore::Postgres(store) = &self.shared {
            return server_work::back_up(store, path.as_ref(), options);
        }
        back_up(self.redb("back up")?.engine(), path.as_ref(), options)
    }

    /// Whether a process has the store open for writing: this one or another one. `false` where the system does not report
    /// the locks of other processes.
    ///
    /// # Errors
    ///
    /// `StoreIo` if the file cannot be opened at its path; `StoreClosed`.
    pub fn has_writer(&self) -> Result<bool, RuntimeError> {
        #[cfg(feature = "postgres")]
        if let AnyStore::Postgres(_) = &self.shared {
            // Any number of hosts may write.
            return Ok(!self.is_read_only());
        }
        let engine = self.redb("find the writer")?.engine();
        let at = engine.at("find the writer");
        let is_writer = engine.is_writer(at.operation())?;
        if is_writer || engine.file().is_none() {
            return Ok(is_writer);
        }
        let path = engine.file_path();
        let path = path.map_err(|reason| at.io(std::io::Error::other(reason)))?;
        let place = Place::file(&path);
        has_a_writer(RedbContext::new("find the writer", &place))
    }

    /// The commits, operations, syncs and failures since this process opened the store, and a histogram of the times of
    /// commits. It reads counters in memory.
    pub fn metrics(&self) -> StoreMetrics {
        self.shared.read_metrics()
    }

    /// Counts the rows and bytes of the store; see [`census_with`](Self::census_with).
    ///
    /// # Errors
    ///
    /// As [`census_with`](Self::census_with).
    pub fn census(&self) -> Result<Census, RuntimeError> {
        self.census_with(&CensusOptions::default())
    }

    /// Counts the rows and bytes of a snapshot, by runtime, worker and table, and the free space of the
    /// file. Reads and writes continue at the same time. Reads the whole store. Memory grows only with the
    /// number of runtimes, by a few words for each.
    ///
    /// # Errors
    ///
    /// The errors of every read: `StoreIo`, `StoreCorrupt`, `StoreClosed`.
    pub fn census_with(&self, options: &CensusOptions) -> Result<Census, RuntimeError> {
        #[cfg(feature = "postgres")]
        if let AnyStore::Postgres(store) = &self.shared {
            return server_work::take_census(store, options);
        }
        take_census(self.redb("count")?.engine(), options)
    }

    /// Compacts the file: moves its used pages together and returns the free space to the file system. The
    /// compacted file is on disk when this returns. A crash during the compaction loses no row.
    ///
    /// Before, it removes the rows that an unfinished deletion of a process that ended has left.
    ///
    /// Text that was removed or replaced stays in the file until then, in free pages and at the ends of others. Compaction
    /// overwrites these bytes with zeros, unless a damaged page leaves open which pages are free: then
    /// [`is_erased`](CompactReport::is_erased) is `false`. A backup has none of them.
    ///
    /// The next commits grow the file again, because redb grows a file by doubling it. If the process is
    /// killed during the compaction of a large store, the next open repairs the store by walking the file. Overwriting changes
    /// no byte that a row is in, so a crash during it damages nothing.
    ///
    /// Compaction needs the file exclusively: writes wait, and reads that begin during it wait too, also
    /// in other processes, there up to
    /// [`commit_lock_timeout`](crate::store::StoreOptions::commit_lock_timeout). It takes about as long as writing all rows of the store, and 0.25 MB of memory for each GB of the file. A
    /// store in memory shrinks, and the report has zeros.
    ///
    /// # Errors
    ///
    /// `StoreBusy`, with the reason, while a snapshot, a backup or another process reads an older commit;
    /// nothing is changed then. `StoreReadOnly`, `StoreClosed`, `StoreFailed`. After `StoreIo` and
    /// `StoreCorrupt` every write returns `StoreFailed` until the store is opened again.
    pub fn compact(&self) -> Result<CompactReport, RuntimeError> {
        self.refuse_read_only("compact")?;
        self.finish_deletions("compact")?;
        compact(self.redb("compact")?)
    }

    /// Verifies the whole store; see [`verify_with`](Self::verify_with).
    ///
    /// ```
    /// # let runtime = redb_runtime_store::Runtime::new_memory();
    /// # let store = runtime.store();
    /// for finding in store.verify()?.findings {
    ///     println!("{finding}");
    /// }
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`verify_with`](Self::verify_with).
    pub fn verify(&self) -> Result<VerifyReport, RuntimeError> {
        self.verify_with(&VerifyOptions::default())
    }

    /// Verifies a snapshot of the store: redb's own check of every page, the checksum of every value, and
    /// the rules across tables. Damage is reported as findings, all of it, and not as an error. Changes
    /// nothing. Takes constant memory.
    ///
    /// redb's check needs a file without commits. Writes of this process wait for it; with several writing
    /// processes, all writes wait. If another process alone writes, the check runs between the commits of
    /// that process; if they leave no time for it, it is skipped, with a finding. For a store in memory it
    /// is skipped.
    ///
    /// # Errors
    ///
    /// `StoreClosed`; `StoreIo` if the file cannot be opened. If the system fails to read a part of the file,
    /// that is a finding ([`ReadFailed`](crate::store::VerifyKind::ReadFailed)), and the rest is checked
    /// through a descriptor of its own. After a failed read every other access of this store is
    /// `StoreFailed`.
    pub fn verify_with(&self, options: &VerifyOptions) -> Result<VerifyReport, RuntimeError> {
        #[cfg(feature = "postgres")]
        if let AnyStore::Postgres(store) = &self.shared {
            return server_work::verify(store, options);
        }
        verify(self.redb("verify")?, options)
    }

    /// Checks every page of the file at `path`, for a store that is too damaged to be opened. Lists the
    /// damaged pages and their tables. Changes nothing and takes no lock. If another process commits to the
    /// file, the check runs between its commits, as in [`verify_with`](Self::verify_with).
    ///
    /// Of `options`, only the number of findings and the progress of the page check apply. Rows are not
    /// checked; a finding says so.
    ///
    /// # Errors
    ///
    /// `StoreIo` if the file cannot be opened; `NotAStore` if it is empty. A part that the system fails to
    /// read is a finding.
    pub fn verify_file(
        path: impl AsRef<Path>,
        options: &VerifyOptions,
    ) -> Result<VerifyReport, RuntimeError> {
        verify_file(path.as_ref(), options)
    }

    /// The store in a file or in memory, for work on that file.
    fn redb(&self, operation: &'static str) -> Result<&Arc<OpenStore>, RuntimeError> {
        self.shared.redb(operation)
    }
}
