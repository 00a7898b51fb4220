//! Searching a snapshot: one log after the other, each row once, in constant memory.

use crate::error::RuntimeError;
use crate::fs::process::Process;
use crate::ledger::checks::{refuse_long_id, refuse_long_ref};
use crate::ledger::convert::{self, WorkerRefs};
use crate::ledger::rows::{EventRow, TranscriptRow};
use crate::ledger::table_names;
use crate::ledger::text_pattern::TextPattern;
use crate::ledger::whole::refuse_miscounted;
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::observation::{EventCursor, RuntimeEvent};
use crate::model::search::{Search, SearchLimits, SearchPlace, SearchRow};
use crate::model::time;
use crate::store::log_scan::{EventScan, TranscriptScan};
use crate::store::snapshot::Snapshot;
use crate::store::snapshot_view::SnapshotView;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// A match of a search: a row, and the places of the pattern in its text.
#[derive(Clone)]
#[non_exhaustive]
pub struct SearchMatch {
    /// The row.
    pub row: SearchRow,
    pattern: Arc<TextPattern>,
}

impl SearchMatch {
    /// The text that was searched: the content of the entry, or the message of the event.
    pub fn text(&self) -> &str {
        self.row.text()
    }

    /// The byte range of every match in [`text`](Self::text), computed as the iterator is read. The ranges
    /// ascend and do not overlap. They begin and end at boundaries of characters, so they can index the text.
    /// There is at least one; a pattern that matches the empty text has ranges of no bytes.
    pub fn ranges(&self) -> impl Iterator<Item = Range<usize>> + '_ {
        self.pattern.ranges(self.text())
    }
}

impl std::fmt::Debug for SearchMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchMatch")
            .field("row", &self.row)
            .field("ranges", &self.ranges().take(8).collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// The matches of a search, found as the iterator is read. It ends after an error.
///
/// While it lives, it holds its snapshot: the store cannot reuse the pages of the snapshot, so the file can
/// grow.
#[must_use = "the search runs as the iterator is read"]
pub struct SearchMatches<'s> {
    // Dropped before the snapshot.
    log: Option<Log>,
    logs: Logs,
    pattern: Arc<TextPattern>,
    has_ended: bool,
    snapshot: Held<'s>,
}

impl std::fmt::Debug for SearchMatches<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SearchMatches")
            .field("snapshot", self.snapshot.get())
            .field("has_ended", &self.has_ended)
            .finish_non_exhaustive()
    }
}

/// The snapshot that a search reads.
enum Held<'s> {
    Borrowed(&'s Snapshot),
    Owned(Box<Snapshot>),
}

impl Held<'_> {
    fn get(&self) -> &Snapshot {
        match self {
            Self::Borrowed(snapshot) => snapshot,
            Self::Owned(snapshot) => snapshot,
        }
    }
}

impl Snapshot {
    /// Searches the rows of the snapshot; see [`search`](crate::search) for the order, the text that is
    /// searched, and the meaning of a pattern.
    ///
    /// Without a limit to runtimes, searches all of them. A runtime or a worker that the snapshot does not
    /// have has no entries; events about a worker are found without it. This call only compiles the pattern:
    /// each match costs the rows before it, in constant memory, and the largest of these rows.
    ///
    /// # Errors
    ///
    /// `InvalidRequest` for an invalid expression, with its reason; for one that is larger than 10 MiB when
    /// it is compiled; for limits that exclude each other; and for an id that is longer than
    /// [`MAX_ID_BYTES`](crate::identity::MAX_ID_BYTES). Each item can be an error of every read: `StoreIo`,
    /// `StoreCorrupt`, `StoreClosed`. The iterator ends after an error.
    pub fn search(&self, search: &Search) -> Result<SearchMatches<'_>, RuntimeError> {
        SearchMatches::new(Held::Borrowed(self), search.clone())
    }

    /// As [`search`](Self::search). The matches own the snapshot.
    pub(crate) fn into_search(
        self,
        search: Search,
    ) -> Result<SearchMatches<'static>, RuntimeError> {
        SearchMatches::new(Held::Owned(Box::new(self)), search)
    }
}

impl<'s> SearchMatches<'s> {
    fn new(snapshot: Held<'s>, search: Search) -> Result<Self, RuntimeError> {
        if let Some(contradiction) = search.limits.contradiction() {
            return Err(RuntimeError::InvalidRequest(contradiction.to_owned()));
        }
        let limits = &search.limits;
        limits
            .runtimes
            .iter()
            .try_for_each(|runtime| refuse_long_id(runtime.as_str()))?;
        limits.workers.iter().try_for_each(refuse_long_ref)?;
        let pattern = TextPattern::new(&search).map_err(RuntimeError::InvalidRequest)?;
        Ok(Self {
            log: None,
            logs: Logs::new(search, snapshot.get().process),
            pattern: Arc::new(pattern),
            has_ended: false,
            snapshot,
        })
    }

    fn find(&mut self) -> Result<Option<SearchRow>, RuntimeError> {
        let view = self.snapshot.get().view_for("search");
        loop {
            if self.log.is_none() {
                self.log = self.logs.next(&view)?;
            }
            let (pattern, limits) = (&self.pattern, &self.logs.limits);
            let found = match &mut self.log {
                None => return Ok(None),
                Some(Log::Events(id, scan)) => next_event(&view, (id, scan), pattern, limits)?,
                Some(Log::Transcript(worker, scan)) => {
                    next_entry(&view, (worker, scan), pattern, limits)?
                }
            };
            if found.is_some() {
                return Ok(found);
            }
            self.log = None;
        }
    }
}

impl Iterator for SearchMatches<'_> {
    type Item = Result<SearchMatch, RuntimeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.has_ended {
            return None;
        }
        let found = self.find();
        if !matches!(found, Ok(Some(_))) {
            self.has_ended = true;
            self.log = None;
        }
        let with_pattern = |row| SearchMatch {
            row,
            pattern: Arc::clone(&self.pattern),
        };
        found.map(|row| row.map(with_pattern)).transpose()
    }
}

impl std::iter::FusedIterator for SearchMatches<'_> {}

/// The next event that matches.
fn next_event(
    view: &SnapshotView<'_>,
    (runtime_id, scan): (&RuntimeId, &mut EventScan),
    pattern: &TextPattern,
    limits: &SearchLimits,
) -> Result<Option<SearchRow>, RuntimeError> {
    scan.find(view, |id, value| {
        // The bytes alone do not decide: most events have a standard message, which is not stored.
        let row = value.decode::<EventRow<'_>>()?;
        let worker_id = row.worker_id.as_deref();
        let time_ms = row.recorded_at_ms;
        if !limits.wants_event(runtime_id, worker_id, (row.kind, time_ms)) {
            return Ok(None);
        }
        let message = match &row.message {
            Some(message) => Cow::Borrowed(&**message),
            None => RuntimeEvent::standard_text(row.kind, runtime_id.as_str(), worker_id),
        };
        if !pattern.is_in(&message) {
            return Ok(None);
        }
        let event = convert::event(&mut WorkerRefs::new(runtime_id), id, row)?.value;
        let cursor = EventCursor {
            runtime_id: runtime_id.clone(),
            next_event_id: id,
        };
        let recorded_at = time::system_time(time_ms);
        Ok(Some(SearchRow::Event {
            cursor,
            event,
            recorded_at,
        }))
    })
}

/// The next entry that matches.
fn next_entry(
    view: &SnapshotView<'_>,
    (worker, scan): (&WorkerRef, &mut TranscriptScan),
    pattern: &TextPattern,
    limits: &SearchLimits,
) -> Result<Option<SearchRow>, RuntimeError> {
    scan.find(view, |position, value| {
        // Most rows end here: their checksum was verified, and nothing was decoded.
        if !pattern.may_be_in(value.bytes()) {
            return Ok(None);
        }
        let row = value.decode::<TranscriptRow<'_>>()?;
        let time_ms = row.recorded_at_ms;
        if !limits.wants_entry(row.role, time_ms) || !pattern.is_in(&row.content) {
            return Ok(None);
        }
        let entry = convert::transcript_entry(worker, row).value;
        let recorded_at = time::system_time(time_ms);
        Ok(Some(SearchRow::Entry {
            position,
            entry,
            recorded_at,
        }))
    })
}

/// A log that a search reads.
enum Log {
    Events(RuntimeId, EventScan),
    Transcript(WorkerRef, TranscriptScan),
}

/// The logs that a search reads, in its order.
struct Logs {
    limits: SearchLimits,
    /// Whether the search is newest first, and the process that its scans belong to.
    scan: (bool, Process),
    /// The place that the search begins behind, until its runtime is reached.
    after: Option<SearchPlace>,
    /// The runtimes that the search names, the next one last.
    named: Option<Vec<RuntimeId>>,
    last_runtime: Option<RuntimeId>,
    current: Option<CurrentRuntime>,
}

/// The runtime whose logs are read.
struct CurrentRuntime {
    id: RuntimeId,
    /// The parts that are still to be read, the next one last.
    parts: Vec<Part>,
    /// The place in this runtime that the search begins behind, until its log is reached.
    after: Option<SearchPlace>,
    /// The workers that the search names, the next one last.
    named: Option<Vec<WorkerId>>,
    last_worker: Option<String>,
    /// The number of workers that were read, and the stated one. `None` if not all are read.
    workers: Option<(usize, u64)>,
}

/// A part of a runtime.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Events,
    Transcripts,
}

impl Logs {
    fn new(search: Search, process: Process) -> Self {
        let mut limits = search.limits;
        limits.sort();
        let of_workers = || limits.workers.iter().map(|worker| &worker.runtime_id);
        let mut named: Option<Vec<RuntimeId>> = match (&limits.runtimes[..], &limits.workers[..]) {
            ([], []) => None,
            (runtimes, []) => Some(runtimes.to_vec()),
            ([], _) => Some(of_workers().cloned().collect()),
            (runtimes, _) => Some(
                of_workers()
                    .filter(|id| runtimes.binary_search(id).is_ok())
                    .cloned()
                    .collect(),
            ),
        };
        if let Some(named) = &mut named {
            named.dedup();
            put_next_last(named, search.newest_first);
        }
        Self {
            limits,
            scan: (search.newest_first, process),
            after: search.after,
            named,
            last_runtime: None,
            current: None,
        }
    }

    fn next(&mut self, view: &SnapshotView<'_>) -> Result<Option<Log>, RuntimeError> {
        loop {
            let Some(current) = &mut self.current else {
                self.current = self.next_runtime(view)?;
                match &self.current {
                    None => return Ok(None),
                    Some(_) => continue,
                }
            };
            match current.parts.last() {
                None => self.current = None,
                Some(Part::Events) => {
                    current.parts.pop();
                    let after = current
                        .after
                        .take()
                        .filter(|place| place.worker_id.is_none());
                    let after = after.map(|place| place.number);
                    let scan = EventScan::begin(view, &current.id, after, self.scan)?;
                    return Ok(Some(Log::Events(current.id.clone(), scan)));
                }
                Some(Part::Transcripts) => match current.next_transcript(view, self.scan.0)? {
                    None => {
                        current.parts.pop();
                    }
                    Some((worker, positions)) => {
                        let scan = TranscriptScan::begin(view, &worker, positions, self.scan)?;
                        return Ok(Some(Log::Transcript(worker, scan)));
                    }
                },
            }
        }
    }

    fn next_runtime(
        &mut self,
        view: &SnapshotView<'_>,
    ) -> Result<Option<CurrentRuntime>, RuntimeError> {
        let (newest_first, _) = self.scan;
        let first = self.after.as_ref().map(|place| place.runtime_id.clone());
        let next = match (&mut self.named, &first) {
            (Some(named), first) => {
                let is_before = |id: &RuntimeId| match first {
                    Some(first) => precedes(id, first, newest_first),
                    None => false,
                };
                next_named(named, is_before, |id| view.runtime(id.as_str()))?
            }
            (None, first) => {
                let first_row = match first {
                    Some(first) => view.runtime(first.as_str())?,
                    None => None,
                };
                match (first, first_row) {
                    (Some(first), Some(row)) => Some((first.clone(), row)),
                    (first, _) => {
                        let last = first.as_ref().or(self.last_runtime.as_ref());
                        let last = last.map(RuntimeId::as_str);
                        let next = view.next_runtime(last, newest_first)?;
                        next.map(|(id, row)| match RuntimeId::new(id) {
                            Some(id) => Ok((id, row)),
                            None => Err(view.at().corrupt("a stored runtime id is blank")),
                        })
                        .transpose()?
                    }
                }
            }
        };
        let Some((id, row)) = next else {
            return Ok(None);
        };
        self.last_runtime = Some(id.clone());
        let after = self.after.take().filter(|place| place.runtime_id == id);
        Ok(Some(self.begin(id, after, row.workers())))
    }

    /// The state at the beginning of a runtime with this number of workers, or behind a place in it.
    fn begin(&self, id: RuntimeId, after: Option<SearchPlace>, workers: u64) -> CurrentRuntime {
        let (newest_first, _) = self.scan;
        let mut parts = vec![Part::Events, Part::Transcripts];
        put_next_last(&mut parts, newest_first);
        if let Some(place) = &after {
            let part = match place.worker_id {
                None => Part::Events,
                Some(_) => Part::Transcripts,
            };
            while parts.last().is_some_and(|next| *next != part) {
                parts.pop();
            }
        }
        parts.retain(|part| match part {
            Part::Events => self.limits.wants_events(),
            Part::Transcripts => self.limits.wants_entries(),
        });
        let named = (!self.limits.workers.is_empty()).then(|| {
            let of_runtime = |worker: &&WorkerRef| worker.runtime_id == id;
            let workers = self.limits.workers.iter().filter(of_runtime);
            let mut named: Vec<WorkerId> = workers.map(|worker| worker.worker_id.clone()).collect();
            put_next_last(&mut named, newest_first);
            named
        });
        let begins_within = after
            .as_ref()
            .is_some_and(|place| place.worker_id.is_some());
        CurrentRuntime {
            id,
            parts,
            after,
            named,
            last_worker: None,
            workers: (!begins_within).then_some((0, workers)),
        }
    }
}

impl CurrentRuntime {
    /// The next worker, and the positions of its transcript that the search reads.
    fn next_transcript(
        &mut self,
        view: &SnapshotView<'_>,
        newest_first: bool,
    ) -> Result<Option<(WorkerRef, Range<u64>)>, RuntimeError> {
        // An event is a place in the other part.
        let after = self.after.take();
        let after = after.and_then(|place| Some((place.worker_id?, place.number)));
        let first = after.as_ref().map(|(worker, _)| worker);
        let row = |worker: &WorkerId| view.worker(self.id.as_str(), worker.as_str());
        let next = match &mut self.named {
            Some(named) => {
                let is_before = |id: &WorkerId| match first {
                    Some(first) => precedes(id, first, newest_first),
                    None => false,
                };
                next_named(named, is_before, row)?
            }
            None => match first.map(row).transpose()?.flatten() {
                Some(row) => first.cloned().map(|first| (first, row)),
                None => {
                    let last = first.map(WorkerId::as_str).or(self.last_worker.as_deref());
                    let next = view.next_worker(self.id.as_str(), last, newest_first)?;
                    if let Some((seen, _)) = &mut self.workers {
                        *seen += usize::from(next.is_some());
                    }
                    next.map(|(id, row)| match convert::worker_ref(&self.id, &id) {
                        Ok(worker) => Ok((worker.worker_id, row)),
                        Err(why) => Err(view.at().corrupt(why)),
                    })
                    .transpose()?
                }
            },
        };
        let Some((id, row)) = next else {
            if let (None, Some((seen, stated))) = (&self.named, self.workers) {
                refuse_miscounted(view.at(), table_names::WORKERS, seen, stated)?;
            }
            return Ok(None);
        };
        let all = row.first_position..row.transcript_len;
        let positions = match after {
            Some((worker, number)) if worker == id => match newest_first {
                false => {
                    number
                        .saturating_add(1)
                        .clamp(all.start, all.end.max(all.start))..all.end
                }
                true => all.start..number.clamp(all.start, all.end.max(all.start)),
            },
            _ => all,
        };
        self.last_worker = Some(id.as_str().to_owned());
        Ok(Some((WorkerRef::new(self.id.clone(), id), positions)))
    }
}

/// Puts a list in the order of oldest first into the order in which a search takes it from the end.
fn put_next_last<T>(list: &mut [T], newest_first: bool) {
    if !newest_first {
        list.reverse();
    }
}

/// Whether a search reads `id` before `other`.
fn precedes<T: Ord>(id: &T, other: &T, newest_first: bool) -> bool {
    match newest_first {
        false => id < other,
        true => id > other,
    }
}

/// Takes the next name that has a row, and skips those that come before the place where the search begins.
fn next_named<T, R>(
    named: &mut Vec<T>,
    is_before: impl Fn(&T) -> bool,
    row: impl Fn(&T) -> Result<Option<R>, RuntimeError>,
) -> Result<Option<(T, R)>, RuntimeError> {
    while let Some(name) = named.pop() {
        if is_before(&name) {
            continue;
        }
        if let Some(row) = row(&name)? {
            return Ok(Some((name, row)));
        }
    }
    Ok(None)
}
