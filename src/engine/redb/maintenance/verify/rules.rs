//! The rules across the tables of a store, in constant memory and with one read of each row.

use crate::engine::redb::database::redb_engine::RedbEngine;
use crate::engine::redb::maintenance::progress::Meter;
use crate::engine::redb::maintenance::verify::damage::{
    Damage, find_damage, is_past, next_key, split_damage,
};
use crate::engine::redb::maintenance::verify::report::{Findings, VerifyKind};
use crate::engine::redb::maintenance::verify::seen::{EventIds, LastKey, LateRows, UnknownWorkers};
use crate::engine::redb::schema::version;
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, IMPORTS, META, RUNTIMES, TOMBSTONES, TableOf, WORKERS,
};
use crate::engine::redb::tables::view::{View, after_runtime};
use crate::error::RuntimeError;
use crate::ledger::rows::{RuntimeRow, WorkerRow};
use crate::ledger::stored::envelope::{self, KeyBytes, Record};
use crate::ledger::stored::record::MetaRecord;
use crate::ledger::stored::tombstone::Unfinished;
use crate::ledger::table_names::{NO_RUNTIME, OPENINGS};
use crate::model::catalog::WorkerStatus;
use crate::model::management::RuntimeStatus;
use redb::{Key, ReadTransaction, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow, RangeBounds};

/// The largest number of workers whose existence is cached, and of messages about damage that are
/// remembered.
const KNOWN_WORKERS: usize = 4096;

/// A check of the rules in one snapshot.
pub(crate) struct Rules<'a> {
    pub(crate) view: View<'a, ReadTransaction>,
    pub(crate) findings: &'a mut Findings,
    meter: Meter,
    /// The number of rows that were read, by table.
    pub(crate) walked: BTreeMap<&'static str, u64>,
    /// Whether workers of the current runtime exist.
    known_workers: BTreeMap<String, bool>,
    /// The events that the current runtime has.
    event_ids: EventIds,
    /// The rows of the current runtime whose times are too late.
    late: LateRows,
    engine: &'a RedbEngine,
    /// The damaged pages, once a row could not be read.
    damage: Option<Damage>,
    /// The tables with rows that could not be read. Their counts are not compared.
    pub(crate) broken: BTreeSet<&'static str>,
    /// The number of times that a walk met damage, so that its caller can detect a gap.
    pub(crate) breaks: u64,
    /// The messages about damage so far: several walks can meet the same page.
    reported: BTreeSet<String>,
    /// The runtimes with rows whose own row cannot be read.
    pub(crate) without_row: BTreeSet<String>,
    /// The unfinished deletions, by runtime. Their rows are hidden, and break no rule.
    pub(crate) unfinished: BTreeMap<String, Unfinished>,
    /// The number of the last opening that recorded open work.
    pub(crate) last_opening: u32,
}

/// Whether a walk read all rows of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    All,
    /// Some rows could not be read. Counts over the rows are not compared.
    Some,
}

/// The values that the rows of a runtime must agree with. `row` is `None` if it cannot be read.
pub(crate) struct Expected<'r> {
    pub(crate) id: &'r str,
    /// The end of the range of its keys.
    pub(crate) next: &'r str,
    pub(crate) row: Option<&'r RuntimeRow>,
}

impl<'a> Rules<'a> {
    pub(crate) fn new(
        view: View<'a, ReadTransaction>,
        findings: &'a mut Findings,
        meter: Meter,
        engine: &'a RedbEngine,
        damage: Option<Damage>,
    ) -> Self {
        Self {
            view,
            findings,
            meter,
            walked: BTreeMap::new(),
            known_workers: BTreeMap::new(),
            event_ids: EventIds::default(),
            late: LateRows::default(),
            engine,
            damage,
            broken: BTreeSet::new(),
            breaks: 0,
            reported: BTreeSet::new(),
            without_row: BTreeSet::new(),
            unfinished: BTreeMap::new(),
            last_opening: 0,
        }
    }

    pub(crate) fn add(
        &mut self,
        kind: VerifyKind,
        table: &'static str,
        key: &str,
        message: String,
    ) {
        let key = Some(key.to_owned());
        self.findings.add(kind, (Some(table), key), message);
    }

    pub(crate) fn check(mut self) -> Result<(), RuntimeError> {
        self.meta()?;
        self.tombstones()?;
        self.walk(&RUNTIMES, .., |rules, id, row| {
            rules.findings.report.runtimes += 1;
            let next = after_runtime(id);
            let expected = Expected {
                id,
                next: &next,
                row: row.as_ref(),
            };
            rules.runtime(&expected)
        })?;
        self.imports()?;
        self.files()?;
        self.orphans()?;
        self.missing_tables()?;
        self.lengths()?;
        self.findings.report.rows = self.meter.done();
        Ok(())
    }

    /// Walks a range of a table, and calls `rule` for each key, with the record if it can be
    /// decoded. Keys out of order, values that cannot be decoded and rows that cannot be read
    /// become findings, and the walk continues after them. Errors that prevent reading at all are
    /// returned.
    pub(crate) fn walk<'r, K, R>(
        &mut self,
        table: &TableOf<K, R>,
        range: impl RangeBounds<K::SelfType<'r>> + 'r,
        mut rule: impl for<'k> FnMut(
            &mut Self,
            K::SelfType<'k>,
            Option<R::Read<'k>>,
        ) -> Result<(), RuntimeError>,
    ) -> Result<Walked, RuntimeError>
    where
        K: Key + 'static,
        R: Record,
        for<'k> K::SelfType<'k>: KeyBytes + std::borrow::Borrow<K::SelfType<'k>>,
    {
        let view = View {
            tables: self.view.tables,
            at: self.view.at,
        };
        let bytes = |key: &K::SelfType<'r>| <K as Value>::as_bytes(key).as_ref().to_vec();
        // An excluded start is treated as included: all callers start at a key of their own range.
        let mut from = match range.start_bound() {
            Bound::Included(key) | Bound::Excluded(key) => Some(bytes(key)),
            Bound::Unbounded => None,
        };
        let end = range.end_bound().map(bytes);
        let mut last = LastKey::default();
        let (mut walked, mut rows) = (Walked::All, 0);
        loop {
            let first = from.as_deref().map(|key| <K as Value>::from_bytes(key));
            let read = view.walk_from(table, first, usize::MAX, |key, value| {
                let key = key.value();
                let is_after = {
                    let here = <K as Value>::as_bytes(&key);
                    if is_past::<K>(here.as_ref(), end.as_ref()) {
                        return Ok(ControlFlow::Break(()));
                    }
                    last.advance::<K>(here.as_ref())
                };
                rows += 1;
                self.step(table.name, &key, is_after);
                let record = self.decode(table, &key, value.value());
                let time_ms = record.as_ref().and_then(|row| row.additions().time_ms);
                self.late.take(table.name, &key, time_ms);
                rule(self, key, record)?;
                Ok(ControlFlow::Continue(()))
            });
            *self.walked.entry(table.name).or_default() += std::mem::take(&mut rows);
            let (_, Some(damage)) = split_damage(read)? else {
                return Ok(walked);
            };
            walked = Walked::Some;
            // A damaged page can lead back to a key before the start. The walk continues after the
            // greater of the two.
            let reached = match (last.get(), from.as_deref()) {
                (Some(last), Some(from)) if K::compare(last, from).is_lt() => Some(from),
                (last, from) => last.or(from),
            };
            match self.behind(table, reached, &damage)? {
                Some(next) if !is_past::<K>(&next, end.as_ref()) => from = Some(next),
                _ => return Ok(walked),
            }
        }
    }

    /// Counts a row, and checks the order of the keys.
    fn step(&mut self, table: &'static str, key: &impl std::fmt::Debug, is_after: bool) {
        self.meter.step();
        if !is_after {
            let message = "the key is not greater than the key before it".to_owned();
            self.add(VerifyKind::Order, table, &format!("{key:?}"), message);
        }
    }

    /// Decodes a row. A value that cannot be decoded is a finding.
    fn decode<'v, K, R>(
        &mut self,
        table: &TableOf<K, R>,
        key: &K::SelfType<'_>,
        value: &'v [u8],
    ) -> Option<R::Read<'v>>
    where
        K: Key + 'static,
        R: Record,
        for<'k> K::SelfType<'k>: KeyBytes,
    {
        match envelope::decode::<R>(table.name, key, value) {
            Ok(record) => Some(record),
            Err(message) => {
                self.add(VerifyKind::Value, table.name, &format!("{key:?}"), message);
                None
            }
        }
    }

    /// Reports that rows from the key `reached` on cannot be read, because of `damage`. Returns the
    /// first key that can lie after them; `None` if they are the last ones or the end of the damage
    /// is unknown.
    pub(crate) fn behind<K, R>(
        &mut self,
        table: &TableOf<K, R>,
        reached: Option<&[u8]>,
        damage: &str,
    ) -> Result<Option<Vec<u8>>, RuntimeError>
    where
        K: Key + 'static,
        for<'k> K::SelfType<'k>: KeyBytes,
    {
        let name = table.name;
        self.broken.insert(name);
        self.breaks += 1;
        let page = self.damage()?.from::<K>(name, reached).cloned();
        let message = match &page {
            Some(page) => format!("rows cannot be read: {}", page.in_words()),
            None => format!("rows cannot be read: {damage}"),
        };
        if self.reported.len() < KNOWN_WORKERS && self.reported.insert(format!("{name} {message}"))
        {
            let about = (Some(name), None);
            self.findings.add(VerifyKind::Unreadable, about, message);
        }
        let last = page.and_then(|page| page.last);
        let next = last.and_then(|last| next_key(last, K::SelfType::<'static>::ENDS_IN_NUMBER));
        // A walk that went back would meet the same damage without end.
        let is_further = |next: &Vec<u8>| reached.is_none_or(|at| K::compare(at, next).is_lt());
        Ok(next.filter(is_further))
    }

    /// The damaged pages. The file is searched for them only once a row could not be read.
    fn damage(&mut self) -> Result<&Damage, RuntimeError> {
        let damage = match self.damage.take() {
            Some(damage) => damage,
            None => find_damage(self.engine, self.view.at)?,
        };
        Ok(self.damage.insert(damage))
    }

    /// Checks the properties of the store.
    fn meta(&mut self) -> Result<(), RuntimeError> {
        let mut facts = Vec::new();
        let walked = self.walk(&META, .., |_, key, record| {
            facts.push((key.to_owned(), record));
            Ok(())
        });
        let walked = walked?;
        for (key, is_right) in version::FACTS {
            let fact = facts.iter().find(|(name, _)| name == key);
            let wrong = match fact {
                // A value that cannot be decoded was reported by the walk.
                Some((_, None)) => false,
                Some((_, Some(record))) => !is_right(record),
                None => walked == Walked::All,
            };
            if wrong {
                let message = "this property of the store is missing or invalid".to_owned();
                self.add(VerifyKind::Meta, META.name, key, message);
            }
        }
        for (key, is_right) in version::OPTIONAL_FACTS {
            let fact = facts.iter().find(|(name, _)| name == key);
            let wrong = |record: &&MetaRecord| !is_right(record);
            let record = fact.and_then(|(_, record)| record.as_ref());
            if record.filter(wrong).is_some() {
                let message = "this property of the store is invalid".to_owned();
                self.add(VerifyKind::Meta, META.name, key, message);
            }
        }
        let last = facts.iter().find(|(name, _)| name == OPENINGS);
        if let Some((_, Some(MetaRecord::Number(number)))) = last {
            self.last_opening = *number;
        }
        Ok(())
    }

    /// Checks the rows of one runtime.
    pub(crate) fn runtime(&mut self, expected: &Expected<'_>) -> Result<(), RuntimeError> {
        self.known_workers.clear();
        self.late = LateRows::of(expected.row);
        if expected.id.trim().is_empty() {
            let message = "the runtime's id is blank".to_owned();
            self.add(VerifyKind::Value, RUNTIMES.name, expected.id, message);
        }
        // First, since the rows of transcripts name events.
        self.events(expected)?;
        self.workers(expected)?;
        self.diagnostics(expected)?;
        if let Some(message) = std::mem::take(&mut self.late).message() {
            self.add(VerifyKind::Time, RUNTIMES.name, expected.id, message);
        }
        Ok(())
    }

    /// Adds a finding if a count in the row of the runtime is wrong.
    fn expect(&mut self, expected: &Expected<'_>, what: &str, says: u64, counted: u64) {
        if says != counted {
            let message = format!("the runtime counts {says} {what}, but has {counted}");
            self.add(VerifyKind::Count, RUNTIMES.name, expected.id, message);
        }
    }

    fn workers(&mut self, expected: &Expected<'_>) -> Result<(), RuntimeError> {
        let (mut running, mut stopped, mut cancelled, mut unread) = (0, 0, 0, 0_u64);
        let range = (expected.id, "")..(expected.next, "");
        let walked = self.walk(&WORKERS, range, |rules, (_, worker), record| {
            rules.findings.report.workers += 1;
            match record.as_ref().map(|record| record.status) {
                Some(WorkerStatus::Running) => running += 1,
                Some(WorkerStatus::Stopped) => stopped += 1,
                Some(WorkerStatus::Cancelled) => cancelled += 1,
                None => unread += 1,
            }
            rules.worker(expected, worker, record.as_ref())
        })?;
        let all_read = walked == Walked::All && unread == 0;
        let Some(row) = expected.row.filter(|_| all_read) else {
            return Ok(());
        };
        self.expect(expected, "running workers", row.running_workers, running);
        self.expect(expected, "stopped workers", row.stopped_workers, stopped);
        self.expect(
            expected,
            "cancelled workers",
            row.cancelled_workers,
            cancelled,
        );
        if row.status == RuntimeStatus::Stopped && running > 0 {
            let message =
                format!("the runtime is stopped, but {running} of its workers are running");
            self.add(VerifyKind::Status, RUNTIMES.name, expected.id, message);
        }
        Ok(())
    }

    fn worker(
        &mut self,
        expected: &Expected<'_>,
        worker: &str,
        record: Option<&WorkerRow>,
    ) -> Result<(), RuntimeError> {
        let key = format!("{:?}", (expected.id, worker));
        if worker.trim().is_empty() {
            let message = "the worker's id is blank".to_owned();
            self.add(VerifyKind::Value, WORKERS.name, &key, message);
        }
        if let (Some(record), Some(row)) = (record, expected.row)
            && record.last_event_id >= row.next_event_id
        {
            let message = format!(
                "the worker's last event id is {}, but the runtime's next event id is {}",
                record.last_event_id, row.next_event_id
            );
            self.add(VerifyKind::LastEvent, WORKERS.name, &key, message);
        }
        if let Some(record) = record {
            self.additions_of(expected, &key, record);
        }
        let (entries, walked) = self.transcript(expected, (worker, &key), record)?;
        if let Some(record) = record
            && walked == Walked::All
            && record.transcript_len.saturating_sub(record.first_position) != entries
        {
            let counts = record.transcript_len.saturating_sub(record.first_position);
            let message =
                format!("the worker counts {counts} transcript entries, but has {entries}");
            self.add(VerifyKind::Count, WORKERS.name, &key, message);
        }
        Ok(())
    }

    fn events(&mut self, expected: &Expected<'_>) -> Result<(), RuntimeError> {
        // Events below the floor were pruned; they are not missing.
        let floor = expected.row.map_or(0, |row| row.first_event_id);
        let (mut below, mut unknown_workers) = (0, UnknownWorkers::default());
        let (mut last, mut missing) = (floor.saturating_sub(1), 0_u64);
        self.event_ids = EventIds::of(expected.id);
        let range = (expected.id, 0)..(expected.next, 0);
        let walked = self.walk(&EVENTS, range, |rules, (_, event), record| {
            rules.findings.report.events += 1;
            rules.event_ids.push(event);
            let worker = record.and_then(|event| event.worker_id);
            rules.note_worker(expected.id, worker.as_deref(), event, &mut unknown_workers)?;
            if event == 0 {
                let key = format!("{:?}", (expected.id, event));
                let message = "the event id is 0, but event ids start at 1".to_owned();
                rules.add(VerifyKind::Counter, EVENTS.name, &key, message);
            }
            below += u64::from(event < floor && event > 0);
            missing += event.saturating_sub(last).saturating_sub(1);
            last = last.max(event);
            Ok(())
        })?;
        if let Some(message) = unknown_workers.message("events") {
            self.add(VerifyKind::UnknownWorker, EVENTS.name, expected.id, message);
        }
        let Some(row) = expected.row else {
            return Ok(());
        };
        let ends = (floor, row.next_event_id);
        self.floor((RUNTIMES.name, expected.id), "event", ends, below);
        if ends.0 <= ends.1 {
            self.expect_counter(expected, "event", row.next_event_id, last);
        }
        missing += row.next_event_id.saturating_sub(last).saturating_sub(1);
        if missing > 0 && walked == Walked::All {
            let message = format!("{missing} assigned event ids are missing from the log");
            self.add(VerifyKind::Gap, EVENTS.name, expected.id, message);
        }
        Ok(())
    }

    fn diagnostics(&mut self, expected: &Expected<'_>) -> Result<(), RuntimeError> {
        let (mut last, mut count, mut unknown_workers) = (0, 0, UnknownWorkers::default());
        let range = (expected.id, 0)..(expected.next, 0);
        let walked = self.walk(&DIAGNOSTICS, range, |rules, (_, id), record| {
            rules.findings.report.diagnostics += 1;
            let worker = record
                .as_ref()
                .and_then(|record| record.worker_id.as_deref());
            rules.note_worker(expected.id, worker, id, &mut unknown_workers)?;
            count += 1;
            last = id;
            Ok(())
        })?;
        if let Some(message) = unknown_workers.message("diagnostics") {
            self.add(
                VerifyKind::UnknownWorker,
                DIAGNOSTICS.name,
                expected.id,
                message,
            );
        }
        if let Some(row) = expected.row {
            if walked == Walked::All {
                self.expect(expected, "diagnostics", row.diagnostics, count);
            }
            self.expect_counter(expected, "diagnostic", row.next_diagnostic_id, last);
        }
        Ok(())
    }

    /// Adds a finding if a counter of the runtime would assign an id again.
    fn expect_counter(&mut self, expected: &Expected<'_>, what: &str, next: u64, last: u64) {
        if next <= last {
            let message = format!("the next {what} id is {next}, but id {last} is in use");
            self.add(VerifyKind::Counter, RUNTIMES.name, expected.id, message);
        }
    }

    /// Records a row that names a worker that does not exist.
    fn note_worker(
        &mut self,
        runtime: &str,
        worker: Option<&str>,
        id: u64,
        unknown_workers: &mut UnknownWorkers,
    ) -> Result<(), RuntimeError> {
        let Some(worker) = worker else {
            return Ok(());
        };
        let known = match self.known_workers.get(worker) {
            Some(known) => *known,
            None => {
                // If the row cannot be read, the walk of its table reports that.
                let key = (runtime, worker);
                let known = self.has(&WORKERS, key)?.unwrap_or(true)
                    || self.has(&TOMBSTONES, key)?.unwrap_or(true);
                if self.known_workers.len() == KNOWN_WORKERS {
                    self.known_workers.clear();
                }
                self.known_workers.insert(worker.to_owned(), known);
                known
            }
        };
        if !known {
            unknown_workers.rows += 1;
            unknown_workers.first.get_or_insert((id, worker.to_owned()));
        }
        Ok(())
    }

    /// Whether an event exists; `None` as for [`has`](Self::has). The walk of the events has found most
    /// of those that transcripts name: a seek for each would take longer than all other checks.
    pub(crate) fn has_event(
        &mut self,
        runtime: &str,
        event: u64,
    ) -> Result<Option<bool>, RuntimeError> {
        if self.event_ids.contain(runtime, event) {
            return Ok(Some(true));
        }
        self.has(&EVENTS, (runtime, event))
    }

    /// Whether a row exists; `None` if its page cannot be read, which the walk of its table
    /// reports. Pages that are known to be damaged are not read again.
    pub(crate) fn has<K, R>(
        &mut self,
        table: &TableOf<K, R>,
        key: K::SelfType<'_>,
    ) -> Result<Option<bool>, RuntimeError>
    where
        K: Key + 'static,
        for<'k> K::SelfType<'k>: std::borrow::Borrow<K::SelfType<'k>>,
    {
        if let Some(damage) = &self.damage
            && damage.covers::<K>(table.name, <K as Value>::as_bytes(&key).as_ref())
        {
            return Ok(None);
        }
        let has = self.view.in_table(table, |open, at| {
            let value = open.get(&key).map_err(|error| at.redb(error))?;
            Ok(value.is_some())
        });
        let has = split_damage(has)?.0;
        if has.is_none() {
            self.damage()?;
        }
        Ok(has)
    }

    /// Checks the import records.
    fn imports(&mut self) -> Result<(), RuntimeError> {
        self.walk(&IMPORTS, .., |rules, id, record| {
            // Salvage also records a runtime of which it imported nothing.
            let is_left_out = id == NO_RUNTIME
                || record.is_some_and(|record| {
                    let all = [record.workers, record.events, record.transcript_entries];
                    record.salvaged && all == [0; 3]
                });
            if !is_left_out && rules.has(&RUNTIMES, id)? == Some(false) {
                let message = "an import record of a runtime that does not exist".to_owned();
                rules.add(VerifyKind::Orphan, IMPORTS.name, id, message);
            }
            Ok(())
        })?;
        Ok(())
    }
}
