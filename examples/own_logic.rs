//! A host with its own runtime logic in memory, over the persistence boundary.
//!
//! `cargo run --example own_logic [STORE]`; without a path it uses a temporary directory.

use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptEntry, TranscriptQuery, TranscriptRole};
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::store::{PersistedRuntimeState, PersistedWorkerSnapshot};
use redb_runtime_store::{RedbRuntimeStore, RuntimeError, Store};
use std::error::Error;
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let path = std::env::args_os()
        .nth(1)
        .map_or_else(|| directory.path().join("agents.redb"), PathBuf::from);
    let id = RuntimeId::new("chat").ok_or("a blank id")?;
    let store = Store::open(&path)?;
    // Creates the runtime where there is none.
    store.runtime(RuntimeOptions {
        runtime_id: Some(id.clone()),
        ..RuntimeOptions::default()
    })?;

    let mut host = Host::start(store.runtime_store(&id)?)?;
    let worker = host.worker("concierge")?;
    host.exchange(&worker, "Is there breakfast?", "From seven to ten.")?;
    host.exchange(&worker, "Thank you.", "You are welcome.")?;

    let page = TranscriptQuery::new(0, 100);
    for entry in host.store.read_transcript(&worker, page, 100)?.items {
        println!("{:>3} {:?}: {}", entry.sequence, entry.role, entry.content);
    }
    // What the host holds in memory is what it would load when it starts again.
    assert_eq!(host.state, host.store.load_runtime_state()?);
    store.close()?;
    Ok(())
}

/// The host's own logic. Its state in memory is authoritative, and changes only after the commit is on
/// disk.
struct Host {
    store: RedbRuntimeStore,
    state: PersistedRuntimeState,
}

impl Host {
    fn start(store: RedbRuntimeStore) -> Result<Self, RuntimeError> {
        let state = store.load_runtime_state()?;
        Ok(Self { store, state })
    }

    /// The worker of that name, created where it is not there. Ids are the host's own.
    fn worker(&mut self, name: &str) -> Result<WorkerRef, Box<dyn Error>> {
        let worker_id = WorkerId::new(name).ok_or("a blank name")?;
        let worker_ref = WorkerRef::new(self.store.runtime_id().clone(), worker_id);
        let mut workers = self.state.workers.iter();
        if workers.any(|worker| worker.worker_ref == worker_ref) {
            return Ok(worker_ref);
        }
        let created = self.event(&worker_ref, RuntimeEventKind::WorkerCreated);
        let request = CreateWorkerRequest::default();
        let snapshot = PersistedWorkerSnapshot::new(worker_ref.clone(), request, created.id);
        self.store.commit(|tx| {
            tx.append_event(&created)?;
            tx.write_worker_snapshot(&snapshot)
        })?;
        self.state.runtime.next_event_id = created.id + 1;
        self.state.workers.push(snapshot);
        self.state
            .workers
            .sort_by(|a, b| a.worker_ref.worker_id.cmp(&b.worker_ref.worker_id));
        Ok(worker_ref)
    }

    /// A question and its answer, as one commit.
    fn exchange(
        &mut self,
        worker_ref: &WorkerRef,
        question: &str,
        answer: &str,
    ) -> Result<(), Box<dyn Error>> {
        let accepted = self.event(worker_ref, RuntimeEventKind::WorkerInputAccepted);
        let mut workers = self.state.workers.iter_mut();
        let worker = workers
            .find(|worker| worker.worker_ref == *worker_ref)
            .ok_or("no such worker")?;
        let entry = |offset, role, content: &str| TranscriptEntry {
            sequence: worker.next_transcript_sequence + offset,
            worker_ref: worker_ref.clone(),
            role,
            content: content.to_owned(),
            event_id: accepted.id,
        };
        let entries = [
            entry(0, TranscriptRole::User, question),
            entry(1, TranscriptRole::Assistant, answer),
        ];
        let mut after = worker.clone();
        after.next_transcript_sequence += 2;
        after.last_event_id = accepted.id;
        self.store.commit(|tx| {
            tx.append_event(&accepted)?;
            for entry in &entries {
                tx.append_transcript_entry(entry)?;
            }
            tx.write_worker_snapshot(&after)
        })?;
        *worker = after;
        self.state.runtime.next_event_id = accepted.id + 1;
        Ok(())
    }

    /// The next event.
    fn event(&self, worker_ref: &WorkerRef, kind: RuntimeEventKind) -> RuntimeEvent {
        RuntimeEvent {
            id: self.state.runtime.next_event_id,
            worker_ref: Some(worker_ref.clone()),
            kind,
            message: "by the host".to_owned(),
        }
    }
}
