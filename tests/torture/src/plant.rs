//! Planted bugs. A simulator that does not find them proves nothing.

use crate::campaign::Fault;
use crate::model::{Call, runtime_id};
use clap::ValueEnum;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::{TranscriptEntry, WorkerInput};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::store::PlantedBug;
use redb_runtime_store::{Runtime, Store};

fn event(id: u64, worker_ref: Option<WorkerRef>) -> RuntimeEvent {
    RuntimeEvent {
        id,
        worker_ref,
        kind: RuntimeEventKind::WorkerInputAccepted,
        message: "worker input accepted".to_owned(),
    }
}

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// The disk's syncs return success without syncing.
    LyingSync,
    /// Operations are acknowledged before they are committed.
    EarlyAck,
    /// An input is two transactions: its event, then its entry.
    SplitTransaction,
    /// The counter of events is committed before the event that it counts.
    CounterWithoutEvent,
    /// An input also writes a row of a runtime that does not exist. No read shows it.
    OrphanRow,
    /// The deletion of a worker leaves the count of its runtime as it was. No read of a worker shows it.
    CountThatStays,
    /// A prune commits the floors of its logs before it removes their rows.
    FloorWithoutRows,
    /// A prune commits the removal of rows before the floors of their logs.
    RowsWithoutFloor,
    /// After a crash the commit that the header names is taken as durable.
    PrimaryTrusted,
    /// The recovery does not write the pages of an unproven commit again.
    PagesNotRewritten,
    /// The recovery does not verify the leaves of an unproven commit.
    DescentTooShort,
    /// The recovery takes the primary commit as the newer one.
    OlderPrimary,
    /// The recovery declares a commit durable in the sync that writes its pages.
    RecoveryOneSync,
    /// The recovery declares a commit durable whose slot it does not write again.
    SlotNotRewritten,
    /// The recovery leaves the slot of a commit that it gave up in the header.
    AbandonedSlotKept,
    /// Pages are read without being checked.
    UncheckedPages,
    /// A commit waits for a lock without a limit.
    LockLimitOff,
    /// An operation is acknowledged although the wait for the lock to publish it reached the limit.
    MarkLost,
    /// A snapshot shows what was committed after it was taken.
    MovingSnapshot,
}

impl Plant {
    /// The fault that has to find it.
    pub fn found_by(self) -> Fault {
        match self {
            _ if self.in_commits().is_some() => Fault::Generations,
            Self::UncheckedPages => Fault::BitRot,
            Self::LockLimitOff | Self::MarkLost | Self::MovingSnapshot => Fault::Stop,
            _ => Fault::PowerLoss,
        }
    }

    /// The bug of the commit protocol, for stores on a simulated disk.
    pub(crate) fn in_commits(self) -> Option<PlantedBug> {
        match self {
            Self::PrimaryTrusted => Some(PlantedBug::PrimaryTrusted),
            Self::PagesNotRewritten => Some(PlantedBug::PagesNotRewritten),
            Self::DescentTooShort => Some(PlantedBug::DescentTooShort),
            Self::OlderPrimary => Some(PlantedBug::OlderPrimary),
            Self::RecoveryOneSync => Some(PlantedBug::RecoveryOneSync),
            Self::SlotNotRewritten => Some(PlantedBug::SlotNotRewritten),
            Self::AbandonedSlotKept => Some(PlantedBug::AbandonedSlotKept),
            _ => None,
        }
    }

    /// The bug's name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::LyingSync => "lying-sync",
            Self::EarlyAck => "early-ack",
            Self::SplitTransaction => "split-transaction",
            Self::CounterWithoutEvent => "counter-without-event",
            Self::OrphanRow => "orphan-row",
            Self::CountThatStays => "count-that-stays",
            Self::FloorWithoutRows => "floor-without-rows",
            Self::RowsWithoutFloor => "rows-without-floor",
            Self::PrimaryTrusted => "primary-trusted",
            Self::PagesNotRewritten => "pages-not-rewritten",
            Self::DescentTooShort => "descent-too-short",
            Self::OlderPrimary => "older-primary",
            Self::RecoveryOneSync => "recovery-one-sync",
            Self::SlotNotRewritten => "slot-not-rewritten",
            Self::AbandonedSlotKept => "abandoned-slot-kept",
            Self::UncheckedPages => "unchecked-pages",
            Self::LockLimitOff => "lock-limit-off",
            Self::MarkLost => "mark-lost",
            Self::MovingSnapshot => "moving-snapshot",
        }
    }

    /// The bug of that name.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::value_variants().iter().copied();
        all.find(|plant| plant.name() == name)
    }

    /// The expected messages: each violation that the bug causes contains all parts of one of them.
    pub fn shows_as(self) -> &'static [&'static [&'static str]] {
        match self {
            // Data that redb considered durable is lost. The pages of removed rows are used again, so a lost page can also be
            // one of another tree.
            Self::LyingSync => &[
                &["opening the store:"],
                &["reading the store:"],
                &["what was acknowledged is lost"],
            ],
            Self::EarlyAck => &[&["what was acknowledged is lost"]],
            // The event is stored without the change of its worker.
            Self::SplitTransaction => &[&["a part of an operation is there", ": worker worker-"]],
            Self::CounterWithoutEvent => {
                &[&["a part of an operation is there", " events, should be "]]
            }
            Self::OrphanRow => &[&["verify finds", "rows of a runtime that does not exist"]],
            // The list of workers, which is compared with the count, is read first.
            Self::CountThatStays => &[&["reading the store", "rows, but the runtime says"]],
            Self::FloorWithoutRows => &[&["verify finds", "rows before it were not removed"]],
            // Of a transcript every read finds it, of an event log only the comparison.
            Self::RowsWithoutFloor => &[
                &["reading the store", "some are missing"],
                &["a part of an operation is there", " events, should be "],
            ],
            Self::PrimaryTrusted
            | Self::PagesNotRewritten
            | Self::DescentTooShort
            | Self::OlderPrimary
            | Self::RecoveryOneSync
            | Self::SlotNotRewritten
            | Self::AbandonedSlotKept => &[
                &["opening"],
                &["reading the store"],
                &["verify"],
                &["not as expected"],
                // A commit meets a page that the last one lost.
                &["working on after the fault", "failed"],
            ],
            Self::UncheckedPages => &[
                &["instead of"],
                &["a snapshot:"],
                &["NotFound"],
                &["was accepted"],
                // redb reads a page number outside the file, and fails.
                &["verifying what cannot be read"],
                // redb follows a page that leads back to itself, or to a page above it.
                &["overflowed its stack"],
            ],
            Self::LockLimitOff => &[&["no answer for", "is stopped"]],
            // Later commits build on the one that is lost, and write over pages that the file refers to.
            Self::MarkLost => &[&["were acknowledged"], &["StoreCorrupt"]],
            Self::MovingSnapshot => &[&["a snapshot changed"]],
        }
    }

    /// Makes `call` on `runtime`, with this bug.
    pub(crate) fn call(
        self,
        store: &Store,
        runtime: &Runtime,
        call: &Call,
    ) -> Result<(), RuntimeError> {
        match (self, call) {
            (Self::OrphanRow, Call::Input(..)) => {
                let nobody = runtime_id("nobody");
                // Rejected from the second time on.
                drop(store.bulk_load(|load| {
                    load.without_checks();
                    load.append_event(&nobody, event(1, None).into())
                }));
                call.make(runtime).map(drop)
            }
            (Self::CountThatStays, Call::Delete(worker)) => {
                call.make(runtime)?;
                store.bulk_load(|load| load.count_one_more(&worker.runtime_id))
            }
            (Self::FloorWithoutRows | Self::RowsWithoutFloor, Call::Prune(events, entries)) => {
                let (policy, options) = Call::prune(*events, *entries);
                let options = options.torn(self == Self::FloorWithoutRows);
                runtime.prune(&policy, options).map(drop)
            }
            (Self::SplitTransaction | Self::CounterWithoutEvent, Call::Input(worker, input))
                if !input.content.trim().is_empty()
                    && runtime.worker_detail(worker)?.status.is_active() =>
            {
                self.input_in_two(store, worker, input)
            }
            _ => call.make(runtime).map(drop),
        }
    }

    fn input_in_two(
        self,
        store: &Store,
        worker_ref: &WorkerRef,
        input: &WorkerInput,
    ) -> Result<(), RuntimeError> {
        let runtime = store.runtime_store(&worker_ref.runtime_id)?;
        let mut state = runtime.load_runtime_state()?;
        let event = event(state.runtime.next_event_id, Some(worker_ref.clone()));
        let is_split = self == Self::SplitTransaction;
        state.runtime.next_event_id += 1;
        runtime.commit(|tx| match is_split {
            true => tx.append_event(&event),
            false => tx.write_runtime_snapshot(&state.runtime),
        })?;
        let mut workers = state.workers.into_iter();
        let Some(mut worker) = workers.find(|worker| worker.worker_ref == *worker_ref) else {
            return Ok(());
        };
        let entry = TranscriptEntry {
            sequence: worker.next_transcript_sequence,
            worker_ref: worker_ref.clone(),
            role: input.kind.into(),
            content: input.content.clone(),
            event_id: event.id,
        };
        worker.next_transcript_sequence += 1;
        worker.last_event_id = event.id;
        runtime.commit(|tx| {
            if !is_split {
                tx.append_event(&event)?;
            }
            tx.write_worker_snapshot(&worker)?;
            tx.append_transcript_entry(&entry)
        })
    }
}
