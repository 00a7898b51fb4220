//! The states of documents: `runtime.json` and `worker.json` that are cut off, contradict each other or
//! their logs, or have another version.

use super::layout_states::{State, assert_handled, events, runtime_json, transcript, worker_json};
use super::layout_support::*;
use std::fs;

const STATES: &[State] = &[
    State {
        name: "a counter behind its log",
        damage: |root| {
            edit(
                &runtime_json(root),
                "\"next_event_id\": 9",
                "\"next_event_id\": 8",
            )
        },
        strict: Some("counter behind: runtime.json 12 275 1\n"),
        says: "next_event_id is 8, but event id 8 exists",
        salvage: "counter behind: runtime.json 12 275 1\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a counter of zero",
        damage: |root| {
            edit(
                &runtime_json(root),
                "\"next_event_id\": 9",
                "\"next_event_id\": 0",
            );
            fs::write(events(root), "").unwrap();
            fs::remove_dir_all(worker_dir(root, 1)).unwrap();
            fs::remove_dir_all(worker_dir(root, 2)).unwrap();
        },
        strict: Some("counter behind: runtime.json 12 275 1\n"),
        says: "next_event_id is 0, the first event id is 1",
        salvage: "unknown worker: runtime.json 15 328\ncounter behind: runtime.json 12 275 1\n",
        kept: [0, 0, 0],
    },
    State {
        name: "a transcript longer than its worker says",
        damage: |root| edit(&worker_json(root), "_sequence\": 4", "_sequence\": 2"),
        strict: Some("counter behind: worker.json 18 358 1\n"),
        says: "next_transcript_sequence is 2, but sequence 3 exists",
        salvage: "counter behind: worker.json 18 358 1\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a worker whose id would be generated again",
        damage: |root| edit(&runtime_json(root), "_sequence\": 3", "_sequence\": 2"),
        strict: Some("counter behind: runtime.json 11 253 1\n"),
        says: "next_worker_sequence is 2, but worker 2 exists",
        salvage: "counter behind: runtime.json 11 253 1\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a diagnostic whose id would be given again",
        damage: |root| {
            edit(
                &runtime_json(root),
                "diagnostic_id\": 3",
                "diagnostic_id\": 2",
            )
        },
        strict: Some("counter behind: runtime.json 13 302 1\n"),
        says: "next_diagnostic_id is 2, but diagnostic id 2 exists",
        salvage: "counter behind: runtime.json 13 302 1\n",
        kept: [2, 8, 4],
    },
    State {
        name: "another schema version",
        damage: |root| edit(&runtime_json(root), "version\": 1", "version\": 4"),
        strict: Some("unsupported: runtime.json 2 22 885\n"),
        says: "schema_version is 4; this version reads 1 to 3",
        salvage: "unsupported: runtime.json 2 22 885\n\
            orphaned: events.jsonl 1097\n\
            orphaned: worker.json 384\n\
            orphaned: transcript.jsonl 459\n\
            orphaned: worker.json 584\n\
            orphaned: transcript.jsonl 165\n",
        kept: [0, 0, 0],
    },
    State {
        name: "another schema version of another form",
        damage: |root| fs::write(worker_json(root), "{\"schema_version\": 7, \"id\": 3}").unwrap(),
        strict: Some("unsupported: worker.json 1 19 30\n"),
        says: "schema_version is 7; this version reads 1 to 3",
        salvage: "unsupported: worker.json 1 19 30\n\
            orphaned: transcript.jsonl 459\n\
            unknown worker: runtime.json 15 328\n\
            unknown worker: events.jsonl 2 71\n",
        kept: [1, 8, 1],
    },
    State {
        name: "another backend",
        damage: |root| edit(&runtime_json(root), "fs_store", "redb_store"),
        strict: Some("unsupported: runtime.json 5 96 887\n"),
        says: "backend is \"redb_store\", only \"fs_store\" is read",
        salvage: "unsupported: runtime.json 5 96 887\n\
            orphaned: events.jsonl 1097\n\
            orphaned: worker.json 384\n\
            orphaned: transcript.jsonl 459\n\
            orphaned: worker.json 584\n\
            orphaned: transcript.jsonl 165\n",
        kept: [0, 0, 0],
    },
    State {
        name: "runtime.json of another runtime",
        damage: |root| edit(&runtime_json(root), "\"demo\"", "\"other\""),
        strict: Some("mismatch: runtime.json 3 41 886\n"),
        says: "runtime_id is \"other\", the directory is for \"demo\"",
        salvage: "mismatch: runtime.json 3 41 886\n\
            orphaned: events.jsonl 1097\n\
            orphaned: worker.json 384\n\
            orphaned: transcript.jsonl 459\n\
            orphaned: worker.json 584\n\
            orphaned: transcript.jsonl 165\n",
        kept: [0, 0, 0],
    },
    State {
        name: "worker.json of another worker",
        damage: |root| {
            edit(
                &worker_json(root),
                "\"worker_id\": \"worker-00000001\"\n",
                "\"worker_id\": \"w\"\n",
            )
        },
        strict: Some("mismatch: worker.json 3 41 370\n"),
        says: "worker_ref names worker \"w\", the directory is for \"worker-00000001\"",
        salvage: "mismatch: worker.json 3 41 370\n\
            orphaned: transcript.jsonl 459\n\
            unknown worker: runtime.json 15 328\n\
            unknown worker: events.jsonl 2 71\n",
        kept: [1, 8, 1],
    },
    State {
        name: "worker.json that does not agree with itself",
        damage: |root| {
            edit(
                &worker_json(root),
                "\"worker_id\": \"worker-00000001\",",
                "\"worker_id\": \"w\",",
            )
        },
        strict: Some("mismatch: worker.json 7 124 370\n"),
        says: "worker_id is \"w\", worker_ref names \"worker-00000001\"",
        salvage: "mismatch: worker.json 7 124 370\n\
            orphaned: transcript.jsonl 459\n\
            unknown worker: runtime.json 15 328\n\
            unknown worker: events.jsonl 2 71\n",
        kept: [1, 8, 1],
    },
    State {
        name: "diagnostic ids that do not increase",
        damage: |root| edit(&runtime_json(root), "\"id\": 2,", "\"id\": 1, \"x\": 3,"),
        strict: Some("not increasing: runtime.json 25 625 261\n"),
        says: "diagnostic 1 after 1",
        salvage: "not increasing: runtime.json 25 625 261\ngap: runtime.json 13 302\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a counter behind the last event of a worker",
        damage: |root| {
            edit(
                &worker_json(root),
                "last_event_id\": 7",
                "last_event_id\": 12",
            )
        },
        strict: Some("counter behind: runtime.json 12 275 1\n"),
        says: "next_event_id is 9, but event id 12 exists",
        salvage: "counter behind: runtime.json 12 275 1\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a counter behind the event of an entry",
        damage: |root| edit(&transcript(root), "\"event_id\":3", "\"event_id\":9"),
        strict: Some("counter behind: runtime.json 12 275 1\n"),
        says: "next_event_id is 9, but event id 9 exists",
        salvage: "counter behind: runtime.json 12 275 1\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a worker whose last event is the greatest id of all",
        damage: |root| {
            edit(
                &worker_json(root),
                "last_event_id\": 7",
                "last_event_id\": 18446744073709551615",
            )
        },
        strict: Some("mismatch: worker.json 19 380 403\n"),
        says: "last_event_id 18446744073709551615 is the greatest possible number",
        salvage: "mismatch: worker.json 19 380 403\n\
            orphaned: transcript.jsonl 459\n\
            unknown worker: runtime.json 15 328\n\
            unknown worker: events.jsonl 2 71\n",
        kept: [1, 8, 1],
    },
    State {
        name: "a counter of diagnostics that is ahead",
        damage: |root| {
            edit(
                &runtime_json(root),
                "diagnostic_id\": 3",
                "diagnostic_id\": 5",
            )
        },
        strict: None,
        says: "",
        salvage: "gap: runtime.json 13 302\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a document with CRLF",
        damage: |root| {
            let document = fs::read_to_string(worker_json(root)).unwrap();
            fs::write(worker_json(root), document.replace('\n', "\r\n")).unwrap();
        },
        strict: None,
        says: "",
        salvage: "line ending: worker.json 1 0\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a document cut off",
        damage: |root| fs::write(worker_json(root), "{\n  \"schema_version\": 1,\n").unwrap(),
        strict: Some("invalid document: worker.json 3 25 25\n"),
        says: "EOF while parsing",
        salvage: "invalid document: worker.json 3 25 25\nrebuilt: worker.json\n",
        kept: [2, 8, 4],
    },
];

#[test]
fn every_document_state_is_handled_as_documented() {
    assert_handled(STATES);
}
