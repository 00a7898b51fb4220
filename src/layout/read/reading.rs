//! Reads one runtime directory into a sink.

use crate::layout::dir::source::SourceDir;
use crate::layout::error::LayoutError;
use crate::layout::findings::finding::Finding;
use crate::layout::options::Rules;
use crate::layout::read::kept_files::FilePlace;
use crate::layout::read::listing::{Entry, Listing};
use crate::layout::read::reader::Reader;
use crate::layout::read::sink::{Counts, ReadStop, Sink};
use crate::model::layout_form::LayoutForm;

/// The result of reading a runtime directory.
#[derive(Default)]
pub(crate) struct Reading {
    pub(crate) outcome: ReadOutcome,
    pub(crate) counts: Counts,
    pub(crate) findings: Vec<Finding>,
    pub(crate) fingerprint: u128,
    /// The newest form of the documents and logs.
    pub(crate) form: LayoutForm,
    /// Whether the sink got texts that the findings do not have.
    pub(crate) has_stored_texts: bool,
}

/// How a reading ended.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum ReadOutcome {
    /// The sink got the runtime.
    #[default]
    Read,
    /// The runtime was left out: the sink did not get it.
    LeftOut,
    /// A strict reading stopped at its last finding.
    Refused,
}

/// Reads one runtime directory into `sink`.
pub(crate) fn read_runtime(
    runtimes: &SourceDir,
    entry: &Entry,
    rules: Rules,
    sink: &mut dyn Sink,
    on_bytes: &dyn Fn(u64),
) -> Result<Reading, LayoutError> {
    let path = runtimes.path_of(&entry.name);
    let mut reader = Reader::new(path, rules, sink, on_bytes);
    let read = reader.read_runtime(runtimes, &entry.name, &entry.id);
    reading_of(reader, read)
}

/// Reads the entries of `runtimes` that belong to no runtime into `sink`.
pub(crate) fn read_others(
    listing: &Listing,
    rules: Rules,
    sink: &mut dyn Sink,
    on_bytes: &dyn Fn(u64),
) -> Result<Reading, LayoutError> {
    let dir = &listing.runtimes;
    let mut reader = Reader::new(dir.path().to_owned(), rules, sink, on_bytes);
    let read = reader
        .keep_all(dir, FilePlace::of_runtime(""), listing.others.clone())
        .and_then(|()| reader.expect_unchanged(dir));
    reading_of(reader, read.map(|()| true))
}

/// The result of a reading. `read` says whether the sink got the runtime.
fn reading_of(reader: Reader<'_>, read: Result<bool, ReadStop>) -> Result<Reading, LayoutError> {
    let outcome = match read {
        Ok(true) => ReadOutcome::Read,
        Ok(false) => ReadOutcome::LeftOut,
        Err(ReadStop::Refused) => ReadOutcome::Refused,
        Err(ReadStop::Failed(error)) => return Err(error),
    };
    let (counts, form) = (reader.counts, reader.form);
    let has_stored_texts = reader.stored_texts > 0;
    let (findings, fingerprint) = reader.finish();
    Ok(Reading {
        outcome,
        counts,
        findings,
        fingerprint,
        form,
        has_stored_texts,
    })
}
