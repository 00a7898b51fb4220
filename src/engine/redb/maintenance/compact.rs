//! Compaction: returns the free space of a file to the system.

use crate::commit::failure::Failure;
use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::{OpenStore, RedbEngine, Writer};
use crate::engine::redb::file::lock_holder;
use crate::error::{RuntimeError, with_causes};
use redb::CompactionError;
use serde::Serialize;

/// The result of a compaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CompactReport {
    /// The size of the file before the compaction, in bytes.
    pub bytes_before: u64,
    /// The size of the file after the compaction, in bytes.
    pub bytes_after: u64,
    /// Whether the bytes of removed rows were overwritten in the rest of the file: `false` if a damaged page leaves open
    /// which pages are free. A verification finds that page, and a backup has none of these bytes.
    pub is_erased: bool,
}

/// Compacts the store; see [`Store::compact`](crate::Store::compact).
pub(crate) fn compact(store: &OpenStore) -> Result<CompactReport, RuntimeError> {
    let engine = store.engine();
    let at = engine.at("compact");
    let turn = store.take_turn(at.operation())?;
    let bytes_before = engine.file_bytes(at)?;
    let mut is_erased = false;
    let compacted = engine.with_writer(at, |writer| {
        let (writer, compacted) = engine.compact(writer, at);
        (writer, compacted.map(|is_whole| is_erased = is_whole))
    });
    match compacted {
        // Like a commit: the file that was compacted may be in no path's reach.
        Ok(()) if engine.is_moved(at.operation()) => {
            turn.fail(Failure::Moved);
            return Err(at.moved(true));
        }
        Ok(()) => {}
        // redb refuses before it changes anything, so the store stays usable.
        Err(error @ RuntimeError::StoreBusy { .. }) => return Err(error),
        // It takes all of its locks first, and gave the database back.
        Err(error @ RuntimeError::StoreLocked { .. })
            if engine.is_writer(at.operation()).unwrap_or(false) =>
        {
            return Err(error);
        }
        Err(error) => {
            turn.give_up(with_causes(&error));
            return Err(error);
        }
    }
    Ok(CompactReport {
        bytes_before: bytes_before.unwrap_or(0),
        bytes_after: engine.file_bytes(at)?.unwrap_or(0),
        is_erased,
    })
}

impl RedbEngine {
    /// Compacts the file, and erases its unused bytes, if no damaged page hides which they are. Returns the database,
    /// unless it could not be opened again.
    fn compact(
        &self,
        mut writer: Writer,
        at: RedbContext<'_>,
    ) -> (Option<Writer>, Result<bool, RuntimeError>) {
        if let Err(error) = self.move_pages(&mut writer, at) {
            return (Some(writer), Err(error));
        }
        let (mut writer, is_whole) = match writer.erase_unused(at) {
            Ok(erased) => erased,
            Err(error) => return (None, Err(error)),
        };
        // Erasing closes the database, which saves the allocator state of redb in pages of its own. In a large file
        // that has to stay. In a small one the next close would need as much space again.
        let moved = match writer.is_large() {
            true => Ok(()),
            false => self.move_pages(&mut writer, at),
        };
        let moved = match moved {
            // A reader of another process has begun meanwhile.
            Err(RuntimeError::StoreBusy { .. }) => Ok(()),
            moved => moved,
        };
        (Some(writer), moved.map(|()| is_whole))
    }

    /// Moves the used pages together, and cuts off the free ones.
    fn move_pages(&self, writer: &mut Writer, at: RedbContext<'_>) -> Result<(), RuntimeError> {
        at.guard(|| match writer.database.compact() {
            Ok(_) => Ok(()),
            Err(CompactionError::Storage(error)) => Err(at.redb(error)),
            Err(_) => Err(at.busy(self.readers_in_words())),
        })
    }

    /// The processes with snapshots of the store, in words.
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
            return "a snapshot of it is open".to_owned();
        }
        format!("snapshots of it are open in {}", readers.join(", "))
    }
}
