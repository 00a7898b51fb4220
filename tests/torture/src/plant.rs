//! Bugs that are planted on purpose: what does not find them proves nothing.

use crate::campaign::Fault;
use crate::model::Call;
use crate::workload::alone;
use clap::ValueEnum;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::{TranscriptEntry, WorkerInput};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::{Runtime, Store};

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Plant {
    /// The disk's syncs do nothing, and say that they did.
    LyingSync,
    /// Operations are acknowledged before they are committed.
    EarlyAck,
    /// An input is two transactions: its event, then its entry.
    SplitTransaction,
    /// The counter of events is committed before the event that it counts.
    CounterWithoutEvent,
    /// Commits have one phase, as redb's have unless they are asked for two.
    OnePhase,
    /// Pages are read without being checked.
    UncheckedPages,
}

impl Plant {
    /// The fault that has to find it.
    pub fn found_by(self) -> Fault {
        match self {
            // Harmless until a sync fails.
            Self::OnePhase => Fault::DiskErrors,
            Self::UncheckedPages => Fault::BitRot,
            _ => Fault::PowerLoss,
        }
    }

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::LyingSync => "lying-sync",
            Self::EarlyAck => "early-ack",
            Self::SplitTransaction => "split-transaction",
            Self::CounterWithoutEvent => "counter-without-event",
            Self::OnePhase => "one-phase",
            Self::UncheckedPages => "unchecked-pages",
        }
    }

    /// The bug of that name.
    pub fn named(name: &str) -> Option<Self> {
        let mut all = Self::value_variants().iter().copied();
        all.find(|plant| plant.name() == name)
    }

    /// How it shows: each violation that it leads to says one of these.
    pub fn shows_as(self) -> &'static [&'static str] {
        match self {
            // What redb thought to be on disk is not.
            Self::LyingSync => &["opening the store:", "not as expected:"],
            Self::EarlyAck | Self::SplitTransaction | Self::CounterWithoutEvent => {
                &["not as expected:"]
            }
            Self::OnePhase => &["opening"],
            Self::UncheckedPages => &["instead of", "a snapshot:", "NotFound", "was accepted"],
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
            (Self::SplitTransaction | Self::CounterWithoutEvent, Call::Input(worker, input))
                if !input.content.trim().is_empty()
                    && runtime.worker_detail(worker)?.status.is_active() =>
            {
                self.input_in_two(store, worker, input)
            }
            _ => alone(runtime, call),
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
        let event = RuntimeEvent {
            id: state.runtime.next_event_id,
            worker_ref: Some(worker_ref.clone()),
            kind: RuntimeEventKind::WorkerInputAccepted,
            message: "worker input accepted".to_owned(),
        };
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
