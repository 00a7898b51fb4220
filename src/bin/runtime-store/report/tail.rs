//! The end of a transcript, as much of it as a report shows.

use redb_runtime_store::interaction::TranscriptRole;
use redb_runtime_store::store::BorrowedEntry;
use std::collections::VecDeque;
use std::time::SystemTime;

/// The most entries of a transcript, unless all are shown.
pub(crate) const MOST_ENTRIES: u64 = 200;

/// The most bytes of one entry, unless all are shown.
const MOST_BYTES: usize = 8 << 10;

/// The bytes of the elements around an entry in the page, about.
const AROUND_BYTES: usize = 120;

/// An entry as a report shows it.
pub(crate) struct Entry {
    pub(crate) sequence: u64,
    pub(crate) role: TranscriptRole,
    pub(crate) recorded_at: Option<SystemTime>,
    pub(crate) text: String,
    /// The bytes that were cut off from the end of the text.
    pub(crate) cut: usize,
}

impl Entry {
    /// The entry with at most `most` bytes of its text.
    pub(crate) fn of(entry: &BorrowedEntry<'_>, most: usize) -> Self {
        let text = &*entry.content;
        let is_boundary = |end: &usize| text.is_char_boundary(*end);
        let end = (0..=most.min(text.len())).rev().find(is_boundary);
        let end = end.unwrap_or_default();
        Self {
            sequence: entry.sequence,
            role: entry.role,
            recorded_at: entry.recorded_at,
            text: text[..end].to_owned(),
            cut: text.len() - end,
        }
    }

    fn bytes(&self) -> usize {
        self.text.len() + AROUND_BYTES
    }
}

/// The last entries of a transcript: at most [`MOST_ENTRIES`], and as many as have a number of bytes together.
pub(crate) struct Tail {
    most_bytes: usize,
    bytes: usize,
    entries: VecDeque<Entry>,
}

impl Tail {
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self {
            most_bytes,
            bytes: 0,
            entries: VecDeque::new(),
        }
    }

    /// Adds an entry, and drops the first ones if there are too many. The last one always stays.
    pub(crate) fn push(&mut self, entry: &BorrowedEntry<'_>) {
        let entry = Entry::of(entry, MOST_BYTES.min(self.most_bytes));
        self.bytes += entry.bytes();
        self.entries.push_back(entry);
        let is_long = |tail: &Self| tail.entries.len() as u64 > MOST_ENTRIES;
        while self.entries.len() > 1 && (self.bytes > self.most_bytes || is_long(self)) {
            let first = self.entries.pop_front();
            self.bytes -= first.map_or(0, |first| first.bytes());
        }
    }

    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }
}
