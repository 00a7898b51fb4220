//! Reads of the table `files`.

use crate::engine::redb::tables::definitions::{FILES, Tables};
use crate::engine::redb::tables::view::{View, after_runtime};
use crate::error::RuntimeError;
use crate::ledger::convert::stored_size;
use crate::ledger::stored::kept_file::{FileChunkRow, FileKey};
use std::ops::ControlFlow;

impl<T: Tables> View<'_, T> {
    /// Calls `each` with every chunk of the file of `owner` at `path`.
    pub(crate) fn chunks_of(
        &self,
        owner: &str,
        path: &str,
        each: &mut dyn FnMut(u64, FileChunkRow) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let range = (owner, path, 0)..=(owner, path, u64::MAX);
        self.walk(&FILES, range, |key, value| {
            let row = self.decode(&FILES, &key, value)?;
            each(key.2, row)
        })
    }

    /// The first path of a file of `owner` from `from` on, and after it if `is_after` is set. One seek.
    pub(crate) fn file_from(
        &self,
        owner: &str,
        from: &str,
        is_after: bool,
    ) -> Result<Option<String>, RuntimeError> {
        let chunk = if is_after { u64::MAX } else { 0 };
        let mut found = None;
        // Of a path that is not the last one, the key with the greatest chunk is in no store.
        self.walk_from(&FILES, Some((owner, from, chunk)), 2, |key, _| {
            let (of, path, _) = key.value();
            if of != owner {
                return Ok(ControlFlow::Break(()));
            }
            if is_after && path == from {
                return Ok(ControlFlow::Continue(()));
            }
            if path < from {
                return Err(self.out_of_place(FILES.name));
            }
            found = Some(path.to_owned());
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// The keys of the first `limit` chunks of files of `owner` from `from` on, and below the path `end`.
    pub(crate) fn keys_of_files(
        &self,
        owner: &str,
        from: (&str, u64),
        end: Option<&str>,
        limit: usize,
    ) -> Result<Vec<FileKey>, RuntimeError> {
        let next = after_runtime(owner);
        let end = end.map_or((next.as_str(), "", 0), |end| (owner, end, 0));
        let mut keys: Vec<FileKey> = Vec::new();
        self.walk_first(limit, &FILES, (owner, from.0, from.1)..end, |key, value| {
            let (of, path, chunk) = key.value();
            let last = keys.last().map(|last| (last.path.as_str(), last.chunk));
            if of != owner || last.is_some_and(|last| last >= (path, chunk)) {
                return Err(self.out_of_place(FILES.name));
            }
            keys.push(FileKey {
                path: path.to_owned(),
                chunk,
                bytes: stored_size(value.value().len()),
            });
            Ok(())
        })?;
        Ok(keys)
    }
}
