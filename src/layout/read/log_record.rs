//! The two kinds of log: their files, and how their records are read, compared and written.

use crate::layout::error::LayoutError;
use crate::layout::format::fast_json;
use crate::layout::format::json::{self, Form, Record, Tagged};
use crate::layout::format::line;
use crate::layout::format::problem::Problem;
use crate::layout::read::sink::{Place, Sink};
use crate::layout::report::DifferenceKind;
use crate::model::attributes;
use crate::model::borrowed::{BorrowedEntry, BorrowedEvent};
use crate::model::interaction::{RecordedEntry, TranscriptEntry, TranscriptRole};
use crate::model::layout_form::{LayoutForm, LineForm, Spelling};
use crate::model::observation::{RecordedEvent, RuntimeEvent, RuntimeEventKind};
use crate::model::persisted::{Stored, UnknownMember};
use crate::model::time::{parse_rfc3339, rfc3339, system_time};
use serde::Serialize;
use std::borrow::Cow;
use std::time::SystemTime;

/// A record of a log.
pub(crate) trait LogRecord: Record + 'static {
    /// The log's file.
    const FILE: &'static str;
    /// The first bytes of a record, as every writer writes them.
    const BEGINNING: &'static [u8];
    /// The name of its number, for messages.
    const NUMBER: &'static str;
    /// Whether its records can have attributes.
    const HAS_ATTRIBUTES: bool;
    /// The kind of a difference between two records.
    const KIND: DifferenceKind;

    /// The record with borrowed texts where possible.
    type Row<'a>: LogRow + From<Stored<Self>>;

    /// The record of the store with its time and the form of its line.
    type Recorded;

    /// The row of a record of the store.
    fn of_store(recorded: Stored<Self::Recorded>) -> Self::Row<'static>;
    /// The fast reader: `None` unless the record has known members only. A reference without the id of a runtime is one
    /// of `runtime`.
    fn known<'a>(line: &'a str, runtime: &'a str) -> Option<Self::Row<'a>>;
    fn is_same(one: &Self::Row<'_>, other: &Self::Row<'_>) -> bool;
    /// Whether `new` is the record `old` after a redaction.
    fn has_redacted(new: &Self::Row<'_>, old: &Self::Row<'_>) -> bool;
    fn send(row: Self::Row<'_>, place: Place<'_>, sink: &mut dyn Sink) -> Result<(), LayoutError>;
}

/// A record of a log with borrowed texts where possible.
pub(crate) trait LogRow: Serialize + Sized {
    fn number(&self) -> u64;
    fn unknown(&self) -> &[UnknownMember];
    /// Appends the record in a spelling, without its unknown members and without its time.
    fn write_known(&self, spelling: Spelling, out: &mut Vec<u8>);
    /// The time of the record, and its unknown members.
    fn time_and_unknown(&mut self) -> (&mut Option<SystemTime>, &mut Vec<UnknownMember>);
    fn recorded_at(&self) -> Option<SystemTime>;
    fn spelling(&self) -> Spelling;
    fn set_spelling(&mut self, spelling: Spelling);
    fn own_text(&self) -> Option<&str>;
    fn set_own_text(&mut self, text: String);
    /// The oldest form whose readers know the kind or the role of the record.
    fn known_from(&self) -> LayoutForm;

    /// Appends the record as the file had it, if it has a text of its own, or else as
    /// [`write_line`](Self::write_line) does. The text of a record with a time has that time, so without times the
    /// record is written anew.
    fn write_own(&self, times: bool, out: &mut Vec<u8>) -> Result<(), Problem> {
        match self.own_text() {
            Some(text) if times || self.recorded_at().is_none() => {
                out.extend_from_slice(text.as_bytes());
                Ok(())
            }
            _ => self.write_line(times, out),
        }
    }

    /// As [`write_own`](Self::write_own), without the blank lines before the record.
    fn write_own_line(&self, times: bool, out: &mut Vec<u8>) -> Result<(), Problem> {
        let start = out.len();
        self.write_own(times, out)?;
        let is_space = |byte: &&u8| byte.is_ascii_whitespace();
        let blank = out[start..].iter().take_while(is_space).count();
        let newline = memchr::memrchr(b'\n', &out[start..start + blank]);
        out.drain(start..start + newline.map_or(0, |newline| newline + 1));
        Ok(())
    }

    /// Appends the record as a line in its spelling, with the newline; with its time if `times` is set.
    fn write_line(&self, times: bool, out: &mut Vec<u8>) -> Result<(), Problem> {
        self.write_spelled(self.spelling(), times, out)
    }

    /// As [`write_line`](Self::write_line), in another spelling.
    fn write_spelled(
        &self,
        spelling: Spelling,
        times: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Problem> {
        if self.unknown().is_empty() {
            self.write_known(spelling, out);
            out.push(b'\n');
        } else if spelling == Spelling::default() {
            json::write(self, self.unknown(), Form::Line, out)?;
        } else {
            let mut line = Vec::new();
            json::write(self, self.unknown(), Form::Line, &mut line)?;
            let spelled = line::spell(json::text(&line)?.trim_ascii_end(), spelling);
            match spelled {
                Some(spelled) => {
                    out.extend_from_slice(spelled.as_bytes());
                    out.push(b'\n');
                }
                // An event without a worker has no ids to spell.
                None => out.append(&mut line),
            }
        }
        if let Some(time) = self.recorded_at().filter(|_| times) {
            // The newline; the record is an object, so its brace precedes it.
            out.pop();
            fast_json::add_time(time, out);
            out.push(b'\n');
        }
        Ok(())
    }

    /// Takes the time out of the unknown members. A time that [`parse_rfc3339`] does not read, and a second one, stay
    /// unknown members, so that an export writes them as they came; the error says so.
    fn take_time(&mut self) -> Result<(), String> {
        let (time, unknown) = self.time_and_unknown();
        let is_time =
            |member: &UnknownMember| member.pointer.is_empty() && member.name == RECORDED_AT;
        let Some(index) = unknown.iter().position(is_time) else {
            return Ok(());
        };
        let json = &unknown[index].json;
        let text = json
            .strip_prefix('"')
            .and_then(|json| json.strip_suffix('"'));
        let time_ms = text.and_then(parse_rfc3339);
        if unknown[index + 1..].iter().any(is_time) {
            return Err(format!("{RECORDED_AT} is there more than once"));
        }
        if time_ms.is_none() {
            return Err(format!("{RECORDED_AT} is no time like {}", rfc3339(0)));
        }
        *time = system_time(time_ms);
        unknown.remove(index);
        Ok(())
    }
}

/// The member with the time of a record.
const RECORDED_AT: &str = "recorded_at";

/// Whether two times of one record agree: a time that one side lacks is no difference.
fn agree(one: Option<SystemTime>, other: Option<SystemTime>) -> bool {
    one.is_none() || other.is_none() || one == other
}

/// The methods of [`LogRow`] that read the fields which events and entries both have.
macro_rules! parts_of_every_row {
    () => {
        fn unknown(&self) -> &[UnknownMember] {
            &self.unknown
        }

        fn time_and_unknown(&mut self) -> (&mut Option<SystemTime>, &mut Vec<UnknownMember>) {
            (&mut self.recorded_at, &mut self.unknown)
        }

        fn recorded_at(&self) -> Option<SystemTime> {
            self.recorded_at
        }

        fn spelling(&self) -> Spelling {
            self.form.spelling
        }

        fn set_spelling(&mut self, spelling: Spelling) {
            self.form.spelling = spelling;
        }

        fn own_text(&self) -> Option<&str> {
            self.form.own_text.as_deref()
        }

        fn set_own_text(&mut self, text: String) {
            self.form.own_text = Some(Cow::Owned(text));
        }
    };
}

impl LogRow for BorrowedEvent<'_> {
    fn number(&self) -> u64 {
        self.id
    }

    fn write_known(&self, spelling: Spelling, out: &mut Vec<u8>) {
        fast_json::write_event(self, spelling, out);
    }

    parts_of_every_row!();

    fn known_from(&self) -> LayoutForm {
        match self.kind {
            RuntimeEventKind::WorkerDeleted | RuntimeEventKind::WorkerExecutionRestored => {
                LayoutForm::E
            }
            _ => LayoutForm::A,
        }
    }
}

impl LogRow for BorrowedEntry<'_> {
    fn number(&self) -> u64 {
        self.sequence
    }

    fn write_known(&self, spelling: Spelling, out: &mut Vec<u8>) {
        fast_json::write_entry(self, spelling, out);
    }

    parts_of_every_row!();

    fn known_from(&self) -> LayoutForm {
        match self.role {
            TranscriptRole::Assistant => LayoutForm::C,
            TranscriptRole::User | TranscriptRole::System => LayoutForm::A,
        }
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
    const HAS_ATTRIBUTES: bool = false;
    const KIND: DifferenceKind = DifferenceKind::Event;

    type Row<'a> = BorrowedEvent<'a>;
    type Recorded = (RecordedEvent, LineForm<'static>);

    fn of_store(recorded: Stored<Self::Recorded>) -> BorrowedEvent<'static> {
        let Stored {
            value: (value, form),
            unknown,
        } = recorded;
        let event = Stored {
            value: value.event,
            unknown,
        };
        BorrowedEvent {
            recorded_at: value.recorded_at,
            form,
            ..event.into()
        }
    }

    fn known<'a>(line: &'a str, runtime: &'a str) -> Option<BorrowedEvent<'a>> {
        fast_json::event(line, runtime)
    }

    fn has_redacted(_: &BorrowedEvent<'_>, _: &BorrowedEvent<'_>) -> bool {
        false
    }

    fn is_same(one: &BorrowedEvent<'_>, other: &BorrowedEvent<'_>) -> bool {
        (
            one.id,
            &one.worker_ref,
            one.kind,
            &one.message,
            &one.unknown,
        ) == (
            other.id,
            &other.worker_ref,
            other.kind,
            &other.message,
            &other.unknown,
        ) && agree(one.recorded_at, other.recorded_at)
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
    const HAS_ATTRIBUTES: bool = true;
    const KIND: DifferenceKind = DifferenceKind::TranscriptEntry;

    type Row<'a> = BorrowedEntry<'a>;
    type Recorded = (RecordedEntry, LineForm<'static>);

    fn of_store(recorded: Stored<Self::Recorded>) -> BorrowedEntry<'static> {
        let Stored {
            value: (value, form),
            unknown,
        } = recorded;
        let entry = Stored {
            value: value.entry,
            unknown,
        };
        BorrowedEntry {
            recorded_at: value.recorded_at,
            form,
            ..entry.into()
        }
    }

    fn known<'a>(line: &'a str, runtime: &'a str) -> Option<BorrowedEntry<'a>> {
        fast_json::entry(line, runtime)
    }

    fn has_redacted(new: &BorrowedEntry<'_>, old: &BorrowedEntry<'_>) -> bool {
        let known = (new.sequence, &new.worker_ref, new.role, new.event_id);
        known == (old.sequence, &old.worker_ref, old.role, old.event_id)
            && attributes::are_redacted(&new.unknown)
    }

    fn is_same(one: &BorrowedEntry<'_>, other: &BorrowedEntry<'_>) -> bool {
        let known = (one.sequence, &one.worker_ref, one.role, one.event_id);
        known
            == (
                other.sequence,
                &other.worker_ref,
                other.role,
                other.event_id,
            )
            && (&one.content, &one.unknown) == (&other.content, &other.unknown)
            && agree(one.recorded_at, other.recorded_at)
    }

    fn send(
        row: BorrowedEntry<'_>,
        place: Place<'_>,
        sink: &mut dyn Sink,
    ) -> Result<(), LayoutError> {
        sink.entry(place, row)
    }
}
