//! Giving a file's free space back to the system.

use super::Store;
use super::context::At;
use super::lock_holder;
use super::shared::{Shared, Writer};
use crate::error::RuntimeError;
use redb::CompactionError;
use serde::Serialize;

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CompactReport {
    /// The size of the file before, in bytes.
    pub bytes_before: u64,
    /// And after.
    pub bytes_after: u64,
}

impl Store {
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
        let shared = &self.shared;
        let at = shared.at("compact");
        let turn = shared.take_turn(at)?;
        let bytes_before = shared.file_bytes(at)?;
        let compacted = shared.with_writer(at, |writer| shared.compact(writer, at));
        match compacted {
            Ok(()) => {}
            Err(error @ RuntimeError::StoreBusy { .. }) => return Err(error),
            Err(error) => {
                turn.give_up(error.to_string());
                return Err(error);
            }
        }
        Ok(CompactReport {
            bytes_before: bytes_before.unwrap_or(0),
            bytes_after: shared.file_bytes(at)?.unwrap_or(0),
        })
    }
}

impl Shared {
    /// Compacts, and gives the database back where it is still open.
    fn compact(
        &self,
        mut writer: Writer,
        at: At<'_>,
    ) -> (Option<Writer>, Result<(), RuntimeError>) {
        let compacted = at.guard(|| match writer.database.compact() {
            Ok(_) => Ok(()),
            Err(CompactionError::Storage(error)) => Err(at.redb(error)),
            Err(_) => Err(RuntimeError::StoreBusy {
                operation: at.operation,
                path: at.path.to_owned(),
                reason: self.readers_in_words(),
            }),
        });
        if compacted.is_err() {
            return (Some(writer), compacted);
        }
        // redb's commits of a compaction have no record of the free pages.
        match writer.save_free_pages(at) {
            Ok(writer) => (Some(writer), Ok(())),
            Err(error) => (None, Err(error)),
        }
    }

    /// Who reads the store, in words.
    fn readers_in_words(&self) -> String {
        let me = std::process::id();
        let mut readers: Vec<String> = self
            .file()
            .map(lock_holder::readers)
            .unwrap_or_default()
            .into_iter()
            .map(|reads| {
                if reads.pid == me {
                    "this process".to_owned()
                } else {
                    format!("process {}", reads.pid)
                }
            })
            .collect();
        readers.sort_unstable();
        readers.dedup();
        if readers.is_empty() {
            return "somebody reads an old state of it".to_owned();
        }
        format!("an old state of it is read by {}", readers.join(", "))
    }
}
