//! Compares the entries of `runtimes` that belong to no runtime with the files of no runtime in the store.

use crate::layout::compare::files::{ComparedFile, FileComparison};
use crate::layout::error::LayoutError;
use crate::layout::options::Rules;
use crate::layout::read::listing::Listing;
use crate::layout::read::reading::{Reading, read_others};
use crate::layout::read::sink::Sink;
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::store::snapshot::Snapshot;

/// The files of no runtime.
pub(crate) struct OtherFiles {
    pub(crate) reading: Reading,
    /// The files of the directory.
    pub(crate) found: Vec<ComparedFile>,
    pub(crate) only_in_store: Vec<String>,
}

/// Reads the files of no runtime in a directory, and compares them with those of the store.
pub(crate) fn compare_others(
    snapshot: &Snapshot,
    listing: &Listing,
    rules: Rules,
    on_bytes: &dyn Fn(u64),
) -> Result<OtherFiles, LayoutError> {
    let mut sink = Comparing {
        files: FileComparison::new(snapshot, None),
        found: Vec::new(),
    };
    let reading = read_others(listing, rules, &mut sink, on_bytes)?;
    let Comparing {
        mut files,
        mut found,
    } = sink;
    found.extend(files.end_of_file()?);
    Ok(OtherFiles {
        reading,
        found,
        only_in_store: files.only_in_store()?,
    })
}

struct Comparing<'s> {
    files: FileComparison<'s>,
    found: Vec<ComparedFile>,
}

impl Sink for Comparing<'_> {
    fn file(&mut self, path: &str, chunk: u64, row: FileChunkRow) -> Result<(), LayoutError> {
        self.found.extend(self.files.take(path, chunk, &row)?);
        Ok(())
    }
}
