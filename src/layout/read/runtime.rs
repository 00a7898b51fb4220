//! Reads one runtime directory in a fixed order: `runtime.json`, the workers sorted by name, each with its
//! transcript, then the events. Checks the ids and counters across these files.

use crate::layout::dir::source::SourceDir;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::findings::unknown_workers::UnknownWorkers;
use crate::layout::format::document::{RuntimeDocument, WorkerDocument};
use crate::layout::format::locate;
use crate::layout::format::names::{self, WORKERS};
use crate::layout::read::checks::{belongs, event_belongs, mismatch, no_next, wrong_worker};
use crate::layout::read::documents::{Document, ReadDocument, at_member, whole};
use crate::layout::read::kept_files::FilePlace;
use crate::layout::read::log::{Checks, LogSummary, Owner};
use crate::layout::read::log_record::LogRecord;
use crate::layout::read::reader::Reader;
use crate::layout::read::sink::{Place, ReadStop};
use crate::layout::read::states::{lacks, no_history, settle};
use crate::layout::read::worker_states::generated_sequence;
use crate::ledger::rows::FIRST_EVENT_ID;
use crate::ledger::stored::kept_file::{RUNTIME_DOCUMENT, worker_document};
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::interaction::TranscriptEntry;
use crate::model::layout_form::{AbsentMember, DocumentOrigin, LayoutForm};
use crate::model::observation::{RuntimeEvent, RuntimeEventKind};
use crate::model::persisted::{
    PersistedRuntimeSnapshot, PersistedWorkerSnapshot, RuntimeFacts, Stored, UnknownMember,
};
use std::cell::LazyCell;
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

/// A document and the bytes of its file.
#[derive(Clone, Copy)]
struct Text<'a> {
    path: &'a Path,
    bytes: &'a [u8],
    /// The members that the document lacks. Their values are derived.
    absent: &'a [AbsentMember],
    /// Whether it was rebuilt. It lacks the members that it was given.
    is_rebuilt: bool,
}

impl Text<'_> {
    fn lacks(&self, member: &str) -> bool {
        lacks(self.absent, member)
    }

    /// The value of a counter, unless the document lacks it.
    fn known(&self, member: &str, counter: u64) -> Option<u64> {
        (!self.lacks(member)).then_some(counter)
    }
}

impl Reader<'_> {
    /// Reads the runtime `id` from the directory `name`. `false` where it was left out.
    pub(crate) fn read_runtime(
        &mut self,
        runtimes: &SourceDir,
        name: &str,
        id: &RuntimeId,
    ) -> Result<bool, ReadStop> {
        let Some(dir) = self.open_dir(runtimes, name)? else {
            return Ok(false);
        };
        self.is_in_root = names::is_in_root(name);
        let others =
            self.look_around(&dir, &[RuntimeDocument::FILE, RuntimeEvent::FILE, WORKERS])?;
        let Some(read) = self.document_of_runtime(&dir, id)? else {
            self.leave_out(others)?;
            self.orphaned_runtime(&dir)?;
            return Ok(false);
        };
        let floor = read.stored.value.first_event_id.unwrap_or(FIRST_EVENT_ID);
        let removed = read.stored.value.removed_workers();
        let mut runtime = Stored {
            value: PersistedRuntimeSnapshot::from(read.stored.value),
            unknown: read.stored.unknown,
        };
        let path = dir.path_of(RuntimeDocument::FILE);
        let mut origin = read.origin;
        let absent = origin.absent.clone();
        let document = Text {
            path: &path,
            bytes: &read.bytes,
            absent: &absent,
            is_rebuilt: read.rebuilt.is_some(),
        };
        self.keep_all(&dir, FilePlace::of_runtime(""), others)?;
        self.next_event_id = document.known("next_event_id", runtime.value.next_event_id);
        let mut workers = self.read_workers(&dir, id)?;
        // Rows may name them, and the counter of workers has passed them.
        workers.extend(removed.ids());
        let mut diagnostics = self.check_diagnostics(document, &mut runtime, &workers)?;
        let mut events = self.read_events(&dir, id, &workers, (floor, document))?;
        if !events.is_there && document.lacks("next_event_id") {
            origin.absent.push(AbsentMember::log());
            self.report(no_history(&dir))?;
        }
        let floor = self.check_floor(document, floor, events.first)?;
        let logs = (&mut events, &mut diagnostics);
        // The events below the floor existed.
        self.last_named_event = self.last_named_event.max(floor - 1);
        self.check_counters(document, &mut runtime.value, logs, &workers)?;
        let log = dir.path_of(RuntimeEvent::FILE);
        self.report_gaps(RuntimeEvent::NUMBER, log, &events)?;
        self.report_gaps("diagnostic id", path.clone(), &diagnostics)?;
        self.expect_unchanged(&dir)?;
        let form = self.form_of_place();
        // The document of the runtime comes last: a comparison takes it for the next one.
        self.keep_canonical(form)?;
        if read.rebuilt.is_none() {
            let own_text = read.has_own_text.then_some(read.bytes);
            self.keep_runtime_document(&runtime.value, origin, own_text, form)?;
        }
        let facts = RuntimeFacts {
            first_event_id: floor,
            form,
        };
        self.sink
            .runtime(Place::whole(&path), runtime, facts, removed)?;
        Ok(true)
    }

    /// The document of the runtime `id`, read or rebuilt; `None` where the runtime is left out.
    fn document_of_runtime(
        &mut self,
        dir: &SourceDir,
        id: &RuntimeId,
    ) -> Result<Option<ReadDocument<RuntimeDocument>>, ReadStop> {
        let missing = FindingKind::NeverInitialised;
        let document = match self.read_document::<RuntimeDocument>(dir, id, missing)? {
            Ok(document) => Some(document),
            Err(unread) => self.rebuilt_runtime(dir, id, &unread)?,
        };
        let document = match document {
            Some(document) => self.runtime_that_is(document, dir, id)?,
            None => None,
        };
        if let Some(document) = &document {
            self.report_rebuilt(dir, document, "its workers and its events")?;
        }
        Ok(document)
    }

    /// Gives the sink the origin of `runtime.json`, with the values that were derived for its absent members.
    fn keep_runtime_document(
        &mut self,
        value: &PersistedRuntimeSnapshot,
        mut origin: DocumentOrigin,
        own_text: Option<Vec<u8>>,
        form: LayoutForm,
    ) -> Result<(), ReadStop> {
        settle(&mut origin.absent, "/next_event_id", &value.next_event_id);
        let sequence = &value.next_worker_sequence;
        settle(&mut origin.absent, "/next_worker_sequence", sequence);
        self.keep_origin(RUNTIME_DOCUMENT, origin, own_text)?;
        self.keep_canonical(form)
    }

    /// Reports the numbers that the file at `path` lacks.
    fn report_gaps(
        &mut self,
        number: &'static str,
        path: PathBuf,
        summary: &LogSummary,
    ) -> Result<(), ReadStop> {
        let gaps = summary.gaps.finding(number, path);
        gaps.map_or(Ok(()), |gaps| self.report(gaps))
    }

    /// The form of the runtime: where it lies decides, whatever single documents look like.
    fn form_of_place(&self) -> LayoutForm {
        match self.is_in_root {
            true => self.form.max(LayoutForm::F),
            false => self.form.min(LayoutForm::E),
        }
    }

    /// Whether the form, from `from` on, explains that a log is missing. A rebuilt document does not say its form.
    fn can_lack_log(&self, document: Text<'_>, from: LayoutForm) -> bool {
        !document.is_rebuilt || self.form >= from
    }

    fn runtime_that_is(
        &mut self,
        document: ReadDocument<RuntimeDocument>,
        dir: &SourceDir,
        id: &RuntimeId,
    ) -> Result<Option<ReadDocument<RuntimeDocument>>, ReadStop> {
        let found = &document.stored.value.runtime_id;
        if found == id {
            return Ok(Some(document));
        }
        let message = format!("runtime_id is \"{found}\", the directory is for \"{id}\"");
        let path = dir.path_of(RuntimeDocument::FILE);
        let finding = Finding::new(FindingKind::Mismatch, path, message);
        self.report(whole(finding, &document.bytes, "runtime_id"))?;
        Ok(None)
    }

    /// Checks the diagnostics, and removes those that cannot be imported.
    fn check_diagnostics(
        &mut self,
        document: Text<'_>,
        runtime: &mut Stored<PersistedRuntimeSnapshot>,
        workers: &HashSet<String>,
    ) -> Result<LogSummary, ReadStop> {
        let id = runtime.value.runtime_id.clone();
        let places = LazyCell::new(|| locate::items(document.bytes, "diagnostics"));
        let mut summary = LogSummary::default();
        let mut unknown = UnknownWorkers::default();
        let mut kept = Vec::new();
        let mut kept_indexes = BTreeMap::new();
        let diagnostics = std::mem::take(&mut runtime.value.diagnostics);
        let count = diagnostics.len();
        for (index, diagnostic) in diagnostics.into_iter().enumerate() {
            if let Err((kind, message)) = belongs(&diagnostic, &id, summary.last) {
                let mut finding = Finding::new(kind, document.path.to_owned(), message);
                if let Some(item) = places.get(index) {
                    finding = finding.at(item.line, item.byte, item.bytes);
                }
                self.report(finding)?;
                continue;
            }
            let at = || places.get(index).map(|item| (item.line, item.byte));
            if diagnostic.id - summary.last > 1 {
                summary.gaps.note(summary.last, diagnostic.id, at());
            }
            summary.last = diagnostic.id;
            let worker = diagnostic.worker_ref.as_ref().map(|of| &of.worker_id);
            if let Some(worker) = worker.filter(|worker| !workers.contains(worker.as_str())) {
                unknown.note(worker.as_str(), at());
            }
            kept_indexes.insert(index, kept.len());
            kept.push(diagnostic);
        }
        if kept.len() < count {
            renumber(&mut runtime.unknown, &kept_indexes);
        }
        runtime.value.diagnostics = kept;
        for finding in unknown.findings("diagnostic", document.path) {
            self.report(finding)?;
        }
        Ok(summary)
    }

    /// Reads all workers with their transcripts. Returns the ids of the intact ones.
    fn read_workers(
        &mut self,
        runtime_dir: &SourceDir,
        id: &RuntimeId,
    ) -> Result<HashSet<String>, ReadStop> {
        let mut workers = HashSet::new();
        let Some(dir) = self.open_dir(runtime_dir, WORKERS)? else {
            return Ok(workers);
        };
        let names = self.tried("list", dir.path(), dir.names())?;
        for name in names.into_iter().flatten() {
            let Some((name, worker_id)) = self.worker_of(&dir, &name)? else {
                continue;
            };
            let Some(worker_dir) = self.open_dir(&dir, &name)? else {
                continue;
            };
            let worker_ref = WorkerRef::new(id.clone(), worker_id);
            if self.read_worker(runtime_dir, &worker_dir, &worker_ref)? {
                workers.insert(worker_ref.worker_id.into());
            }
        }
        Ok(workers)
    }

    /// Reads one worker. `false` where it was left out.
    fn read_worker(
        &mut self,
        runtime_dir: &SourceDir,
        dir: &SourceDir,
        worker_ref: &WorkerRef,
    ) -> Result<bool, ReadStop> {
        let others = self.look_around(dir, &[WorkerDocument::FILE, TranscriptEntry::FILE])?;
        let Some(read) = self.document_of_worker((runtime_dir, dir), worker_ref)? else {
            self.leave_out(others)?;
            self.orphaned_log::<TranscriptEntry>(dir)?;
            return Ok(false);
        };
        let path = dir.path_of(WorkerDocument::FILE);
        let mut origin = read.origin;
        let retention = read.stored.value.retention();
        let mut worker = Stored {
            value: PersistedWorkerSnapshot::from(read.stored.value),
            unknown: read.stored.unknown,
        };
        self.sink.begin_worker(worker_ref, retention)?;
        self.derive_state(runtime_dir, &origin, &mut worker.value)?;
        let is_pruned = retention.first_position > 0;
        let next = worker.value.next_transcript_sequence;
        let absent = origin.absent.clone();
        let document = Text {
            path: &path,
            bytes: &read.bytes,
            absent: &absent,
            is_rebuilt: read.rebuilt.is_some(),
        };
        let (mut summary, named) =
            self.read_transcript(dir, worker_ref, (is_pruned, next, document))?;
        if !summary.is_there && document.lacks("next_transcript_sequence") {
            origin.absent.push(AbsentMember::log());
        }
        let next = &mut worker.value.next_transcript_sequence;
        let needed = summary.check_counter(*next).err();
        let member = ("next_transcript_sequence", next);
        self.expect_counter(document, member, TranscriptEntry::NUMBER, needed)?;
        let transcript = dir.path_of(TranscriptEntry::FILE);
        self.report_gaps(TranscriptEntry::NUMBER, transcript, &summary)?;
        self.counts.transcript_entries += summary.records;
        self.counts.workers += 1;
        let named = named.max(worker.value.last_event_id);
        self.last_named_event = self.last_named_event.max(named);
        let value = &worker.value;
        settle(&mut origin.absent, "/status", &value.status);
        settle(&mut origin.absent, "/last_event_id", &value.last_event_id);
        let sequence = &value.next_transcript_sequence;
        settle(&mut origin.absent, "/next_transcript_sequence", sequence);
        let worker_id = worker_ref.worker_id.as_str();
        if read.rebuilt.is_none() {
            let own_text = read.has_own_text.then_some(read.bytes);
            self.keep_origin(&worker_document(worker_id), origin, own_text)?;
        }
        self.sink.worker(Place::whole(&path), worker, retention)?;
        self.keep_all(dir, FilePlace::of_worker(worker_id), others)?;
        Ok(true)
    }

    /// The document of a worker, read or rebuilt; `None` where the worker is left out.
    fn document_of_worker(
        &mut self,
        (runtime_dir, dir): (&SourceDir, &SourceDir),
        worker_ref: &WorkerRef,
    ) -> Result<Option<ReadDocument<WorkerDocument>>, ReadStop> {
        let missing = FindingKind::MissingFile;
        let document = match self.read_document::<WorkerDocument>(dir, worker_ref, missing)? {
            Ok(document) => Some(document),
            Err(unread) => self.rebuilt_worker((runtime_dir, dir), worker_ref, &unread)?,
        };
        let Some(document) = document else {
            return Ok(None);
        };
        match mismatch(&document.stored.value, worker_ref) {
            None => Ok(Some(document)),
            Some((member, message)) => {
                let path = dir.path_of(WorkerDocument::FILE);
                let finding = Finding::new(FindingKind::Mismatch, path, message);
                self.report(whole(finding, &document.bytes, member))?;
                Ok(None)
            }
        }
    }

    /// Reads the transcript of a worker. Also returns the greatest event id that it names.
    fn read_transcript(
        &mut self,
        dir: &SourceDir,
        worker_ref: &WorkerRef,
        (is_pruned, next, document): (bool, u64, Text<'_>),
    ) -> Result<(LogSummary, u64), ReadStop> {
        let mut named = 0;
        // The floor is a position: it does not say which sequences were removed.
        let before = match is_pruned {
            true => LogSummary::of_pruned(None),
            false => LogSummary::default(),
        };
        let owner = Owner {
            runtime: worker_ref.runtime_id.as_str(),
            worker: Some(worker_ref.worker_id.as_str()),
            can_be_missing: document.lacks("next_transcript_sequence")
                && self.can_lack_log(document, LayoutForm::D),
            next: document.known("next_transcript_sequence", next),
        };
        let mut checks = Checks::<TranscriptEntry> {
            belongs: &|entry| {
                let of = &entry.worker_ref;
                if *of != *worker_ref {
                    let message = wrong_worker(&of.runtime_id, &of.worker_id, worker_ref);
                    return Err((FindingKind::Mismatch, message));
                }
                if entry.event_id == u64::MAX {
                    return Err((FindingKind::Mismatch, no_next("event_id")));
                }
                Ok(())
            },
            note: &mut |entry, _| named = named.max(entry.event_id),
        };
        let summary = self.read_log(dir, &owner, before, &mut checks)?;
        Ok((summary, named))
    }

    fn read_events(
        &mut self,
        dir: &SourceDir,
        id: &RuntimeId,
        workers: &HashSet<String>,
        (floor, document): (u64, Text<'_>),
    ) -> Result<LogSummary, ReadStop> {
        let mut unknown = UnknownWorkers::default();
        let pruned = LogSummary::of_pruned(Some(floor - 1));
        let owner = Owner {
            runtime: id.as_str(),
            worker: None,
            can_be_missing: document.lacks("next_event_id")
                && self.can_lack_log(document, LayoutForm::G),
            next: self.next_event_id,
        };
        let mut checks = Checks::<RuntimeEvent> {
            belongs: &|event| event_belongs(event, id),
            note: &mut |event, place| {
                let Some(worker) = &event.worker_ref else {
                    return;
                };
                if event.kind == RuntimeEventKind::WorkerDeleted {
                    unknown.forget(&worker.worker_id);
                } else if !workers.contains(&*worker.worker_id) {
                    unknown.note(&worker.worker_id, place.line.zip(place.byte));
                }
            },
        };
        let summary = self.read_log(dir, &owner, pruned, &mut checks)?;
        self.counts.events += summary.records;
        for finding in unknown.findings("event", &dir.path_of(RuntimeEvent::FILE)) {
            self.report(finding)?;
        }
        Ok(summary)
    }

    /// Checks that no event is below the floor of the log, and lowers the floor otherwise.
    fn check_floor(
        &mut self,
        document: Text<'_>,
        floor: u64,
        first: Option<u64>,
    ) -> Result<u64, ReadStop> {
        let Some(first) = first.filter(|first| *first < floor) else {
            return Ok(floor);
        };
        let message = format!("first_event_id is {floor}, but event id {first} exists");
        let kind = FindingKind::CounterBehind;
        let finding = Finding::new(kind, document.path.to_owned(), message);
        self.report(at_member(finding, document.bytes, "first_event_id"))?;
        Ok(match self.rules.raises_counters {
            true => first,
            false => floor,
        })
    }

    /// Checks that every counter is greater than the ids that it assigned, and raises it otherwise.
    fn check_counters(
        &mut self,
        document: Text<'_>,
        runtime: &mut PersistedRuntimeSnapshot,
        (events, diagnostics): (&mut LogSummary, &mut LogSummary),
        workers: &HashSet<String>,
    ) -> Result<(), ReadStop> {
        let next = &mut runtime.next_event_id;
        // An event that a worker or an entry names existed, even if the log lost it.
        let named = self.last_named_event + 1;
        let needed = match events.check_counter(*next) {
            Err(raised) => Some(raised.max(named)),
            Ok(()) => Some(named).filter(|named| *next < *named),
        };
        self.expect_counter(document, ("next_event_id", next), "event id", needed)?;
        let next = &mut runtime.next_diagnostic_id;
        if *next > diagnostics.last.saturating_add(1) {
            let counter = locate::member(document.bytes, "next_diagnostic_id");
            diagnostics.end = counter.map(|counter| (counter.line, counter.byte));
        }
        let needed = diagnostics.check_counter(*next).err();
        self.expect_counter(
            document,
            ("next_diagnostic_id", next),
            "diagnostic id",
            needed,
        )?;
        let is_derived = document.lacks("next_worker_sequence");
        let sequence = |id: &String| match is_derived {
            true => generated_sequence(id).or_else(|| id.parse().ok().filter(|id| *id < u64::MAX)),
            false => generated_sequence(id),
        };
        let generated = workers.iter().filter_map(sequence).max();
        let next = &mut runtime.next_worker_sequence;
        // Sequences begin at 1, also where no worker is intact.
        let needed = Some(generated.map_or(1, |last| last + 1)).filter(|needed| *next < *needed);
        self.expect_counter(document, ("next_worker_sequence", next), "worker", needed)
    }

    /// Adds a finding if the counter must be at least `needed`, and raises it.
    fn expect_counter(
        &mut self,
        document: Text<'_>,
        (member, counter): (&str, &mut u64),
        what: &str,
        needed: Option<u64>,
    ) -> Result<(), ReadStop> {
        let Some(needed) = needed else {
            return Ok(());
        };
        if document.lacks(member) {
            *counter = needed;
            return Ok(());
        }
        let message = match needed {
            1 => format!("{member} is {counter}, the first {what} is 1"),
            _ => format!("{member} is {counter}, but {what} {} exists", needed - 1),
        };
        let finding = Finding::new(
            FindingKind::CounterBehind,
            document.path.to_owned(),
            message,
        );
        self.report(at_member(finding, document.bytes, member))?;
        if self.rules.raises_counters {
            *counter = needed;
        }
        Ok(())
    }
}

/// Updates the pointers of unknown members after diagnostics were removed.
fn renumber(unknown: &mut Vec<UnknownMember>, kept: &BTreeMap<usize, usize>) {
    unknown.retain_mut(|member| {
        let Some(rest) = member.pointer.strip_prefix("/diagnostics/") else {
            return true;
        };
        let (index, deeper) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let moved = index.parse().ok().and_then(|index: usize| kept.get(&index));
        match moved {
            Some(index) => {
                member.pointer = format!("/diagnostics/{index}{deeper}");
                true
            }
            None => false,
        }
    });
}
