//! Reads of the table `files`.

use crate::engine::redb::tables::definitions::{FILES, Tables};
use crate::engine::redb::tables::view::View;
use crate::error::RuntimeError;
use crate::ledger::kept_file::{FileChunkRow, after_files};
use crate::model::layout_form::DocumentOrigin;

impl<T: Tables> View<'_, T> {
    /// Calls `each` with every chunk of the files of `owner` whose path begins with `prefix`, which ends in `/`.
    pub(crate) fn each_file_chunk(
        &self,
        owner: &str,
        prefix: &str,
        each: &mut dyn FnMut(&str, u64, FileChunkRow) -> Result<(), RuntimeError>,
    ) -> Result<(), RuntimeError> {
        let end = after_files(prefix);
        self.walk(
            &FILES,
            (owner, prefix, 0)..(owner, &*end, 0),
            |key, value| {
                let row = self.decode(&FILES, &key, value)?;
                each(key.1, key.2, row)
            },
        )
    }

    /// The own text of the document at `path`, with its form and the members that it lacks.
    pub(crate) fn document_text(
        &self,
        owner: &str,
        path: &str,
    ) -> Result<Option<(DocumentOrigin, Vec<u8>)>, RuntimeError> {
        let mut found: Option<(DocumentOrigin, Vec<u8>)> = None;
        let range = (owner, path, 0)..=(owner, path, u64::MAX);
        self.walk(&FILES, range, |key, value| {
            match (self.decode(&FILES, &key, value)?, &mut found) {
                (FileChunkRow::Origin(origin), none @ None) => *none = Some((origin, Vec::new())),
                (FileChunkRow::Bytes(bytes), Some((_, text))) => text.extend_from_slice(&bytes),
                _ => {
                    return Err(self.at.in_table(FILES.name).corrupt(format!(
                        "the chunks of {path:?} are not those of a document"
                    )));
                }
            }
            Ok(())
        })?;
        Ok(found)
    }
}
