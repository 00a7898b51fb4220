//! The walk over a snapshot that collects what a report shows.

use crate::output::failure::Failure;
use crate::read::workers::intent_text;
use crate::report::bins::Bins;
use crate::report::choice::{Asked, Choice, MOST_RUNTIMES, Parts, bytes_of_each};
use crate::report::chronology::{Axis, Marks, Point, Span, milliseconds};
use crate::report::tail::Tail;
use redb_runtime_store::RuntimeError;
use redb_runtime_store::catalog::WorkerStatus;
use redb_runtime_store::diagnostics::RuntimeDiagnostic;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::TranscriptRole;
use redb_runtime_store::management::RuntimeStatus;
use redb_runtime_store::observation::RuntimeEventKind;
use redb_runtime_store::store::{BorrowedEntry, BorrowedEvent, Snapshot};
use std::collections::HashMap;
use std::time::SystemTime;

/// The most bins of the growth of a store.
const GROWTH_BINS: usize = 1024;

/// How many of the largest workers are listed.
const LARGEST: usize = 10;

/// Everything that a report shows, apart from whole transcripts.
pub(crate) struct Survey {
    /// The runtimes that are shown, in the order of their ids.
    pub(crate) runtimes: Vec<RuntimeFacts>,
    pub(crate) totals: Totals,
    pub(crate) growth: Growth,
    /// The workers with the longest texts, in descending order, with the bytes of these.
    pub(crate) largest: Vec<(u64, WorkerRef)>,
}

/// Counts of a store.
#[derive(Default)]
pub(crate) struct Totals {
    pub(crate) runtimes: u64,
    pub(crate) workers: u64,
    pub(crate) running: u64,
    pub(crate) cancelled: u64,
    pub(crate) events: u64,
    pub(crate) entries: u64,
    /// The bytes of all texts of entries.
    pub(crate) text_bytes: u64,
    /// The times of all rows.
    pub(crate) times: Span,
}

/// Events and bytes of texts by time.
pub(crate) struct Growth {
    pub(crate) events: Bins,
    pub(crate) bytes: Bins,
    /// The rows without a time.
    pub(crate) undated_events: u64,
    pub(crate) undated_bytes: u64,
}

/// A runtime of a report.
pub(crate) struct RuntimeFacts {
    pub(crate) id: RuntimeId,
    pub(crate) name: Option<String>,
    pub(crate) status: RuntimeStatus,
    pub(crate) diagnostics: Vec<RuntimeDiagnostic>,
    pub(crate) axis: Axis,
    pub(crate) events: u64,
    pub(crate) entries: u64,
    /// The workers that were deleted, after the events of the log.
    pub(crate) deleted: u64,
    /// The number of all its workers.
    pub(crate) all_workers: u64,
    /// Those that some part of the report shows, in the order of their ids.
    pub(crate) workers: Vec<WorkerFacts>,
}

/// A worker of a report.
pub(crate) struct WorkerFacts {
    /// Its number in the report, from 1, in the names of anchors.
    pub(crate) number: u64,
    pub(crate) worker_ref: WorkerRef,
    pub(crate) parts: Parts,
    pub(crate) status: WorkerStatus,
    pub(crate) intent: String,
    pub(crate) is_pinned: bool,
    pub(crate) entries: u64,
    /// The entries that retention removed.
    pub(crate) removed: u64,
    /// The bytes of the texts of its entries.
    pub(crate) bytes: u64,
    pub(crate) first: Option<SystemTime>,
    pub(crate) last: Option<SystemTime>,
    pub(crate) lane: Lane,
    /// The end of its transcript; `None` if it is not shown, or shown as a whole.
    pub(crate) tail: Option<Tail>,
}

/// The lane of a worker in the timeline of its runtime.
#[derive(Default)]
pub(crate) struct Lane {
    pub(crate) created: Option<Point>,
    pub(crate) ended: Option<Point>,
    pub(crate) inputs: Marks,
    pub(crate) replies: Marks,
}

impl Survey {
    /// Walks over the runtimes `ids` of a snapshot. A worker that `asked` leaves out is counted, too.
    pub(crate) fn take(
        snapshot: &Snapshot,
        ids: &[RuntimeId],
        asked: &Asked,
    ) -> Result<Self, Failure> {
        let shown = match asked.all {
            true => ids.len(),
            false => ids.len().min(MOST_RUNTIMES),
        };
        let choose = |id| Choice::of(snapshot, id, asked, shown);
        let choices: Vec<Choice> = ids[..shown].iter().map(choose).collect::<Result<_, _>>()?;
        let transcripts = choices.iter().map(|choice| choice.transcripts).sum();
        let mut walk = Walk {
            snapshot,
            tail_bytes: (!asked.all).then(|| bytes_of_each(transcripts)),
            shown,
            last_number: 0,
            survey: Self::empty(ids.len() as u64),
        };
        let mut choices = choices.into_iter();
        for id in ids {
            let choice = match choices.next() {
                Some(choice) => choice,
                None => Choice::none(snapshot, id)?,
            };
            walk.runtime(id, &choice)?;
        }
        Ok(walk.survey)
    }

    fn empty(runtimes: u64) -> Self {
        Self {
            runtimes: Vec::new(),
            totals: Totals {
                runtimes,
                ..Totals::default()
            },
            growth: Growth {
                events: Bins::new(GROWTH_BINS),
                bytes: Bins::new(GROWTH_BINS),
                undated_events: 0,
                undated_bytes: 0,
            },
            largest: Vec::new(),
        }
    }
}

impl Growth {
    fn add(&mut self, time: Option<SystemTime>, events: u64, bytes: u64) {
        match time.map(milliseconds) {
            Some(at) => {
                self.events.add(at, events);
                self.bytes.add(at, bytes);
            }
            None => {
                self.undated_events += events;
                self.undated_bytes += bytes;
            }
        }
    }
}

/// A walk under way.
struct Walk<'s> {
    snapshot: &'s Snapshot,
    /// The bytes of the end of each transcript; `None` if transcripts are shown as a whole.
    tail_bytes: Option<usize>,
    /// How many runtimes are shown, the first ones.
    shown: usize,
    last_number: u64,
    survey: Survey,
}

/// Lanes by the id of their worker, while the events are read.
type Lanes = HashMap<String, Lane>;

impl Walk<'_> {
    fn runtime(&mut self, id: &RuntimeId, choice: &Choice) -> Result<(), Failure> {
        let stored = self.snapshot.runtime(id)?.map(|stored| stored.value);
        let Some(stored) = stored else {
            return Ok(());
        };
        let mut facts = RuntimeFacts {
            id: id.clone(),
            name: stored.display_name,
            status: stored.status,
            diagnostics: stored.diagnostics,
            axis: Axis::default(),
            events: 0,
            entries: 0,
            deleted: 0,
            all_workers: choice.workers,
            workers: Vec::new(),
        };
        let lane = |worker: &WorkerId| (worker.as_str().to_owned(), Lane::default());
        let mut lanes: Lanes = choice.in_timeline().map(lane).collect();
        self.snapshot
            .each_event(id, |event| -> Result<(), RuntimeError> {
                self.survey.event(&event, &mut facts, &mut lanes);
                Ok(())
            })?;
        for worker in self.snapshot.workers(id)? {
            let worker = worker?.value;
            let worker_ref = &worker.worker_ref;
            let parts = choice.parts(&worker_ref.worker_id);
            let lane = lanes.remove(worker_ref.worker_id.as_str());
            let mut found = WorkerFacts {
                number: 0,
                parts,
                status: worker.status,
                intent: String::new(),
                is_pinned: false,
                entries: 0,
                removed: 0,
                bytes: 0,
                first: None,
                last: None,
                lane: lane.unwrap_or_default(),
                tail: self.tail_bytes.filter(|_| parts.transcript).map(Tail::new),
                worker_ref: worker_ref.clone(),
            };
            self.snapshot
                .each_entry(worker_ref, |entry| -> Result<(), RuntimeError> {
                    self.survey.entry(&entry, &mut facts, &mut found);
                    Ok(())
                })?;
            self.survey.worker(&found);
            if parts != Parts::default() {
                self.last_number += 1;
                found.number = self.last_number;
                found.intent = intent_text(&worker.request.intent);
                found.is_pinned = self.snapshot.is_pinned(worker_ref)?;
                found.removed = self.snapshot.first_position(worker_ref)?;
                facts.workers.push(found);
            }
        }
        let totals = &mut self.survey.totals;
        totals.workers += choice.workers;
        totals.running += choice.running;
        totals.cancelled += choice.cancelled;
        if self.survey.runtimes.len() < self.shown {
            self.survey.runtimes.push(facts);
        }
        Ok(())
    }
}

impl Survey {
    fn event(&mut self, event: &BorrowedEvent<'_>, facts: &mut RuntimeFacts, lanes: &mut Lanes) {
        let point = Point::new(event.recorded_at, event.id);
        facts.axis.add(point);
        facts.events += 1;
        self.totals.events += 1;
        self.row(event.recorded_at, 1, 0);
        facts.deleted += u64::from(event.kind == RuntimeEventKind::WorkerDeleted);
        let worker = event.worker_ref.as_ref();
        let Some(lane) = worker.and_then(|worker| lanes.get_mut(&*worker.worker_id)) else {
            return;
        };
        match event.kind {
            RuntimeEventKind::WorkerCreated => lane.created = Some(point),
            RuntimeEventKind::WorkerInputAccepted => lane.inputs.add(point),
            RuntimeEventKind::WorkerStopped | RuntimeEventKind::WorkerCancelled => {
                lane.ended = lane.ended.or(Some(point));
            }
            // The others have no mark, and those of later releases.
            _ => {}
        }
    }

    fn entry(
        &mut self,
        entry: &BorrowedEntry<'_>,
        facts: &mut RuntimeFacts,
        worker: &mut WorkerFacts,
    ) {
        let bytes = entry.content.len() as u64;
        facts.entries += 1;
        worker.entries += 1;
        worker.bytes += bytes;
        worker.first = worker.first.or(entry.recorded_at);
        worker.last = entry.recorded_at.or(worker.last);
        self.totals.entries += 1;
        self.totals.text_bytes += bytes;
        self.row(entry.recorded_at, 0, bytes);
        if entry.role == TranscriptRole::Assistant && worker.parts.timeline {
            let point = Point::new(entry.recorded_at, entry.event_id);
            facts.axis.add(point);
            worker.lane.replies.add(point);
        }
        if let Some(tail) = &mut worker.tail {
            tail.push(entry);
        }
    }

    fn row(&mut self, time: Option<SystemTime>, events: u64, bytes: u64) {
        self.growth.add(time, events, bytes);
        if let Some(time) = time {
            self.totals.times.add(milliseconds(time));
        }
    }

    /// Adds a worker to the largest ones, if it is one of them.
    fn worker(&mut self, worker: &WorkerFacts) {
        let is_larger = |least: &(u64, WorkerRef)| worker.bytes > least.0;
        if self.largest.len() < LARGEST || self.largest.last().is_some_and(is_larger) {
            let at = self
                .largest
                .partition_point(|other| other.0 >= worker.bytes);
            self.largest
                .insert(at, (worker.bytes, worker.worker_ref.clone()));
            self.largest.truncate(LARGEST);
        }
    }
}
