//! The rules of one log: its floor, and the numbers of a transcript.

use crate::engine::redb::maintenance::verify::attributes;
use crate::engine::redb::maintenance::verify::report::VerifyKind;
use crate::engine::redb::maintenance::verify::rules::{Expected, Rules, Walked};
use crate::engine::redb::maintenance::verify::seen::TranscriptSeen;
use crate::engine::redb::tables::definitions::{TRANSCRIPTS, WORKERS};
use crate::error::RuntimeError;
use crate::ledger::rows::WorkerRow;

impl Rules<'_> {
    /// Checks the transcript of a worker. Returns the number of entries that were read.
    pub(crate) fn transcript(
        &mut self,
        expected: &Expected<'_>,
        (worker, key): (&str, &str),
        record: Option<&WorkerRow>,
    ) -> Result<(u64, Walked), RuntimeError> {
        let mut breaks = self.breaks;
        let floor = record.map(|record| record.first_position);
        let mut seen = TranscriptSeen::from_floor(floor.unwrap_or(0));
        let mut is_first = floor.is_none();
        let first_event = expected.row.map_or(0, |row| row.first_event_id);
        let range = (expected.id, worker, 0)..=(expected.id, worker, u64::MAX);
        let walked = self.walk(&TRANSCRIPTS, range, |rules, (_, _, position), entry| {
            if floor.is_some_and(|floor| position < floor) {
                seen.below_floor += 1;
                return Ok(());
            }
            // Without the row of the worker the floor is not known.
            if std::mem::take(&mut is_first) {
                seen.next_position = position;
            }
            // After damage the position continues with the next entry that can be read: the gap was
            // reported.
            if std::mem::replace(&mut breaks, rules.breaks) != rules.breaks {
                seen.next_position = position;
            }
            rules.findings.report.transcript_entries += 1;
            let event = entry.as_ref().map(|entry| entry.event_id);
            let known = match event {
                // The event was pruned.
                Some(event) if event < first_event => true,
                Some(event) => rules.has_event(expected.id, event)?.unwrap_or(true),
                None => true,
            };
            let wrong = seen.take(position, entry.as_ref(), known);
            let attributes = entry.and_then(|entry| entry.attributes);
            let attributes = attributes.and_then(|stored| attributes::checked(&stored).1);
            let attributes = attributes.map(|message| (VerifyKind::Attributes, message));
            for (kind, message) in wrong.into_iter().chain(attributes) {
                let key = format!("{:?}", (expected.id, worker, position));
                rules.add(kind, TRANSCRIPTS.name, &key, message);
            }
            Ok(())
        })?;
        if let Some(record) = record {
            let floor = (record.first_position, record.transcript_len);
            self.floor((WORKERS.name, key), "position", floor, seen.below_floor);
        }
        if let (Some(record), Some(last)) = (record, seen.last_sequence)
            && record.next_transcript_sequence <= last
        {
            let message = format!(
                "the next sequence is {}, but sequence {last} is in use",
                record.next_transcript_sequence
            );
            self.add(VerifyKind::Counter, WORKERS.name, key, message);
        }
        if seen.without_event > 0 {
            let message = format!(
                "{} of {} entries name an event that is not in the log",
                seen.without_event, seen.entries
            );
            self.add(VerifyKind::UnknownEvent, TRANSCRIPTS.name, key, message);
        }
        Ok((seen.entries, walked))
    }

    /// Adds findings if `floor` of the log of the row `at` is greater than its `end`, or if the log has `below` rows
    /// with smaller numbers.
    pub(crate) fn floor(
        &mut self,
        (table, key): (&'static str, &str),
        what: &str,
        (floor, end): (u64, u64),
        below: u64,
    ) {
        if floor > end {
            let message = format!("the log begins at {what} {floor}, but ends before {end}");
            self.add(VerifyKind::Floor, table, key, message);
        }
        if below > 0 {
            let message = format!(
                "the log begins at {what} {floor}, but {below} rows before it were not removed"
            );
            self.add(VerifyKind::Floor, table, key, message);
        }
    }
}
