//! The rules of what the store does for hosts that come back, in the reference model: attributes, inputs that are sent
//! again, open work, forks and redactions.

use crate::model::{Ack, Call, Refusal};
use crate::world::{RuntimeState, WorkerState};
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::catalog::WorkerStatus;
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::{TranscriptEntry, WorkerInput, WorkerInputKind};
use redb_runtime_store::observation::RuntimeEventKind;
use redb_runtime_store::store::{PersistedWorkerSnapshot, Stored, UnknownMember};
use redb_runtime_store::{Runtime, RuntimeTransaction};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use xxhash_rust::xxh3::Xxh3;

const MEMBER: &str = "attributes";

/// The entries among which a key is found.
const WINDOW: usize = 256;

/// The open work of this opening of the store. It is no content of the store, so it is no part of a comparison.
#[derive(Clone, Debug, Default)]
pub struct OpenHere(pub BTreeSet<(String, String)>);

impl PartialEq for OpenHere {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Makes a call of a host that comes back on `runtime`. `None` for another call.
pub(crate) fn make(call: &Call, runtime: &Runtime) -> Option<Result<Ack, RuntimeError>> {
    let made = |result: Result<(), RuntimeError>| result.map(|()| Ack::of_maintenance());
    Some(match call.clone() {
        Call::SetAttributes(worker, patch) => {
            made(runtime.set_attributes(&worker, parsed(&patch)).map(drop))
        }
        Call::InputOnce(worker, key, input) => {
            let sent = runtime.send_input_once(&worker, &key, input);
            sent.map(|ack| Ack {
                status: ack.status,
                sequence: ack.transcript_sequence,
                event_id: ack.event_id,
            })
        }
        Call::OpenWork(worker, name) => made(runtime.open_work(&worker, &name, "note")),
        Call::CloseWork(worker, name) => made(runtime.close_work(&worker, &name).map(drop)),
        Call::Fork(worker, at) => runtime.fork_worker(&worker, at).map(|detail| Ack {
            status: detail.status,
            sequence: 0,
            event_id: detail.last_event_id,
        }),
        Call::Redact(worker, position, text) => {
            made(runtime.redact_entry(&worker, position, &text))
        }
        _ => return None,
    })
}

/// As [`make`], in a transaction.
pub(crate) fn make_in(
    call: &Call,
    transaction: &mut RuntimeTransaction<'_>,
) -> Option<Result<(), RuntimeError>> {
    Some(match call.clone() {
        Call::SetAttributes(worker, patch) => transaction
            .set_attributes(&worker, parsed(&patch))
            .map(drop),
        Call::InputOnce(worker, key, input) => {
            transaction.send_input_once(&worker, &key, input).map(drop)
        }
        Call::OpenWork(worker, name) => transaction.open_work(&worker, &name, "note"),
        Call::CloseWork(worker, name) => transaction.close_work(&worker, &name).map(drop),
        Call::Fork(worker, at) => transaction.fork_worker(&worker, at).map(drop),
        Call::Redact(worker, position, text) => transaction.redact_entry(&worker, position, &text),
        _ => return None,
    })
}

fn parsed(patch: &str) -> Attributes {
    Attributes::from_json(patch).expect("the patches of a workload are objects")
}

fn object(json: &str) -> Map<String, Value> {
    match serde_json::from_str(json) {
        Ok(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// The attributes of a record.
fn of<T>(record: &Stored<T>) -> Map<String, Value> {
    let member = record.unknown.iter().find(|member| member.name == MEMBER);
    member.map_or_else(Map::new, |member| object(&member.json))
}

fn put<T>(record: &mut Stored<T>, attributes: Map<String, Value>) {
    record.unknown.retain(|member| member.name != MEMBER);
    if !attributes.is_empty() {
        let member = UnknownMember {
            pointer: String::new(),
            name: MEMBER.to_owned(),
            json: Value::Object(attributes).to_string(),
        };
        record.unknown.insert(0, member);
    }
}

fn is_of_store(name: &str) -> bool {
    name.starts_with('$')
}

/// Replaces the times in the attributes of a record, which the model does not know.
pub(crate) fn without_times<T>(record: &mut Stored<T>) {
    let mut attributes = of(record);
    if let Some(redacted) = attributes.get_mut("$redacted") {
        *redacted = Value::from("then");
    }
    let work = attributes
        .get_mut("$open_work")
        .and_then(Value::as_object_mut);
    for work in work.into_iter().flat_map(|work| work.values_mut()) {
        work["at_ms"] = Value::from(0);
    }
    put(record, attributes);
}

fn hash(input: &WorkerInput) -> String {
    let mut hash = Xxh3::new();
    hash.update(&[match input.kind {
        WorkerInputKind::User => 0,
        _ => 2,
    }]);
    hash.update(input.content.as_bytes());
    format!("{:032x}", hash.digest128())
}

impl RuntimeState {
    /// Makes a call of a host that comes back. `None` for another call.
    pub(crate) fn host_call(&mut self, call: &Call) -> Option<Result<Ack, Refusal>> {
        Some(match call {
            Call::SetAttributes(worker, patch) => self.set_attributes(worker, patch),
            Call::InputOnce(worker, key, input) => self.input_once(worker, key, input),
            Call::OpenWork(worker, name) => self.open_work(worker, name),
            Call::CloseWork(worker, name) => self.close_work(worker, name),
            Call::Fork(worker, at) => self.fork(worker, *at),
            Call::Redact(worker, position, text) => self.redact(worker, *position, text),
            _ => return None,
        })
    }

    fn host_worker(&mut self, worker: &WorkerRef) -> Result<&mut WorkerState, Refusal> {
        self.refuse_foreign(worker)?;
        let worker = self.workers.get_mut(worker.worker_id.as_str());
        worker.ok_or(Refusal::WorkerNotFound)
    }

    fn set_attributes(&mut self, worker: &WorkerRef, patch: &str) -> Result<Ack, Refusal> {
        let patch = object(patch);
        self.refuse_foreign(worker)?;
        if patch.keys().any(|name| is_of_store(name)) {
            return Err(Refusal::InvalidRequest);
        }
        let worker = self.host_worker(worker)?;
        let mut attributes = of(&worker.own);
        for (name, value) in patch {
            match value {
                Value::Null => drop(attributes.remove(&name)),
                // The workloads have no objects in patches.
                value => drop(attributes.insert(name, value)),
            }
        }
        put(&mut worker.own, attributes);
        Ok(Ack::of_maintenance())
    }

    fn input_once(
        &mut self,
        worker_ref: &WorkerRef,
        key: &str,
        input: &WorkerInput,
    ) -> Result<Ack, Refusal> {
        if key.trim().is_empty() {
            return Err(Refusal::InvalidRequest);
        }
        self.refuse_foreign(worker_ref)?;
        if let Some(worker) = self.workers.get(worker_ref.worker_id.as_str()) {
            let recent = worker.transcript.iter().rev().take(WINDOW);
            for entry in recent {
                let attributes = of(entry);
                let once = attributes.get("$once");
                if once.is_none_or(|once| once["key"] != key) {
                    continue;
                }
                // A redaction removes the hash, so that any input is taken for the same.
                let is_same = |once: &Value| {
                    let stored = once.get("input");
                    stored.is_none_or(|stored| *stored == hash(input))
                };
                return match once.is_some_and(is_same) {
                    true => Ok(Ack {
                        status: WorkerStatus::Running,
                        sequence: entry.value.sequence,
                        event_id: entry.value.event_id,
                    }),
                    false => Err(Refusal::KeyReused),
                };
            }
        }
        let ack = self.input(worker_ref, input)?;
        let worker = self.host_worker(worker_ref)?;
        let once = json!({"key": key, "input": hash(input)});
        if let Some(entry) = worker.transcript.last_mut() {
            put(entry, [("$once".to_owned(), once)].into_iter().collect());
        }
        Ok(ack)
    }

    fn open_work(&mut self, worker_ref: &WorkerRef, name: &str) -> Result<Ack, Refusal> {
        if name.trim().is_empty() {
            return Err(Refusal::InvalidRequest);
        }
        self.refuse_foreign(worker_ref)?;
        self.refuse_stopped()?;
        let here = (worker_ref.worker_id.to_string(), name.to_owned());
        let is_here = self.open_here.0.contains(&here);
        let worker = self.host_worker(worker_ref)?;
        if is_here || !worker.own.value.status.is_active() {
            return Err(Refusal::InvalidRequest);
        }
        let mut attributes = of(&worker.own);
        let all = attributes.entry("$open_work").or_insert_with(|| json!({}));
        all[name] = json!({"note": "note", "at_ms": 0});
        put(&mut worker.own, attributes);
        self.open_here.0.insert(here);
        Ok(Ack::of_maintenance())
    }

    fn close_work(&mut self, worker_ref: &WorkerRef, name: &str) -> Result<Ack, Refusal> {
        let worker = self.host_worker(worker_ref)?;
        let mut attributes = of(&worker.own);
        let all = attributes.get_mut("$open_work");
        if let Some(all) = all.and_then(Value::as_object_mut) {
            all.remove(name);
            if all.is_empty() {
                attributes.remove("$open_work");
            }
        }
        put(&mut worker.own, attributes);
        let here = (worker_ref.worker_id.to_string(), name.to_owned());
        self.open_here.0.remove(&here);
        Ok(Ack::of_maintenance())
    }

    fn fork(&mut self, source: &WorkerRef, at: Option<u64>) -> Result<Ack, Refusal> {
        self.refuse_foreign(source)?;
        self.refuse_stopped()?;
        let worker = self.host_worker(source)?.clone();
        let end = at.unwrap_or(worker.end() as u64);
        if end < worker.first_position || end > worker.end() as u64 {
            return Err(Refusal::InvalidRequest);
        }
        let target = self.next_worker();
        let message = format!("worker {} created", target.worker_id);
        let event_id = self.log(Some(&target), RuntimeEventKind::WorkerCreated, &message);
        let copied = (end - worker.first_position) as usize;
        let next = worker.transcript.get(copied);
        let next = next.map(|entry| entry.value.sequence);
        let entries = worker.transcript[..copied].iter();
        let transcript = entries.map(|entry| copy(entry, &target)).collect();
        let mut attributes = of(&worker.own);
        attributes.retain(|name, _| !is_of_store(name));
        let from = json!({"worker_id": source.worker_id.as_str(), "at": end});
        attributes.insert("$forked_from".to_owned(), from);
        let of = worker.own.value;
        let name = target.worker_id.to_string();
        let mut own = PersistedWorkerSnapshot::new(target, of.request, event_id);
        own.next_transcript_sequence = next.unwrap_or(of.next_transcript_sequence);
        let mut own = Stored::from(own);
        put(&mut own, attributes);
        let fork = WorkerState {
            own,
            transcript,
            first_position: worker.first_position,
            pinned: false,
        };
        self.workers.insert(name, fork);
        Ok(Ack {
            status: WorkerStatus::Running,
            sequence: 0,
            event_id,
        })
    }

    fn redact(
        &mut self,
        worker_ref: &WorkerRef,
        position: u64,
        text: &str,
    ) -> Result<Ack, Refusal> {
        self.refuse_foreign(worker_ref)?;
        if text.trim().is_empty() {
            return Err(Refusal::InvalidRequest);
        }
        let worker = self.host_worker(worker_ref)?;
        let place = position.checked_sub(worker.first_position);
        let entry = place.and_then(|place| worker.transcript.get_mut(place as usize));
        let entry = entry.ok_or(Refusal::InvalidRequest)?;
        text.clone_into(&mut entry.value.content);
        let mut attributes = of(entry);
        attributes.retain(|name, _| is_of_store(name));
        if let Some(Value::Object(once)) = attributes.get_mut("$once") {
            once.remove("input");
        }
        attributes.insert("$redacted".to_owned(), Value::from("then"));
        entry.unknown.clear();
        put(entry, attributes);
        let own = &mut self.own.value;
        own.diagnostics.push(RuntimeDiagnostic {
            id: own.next_diagnostic_id,
            severity: DiagnosticSeverity::Info,
            code: "worker.redacted".to_owned(),
            message: "1 transcript entry was redacted".to_owned(),
            worker_ref: Some(worker_ref.clone()),
        });
        own.next_diagnostic_id += 1;
        Ok(Ack::of_maintenance())
    }

    /// The open work of earlier openings: workers and names.
    pub fn unfinished(&self) -> Vec<(String, String)> {
        let mut all = Vec::new();
        for (id, worker) in &self.workers {
            let attributes = of(&worker.own);
            let work = attributes.get("$open_work").and_then(Value::as_object);
            let names = work.into_iter().flat_map(Map::keys);
            all.extend(names.map(|name| (id.clone(), name.clone())));
        }
        all.retain(|work| !self.open_here.0.contains(work));
        all
    }
}

/// The copy of an entry in a fork, without its key.
fn copy(entry: &Stored<TranscriptEntry>, target: &WorkerRef) -> Stored<TranscriptEntry> {
    let mut copy = entry.clone();
    copy.value.worker_ref = target.clone();
    let mut attributes = of(entry);
    attributes.remove("$once");
    put(&mut copy, attributes);
    copy
}
