//! Stores the texts of a runtime that a salvage leaves out as a whole.

use crate::layout::error::LayoutError;
use crate::layout::read::left_out::LEFT_OUT;
use crate::layout::read::sink::Sink;
use crate::ledger::stored::kept_file::{FileChunkRow, parsed_path, stored_path};
use crate::store::bulk_load::BulkLoad;
use std::path::PathBuf;

/// The sink of a second reading of such a runtime. It takes the texts that its findings do not have, and stores them as
/// files of no runtime: `left-out/id-64656d6f/events.jsonl@0~1`.
pub(crate) struct LeftOutTexts<'l, 's> {
    load: &'l mut BulkLoad<'s>,
    /// The name of the runtime's directory.
    name: &'l str,
}

impl<'l, 's> LeftOutTexts<'l, 's> {
    pub(crate) fn new(load: &'l mut BulkLoad<'s>, name: &'l str) -> Self {
        Self { load, name }
    }
}

/// The path below `runtimes` of a text that was to be stored at `stored`; `None` for other files.
fn moved(stored: &str, name: &str) -> Option<String> {
    let (worker, path) = parsed_path(stored)?;
    let text = path.strip_prefix(LEFT_OUT).ok()?;
    let mut to = PathBuf::from(LEFT_OUT);
    to.push(name);
    to.extend(worker.map(|worker| format!("worker {worker}").replace(['/', '\0'], "_")));
    Some(stored_path(None, &to.join(text)))
}

impl Sink for LeftOutTexts<'_, '_> {
    fn file(&mut self, path: &str, chunk: u64, row: FileChunkRow) -> Result<(), LayoutError> {
        match moved(path, self.name) {
            Some(to) => Ok(self.load.put_file_chunk(None, (&to, chunk), &row)?),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_left_out_runtimes_are_files_of_no_runtime() {
        let moved = |stored: &str| moved(stored, "id-64");
        assert_eq!(
            moved("r/left-out/events.jsonl@1~1").unwrap(),
            "r/left-out/id-64/events.jsonl@1~1"
        );
        assert_eq!(
            moved("w/2f31/left-out/worker.json@0~2").unwrap(),
            "r/left-out/id-64/worker _1/worker.json@0~2"
        );
        assert_eq!(moved("r/notes"), None);
        assert_eq!(moved("w/31/notes"), None);
    }
}
