//! Giving a file's free space back to the system.

use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::{OpenStore, RedbEngine, Writer};
use crate::engine::redb::file::lock_holder;
use crate::error::{RuntimeError, with_causes};
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

/// Compacts the store; see [`Store::compact`](crate::Store::compact).
pub(crate) fn compact(store: &OpenStore) -> Result<CompactReport, RuntimeError> {
    let engine = store.engine();
    let at = engine.at("compact");
    let turn = store.take_turn(at.operation())?;
    let bytes_before = engine.file_bytes(at)?;
    let compacted = engine.with_writer(at, |writer| engine.compact(writer, at));
    match compacted {
        Ok(()) => {}
        Err(error @ RuntimeError::StoreBusy { .. }) => return Err(error),
        Err(error) => {
            turn.give_up(with_causes(&error));
            return Err(error);
        }
    }
    Ok(CompactReport {
        bytes_before: bytes_before.unwrap_or(0),
        bytes_after: engine.file_bytes(at)?.unwrap_or(0),
    })
}

impl RedbEngine {
    /// Compacts, and gives the database back where it is still open.
    fn compact(
        &self,
        mut writer: Writer,
        at: RedbContext<'_>,
    ) -> (Option<Writer>, Result<(), RuntimeError>) {
        let compacted = at.guard(|| match writer.database.compact() {
            Ok(_) => Ok(()),
            Err(CompactionError::Storage(error)) => Err(at.redb(error)),
            Err(_) => Err(RuntimeError::StoreBusy {
                operation: at.operation,
                path: at.path().to_owned(),
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
