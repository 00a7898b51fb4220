//! The way through one runtime directory, in the order in which it is read: `runtime.json`, the
//! workers in the order of their names, each with its transcript, the events.

use super::document::{RuntimeDocument, WorkerDocument};
use super::finding::{Finding, FindingKind};
use super::json::{self, Form};
use super::log::{LogRecord, LogSummary};
use super::names;
use super::reader::{Document, Halt, Place, ReadDocument, Reader, whole};
use super::source::{EntryKind, SourceDir};
use crate::model::diagnostics::RuntimeDiagnostic;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use crate::store::{PersistedRuntimeSnapshot, PersistedWorkerSnapshot, Stored, UnknownMember};
use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The directory of the workers' directories.
pub(super) const WORKERS: &str = "workers";

/// How many workers without a directory are named; the events of others are counted.
const NAMED_UNKNOWN_WORKERS: usize = 100;

impl Reader<'_> {
    /// Reads the runtime `id` in the directory `name`. `false` where it had to be left out.
    pub(super) fn read_runtime(
        &mut self,
        runtimes: &SourceDir,
        name: &str,
        id: &RuntimeId,
    ) -> Result<bool, Halt> {
        let Some(dir) = self.open_dir(runtimes, name)? else {
            return Ok(false);
        };
        self.look_around(&dir, &[RuntimeDocument::FILE, RuntimeEvent::FILE, WORKERS])?;
        let missing = FindingKind::NeverInitialised;
        let document = self.read_document::<RuntimeDocument>(&dir, missing)?;
        let document = match document {
            Some(document) => self.runtime_that_is(document, &dir, id)?,
            None => None,
        };
        let Some(ReadDocument { stored, .. }) = document else {
            self.orphaned_runtime(&dir)?;
            return Ok(false);
        };
        let mut runtime = Stored {
            value: PersistedRuntimeSnapshot::from(stored.value),
            unknown: stored.unknown,
        };
        let path = dir.path_of(RuntimeDocument::FILE);
        self.check_diagnostics(&path, &mut runtime)?;
        let workers = self.read_workers(&dir, id)?;
        let mut events = self.read_events(&dir, id, &workers)?;
        self.check_counters(&path, &mut runtime.value, &mut events, &workers)?;
        self.report_gaps::<RuntimeEvent>(&dir, &events)?;
        self.expect_unchanged(&dir)?;
        let place = Place {
            path: &path,
            line: None,
        };
        self.sink.runtime(place, runtime)?;
        Ok(true)
    }

    fn runtime_that_is(
        &mut self,
        document: ReadDocument<RuntimeDocument>,
        dir: &SourceDir,
        id: &RuntimeId,
    ) -> Result<Option<ReadDocument<RuntimeDocument>>, Halt> {
        let found = &document.stored.value.runtime_id;
        if found == id {
            return Ok(Some(document));
        }
        let message = format!("runtime_id is \"{found}\", the directory is for \"{id}\"");
        let path = dir.path_of(RuntimeDocument::FILE);
        let finding = Finding::new(FindingKind::Mismatch, path, message);
        self.report(whole(finding, &document.bytes))?;
        Ok(None)
    }

    /// Notes everything in `dir` that is no part of the layout.
    fn look_around(&mut self, dir: &SourceDir, known: &[&str]) -> Result<(), Halt> {
        let names = self.tried("list", dir.path(), dir.names())?;
        for name in names.into_iter().flatten() {
            if known.iter().any(|known| name == *known) {
                continue;
            }
            let path = dir.path_of(&name);
            let Some(kind) = self.tried("look at", &path, dir.kind_of(&name))? else {
                continue;
            };
            self.report(match kind {
                Some(EntryKind::Other(what)) => {
                    Finding::new(FindingKind::NotRegular, path, format!("this is {what}"))
                }
                None => Finding::new(FindingKind::Changed, path, "the file went away"),
                Some(_) if is_temporary(&name) => {
                    let message = "left over by a write that was cut off; it is not read";
                    Finding::new(FindingKind::TemporaryFile, path, message)
                }
                Some(_) => {
                    let message = "this is no part of the layout; it is not read";
                    Finding::new(FindingKind::OtherFile, path, message)
                }
            })?;
        }
        Ok(())
    }

    /// Checks the diagnostics; what does not belong there is taken out.
    fn check_diagnostics(
        &mut self,
        path: &Path,
        runtime: &mut Stored<PersistedRuntimeSnapshot>,
    ) -> Result<(), Halt> {
        let id = runtime.value.runtime_id.clone();
        let mut last = 0;
        let mut kept = Vec::new();
        let mut kept_indexes = BTreeMap::new();
        let diagnostics = std::mem::take(&mut runtime.value.diagnostics);
        let count = diagnostics.len();
        for (index, diagnostic) in diagnostics.into_iter().enumerate() {
            let foreign = diagnostic
                .worker_ref
                .as_ref()
                .filter(|worker| worker.runtime_id != id);
            let refused = if let Some(worker) = foreign {
                Some((
                    FindingKind::Mismatch,
                    wrong_runtime(worker.runtime_id.as_str(), &id),
                ))
            } else if diagnostic.id == u64::MAX {
                Some((
                    FindingKind::Mismatch,
                    "the diagnostic's id leaves none for the next".into(),
                ))
            } else if diagnostic.id <= last {
                let message = format!("diagnostic {} after {last}", diagnostic.id);
                Some((FindingKind::NotIncreasing, message))
            } else {
                None
            };
            if let Some((kind, message)) = refused {
                let finding = Finding::new(kind, path.to_owned(), message);
                let json = as_json(&diagnostic, index, &runtime.unknown);
                self.report(whole(finding, &json))?;
                continue;
            }
            last = diagnostic.id;
            kept_indexes.insert(index, kept.len());
            kept.push(diagnostic);
        }
        if kept.len() < count {
            renumber(&mut runtime.unknown, &kept_indexes);
        }
        runtime.value.diagnostics = kept;
        Ok(())
    }

    /// Reads all workers with their transcripts. Returns those that are whole.
    fn read_workers(&mut self, dir: &SourceDir, id: &RuntimeId) -> Result<HashSet<String>, Halt> {
        let mut workers = HashSet::new();
        let Some(dir) = self.open_dir(dir, WORKERS)? else {
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
            if self.read_worker(&worker_dir, &worker_ref)? {
                workers.insert(worker_ref.worker_id.into());
            }
        }
        Ok(workers)
    }

    /// The worker that a name in `workers/` stands for.
    fn worker_of(
        &mut self,
        dir: &SourceDir,
        name: &OsStr,
    ) -> Result<Option<(String, WorkerId)>, Halt> {
        if !self.is_worker_dir(dir, name)? {
            return Ok(None);
        }
        match names::decode::<WorkerId>(name.as_bytes()) {
            Ok(id) => Ok(Some((names::encode(id.as_str()), id))),
            Err(why) => {
                self.report(invalid_name(dir, name, why))?;
                self.orphaned_worker(dir, name)?;
                Ok(None)
            }
        }
    }

    /// Whether a name in `workers/` is that of a directory. What else is there is noted.
    fn is_worker_dir(&mut self, dir: &SourceDir, name: &OsStr) -> Result<bool, Halt> {
        let path = dir.path_of(name);
        let Some(kind) = self.tried("look at", &path, dir.kind_of(name))? else {
            return Ok(false);
        };
        self.report(match kind {
            Some(EntryKind::Directory) => return Ok(true),
            Some(EntryKind::File) => {
                let message = "a file among the directories of workers";
                Finding::new(FindingKind::StrayFile, path, message)
            }
            Some(EntryKind::Other(what)) => {
                Finding::new(FindingKind::NotRegular, path, format!("this is {what}"))
            }
            None => Finding::new(FindingKind::Changed, path, "the directory went away"),
        })?;
        Ok(false)
    }

    /// Reads one worker. `false` where it had to be left out.
    fn read_worker(&mut self, dir: &SourceDir, worker_ref: &WorkerRef) -> Result<bool, Halt> {
        self.look_around(dir, &[WorkerDocument::FILE, TranscriptEntry::FILE])?;
        let document = self.read_document::<WorkerDocument>(dir, FindingKind::MissingFile)?;
        let path = dir.path_of(WorkerDocument::FILE);
        let mut worker = match document {
            Some(document) => match mismatch(&document.stored.value, worker_ref) {
                None => Stored {
                    value: PersistedWorkerSnapshot::from(document.stored.value),
                    unknown: document.stored.unknown,
                },
                Some(message) => {
                    let finding = Finding::new(FindingKind::Mismatch, path, message);
                    self.report(whole(finding, &document.bytes))?;
                    self.orphaned_log::<TranscriptEntry>(dir)?;
                    return Ok(false);
                }
            },
            None => {
                self.orphaned_log::<TranscriptEntry>(dir)?;
                return Ok(false);
            }
        };
        let mut summary = self.read_log::<TranscriptEntry>(dir, &mut |entry, _| match entry
            .worker_ref
            == *worker_ref
        {
            true => Ok(()),
            false => Err(wrong_worker(
                &entry.worker_ref.runtime_id,
                &entry.worker_ref.worker_id,
                worker_ref,
            )),
        })?;
        let next = &mut worker.value.next_transcript_sequence;
        if let Err(raised) = summary.check_counter(*next) {
            self.report(behind(
                &path,
                "next_transcript_sequence",
                *next,
                "sequence",
                raised,
            ))?;
            *next = raised;
        }
        self.report_gaps::<TranscriptEntry>(dir, &summary)?;
        self.counts.transcript_entries += summary.records;
        self.counts.workers += 1;
        // None comes after the greatest number: no counter can be past it.
        if worker.value.last_event_id < u64::MAX {
            self.last_named_event = self.last_named_event.max(worker.value.last_event_id);
        }
        let place = Place {
            path: &path,
            line: None,
        };
        self.sink.worker(place, worker)?;
        Ok(true)
    }

    fn read_events(
        &mut self,
        dir: &SourceDir,
        id: &RuntimeId,
        workers: &HashSet<String>,
    ) -> Result<LogSummary, Halt> {
        let mut unknown = UnknownWorkers::default();
        let summary = self.read_log::<RuntimeEvent>(dir, &mut |event, place| {
            let Some(worker) = &event.worker_ref else {
                return Ok(());
            };
            if worker.runtime_id != id.as_str() {
                return Err(wrong_runtime(&worker.runtime_id, id));
            }
            if !workers.contains(&*worker.worker_id) {
                unknown.note(&worker.worker_id, place.line);
            }
            Ok(())
        })?;
        self.counts.events += summary.records;
        for finding in unknown.findings(&dir.path_of(RuntimeEvent::FILE)) {
            self.report(finding)?;
        }
        Ok(summary)
    }

    /// Checks that every counter is past what it has given out, and raises it where it is not.
    fn check_counters(
        &mut self,
        path: &Path,
        runtime: &mut PersistedRuntimeSnapshot,
        events: &mut LogSummary,
        workers: &HashSet<String>,
    ) -> Result<(), Halt> {
        if let Err(raised) = events.check_counter(runtime.next_event_id) {
            let next = runtime.next_event_id;
            self.report(behind(path, "next_event_id", next, "event id", raised))?;
            // The event that a worker names was given its id, also where the log lost it.
            runtime.next_event_id = raised.max(self.last_named_event + 1);
        } else if runtime.next_event_id <= self.last_named_event {
            let next = runtime.next_event_id;
            let raised = self.last_named_event + 1;
            self.report(behind(path, "next_event_id", next, "event id", raised))?;
            runtime.next_event_id = raised;
        }
        let mut diagnostics = LogSummary {
            last: runtime.diagnostics.last().map_or(0, |last| last.id),
            ..LogSummary::default()
        };
        if let Err(raised) = diagnostics.check_counter(runtime.next_diagnostic_id) {
            let next = runtime.next_diagnostic_id;
            self.report(behind(
                path,
                "next_diagnostic_id",
                next,
                "diagnostic id",
                raised,
            ))?;
            runtime.next_diagnostic_id = raised;
        }
        let generated = workers.iter().filter_map(generated_sequence).max();
        let last = generated.unwrap_or(0);
        if runtime.next_worker_sequence <= last {
            let next = runtime.next_worker_sequence;
            self.report(behind(
                path,
                "next_worker_sequence",
                next,
                "worker",
                last + 1,
            ))?;
            runtime.next_worker_sequence = last + 1;
        }
        Ok(())
    }

    fn report_gaps<T: LogRecord>(
        &mut self,
        dir: &SourceDir,
        summary: &LogSummary,
    ) -> Result<(), Halt> {
        let gaps = &summary.gaps;
        if gaps.is_empty() {
            return Ok(());
        }
        let message = match gaps.ids() {
            1 => format!("{} {gaps} is not in the log", T::NUMBER),
            ids => format!("{}s {gaps} are not in the log ({ids} in all)", T::NUMBER),
        };
        let path = dir.path_of(T::FILE);
        self.report(Finding::new(FindingKind::Gap, path, message))
    }

    /// Names what is in a runtime directory that had to be left out.
    fn orphaned_runtime(&mut self, dir: &SourceDir) -> Result<(), Halt> {
        self.orphaned_log::<RuntimeEvent>(dir)?;
        let Some(workers) = self.open_dir_if_any(dir, WORKERS)? else {
            return Ok(());
        };
        let names = self.tried("list", workers.path(), workers.names())?;
        for name in names.into_iter().flatten() {
            if self.is_worker_dir(&workers, &name)? {
                self.orphaned_worker(&workers, &name)?;
            }
        }
        Ok(())
    }

    /// Names what is in the directory `name` beside the runtimes, which stands for none.
    pub(super) fn orphaned_beside(
        &mut self,
        runtimes: &SourceDir,
        name: &OsStr,
    ) -> Result<(), Halt> {
        let Some(dir) = self.open_dir_if_any(runtimes, name)? else {
            return Ok(());
        };
        self.look_around(&dir, &[RuntimeDocument::FILE, RuntimeEvent::FILE, WORKERS])?;
        self.orphaned_document(&dir, RuntimeDocument::FILE)?;
        self.orphaned_runtime(&dir)
    }

    /// Names what is in a worker's directory that belongs to no runtime or stands for no worker.
    fn orphaned_worker(&mut self, workers: &SourceDir, name: &OsStr) -> Result<(), Halt> {
        let Some(dir) = self.open_dir_if_any(workers, name)? else {
            return Ok(());
        };
        self.look_around(&dir, &[WorkerDocument::FILE, TranscriptEntry::FILE])?;
        self.orphaned_document(&dir, WorkerDocument::FILE)?;
        self.orphaned_log::<TranscriptEntry>(&dir)
    }

    fn orphaned_document(&mut self, dir: &SourceDir, name: &str) -> Result<(), Halt> {
        if self.open_file_if_any(dir, name)?.is_none() {
            return Ok(());
        }
        let message = "it belongs to nothing that can be imported";
        self.report(Finding::new(
            FindingKind::Orphaned,
            dir.path_of(name),
            message,
        ))
    }

    /// Names a log that belongs to nothing, with the number of its lines.
    fn orphaned_log<T: LogRecord>(&mut self, dir: &SourceDir) -> Result<(), Halt> {
        let Some(file) = self.open_file_if_any(dir, T::FILE)? else {
            return Ok(());
        };
        let path = dir.path_of(T::FILE);
        let mut lines = self.lines(file);
        let (mut records, mut bytes) = (0_u64, 0_u64);
        loop {
            match lines.next() {
                Ok(Some(line)) => {
                    records += u64::from(!line.bytes.trim_ascii().is_empty());
                    bytes = line.offset + line.length + u64::from(line.is_ended);
                }
                Ok(None) => break,
                Err(error) => {
                    self.refused("read", path.clone(), error)?;
                    break;
                }
            }
        }
        self.close_file(dir, lines.into_inner().into_inner())?;
        let message = match records {
            1 => "1 entry that belongs to nothing that can be imported".to_owned(),
            _ => format!("{records} entries that belong to nothing that can be imported"),
        };
        let mut finding = Finding::new(FindingKind::Orphaned, path, message);
        finding.length = Some(bytes);
        self.report(finding)
    }
}

/// The finding for a directory whose name stands for no id.
pub(super) fn invalid_name(dir: &SourceDir, name: &OsStr, why: String) -> Finding {
    let canonical = name.to_ascii_lowercase();
    let has_twin = canonical != name && matches!(dir.kind_of(&canonical), Ok(Some(_)));
    let path = dir.path_of(name);
    match has_twin {
        true => {
            let message = format!("the same id as {}, in other letters", canonical.display());
            Finding::new(FindingKind::DuplicateDirectory, path, message)
        }
        false => Finding::new(FindingKind::InvalidName, path, why),
    }
}

/// Whether a write of the old store, or of an export, uses such a name until it is done.
pub(super) fn is_temporary(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let marks = [
        &b".runtime.json.tmp-"[..],
        b".worker.json.tmp-",
        super::staging::PREFIX.as_bytes(),
        super::staging::OLD_PREFIX.as_bytes(),
    ];
    marks.iter().any(|mark| name.starts_with(mark))
}

/// A diagnostic with the unknown members that came with it.
fn as_json(diagnostic: &RuntimeDiagnostic, index: usize, unknown: &[UnknownMember]) -> Vec<u8> {
    let prefix = format!("/diagnostics/{index}");
    let own = unknown.iter().filter_map(|member| {
        let deeper = member.pointer.strip_prefix(&prefix)?;
        (deeper.is_empty() || deeper.starts_with('/')).then(|| UnknownMember {
            pointer: deeper.to_owned(),
            ..member.clone()
        })
    });
    let mut json = Vec::new();
    // It was read a moment ago: it can be written.
    let _ = json::write(diagnostic, &own.collect::<Vec<_>>(), Form::Line, &mut json);
    json.truncate(json.trim_ascii_end().len());
    json
}

/// Moves unknown members of diagnostics to the places that their diagnostics have now.
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

fn mismatch(document: &WorkerDocument, expected: &WorkerRef) -> Option<String> {
    if document.worker_ref != *expected {
        let found = &document.worker_ref;
        return Some(wrong_worker(
            found.runtime_id.as_str(),
            found.worker_id.as_str(),
            expected,
        ));
    }
    if document.worker_id != expected.worker_id {
        return Some(format!(
            "worker_id is \"{}\", worker_ref names \"{}\"",
            document.worker_id, expected.worker_id
        ));
    }
    None
}

fn wrong_worker(runtime_id: &str, worker_id: &str, expected: &WorkerRef) -> String {
    match runtime_id == expected.runtime_id.as_str() {
        true => format!(
            "worker_ref names worker \"{worker_id}\", the directory is for \"{}\"",
            expected.worker_id
        ),
        false => wrong_runtime(runtime_id, &expected.runtime_id),
    }
}

fn wrong_runtime(found: &str, expected: &RuntimeId) -> String {
    format!("worker_ref names runtime \"{found}\", the directory is for \"{expected}\"")
}

fn behind(path: &Path, counter: &str, next: u64, what: &str, raised: u64) -> Finding {
    let message = match raised {
        1 => format!("{counter} is {next}, the first {what} is 1"),
        _ => format!(
            "{counter} is {next}, {what} {} is there already",
            raised - 1
        ),
    };
    Finding::new(FindingKind::CounterBehind, path.to_owned(), message)
}

/// The sequence that an id was generated from.
fn generated_sequence(id: impl AsRef<str>) -> Option<u64> {
    let id = id.as_ref();
    let hex = id.strip_prefix("worker-")?;
    let sequence = u64::from_str_radix(hex, 16).ok()?;
    let is_generated = WorkerId::generated(sequence).as_str() == id && sequence < u64::MAX;
    is_generated.then_some(sequence)
}

/// Workers that events name and that are not there.
#[derive(Default)]
struct UnknownWorkers {
    named: BTreeMap<String, (Option<u64>, u64)>,
    other_events: u64,
}

impl UnknownWorkers {
    fn note(&mut self, id: &str, line: Option<u64>) {
        if let Some((_, events)) = self.named.get_mut(id) {
            *events += 1;
        } else if self.named.len() < NAMED_UNKNOWN_WORKERS {
            self.named.insert(id.to_owned(), (line, 1));
        } else {
            self.other_events += 1;
        }
    }

    fn findings(self, path: &Path) -> Vec<Finding> {
        let kind = FindingKind::UnknownWorker;
        let mut findings = Vec::new();
        for (id, (line, events)) in self.named {
            let message = match events {
                1 => format!("an event names worker \"{id}\", which is not there"),
                _ => format!("{events} events name worker \"{id}\", which is not there"),
            };
            let mut finding = Finding::new(kind, path.to_owned(), message);
            finding.line = line;
            findings.push(finding);
        }
        if self.other_events > 0 {
            let message = format!(
                "{} more events name other workers that are not there",
                self.other_events
            );
            findings.push(Finding::new(kind, path.to_owned(), message));
        }
        findings
    }
}
