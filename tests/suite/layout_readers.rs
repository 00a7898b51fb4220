//! Readers of each form, after the table of the forms: they accept what an export writes for a runtime that came in
//! their form, also after operations.

use super::layout_later::{FORMS, id_of, of_form, operate};
use super::layout_support::*;
use crate::support::named;
use redb_runtime_store::Store;
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::LayoutForm;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;

type Json = serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Running,
    Stopped,
    Cancelled,
}

#[derive(Deserialize)]
struct BothLimits {
    #[serde(rename = "max_transcript_projection_items")]
    _transcript: u64,
    #[serde(rename = "max_event_batch_items")]
    _events: u64,
}

#[derive(Deserialize)]
struct EventLimit {
    #[serde(rename = "max_event_batch_items")]
    _events: u64,
}

/// A reference to a worker of a runtime.
#[derive(Deserialize)]
struct RefOf<Id> {
    #[serde(rename = "runtime_id")]
    _runtime: String,
    #[serde(rename = "worker_id")]
    _worker: Id,
}

/// A reference without a runtime.
#[derive(Deserialize)]
struct RefAlone<Id> {
    #[serde(rename = "worker_id")]
    _worker: Id,
}

#[derive(Deserialize)]
#[serde(bound = "Ref: DeserializeOwned")]
struct Diagnostic<Ref> {
    #[serde(rename = "id")]
    _id: u64,
    #[serde(rename = "severity")]
    _severity: String,
    #[serde(rename = "code")]
    _code: String,
    #[serde(rename = "message")]
    _message: String,
    #[serde(rename = "worker_ref", default)]
    _worker: Option<Ref>,
}

/// The `runtime.json` of the forms a to f. `Id` is absent in form f.
#[derive(Deserialize)]
#[serde(bound = "Ref: DeserializeOwned, Id: DeserializeOwned, Limits: DeserializeOwned")]
struct RuntimeWithLog<Ref, Id, Limits> {
    schema_version: u64,
    #[serde(flatten)]
    _id: Id,
    #[serde(rename = "display_name")]
    _name: Option<String>,
    backend: String,
    #[serde(rename = "status")]
    _status: Status,
    #[serde(rename = "limits")]
    _limits: Limits,
    #[serde(rename = "next_worker_sequence")]
    _next_worker: u64,
    #[serde(rename = "next_event_id")]
    _next_event: u64,
    #[serde(rename = "next_diagnostic_id")]
    _next_diagnostic: u64,
    #[serde(rename = "config_bundles", default)]
    _bundles: BTreeMap<String, Json>,
    #[serde(rename = "diagnostics")]
    _diagnostics: Vec<Diagnostic<Ref>>,
}

#[derive(Deserialize)]
struct RuntimeIdOnly {
    #[serde(rename = "runtime_id")]
    _runtime: String,
}

#[derive(Deserialize)]
struct NoId {}

/// The `runtime.json` of the forms g and h.
#[derive(Deserialize)]
#[serde(bound = "Ref: DeserializeOwned")]
struct RuntimeWithoutLog<Ref> {
    schema_version: u64,
    backend: String,
    #[serde(rename = "status")]
    _status: Status,
    #[serde(rename = "next_diagnostic_id")]
    _next_diagnostic: u64,
    #[serde(rename = "config_bundles")]
    _bundles: BTreeMap<String, Json>,
    #[serde(rename = "workspace_owners")]
    _owners: BTreeMap<String, Json>,
    #[serde(rename = "diagnostics")]
    _diagnostics: Vec<Diagnostic<Ref>>,
}

#[derive(Deserialize)]
struct RequestWithIntent {
    #[serde(rename = "intent")]
    _intent: Json,
    #[serde(rename = "profile")]
    _profile: Json,
}

#[derive(Deserialize)]
struct RequestWithProfile {
    #[serde(rename = "profile")]
    _profile: Json,
}

#[derive(Deserialize)]
struct Counters {
    #[serde(rename = "next_transcript_sequence")]
    _next: u64,
    #[serde(rename = "last_event_id")]
    _last: u64,
}

#[derive(Deserialize)]
struct LastEvent {
    #[serde(rename = "last_event_id")]
    _last: u64,
}

#[derive(Deserialize)]
struct NoCounters {}

#[derive(Deserialize)]
#[serde(
    bound = "Ref: DeserializeOwned, Id: DeserializeOwned, Request: DeserializeOwned, Counters: DeserializeOwned"
)]
struct Worker<Ref, Id, Request, Counters> {
    schema_version: u64,
    #[serde(rename = "worker_ref")]
    _ref: Ref,
    #[serde(rename = "worker_id")]
    _id: Id,
    #[serde(rename = "status", default)]
    _status: Option<Status>,
    #[serde(rename = "request")]
    _request: Request,
    #[serde(flatten)]
    _counters: Counters,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    RuntimeStarted,
    RuntimeStopped,
    WorkerCreated,
    WorkerInputAccepted,
    WorkerStopped,
    WorkerCancelled,
}

#[derive(Deserialize)]
#[serde(bound = "Ref: DeserializeOwned")]
struct Event<Ref> {
    id: u64,
    #[serde(rename = "worker_ref", default)]
    _worker: Option<Ref>,
    #[serde(rename = "kind")]
    _kind: Kind,
    #[serde(rename = "message")]
    _message: String,
}

#[derive(Deserialize)]
#[serde(bound = "Ref: DeserializeOwned")]
struct Entry<Ref> {
    sequence: u64,
    #[serde(rename = "worker_ref")]
    _worker: Ref,
    #[serde(rename = "role")]
    _role: String,
    #[serde(rename = "content")]
    _content: String,
    #[serde(rename = "event_id")]
    _event: u64,
}

trait Versioned {
    fn version(&self) -> u64;
}

impl<A, B, C> Versioned for RuntimeWithLog<A, B, C> {
    fn version(&self) -> u64 {
        assert_eq!(self.backend, "fs_store");
        self.schema_version
    }
}

impl<A> Versioned for RuntimeWithoutLog<A> {
    fn version(&self) -> u64 {
        assert_eq!(self.backend, "fs_store");
        self.schema_version
    }
}

impl<A, B, C, D> Versioned for Worker<A, B, C, D> {
    fn version(&self) -> u64 {
        self.schema_version
    }
}

/// Reads a whole directory with the types of one form.
fn read<Runtime, W, Ref>(root: &Path, version: u64)
where
    Runtime: DeserializeOwned + Versioned,
    W: DeserializeOwned + Versioned,
    Ref: DeserializeOwned,
{
    for (path, bytes) in tree(root) {
        let Some(bytes) = bytes else { continue };
        let text = String::from_utf8(bytes).unwrap();
        let place = || format!("{}: {text}", path.display());
        let name = path.file_name().unwrap().to_str().unwrap();
        match name {
            "runtime.json" => {
                let read: Runtime = serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("{error}: {}", place()));
                assert_eq!(read.version(), version);
            }
            "worker.json" => {
                let read: W = serde_json::from_str(&text)
                    .unwrap_or_else(|error| panic!("{error}: {}", place()));
                assert_eq!(read.version(), version);
            }
            "events.jsonl" => {
                let mut last = 0;
                for line in text.lines() {
                    let event: Event<Ref> = serde_json::from_str(line)
                        .unwrap_or_else(|error| panic!("{error}: {line}"));
                    assert!(event.id > last, "{line}");
                    last = event.id;
                }
            }
            "transcript.jsonl" => {
                let mut last = 0;
                for line in text.lines() {
                    let entry: Entry<Ref> = serde_json::from_str(line)
                        .unwrap_or_else(|error| panic!("{error}: {line}"));
                    assert!(entry.sequence > last, "{line}");
                    last = entry.sequence;
                }
            }
            // No log of the runtime: the release wrote it for itself.
            "observations.jsonl" | "metadata.json" | "log.jsonl" => {}
            other => panic!("{other}"),
        }
    }
}

/// Reads a directory as an unchanged reader of its form does.
fn read_as(form: LayoutForm, root: &Path) {
    type Text = RefOf<String>;
    type Number = RefOf<u64>;
    type Alone = RefAlone<u64>;
    type Uuid = RefAlone<String>;
    match form {
        LayoutForm::A | LayoutForm::B => read::<
            RuntimeWithLog<Text, RuntimeIdOnly, BothLimits>,
            Worker<Text, String, RequestWithIntent, Counters>,
            Text,
        >(root, 1),
        LayoutForm::C => read::<
            RuntimeWithLog<Text, RuntimeIdOnly, BothLimits>,
            Worker<Text, String, RequestWithProfile, Counters>,
            Text,
        >(root, 1),
        LayoutForm::D => read::<
            RuntimeWithLog<Text, RuntimeIdOnly, EventLimit>,
            Worker<Text, String, RequestWithProfile, LastEvent>,
            Text,
        >(root, 1),
        LayoutForm::E => read::<
            RuntimeWithLog<Number, RuntimeIdOnly, EventLimit>,
            Worker<Number, u64, RequestWithProfile, LastEvent>,
            Number,
        >(root, 1),
        LayoutForm::F => read::<
            RuntimeWithLog<Alone, NoId, EventLimit>,
            Worker<Alone, u64, RequestWithProfile, LastEvent>,
            Alone,
        >(root, 1),
        LayoutForm::G => read::<
            RuntimeWithoutLog<Alone>,
            Worker<Alone, u64, RequestWithProfile, NoCounters>,
            Alone,
        >(root, 1),
        LayoutForm::H => read::<
            RuntimeWithoutLog<Uuid>,
            Worker<Uuid, String, RequestWithProfile, NoCounters>,
            Uuid,
        >(root, 3),
        other => panic!("{other}"),
    }
}

#[test]
fn unchanged_reader_accepts_the_export_of_its_form() {
    for (name, form) in FORMS {
        let dir = of_form(name);
        read_as(form, dir.path());
        let store = store();
        strict(&store, dir.path()).unwrap();
        read_as(form, exported(&store).path());
        operate(&store, name);
        read_as(form, exported(&store).path());
        use_additions(&store, name);
        let out = exported(&store);
        let texts = tree(out.path()).into_values().flatten();
        let text: String = texts
            .map(|bytes| String::from_utf8(bytes).unwrap())
            .collect();
        for addition in ["$once", "$open_work", "$forked_from", "$redacted", "pinned"] {
            assert!(text.contains(addition), "{name}: {addition}");
        }
        read_as(form, out.path());
    }
}

/// Everything that a host can add: attributes, keys, open work, a fork, a redaction and a pin.
fn use_additions(store: &Store, name: &str) {
    let runtime = store.runtime(named(id_of(name))).unwrap();
    let worker = runtime
        .create_worker(Default::default())
        .unwrap()
        .worker_ref;
    let attributes = || Attributes::new().with("title", "Report").unwrap();
    let input = || WorkerInput::user("hello");
    runtime.set_attributes(&worker, attributes()).unwrap();
    runtime
        .send_input_with(&worker, input(), attributes())
        .unwrap();
    runtime.send_input_once(&worker, "key", input()).unwrap();
    runtime.open_work(&worker, "call", "note").unwrap();
    runtime.fork_worker(&worker, None).unwrap();
    runtime.redact_entry(&worker, 0, "gone").unwrap();
    runtime.set_pinned(&worker, true).unwrap();
}
