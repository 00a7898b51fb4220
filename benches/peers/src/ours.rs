//! The store that this is about.

use crate::peer::{InputPeer, Sender};
use crate::workload::{Dataset, Inputs, Tally, runtime_id, worker_ref};
use anyhow::{Result, ensure};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::store::{CommitSyncs, StoreOptions};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::path::Path;

pub(crate) struct Ours {
    pub(crate) runtime: Runtime,
    pub(crate) workers: Vec<WorkerRef>,
}

/// Opens the store, and the runtime in it.
pub(crate) fn open(path: &Path) -> Result<Runtime> {
    open_with(path, Store::options())
}

fn open_with(path: &Path, options: StoreOptions) -> Result<Runtime> {
    runtime_of(&options.open(path)?)
}

/// The runtime in a store.
pub(crate) fn runtime_of(store: &Store) -> Result<Runtime> {
    let options = RuntimeOptions {
        runtime_id: Some(runtime_id()),
        ..RuntimeOptions::default()
    };
    Ok(store.runtime(options)?)
}

impl Ours {
    /// Opens the store, and creates the workers that it has not got.
    pub(crate) fn open(path: &Path, workers: usize, syncs: CommitSyncs) -> Result<Self> {
        Self::with_workers(
            open_with(path, Store::options().commit_syncs(syncs))?,
            workers,
        )
    }

    /// As [`open`](Self::open), of a store on a server.
    #[cfg(feature = "postgres")]
    pub(crate) fn connect(
        options: redb_runtime_store::PostgresOptions,
        workers: usize,
    ) -> Result<Self> {
        Self::with_workers(runtime_of(&Store::connect(options)?)?, workers)
    }

    fn with_workers(runtime: Runtime, workers: usize) -> Result<Self> {
        for index in runtime.summary()?.worker_count..workers {
            let worker = runtime.create_worker(CreateWorkerRequest::default())?;
            ensure!(worker.worker_ref == worker_ref(index), "another name");
        }
        Ok(Self {
            runtime,
            workers: (0..workers).map(worker_ref).collect(),
        })
    }
}

impl InputPeer for Ours {
    fn sender(&self) -> Result<Box<dyn Sender + '_>> {
        Ok(Box::new(self))
    }

    fn tally(&self) -> Result<Tally> {
        let snapshot = self.runtime.store().snapshot()?;
        let mut tally = Tally::default();
        for (index, worker) in self.workers.iter().enumerate() {
            for entry in snapshot.transcript(worker, 0)? {
                tally.add(index, &entry?.value.content);
            }
        }
        Ok(tally)
    }
}

impl Sender for &Ours {
    fn send(&mut self, worker: usize, text: &str) -> Result<()> {
        let input = WorkerInput::user(text);
        self.runtime.send_input(&self.workers[worker], input)?;
        Ok(())
    }
}

/// Builds a store that holds `dataset`, and closes it.
pub(crate) fn build(path: &Path, dataset: &Dataset, inputs: &Inputs) -> Result<()> {
    let store = Store::open(path)?;
    load(&store, dataset, inputs)?;
    Ok(store.close()?)
}

/// Loads `dataset` into an empty store.
pub(crate) fn load(store: &Store, dataset: &Dataset, inputs: &Inputs) -> Result<()> {
    Ok(store.bulk_load(|load| -> Result<(), RuntimeError> {
        for worker in 0..dataset.workers {
            for position in 0..dataset.entries(worker) {
                let entry = dataset.entry(inputs, worker, position);
                load.append_transcript_entry(entry.into())?;
            }
            load.put_worker(dataset.worker(worker).into())?;
        }
        let runtime = runtime_id();
        for id in 1..=dataset.events() {
            load.append_event(&runtime, dataset.event(id).into())?;
        }
        load.put_runtime(dataset.runtime().into())
    })?)
}
