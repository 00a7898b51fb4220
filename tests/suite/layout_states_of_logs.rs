//! The states of logs: lines that are cut off, merged, invalid or out of order, and missing records.

use super::layout_states::{State, assert_handled, events, runtime_json, transcript, worker_json};
use super::layout_support::*;
use std::fs;

const EVENT_9: &str = r#"{"id":9,"kind":{"kind":"runtime_stopped"},"message":"late"}"#;

const ENTRY_4: &str = r#"{"sequence":4,"worker_ref":{"runtime_id":"demo","worker_id":"worker-00000001"},"role":"user","content":"late","event_id":8}"#;

const STATES: &[State] = &[
    State {
        name: "an event that was never logged",
        damage: |root| {
            let log = fs::read_to_string(events(root)).unwrap();
            let is_kept = |line: &&str| !line.starts_with("{\"id\":7,");
            let kept: Vec<&str> = log.split_inclusive('\n').filter(is_kept).collect();
            fs::write(events(root), kept.concat()).unwrap();
        },
        strict: None,
        says: "",
        salvage: "gap: events.jsonl 7 815\n",
        kept: [2, 7, 4],
    },
    State {
        name: "the last line of a transcript cut off",
        damage: |root| append(&transcript(root), &ENTRY_4.as_bytes()[..18]),
        strict: Some("cut off: transcript.jsonl 4 459 18\n"),
        says: "EOF while parsing",
        salvage: "cut off: transcript.jsonl 4 459 18\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a cut-off entry and a whole one run together",
        damage: |root| {
            let line = format!("{}{ENTRY_4}\n", &ENTRY_4[..18]);
            append(&transcript(root), line.as_bytes());
            edit(&worker_json(root), "_sequence\": 4", "_sequence\": 5");
        },
        strict: Some("merged line: transcript.jsonl 4 459 18\n"),
        says: "of the line",
        salvage: "merged line: transcript.jsonl 4 459 18\n",
        kept: [2, 8, 5],
    },
    State {
        name: "a counter ahead of the log",
        damage: |root| {
            edit(
                &runtime_json(root),
                "\"next_event_id\": 9",
                "\"next_event_id\": 11",
            )
        },
        strict: None,
        says: "",
        salvage: "gap: events.jsonl 9 1097\n",
        kept: [2, 8, 4],
    },
    State {
        name: "an event that names a worker without a directory",
        damage: |root| fs::remove_dir_all(worker_dir(root, 2)).unwrap(),
        strict: None,
        says: "",
        salvage: "unknown worker: events.jsonl 5 517\n",
        kept: [1, 8, 3],
    },
    State {
        name: "a transcript shorter than its worker says",
        damage: |root| edit(&worker_json(root), "_sequence\": 4", "_sequence\": 6"),
        strict: None,
        says: "",
        salvage: "gap: transcript.jsonl 4 459\n",
        kept: [2, 8, 4],
    },
    State {
        name: "the last line cut off",
        damage: |root| append(&events(root), &EVENT_9.as_bytes()[..30]),
        strict: Some("cut off: events.jsonl 9 1097 30\n"),
        says: "EOF while parsing",
        salvage: "cut off: events.jsonl 9 1097 30\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a cut-off line and a whole one run together",
        damage: |root| {
            append(
                &events(root),
                format!("{}{EVENT_9}\n", &EVENT_9[..30]).as_bytes(),
            );
            edit(
                &runtime_json(root),
                "\"next_event_id\": 9",
                "\"next_event_id\": 10",
            );
        },
        strict: Some("merged line: events.jsonl 9 1097 30\n"),
        says: "at byte 30 of the line",
        salvage: "merged line: events.jsonl 9 1097 30\n",
        kept: [2, 9, 4],
    },
    State {
        name: "two whole records in one line",
        damage: |root| edit(&transcript(root), "}\n{", "}{"),
        strict: Some("merged line: transcript.jsonl 1 0\n"),
        says: "2 whole records in one line",
        salvage: "merged line: transcript.jsonl 1 0\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a line that is no record",
        damage: |root| edit(&events(root), "\"runtime_started\"", "\"runtime_begun\""),
        strict: Some("invalid line: events.jsonl 1 0 68\n"),
        says: "unknown variant `runtime_begun`",
        salvage: "invalid line: events.jsonl 1 0 68\ngap: events.jsonl 2 69\n",
        kept: [2, 7, 4],
    },
    State {
        name: "an entry of another worker",
        damage: |root| edit(&transcript(root), "worker-00000001", "worker-00000002"),
        strict: Some("mismatch: transcript.jsonl 1 0 162\n"),
        says: "worker_ref names worker \"worker-00000002\", the directory is for \"worker-00000001\"",
        salvage: "mismatch: transcript.jsonl 1 0 162\ngap: transcript.jsonl 2 163\n",
        kept: [2, 8, 3],
    },
    State {
        name: "an event of another runtime",
        damage: |root| edit(&events(root), "\"demo\"", "\"d\""),
        strict: Some("mismatch: events.jsonl 2 71 146\n"),
        says: "worker_ref names runtime \"d\", the directory is for \"demo\"",
        salvage: "mismatch: events.jsonl 2 71 146\ngap: events.jsonl 3 218\n",
        kept: [2, 7, 4],
    },
    State {
        name: "event ids that do not increase",
        damage: |root| edit(&events(root), "{\"id\":3,", "{\"id\":2,"),
        strict: Some("not increasing: events.jsonl 3 221 147\n"),
        says: "event id 2 after 2",
        salvage: "not increasing: events.jsonl 3 221 147\ngap: events.jsonl 4 369\n",
        kept: [2, 7, 4],
    },
    State {
        name: "an event id of zero",
        damage: |root| edit(&events(root), "{\"id\":1,", "{\"id\":0,"),
        strict: Some("not increasing: events.jsonl 1 0 70\n"),
        says: "event id 0, the first is 1",
        salvage: "not increasing: events.jsonl 1 0 70\ngap: events.jsonl 2 71\n",
        kept: [2, 7, 4],
    },
    State {
        name: "the greatest id of all",
        damage: |root| edit(&events(root), "{\"id\":8,", "{\"id\":18446744073709551615,"),
        strict: Some("invalid line: events.jsonl 8 963 152\n"),
        says: "is the greatest possible number",
        salvage: "invalid line: events.jsonl 8 963 152\ngap: events.jsonl 8 963\n",
        kept: [2, 7, 4],
    },
    State {
        name: "transcript sequences that do not increase",
        damage: |root| edit(&transcript(root), "{\"sequence\":2,", "{\"sequence\":1,"),
        strict: Some("not increasing: transcript.jsonl 2 163 168\n"),
        says: "sequence 1 after 1",
        salvage: "not increasing: transcript.jsonl 2 163 168\n\
            gap: transcript.jsonl 3 332\n",
        kept: [2, 8, 3],
    },
    State {
        name: "an entry of the greatest event id of all",
        damage: |root| {
            edit(
                &transcript(root),
                "\"event_id\":3",
                "\"event_id\":18446744073709551615",
            )
        },
        strict: Some("mismatch: transcript.jsonl 1 0 181\n"),
        says: "event_id 18446744073709551615 is the greatest possible number",
        salvage: "mismatch: transcript.jsonl 1 0 181\ngap: transcript.jsonl 2 182\n",
        kept: [2, 8, 3],
    },
];

#[test]
fn every_log_state_is_handled_as_documented() {
    assert_handled(STATES);
}
