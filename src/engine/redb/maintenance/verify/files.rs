//! The rules of files: their chunks, their paths and their owners.

use crate::engine::redb::maintenance::verify::report::VerifyKind;
use crate::engine::redb::maintenance::verify::rules::Rules;
use crate::engine::redb::tables::definitions::{FILES, RUNTIMES, WORKERS};
use crate::error::RuntimeError;
use crate::ledger::stored::kept_file::{FileChunkRow, MAX_CHUNK_BYTES, is_document, parsed_path};
use crate::ledger::table_names::NO_RUNTIME;
use std::path::Component;

/// The owner of a file: the runtime and the worker.
type Owner = (String, Option<String>);

/// The state of a walk over the files.
#[derive(Default)]
struct FileSeen {
    /// The current file: its runtime, its path, the next chunk and whether more chunks may follow.
    file: Option<(String, String, u64, bool)>,
    /// The last owner that was looked up.
    owner: Option<Owner>,
}

impl FileSeen {
    /// Takes the next chunk. Returns what is wrong with it. `is_resumed` says that rows before it could not be read.
    fn take(
        &mut self,
        (runtime, path, chunk): (&str, &str, u64),
        row: Option<&FileChunkRow>,
        is_resumed: bool,
    ) -> Option<String> {
        let expected = match &self.file {
            Some((of, file, next, may_follow))
                if (of.as_str(), file.as_str()) == (runtime, path) =>
            {
                may_follow.then_some(*next)
            }
            _ => Some(0),
        };
        let may_follow = !matches!(row, Some(FileChunkRow::Directory));
        let next = chunk.saturating_add(1);
        self.file = Some((runtime.to_owned(), path.to_owned(), next, may_follow));
        let is_first = chunk == 0;
        Some(match (expected, row) {
            (None, _) => "a chunk of an empty directory".to_owned(),
            (Some(expected), _) if expected != chunk && !is_resumed => {
                format!("chunk {chunk} of a file, where chunk {expected} should be")
            }
            (_, Some(FileChunkRow::Bytes(bytes))) if bytes.len() > MAX_CHUNK_BYTES => {
                let bytes = bytes.len();
                format!("a chunk of {bytes} bytes, the limit is {MAX_CHUNK_BYTES}")
            }
            (_, Some(FileChunkRow::Bytes(_)))
                if is_first && is_document(path) && runtime != NO_RUNTIME =>
            {
                "the text of a document without its form".to_owned()
            }
            (_, Some(FileChunkRow::Origin(_))) if !is_first || !is_document(path) => {
                "the form of a document at another place than its beginning".to_owned()
            }
            (_, Some(FileChunkRow::Directory)) if !is_first => {
                "an empty directory among the chunks of a file".to_owned()
            }
            _ => return None,
        })
    }
}

impl Rules<'_> {
    /// Checks the kept files and the own texts of documents.
    pub(crate) fn files(&mut self) -> Result<(), RuntimeError> {
        let mut seen = FileSeen::default();
        let mut breaks = self.breaks;
        self.walk(&FILES, .., |rules, (runtime, path, chunk), row| {
            let is_resumed = std::mem::replace(&mut breaks, rules.breaks) != rules.breaks;
            let place = (runtime, path, chunk);
            let wrong = seen.take(place, row.as_ref(), is_resumed);
            // The chunks that an unfinished deletion has left can begin at any number.
            if let Some(message) = wrong.filter(|_| !rules.is_hidden_file(runtime, path)) {
                rules.add(VerifyKind::File, FILES.name, &format!("{place:?}"), message);
            }
            rules.file_owner(&mut seen, (runtime, path))
        })?;
        Ok(())
    }

    /// Whether the owner of a file is deleted, with rows that are left.
    fn is_hidden_file(&self, runtime: &str, path: &str) -> bool {
        let worker = || parsed_path(path).and_then(|(worker, _)| worker);
        self.unfinished.contains_key(runtime)
            && (self.is_hidden_runtime(runtime)
                || worker().is_some_and(|worker| self.is_hidden_worker(runtime, &worker)))
    }

    /// Checks the path of a file, and that its owner exists: once for the files of one owner.
    fn file_owner(
        &mut self,
        seen: &mut FileSeen,
        (runtime, path): (&str, &str),
    ) -> Result<(), RuntimeError> {
        let key = format!("{:?}", (runtime, path));
        let parsed = parsed_path(path).filter(|(worker, path)| {
            let is_below = path
                .components()
                .all(|part| matches!(part, Component::Normal(_)));
            let has_name = path.file_name().is_some();
            is_below && has_name && (runtime != NO_RUNTIME || worker.is_none())
        });
        let Some((worker, _)) = parsed else {
            let message = "the path is none of a file".to_owned();
            self.add(VerifyKind::File, FILES.name, &key, message);
            return Ok(());
        };
        let owner = (runtime.to_owned(), worker);
        if seen.owner.as_ref() == Some(&owner) || runtime == NO_RUNTIME {
            return Ok(());
        }
        let worker = owner.1.as_deref();
        let missing = if self.is_hidden_file(runtime, path) {
            None
        } else if self.has(&RUNTIMES, runtime)? == Some(false) {
            Some("files of a runtime that does not exist")
        } else if let Some(worker) = worker
            && self.has(&WORKERS, (runtime, worker))? == Some(false)
        {
            Some("files of a worker that does not exist")
        } else {
            None
        };
        if let Some(message) = missing {
            self.add(VerifyKind::Orphan, FILES.name, &key, message.to_owned());
        }
        seen.owner = Some(owner);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::layout_form::DocumentOrigin;

    #[test]
    fn chunks_of_a_file_are_contiguous_and_of_one_kind() {
        let bytes = |length| FileChunkRow::Bytes(vec![0; length]);
        let origin = || FileChunkRow::Origin(DocumentOrigin::default());
        let check = |rows: &[(&str, u64, FileChunkRow)]| {
            let mut seen = FileSeen::default();
            let mut take = |(path, chunk, row): &(&str, u64, FileChunkRow)| {
                seen.take(("r", path, *chunk), Some(row), false)
            };
            rows.iter().find_map(&mut take)
        };
        let wrong = |rows: &[_], message: &str| {
            let found = check(rows);
            let found = found.unwrap_or_default();
            assert!(found.contains(message), "{found}");
        };
        let right = [
            ("r/a", 0, bytes(MAX_CHUNK_BYTES)),
            ("r/a", 1, bytes(1)),
            ("r/b", 0, FileChunkRow::Directory),
            ("r/runtime.json", 0, origin()),
            ("r/runtime.json", 1, bytes(1)),
        ];
        assert_eq!(check(&right), None);
        wrong(&[("r/a", 1, bytes(1))], "where chunk 0 should be");
        wrong(
            &[("r/a", 0, bytes(1)), ("r/a", 2, bytes(1))],
            "where chunk 1 should be",
        );
        wrong(&[("r/a", 0, bytes(MAX_CHUNK_BYTES + 1))], "the limit is");
        wrong(
            &[("r/a", 0, FileChunkRow::Directory), ("r/a", 1, bytes(1))],
            "empty directory",
        );
        wrong(
            &[("r/a", 0, bytes(1)), ("r/a", 1, FileChunkRow::Directory)],
            "among the chunks",
        );
        wrong(&[("r/a", 0, origin())], "another place");
        wrong(&[("r/runtime.json", 0, bytes(1))], "without its form");
    }
}
