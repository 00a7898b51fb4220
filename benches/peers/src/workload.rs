//! What is written: inputs of 200 bytes and whole logs of them, from a fixed seed.

use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptEntry, TranscriptRole};
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::store::{PersistedRuntimeSnapshot, PersistedWorkerSnapshot};

pub(crate) const SEED: u64 = 0x005E_ED0F_9EE2_5000;
pub(crate) const INPUT_BYTES: usize = 200;
pub(crate) const RUNTIME: &str = "runtime-bench";
/// What a page holds.
pub(crate) const PAGE: usize = 256;

/// Different texts; more would only cool the processor's caches.
const TEXTS: usize = 1024;

const WORDS: [&str; 16] = [
    "review",
    "the",
    "failing",
    "test",
    "and",
    "explain",
    "why",
    "it",
    "deadlocks",
    "\"quoted\"",
    "branch",
    "deploy",
    "staging",
    "before",
    "noon",
    "please",
];

/// The inputs, made beforehand so that making them is not measured.
pub(crate) struct Inputs(Vec<String>);

impl Inputs {
    pub(crate) fn new() -> Self {
        let mut random = Random(SEED);
        Self((0..TEXTS).map(|_| text(&mut random)).collect())
    }

    /// The text of the `n`th input.
    pub(crate) fn text(&self, n: u64) -> &str {
        &self.0[n as usize % TEXTS]
    }
}

fn text(random: &mut Random) -> String {
    let mut text = String::with_capacity(INPUT_BYTES + 16);
    while text.len() < INPUT_BYTES {
        let word = random.next() as usize % WORDS.len();
        text.push_str(WORDS[word]);
        text.push(' ');
    }
    text.truncate(INPUT_BYTES - 1);
    text.push('.');
    text
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

/// How many inputs, and a sum over their workers and texts that does not depend on their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) inputs: u64,
    pub(crate) sum: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, worker: usize, text: &str) {
        // FNV-1a.
        let start = 0xCBF2_9CE4_8422_2325 ^ worker as u64;
        let hash = text.bytes().fold(start, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        self.inputs += 1;
        self.sum = self.sum.wrapping_add(hash);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

pub(crate) fn runtime_id() -> RuntimeId {
    RuntimeId::new(RUNTIME).expect("the name is not blank")
}

/// The name of the worker `index`, from 0, as a runtime generates it.
pub(crate) fn worker_name(index: usize) -> String {
    format!("worker-{:08x}", index + 1)
}

pub(crate) fn worker_ref(index: usize) -> WorkerRef {
    let id = WorkerId::new(worker_name(index)).expect("the name is not blank");
    WorkerRef::new(runtime_id(), id)
}

pub(crate) const STARTED: &str = "runtime started";
pub(crate) const ACCEPTED: &str = "worker input accepted";

pub(crate) fn created(worker: usize) -> String {
    format!("worker {} created", worker_name(worker))
}

/// A runtime that has taken `inputs` inputs, dealt to its workers in turn.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dataset {
    pub(crate) inputs: u64,
    pub(crate) workers: usize,
}

impl Dataset {
    /// The events that come before those of the inputs: of the runtime's start and of its workers.
    fn opening_events(&self) -> u64 {
        1 + self.workers as u64
    }

    pub(crate) fn events(&self) -> u64 {
        self.opening_events() + self.inputs
    }

    /// The event with the id `id`, from 1.
    pub(crate) fn event(&self, id: u64) -> RuntimeEvent {
        let (worker, kind, message) = if id == 1 {
            (None, RuntimeEventKind::RuntimeStarted, STARTED.to_owned())
        } else if id <= self.opening_events() {
            let worker = id as usize - 2;
            let kind = RuntimeEventKind::WorkerCreated;
            (Some(worker), kind, created(worker))
        } else {
            let input = id - self.opening_events() - 1;
            let worker = (input % self.workers as u64) as usize;
            let kind = RuntimeEventKind::WorkerInputAccepted;
            (Some(worker), kind, ACCEPTED.to_owned())
        };
        RuntimeEvent {
            id,
            worker_ref: worker.map(worker_ref),
            kind,
            message,
        }
    }

    /// How many inputs the worker has taken.
    pub(crate) fn entries(&self, worker: usize) -> u64 {
        let workers = self.workers as u64;
        let extra = u64::from((worker as u64) < self.inputs % workers);
        self.inputs / workers + extra
    }

    /// The entry of `worker` at `position`, from 0.
    pub(crate) fn entry(&self, inputs: &Inputs, worker: usize, position: u64) -> TranscriptEntry {
        let input = position * self.workers as u64 + worker as u64;
        TranscriptEntry {
            sequence: position + 1,
            worker_ref: worker_ref(worker),
            role: TranscriptRole::User,
            content: inputs.text(input).to_owned(),
            event_id: self.opening_events() + 1 + input,
        }
    }

    pub(crate) fn worker(&self, worker: usize) -> PersistedWorkerSnapshot {
        let entries = self.entries(worker);
        let last_event_id = match entries.checked_sub(1) {
            Some(last) => self.opening_events() + 1 + last * self.workers as u64 + worker as u64,
            None => 2 + worker as u64,
        };
        let request = CreateWorkerRequest::default();
        let mut snapshot = PersistedWorkerSnapshot::new(worker_ref(worker), request, last_event_id);
        snapshot.next_transcript_sequence = entries + 1;
        snapshot
    }

    pub(crate) fn runtime(&self) -> PersistedRuntimeSnapshot {
        let mut snapshot = PersistedRuntimeSnapshot::new(runtime_id());
        snapshot.next_worker_sequence = self.workers as u64 + 1;
        snapshot.next_event_id = self.events() + 1;
        snapshot
    }
}
