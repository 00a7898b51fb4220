//! The two kinds of log: their files, and how their records are read, compared and written.

use crate::layout::error::LayoutError;
use crate::layout::format::fast_json;
use crate::layout::format::json::{self, Form, Record, Tagged};
use crate::layout::format::problem::Problem;
use crate::layout::read::sink::{Place, Sink};
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent};
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::{Stored, UnknownMember};
use serde::Serialize;

/// A record of a log.
pub(crate) trait LogRecord: Record + 'static {
    /// The log's file.
    const FILE: &'static str;
    /// The first bytes of a record, as every writer writes them.
    const BEGINNING: &'static [u8];
    /// The name of its number, for messages.
    const NUMBER: &'static str;

    /// The record with borrowed texts where possible.
    type Row<'a>: LogRow + From<Stored<Self>>;

    /// The fast reader: `None` unless the record has known members only.
    fn known(line: &str) -> Option<Self::Row<'_>>;
    fn is_same(one: &Self::Row<'_>, other: &Self::Row<'_>) -> bool;
    fn send(row: Self::Row<'_>, place: Place<'_>, sink: &mut dyn Sink) -> Result<(), LayoutError>;
}

/// A record of a log with borrowed texts where possible.
pub(crate) trait LogRow: Serialize + Sized {
    fn number(&self) -> u64;
    fn unknown(&self) -> &[UnknownMember];
    /// Appends the record without its unknown members.
    fn write_known(&self, out: &mut Vec<u8>);

    /// Appends the record as a line, with the newline.
    fn write_line(&self, out: &mut Vec<u8>) -> Result<(), Problem> {
        if !self.unknown().is_empty() {
            return json::write(self, self.unknown(), Form::Line, out);
        }
        self.write_known(out);
        out.push(b'\n');
        Ok(())
    }
}

impl LogRow for BorrowedEvent<'_> {
    fn number(&self) -> u64 {
        self.id
    }

    fn unknown(&self) -> &[UnknownMember] {
        &self.unknown
    }

    fn write_known(&self, out: &mut Vec<u8>) {
        fast_json::write_event(self, out);
    }
}

impl LogRow for BorrowedEntry<'_> {
    fn number(&self) -> u64 {
        self.sequence
    }

    fn unknown(&self) -> &[UnknownMember] {
        &self.unknown
    }

    fn write_known(&self, out: &mut Vec<u8>) {
        fast_json::write_entry(self, out);
    }
}

impl Record for RuntimeEvent {
    const TAGGED: &'static [Tagged] = &[Tagged {
        path: &["kind"],
        members: |_| &["kind"],
    }];
}

impl Record for TranscriptEntry {}

impl LogRecord for RuntimeEvent {
    const FILE: &'static str = "events.jsonl";
    const BEGINNING: &'static [u8] = b"{\"id\":";
    const NUMBER: &'static str = "event id";

    type Row<'a> = BorrowedEvent<'a>;

    fn known(line: &str) -> Option<BorrowedEvent<'_>> {
        fast_json::event(line)
    }

    fn is_same(one: &BorrowedEvent<'_>, other: &BorrowedEvent<'_>) -> bool {
        one == other
    }

    fn send(
        row: BorrowedEvent<'_>,
        place: Place<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), LayoutError> {
        sink.event(place, row)
    }
}

impl LogRecord for TranscriptEntry {
    const FILE: &'static str = "transcript.jsonl";
    const BEGINNING: &'static [u8] = b"{\"sequence\":";
    const NUMBER: &'static str = "sequence";

    type Row<'a> = BorrowedEntry<'a>;

    fn known(line: &str) -> Option<BorrowedEntry<'_>> {
        fast_json::entry(line)
    }

    fn is_same(one: &BorrowedEntry<'_>, other: &BorrowedEntry<'_>) -> bool {
        one == other
    }

    fn send(
        row: BorrowedEntry<'_>,
        place: Place<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), LayoutError> {
        sink.entry(place, row)
    }
}
