//! The rules across a store's tables, as [`verify`](crate::engine::redb::maintenance::verify::verify) checks them: in constant memory,
//! and with every row read once.

use crate::engine::redb::database::redb_engine::RedbEngine;
use crate::engine::redb::maintenance::progress::Meter;
use crate::engine::redb::maintenance::verify::damage::{
    Damage, find_damage, is_past, next_key, split_damage,
};
use crate::engine::redb::maintenance::verify::report::{Findings, VerifyKind};
use crate::engine::redb::maintenance::verify::seen::{Strangers, TranscriptSeen};
use crate::engine::redb::schema::version;
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, IMPORTS, META, RUNTIMES, TRANSCRIPTS, TableOf, WORKERS,
};
use crate::engine::redb::tables::view::{View, after_runtime};
use crate::error::RuntimeError;
use crate::ledger::envelope::{self, KeyBytes, Record};
use crate::ledger::rows::{RuntimeRow, WorkerRow};
use crate::ledger::table_names::NO_RUNTIME;
use crate::model::catalog::WorkerStatus;
use crate::model::management::RuntimeStatus;
use redb::{Key, ReadTransaction, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, ControlFlow, RangeBounds};

/// How many workers are remembered to be there, or not.
const KNOWN_WORKERS: usize = 4096;

/// Checks the rules as of one moment.
pub(crate) struct Rules<'a> {
    pub(crate) view: View<'a, ReadTransaction>,
    findings: &'a mut Findings,
    meter: Meter,
    /// Rows that were walked, by table.
    walked: BTreeMap<&'static str, u64>,
    /// Whether the workers of the runtime that is checked now are there.
    known_workers: BTreeMap<String, bool>,
    engine: &'a RedbEngine,
    /// Where rows cannot be read, once that matters.
    damage: Option<Damage>,
    /// Tables of which rows could not be read: their counts say nothing.
    broken: BTreeSet<&'static str>,
    /// How many times damage was met, so that who walks notices.
    breaks: u64,
    /// What was said of rows that cannot be read: one page can be met several times.
    told: BTreeSet<String>,
    /// Runtimes that have rows, but whose own rows cannot be read.
    pub(crate) without_row: BTreeSet<String>,
}

/// Whether a walk gave all rows of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Walked {
    All,
    /// Some could not be read: what is counted over the rows says nothing.
    Some,
}

/// What a runtime's rows have to agree with. Where its row does not read, nothing is known.
pub(crate) struct Expected<'r> {
    pub(crate) id: &'r str,
    /// The smallest id that no key of the runtime has.
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
            engine,
            damage,
            broken: BTreeSet::new(),
            breaks: 0,
            told: BTreeSet::new(),
            without_row: BTreeSet::new(),
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
        self.orphans()?;
        self.lengths()?;
        self.findings.report.rows = self.meter.done();
        Ok(())
    }

    /// Walks a range of a table and gives each key to `rule`, with its record where that reads.
    /// Keys that do not increase, values that do not read and rows that cannot be read are findings,
    /// and the walk goes on behind them. What keeps the store from being read at all is an error.
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
        // All ranges begin with a key of theirs.
        let mut from = match range.start_bound() {
            Bound::Included(key) | Bound::Excluded(key) => Some(bytes(key)),
            Bound::Unbounded => None,
        };
        let end = range.end_bound().map(bytes);
        let mut last: Option<Vec<u8>> = None;
        let mut walked = Walked::All;
        loop {
            let first = from.as_deref().map(|key| <K as Value>::from_bytes(key));
            let read = view.walk_from(table, first, usize::MAX, |key, value| {
                let key = key.value();
                let here = <K as Value>::as_bytes(&key).as_ref().to_vec();
                if is_past::<K>(&here, end.as_ref()) {
                    return Ok(ControlFlow::Break(()));
                }
                let before = last.replace(here);
                let is_after = before.is_none_or(|before| {
                    K::compare(&before, <K as Value>::as_bytes(&key).as_ref()).is_lt()
                });
                self.step(table.name, &key, is_after);
                let record = self.decode(table, &key, value.value());
                rule(self, key, record)?;
                Ok(ControlFlow::Continue(()))
            });
            let (_, Some(damage)) = split_damage(read)? else {
                return Ok(walked);
            };
            walked = Walked::Some;
            let reached = match (last.as_deref(), from.as_deref()) {
                (Some(last), Some(from)) if K::compare(last, from).is_lt() => Some(from),
                (last, from) => last.or(from),
            };
            match self.behind(table, reached, &damage)? {
                Some(next) if !is_past::<K>(&next, end.as_ref()) => from = Some(next),
                _ => return Ok(walked),
            }
        }
    }

    /// Counts a row that is walked, and looks at the order of the keys.
    fn step(&mut self, table: &'static str, key: &impl std::fmt::Debug, is_after: bool) {
        self.meter.step();
        *self.walked.entry(table).or_default() += 1;
        if !is_after {
            let message = "the key is not greater than the one before it".to_owned();
            self.add(VerifyKind::Order, table, &format!("{key:?}"), message);
        }
    }

    /// The record of a row; one that does not read is a finding.
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

    /// Rows from the key `reached` on cannot be read, because of `damage`, which is a finding. Returns
    /// the first key that may be behind them; none where they are the last ones, or where nothing
    /// tells.
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
        if self.told.len() < KNOWN_WORKERS && self.told.insert(format!("{name} {message}")) {
            let about = (Some(name), None);
            self.findings.add(VerifyKind::Unreadable, about, message);
        }
        let last = page.and_then(|page| page.last);
        let next = last.and_then(|last| next_key(last, K::SelfType::<'static>::ENDS_IN_NUMBER));
        // Whoever went back would come here again.
        let is_further = |next: &Vec<u8>| reached.is_none_or(|at| K::compare(at, next).is_lt());
        Ok(next.filter(is_further))
    }

    /// Where rows cannot be read. Looked for only when some could not.
    fn damage(&mut self) -> Result<&Damage, RuntimeError> {
        let damage = match self.damage.take() {
            Some(damage) => damage,
            None => find_damage(self.engine, self.view.at)?,
        };
        Ok(self.damage.insert(damage))
    }

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
                // A value that does not read is a finding already.
                Some((_, None)) => false,
                Some((_, Some(record))) => !is_right(record),
                None => walked == Walked::All,
            };
            if wrong {
                let message = "the store's own fact is missing or makes no sense".to_owned();
                self.add(VerifyKind::Meta, META.name, key, message);
            }
        }
        Ok(())
    }

    pub(crate) fn runtime(&mut self, expected: &Expected<'_>) -> Result<(), RuntimeError> {
        self.known_workers.clear();
        if expected.id.trim().is_empty() {
            let message = "the runtime's id is blank".to_owned();
            self.add(VerifyKind::Value, RUNTIMES.name, expected.id, message);
        }
        self.workers(expected)?;
        self.events(expected)?;
        self.diagnostics(expected)
    }

    /// Adds a finding where a number of the runtime's row is not what was counted.
    fn expect(&mut self, expected: &Expected<'_>, what: &str, says: u64, counted: u64) {
        if says != counted {
            let message = format!("the runtime says {says} {what}, there are {counted}");
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
            let message = format!("the runtime is stopped, but {running} of its workers run");
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
                "its last event is {}, but the runtime gives out {} next",
                record.last_event_id, row.next_event_id
            );
            self.add(VerifyKind::LastEvent, WORKERS.name, &key, message);
        }
        let (entries, walked) = self.transcript(expected, (worker, &key), record)?;
        if let Some(record) = record
            && walked == Walked::All
            && record.transcript_len != entries
        {
            let message = format!(
                "the worker says {} entries, there are {entries}",
                record.transcript_len
            );
            self.add(VerifyKind::Count, WORKERS.name, &key, message);
        }
        Ok(())
    }

    /// Checks a worker's transcript, and returns how many entries were read.
    pub(crate) fn transcript(
        &mut self,
        expected: &Expected<'_>,
        (worker, key): (&str, &str),
        record: Option<&WorkerRow>,
    ) -> Result<(u64, Walked), RuntimeError> {
        let mut breaks = self.breaks;
        let mut seen = TranscriptSeen::default();
        let range = (expected.id, worker, 0)..=(expected.id, worker, u64::MAX);
        let walked = self.walk(&TRANSCRIPTS, range, |rules, (_, _, position), entry| {
            if std::mem::replace(&mut breaks, rules.breaks) != rules.breaks {
                seen.next_position = position;
            }
            rules.findings.report.transcript_entries += 1;
            let event = entry.as_ref().map(|entry| entry.event_id);
            let known = match event {
                Some(event) => rules.has(&EVENTS, (expected.id, event))?.unwrap_or(true),
                None => true,
            };
            let wrong = seen.take(position, entry.as_ref(), known);
            if let Some((kind, message)) = wrong {
                let key = format!("{:?}", (expected.id, worker, position));
                rules.add(kind, TRANSCRIPTS.name, &key, message);
            }
            Ok(())
        })?;
        if let (Some(record), Some(last)) = (record, seen.last_sequence)
            && record.next_transcript_sequence <= last
        {
            let message = format!(
                "the next sequence is {}, but {last} was given out already",
                record.next_transcript_sequence
            );
            self.add(VerifyKind::Counter, WORKERS.name, key, message);
        }
        if seen.without_event > 0 {
            let message = format!(
                "{} of {} entries name an event that the log does not have",
                seen.without_event, seen.entries
            );
            self.add(VerifyKind::UnknownEvent, TRANSCRIPTS.name, key, message);
        }
        Ok((seen.entries, walked))
    }

    fn events(&mut self, expected: &Expected<'_>) -> Result<(), RuntimeError> {
        let (mut last, mut missing, mut strangers) = (0, 0_u64, Strangers::default());
        let range = (expected.id, 0)..(expected.next, 0);
        let walked = self.walk(&EVENTS, range, |rules, (_, event), record| {
            rules.findings.report.events += 1;
            let worker = record.and_then(|event| event.worker_id);
            rules.note_worker(expected.id, worker.as_deref(), event, &mut strangers)?;
            if event == 0 {
                let key = format!("{:?}", (expected.id, event));
                let message = "event ids begin at 1".to_owned();
                rules.add(VerifyKind::Counter, EVENTS.name, &key, message);
            }
            missing += event.saturating_sub(last).saturating_sub(1);
            last = event;
            Ok(())
        })?;
        if let Some(message) = strangers.message("events") {
            self.add(VerifyKind::UnknownWorker, EVENTS.name, expected.id, message);
        }
        let Some(row) = expected.row else {
            return Ok(());
        };
        self.expect_counter(expected, "event", row.next_event_id, last);
        missing += row.next_event_id.saturating_sub(last).saturating_sub(1);
        if missing > 0 && walked == Walked::All {
            let message = format!("ids that were given out are not in the log: {missing}");
            self.add(VerifyKind::Gap, EVENTS.name, expected.id, message);
        }
        Ok(())
    }

    fn diagnostics(&mut self, expected: &Expected<'_>) -> Result<(), RuntimeError> {
        let (mut last, mut count, mut strangers) = (0, 0, Strangers::default());
        let range = (expected.id, 0)..(expected.next, 0);
        let walked = self.walk(&DIAGNOSTICS, range, |rules, (_, id), record| {
            rules.findings.report.diagnostics += 1;
            let worker = record
                .as_ref()
                .and_then(|record| record.worker_id.as_deref());
            rules.note_worker(expected.id, worker, id, &mut strangers)?;
            count += 1;
            last = id;
            Ok(())
        })?;
        if let Some(message) = strangers.message("diagnostics") {
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

    fn expect_counter(&mut self, expected: &Expected<'_>, what: &str, next: u64, last: u64) {
        if next <= last {
            let message = format!("the next {what} id is {next}, but {last} was given out already");
            self.add(VerifyKind::Counter, RUNTIMES.name, expected.id, message);
        }
    }

    /// Remembers a row that names a worker that is not there.
    fn note_worker(
        &mut self,
        runtime: &str,
        worker: Option<&str>,
        id: u64,
        strangers: &mut Strangers,
    ) -> Result<(), RuntimeError> {
        let Some(worker) = worker else {
            return Ok(());
        };
        let known = match self.known_workers.get(worker) {
            Some(known) => *known,
            None => {
                // A row that cannot be looked for is found unreadable where the table is walked.
                let known = self.has(&WORKERS, (runtime, worker))?.unwrap_or(true);
                if self.known_workers.len() == KNOWN_WORKERS {
                    self.known_workers.clear();
                }
                self.known_workers.insert(worker.to_owned(), known);
                known
            }
        };
        if !known {
            strangers.rows += 1;
            strangers.first.get_or_insert((id, worker.to_owned()));
        }
        Ok(())
    }

    /// Whether a row is there. None where that cannot be read: walking its table finds the damage. What
    /// is known to be damaged is not tried again.
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

    fn imports(&mut self) -> Result<(), RuntimeError> {
        self.walk(&IMPORTS, .., |rules, id, record| {
            // What was left out is on record, too.
            let is_left_out = id == NO_RUNTIME
                || record.is_some_and(|record| {
                    let all = [record.workers, record.events, record.transcript_entries];
                    record.salvaged && all == [0; 3]
                });
            if !is_left_out && rules.has(&RUNTIMES, id)? == Some(false) {
                let message = "an import of a runtime that is not there".to_owned();
                rules.add(VerifyKind::Orphan, IMPORTS.name, id, message);
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Compares what each table says of its length with what was walked.
    fn lengths(&mut self) -> Result<(), RuntimeError> {
        let view = &self.view;
        let says = [
            (META.name, view.len(&META)),
            (RUNTIMES.name, view.len(&RUNTIMES)),
            (WORKERS.name, view.len(&WORKERS)),
            (EVENTS.name, view.len(&EVENTS)),
            (TRANSCRIPTS.name, view.len(&TRANSCRIPTS)),
            (DIAGNOSTICS.name, view.len(&DIAGNOSTICS)),
            (IMPORTS.name, view.len(&IMPORTS)),
        ];
        for (table, says) in says {
            let walked = self.walked.get(table).copied().unwrap_or(0);
            let (says, damage) = split_damage(says)?;
            if let Some(damage) = damage {
                let message = format!("its length cannot be read: {damage}");
                self.findings
                    .add(VerifyKind::Unreadable, (Some(table), None), message);
            }
            if let Some(says) = says
                && says != walked
                && !self.broken.contains(table)
            {
                let message = format!("the table says {says} rows, there are {walked}");
                self.findings
                    .add(VerifyKind::Count, (Some(table), None), message);
            }
        }
        Ok(())
    }
}
