//! Workloads: operations as a host makes them, with the expected world after each.

use crate::disk::Disk;
use crate::host_calls;
use crate::model::{Call, Refusal, any_call, new_runtime, runtime_id};
use crate::plant::Plant;
use crate::rng::Rng;
use crate::world::{Context, Violation, World};
use redb_runtime_store::catalog::{CreateWorkerRequest, WorkerStatus};
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::{ImportOptions, LayoutError, import};
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::store::{DeleteRuntimeOptions, Sharing};
use redb_runtime_store::{Pending, Runtime, RuntimeTransaction, Store};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// One atomic operation.
#[derive(Clone, Debug)]
pub enum Op {
    /// Creates a runtime.
    CreateRuntime(String),
    /// One call on a runtime.
    Call(String, Call),
    /// One submitted call on a runtime. Consecutive submissions are in flight together: the first has a
    /// commit of its own, and the others share the next.
    Submit(String, Call),
    /// Several calls in one host transaction. A rejected call undoes all of them.
    Transaction(String, Vec<Call>),
    /// Deletes a runtime, also if it is running.
    DeleteRuntime(String),
    /// Imports a directory and replaces its runtime.
    Import,
    /// Closes the store, and opens it again.
    Reopen,
}

/// Operations, and the worlds between them: `worlds[n]` is the store's content after the first `n`.
#[derive(Clone, Debug)]
pub struct Workload {
    /// The operations.
    pub ops: Vec<Op>,
    /// One more world than operations.
    pub worlds: Vec<World>,
    /// Whether each must be accepted.
    pub accepted: Vec<bool>,
}

const CACHE_BYTES: usize = 1 << 20;

const FIRST: &str = "first";

/// Every mode of sharing, with its name in the figures.
pub const SHARINGS: [(Sharing, &str); 3] = [
    (Sharing::OneWriter, "with one writer"),
    (Sharing::Exclusive, "in an exclusive file"),
    (Sharing::ManyWriters, "with many writers"),
];

/// The name of a mode of sharing in the figures.
pub(crate) fn name_of(sharing: Sharing) -> &'static str {
    let found = SHARINGS.iter().find(|(one, _)| *one == sharing);
    found.map_or("", |(_, name)| name)
}

/// The mode of sharing of the round of `seed`: consecutive rounds try every mode.
pub(crate) fn sharing_of(seed: u64) -> Sharing {
    SHARINGS[(seed % SHARINGS.len() as u64) as usize].0
}

/// The runtime in the directory that is imported.
pub const IMPORTED: &str = "demo";

/// The directory that is imported.
pub fn import_root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/small"))
}

/// The content of the imported directory.
pub(crate) fn imported() -> Result<World, Violation> {
    let store = Store::in_memory().or_violation("opening a store in memory")?;
    let options = ImportOptions::new();
    import(&store, import_root(), &options).or_violation("importing into memory")?;
    World::of(&store).or_violation("reading an import")
}

impl Workload {
    /// Random operations, `count` or a few more.
    ///
    /// # Errors
    ///
    /// If the imported directory cannot be read.
    pub fn any(count: usize, rng: &mut Rng) -> Result<Self, Violation> {
        let mut workload = Self {
            ops: Vec::new(),
            worlds: vec![World::default()],
            accepted: Vec::new(),
        };
        let imported = imported()?;
        workload.push(Op::CreateRuntime(FIRST.to_owned()), &imported);
        workload.push_deletion(&imported);
        while workload.ops.len() < count {
            match rng.below(100) {
                0..=2 => workload.push(Op::Import, &imported),
                3..=4 => workload.push(Op::Reopen, &imported),
                5 => {
                    // A deleted runtime is created again now and then.
                    let number = rng.below(8);
                    let id = format!("runtime {number}");
                    if !workload.last().0.contains_key(&id) {
                        workload.push(Op::CreateRuntime(id), &imported);
                    }
                }
                46..=47 => {
                    let runtimes: Vec<_> = workload.last().0.keys().cloned().collect();
                    let id = rng.pick(&runtimes).clone();
                    if id != FIRST {
                        workload.push(Op::DeleteRuntime(id), &imported);
                    }
                }
                6..=25 => workload.push_transaction(&imported, rng),
                26..=45 => workload.push_submissions(&imported, rng),
                _ => {
                    let (id, mut call) = workload.any_call(rng);
                    // A stopped runtime rejects nearly every call, so the first runtime is never
                    // stopped.
                    if id != FIRST && rng.chance(3) {
                        call = Call::StopRuntime;
                    }
                    // Not part of a transaction.
                    match rng.below(100) {
                        0..=7 => call = Call::Prune(rng.below(12) as u64, rng.below(4) as u64),
                        8..=9 => call = workload.pin(&id, rng).unwrap_or(call),
                        _ => {}
                    }
                    workload.push(Op::Call(id, call), &imported);
                }
            }
        }
        Ok(workload)
    }

    /// The life of a worker up to its deletion: every workload has one.
    fn push_deletion(&mut self, imported: &World) {
        let worker = WorkerId::new("worker-00000001").expect("not blank");
        let worker = WorkerRef::new(runtime_id(FIRST), worker);
        for call in [
            Call::Create(CreateWorkerRequest::default()),
            Call::Input(worker.clone(), WorkerInput::user("forget this")),
            Call::End(worker.clone(), WorkerStatus::Stopped, None),
            Call::Delete(worker),
        ] {
            self.push(Op::Call(FIRST.to_owned(), call), imported);
        }
    }

    /// Adds prunes that each remove a few rows, for the bugs that tear them.
    pub(crate) fn push_prunes(&mut self) -> Result<(), Violation> {
        let imported = imported()?;
        let call = |call| Op::Call(FIRST.to_owned(), call);
        self.push(
            call(Call::Create(CreateWorkerRequest::default())),
            &imported,
        );
        let workers = &self.last().0[FIRST].workers;
        let Some(worker) = workers.values().last() else {
            return Ok(());
        };
        let worker = worker.own.value.worker_ref.clone();
        for _ in 0..20 {
            for _ in 0..2 {
                let input = WorkerInput::user("to be pruned");
                self.push(call(Call::Input(worker.clone(), input)), &imported);
            }
            self.push(call(Call::Prune(1, 1)), &imported);
        }
        Ok(())
    }

    /// Adds open work, in a store that one process writes: opened with the input that it belongs to, left at a reopening,
    /// and closed.
    pub(crate) fn push_open_work(&mut self) -> Result<(), Violation> {
        let imported = imported()?;
        let call = |call| Op::Call(FIRST.to_owned(), call);
        let create = Call::Create(CreateWorkerRequest::default());
        self.push(call(create), &imported);
        let Some(worker) = self.last().0[FIRST].workers.values().last() else {
            return Ok(());
        };
        let worker = worker.own.value.worker_ref.clone();
        for round in 0..4 {
            let name = |of: &str| format!("{of} {round}");
            let input = WorkerInput::user("look it up");
            let calls = vec![
                Call::Input(worker.clone(), input),
                Call::OpenWork(worker.clone(), name("call")),
            ];
            self.push(Op::Transaction(FIRST.to_owned(), calls), &imported);
            let more = Call::OpenWork(worker.clone(), name("more"));
            self.push(call(more), &imported);
            if round % 2 == 0 {
                self.push(Op::Reopen, &imported);
            }
            let close = Call::CloseWork(worker.clone(), name("call"));
            self.push(call(close), &imported);
        }
        Ok(())
    }

    /// The world after all operations.
    pub fn last(&self) -> &World {
        &self.worlds[self.worlds.len() - 1]
    }

    /// Pins a worker of the runtime `id`, or ends that; `None` if it has no worker.
    fn pin(&self, id: &str, rng: &mut Rng) -> Option<Call> {
        let workers: Vec<_> = self.last().0.get(id)?.workers.values().collect();
        let worker = (!workers.is_empty()).then(|| *rng.pick(&workers))?;
        let worker_ref = worker.own.value.worker_ref.clone();
        Some(Call::Pin(worker_ref, rng.chance(60)))
    }

    fn any_call(&self, rng: &mut Rng) -> (String, Call) {
        let runtimes: Vec<_> = self.last().0.iter().collect();
        let (id, state) = rng.pick(&runtimes);
        (String::clone(id), any_call(state, rng))
    }

    fn push(&mut self, op: Op, imported: &World) {
        let mut world = self.last().clone();
        let accepted = match &op {
            Op::CreateRuntime(id) => {
                world.0.insert(id.clone(), Arc::new(new_runtime(id)));
                true
            }
            Op::Call(id, call) | Op::Submit(id, call) => world.call(id, call).is_ok(),
            Op::Transaction(id, calls) => {
                let mut changed = world.clone();
                let all = calls.iter().all(|call| changed.call(id, call).is_ok());
                if all {
                    world = changed;
                }
                all
            }
            Op::DeleteRuntime(id) => world.0.remove(id).is_some(),
            Op::Import => {
                world.0.extend(imported.0.clone());
                true
            }
            Op::Reopen => {
                world.reopen();
                true
            }
        };
        self.ops.push(op);
        self.worlds.push(world);
        self.accepted.push(accepted);
    }

    fn push_transaction(&mut self, imported: &World, rng: &mut Rng) {
        let (id, call) = self.any_call(rng);
        let mut calls = vec![call];
        let mut world = self.last().clone();
        let _ = world.call(&id, &calls[0]);
        for _ in 0..rng.below(6) {
            let call = any_call(&world.0[&id], rng);
            let _ = world.call(&id, &call);
            calls.push(call);
        }
        self.push(Op::Transaction(id, calls), imported);
    }

    fn push_submissions(&mut self, imported: &World, rng: &mut Rng) {
        let begin = self.ops.len();
        for _ in 0..rng.between(2, 7) {
            let (id, call) = self.any_call(rng);
            // The first submission must change something, so that the others gather behind its commit.
            let mut changed = self.last().clone();
            let changes = changed.call(&id, &call).is_ok() && changed != *self.last();
            if self.ops.len() > begin || changes {
                self.push(Op::Submit(id, call), imported);
            }
        }
        // A submission directly after these would be in flight with them.
        self.push(Op::Reopen, imported);
    }
}

/// The result of an operation.
#[derive(Debug)]
pub struct Outcome {
    /// The number of disk changes when it began.
    pub begun: usize,
    /// The number of disk changes when it returned.
    pub ended: usize,
    /// Its result.
    pub result: Result<(), RuntimeError>,
}

/// The medium of a host's store.
pub trait Medium {
    /// Opens the store, or creates it, with a cache of `cache_bytes`.
    ///
    /// # Errors
    ///
    /// As `Store::open`.
    fn open(&self, cache_bytes: usize) -> Result<Store, RuntimeError>;

    /// The number of changes, if the medium counts them.
    fn position(&self) -> usize {
        0
    }

    /// Holds the next commit, if the medium can.
    fn hold(&self) {}

    /// Returns when a commit is held, or the medium cannot hold one.
    fn wait_until_held(&self) {}

    /// Releases held commits.
    fn release(&self) {}
}

impl Medium for Disk {
    fn open(&self, cache_bytes: usize) -> Result<Store, RuntimeError> {
        open_with(self, cache_bytes)
    }

    fn position(&self) -> usize {
        Self::position(self)
    }

    fn hold(&self) {
        Self::hold(self);
    }

    fn wait_until_held(&self) {
        Self::wait_until_held(self, Duration::from_millis(300));
    }

    fn release(&self) {
        Self::release(self);
    }
}

/// A host that runs operations on a store, by default on a simulated disk.
#[derive(Debug)]
pub struct Host<M = Disk> {
    medium: M,
    store: Store,
    plant: Option<Plant>,
    cache_bytes: usize,
    pending: Vec<(usize, Pending<()>)>,
}

/// Opens the store on `disk`, or creates it.
///
/// # Errors
///
/// As `Store::open`.
pub fn open(disk: &Disk) -> Result<Store, RuntimeError> {
    open_with(disk, CACHE_BYTES)
}

/// Opens the store on `disk`, or creates it, with a cache of `cache_bytes`.
///
/// # Errors
///
/// As `Store::open`.
pub fn open_with(disk: &Disk, cache_bytes: usize) -> Result<Store, RuntimeError> {
    let mut options = Store::options()
        .cache_bytes(cache_bytes)
        .sharing(disk.sharing());
    if disk.saves_allocator_state() {
        options = options.quick_repair_from(0);
    }
    if let Some(bug) = disk.planted() {
        options = options.planted(bug);
    }
    options.open_backend(disk.clone())
}

/// The runtime `id` of `store`, created if it does not exist.
///
/// # Errors
///
/// As `Store::runtime`.
pub fn runtime(store: &Store, id: &str) -> Result<Runtime, RuntimeError> {
    store.runtime(RuntimeOptions {
        runtime_id: Some(runtime_id(id)),
        ..RuntimeOptions::default()
    })
}

pub(crate) fn in_transaction(
    transaction: &mut RuntimeTransaction<'_>,
    call: &Call,
) -> Result<(), RuntimeError> {
    if let Some(made) = host_calls::make_in(call, transaction) {
        return made;
    }
    match call.clone() {
        Call::Create(request) => transaction.create_worker(request).map(drop),
        Call::Input(worker, input) => transaction.send_input(&worker, input).map(drop),
        Call::Reply(worker, content) => transaction.append_reply(&worker, content).map(drop),
        Call::End(worker, WorkerStatus::Cancelled, reason) => {
            transaction.cancel_worker(&worker, reason).map(drop)
        }
        Call::End(worker, _, reason) => transaction.stop_worker(&worker, reason).map(drop),
        Call::Delete(worker) => transaction.delete_worker(&worker).map(drop),
        _ => Err(RuntimeError::InvalidRequest(
            "a transaction cannot stop, prune or pin".to_owned(),
        )),
    }
}

pub(crate) fn imported_into(store: &Store) -> Result<(), RuntimeError> {
    let options = ImportOptions::new().replace(true);
    match import(store, import_root(), &options) {
        Ok(_) => Ok(()),
        Err(LayoutError::Store(error)) => Err(error),
        Err(error) => Err(RuntimeError::InvalidRequest(error.to_string())),
    }
}

impl<M: Medium> Host<M> {
    /// A host of `store`, which is on `medium`.
    pub fn new(medium: M, store: Store, plant: Option<Plant>) -> Self {
        Self {
            medium,
            store,
            plant,
            cache_bytes: CACHE_BYTES,
            pending: Vec::new(),
        }
    }

    /// Opens the store with a cache of `cache_bytes` from now on.
    #[must_use]
    pub fn with_cache(mut self, cache_bytes: usize) -> Self {
        self.cache_bytes = cache_bytes;
        self
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Runs `ops` until one fails by an error of the disk. Returns the result of each operation that
    /// began.
    pub fn run(&mut self, ops: &[Op]) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(ops.len());
        for (number, op) in ops.iter().enumerate() {
            if !matches!(op, Op::Submit(..)) {
                self.finish(&mut outcomes);
            }
            if outcomes.iter().any(is_failure) {
                break;
            }
            let begun = self.medium.position();
            let result = self.execute(number, op);
            let ended = match self.plant {
                Some(Plant::EarlyAck) => begun,
                _ => self.medium.position(),
            };
            outcomes.push(Outcome {
                begun,
                ended,
                result,
            });
        }
        self.finish(&mut outcomes);
        outcomes
    }

    fn execute(&mut self, number: usize, op: &Op) -> Result<(), RuntimeError> {
        match op {
            Op::CreateRuntime(id) => runtime(&self.store, id).map(drop),
            Op::Call(id, call) => match self.plant {
                Some(plant) => plant.call(&self.store, &runtime(&self.store, id)?, call),
                None => call.make(&runtime(&self.store, id)?).map(drop),
            },
            Op::Submit(id, call) => self.submit(number, id, call.clone()),
            Op::Transaction(id, calls) => runtime(&self.store, id)?
                .transaction(|tx| calls.iter().try_for_each(|call| in_transaction(tx, call))),
            Op::DeleteRuntime(id) => {
                let options = DeleteRuntimeOptions::new().even_if_running(true);
                self.store.delete_runtime_with(&runtime_id(id), &options)
            }
            Op::Import => imported_into(&self.store),
            Op::Reopen => {
                self.store.close()?;
                self.store = self.medium.open(self.cache_bytes)?;
                Ok(())
            }
        }
    }

    /// Submits `call`. The commit of the first submission is held until all are submitted.
    fn submit(&mut self, number: usize, id: &str, call: Call) -> Result<(), RuntimeError> {
        let runtime = runtime(&self.store, id)?;
        let is_first = self.pending.is_empty();
        if is_first {
            self.medium.hold();
        }
        let pending = runtime.submit(move |tx| in_transaction(tx, &call));
        self.pending.push((number, pending));
        if is_first {
            self.medium.wait_until_held();
        }
        Ok(())
    }

    /// Waits for all submissions.
    fn finish(&mut self, outcomes: &mut [Outcome]) {
        self.medium.release();
        for (number, pending) in self.pending.drain(..) {
            let outcome = &mut outcomes[number];
            outcome.result = pending.wait();
            if self.plant != Some(Plant::EarlyAck) {
                outcome.ended = self.medium.position();
            }
        }
    }
}

/// Whether an operation failed other than by a rule that rejected it.
pub fn is_failure(outcome: &Outcome) -> bool {
    let error = outcome.result.as_ref().err();
    error.is_some_and(|error| Refusal::of(error).is_none())
}
