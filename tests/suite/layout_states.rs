//! Every state that a crash leaves behind, one by one: what a strict import says, and what a salvage
//! import makes of it.

use super::layout_salvage::{kinds, refusal, salvaged};
use super::layout_support::*;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// One row of the layout's table of states, on a copy of the small directory.
struct State {
    name: &'static str,
    /// What happened to it.
    damage: fn(&Path),
    /// What stops a strict import, in the form of [`kinds`]; none where it is accepted.
    strict: Option<&'static str>,
    /// What a part of the message of that is.
    says: &'static str,
    /// What a salvage import finds.
    salvage: &'static str,
    /// Workers, events and entries that a salvage import keeps.
    kept: [u64; 3],
}

fn runtime_json(root: &Path) -> std::path::PathBuf {
    runtime_dir(root).join("runtime.json")
}

fn events(root: &Path) -> std::path::PathBuf {
    runtime_dir(root).join("events.jsonl")
}

fn worker_json(root: &Path) -> std::path::PathBuf {
    worker_dir(root, 1).join("worker.json")
}

fn transcript(root: &Path) -> std::path::PathBuf {
    worker_dir(root, 1).join("transcript.jsonl")
}

const EVENT_9: &str = r#"{"id":9,"kind":{"kind":"runtime_stopped"},"message":"late"}"#;

const ENTRY_4: &str = r#"{"sequence":4,"worker_ref":{"runtime_id":"demo","worker_id":"worker-00000001"},"role":"user","content":"late","event_id":8}"#;

const STATES: &[State] = &[
    State {
        name: "killed before the first runtime.json was there",
        damage: |root| {
            fs::remove_dir_all(runtime_dir(root).join("workers")).unwrap();
            fs::remove_file(events(root)).unwrap();
            let temporary = runtime_dir(root).join(".runtime.json.tmp-1-1");
            fs::rename(runtime_json(root), temporary).unwrap();
        },
        strict: Some("never initialised: runtime.json\n"),
        says: "runtime.json does not exist",
        salvage: "temporary file: .runtime.json.tmp-1-1\nnever initialised: runtime.json\n",
        kept: [0, 0, 0],
    },
    State {
        name: "no events.jsonl",
        damage: |root| fs::remove_file(events(root)).unwrap(),
        strict: Some("missing: events.jsonl\n"),
        says: "events.jsonl does not exist",
        salvage: "missing: events.jsonl\ngap: events.jsonl\n",
        kept: [2, 0, 4],
    },
    State {
        name: "no transcript.jsonl",
        damage: |root| fs::remove_file(transcript(root)).unwrap(),
        strict: Some("missing: transcript.jsonl\n"),
        says: "transcript.jsonl does not exist",
        salvage: "missing: transcript.jsonl\ngap: transcript.jsonl\n",
        kept: [2, 8, 1],
    },
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
        name: "a transcript shorter than its worker says",
        damage: |root| edit(&worker_json(root), "_sequence\": 4", "_sequence\": 6"),
        strict: None,
        says: "",
        salvage: "gap: transcript.jsonl 4 459\n",
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
        name: "temporary files",
        damage: |root| {
            fs::write(runtime_dir(root).join(".runtime.json.tmp-1-2"), "{").unwrap();
            fs::write(worker_dir(root, 1).join(".worker.json.tmp-1-2"), "").unwrap();
        },
        strict: None,
        says: "",
        salvage: "temporary file: .runtime.json.tmp-1-2\ntemporary file: .worker.json.tmp-1-2\n",
        kept: [2, 8, 4],
    },
    State {
        name: "other files",
        damage: |root| {
            fs::write(root.join("runtimes/README"), "").unwrap();
            fs::write(runtime_dir(root).join("notes"), "").unwrap();
        },
        strict: None,
        says: "",
        salvage: "other file: README\nother file: notes\n",
        kept: [2, 8, 4],
    },
    State {
        name: "no runtime.json, with logs and workers",
        damage: |root| fs::remove_file(runtime_json(root)).unwrap(),
        strict: Some("never initialised: runtime.json\n"),
        says: "runtime.json does not exist",
        salvage: "never initialised: runtime.json\norphaned: events.jsonl 1097\n\
            orphaned: worker.json\norphaned: transcript.jsonl 459\n\
            orphaned: worker.json\norphaned: transcript.jsonl 165\n",
        kept: [0, 0, 0],
    },
    State {
        name: "no workers/",
        damage: |root| fs::remove_dir_all(runtime_dir(root).join("workers")).unwrap(),
        strict: Some("missing: workers\n"),
        says: "workers does not exist",
        salvage: "missing: workers\n\
            unknown worker: runtime.json 15 328\n\
            unknown worker: events.jsonl 2 71\n\
            unknown worker: events.jsonl 5 517\n",
        kept: [0, 8, 0],
    },
    State {
        name: "no worker.json, with a transcript",
        damage: |root| fs::remove_file(worker_json(root)).unwrap(),
        strict: Some("missing: worker.json\n"),
        says: "worker.json does not exist",
        salvage: "missing: worker.json\n\
            orphaned: transcript.jsonl 459\n\
            unknown worker: runtime.json 15 328\n\
            unknown worker: events.jsonl 2 71\n",
        kept: [1, 8, 1],
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
        name: "a stray file in workers/",
        damage: |root| fs::write(runtime_dir(root).join("workers/.DS_Store"), "").unwrap(),
        strict: Some("stray file: .DS_Store\n"),
        says: "a file among the directories",
        salvage: "stray file: .DS_Store\n",
        kept: [2, 8, 4],
    },
    State {
        name: "another schema version",
        damage: |root| edit(&runtime_json(root), "version\": 1", "version\": 2"),
        strict: Some("unsupported: runtime.json 2 22 885\n"),
        says: "schema_version is 2, only 1 is read",
        salvage: "unsupported: runtime.json 2 22 885\n\
            orphaned: events.jsonl 1097\n\
            orphaned: worker.json\n\
            orphaned: transcript.jsonl 459\n\
            orphaned: worker.json\n\
            orphaned: transcript.jsonl 165\n",
        kept: [0, 0, 0],
    },
    State {
        name: "another schema version of another form",
        damage: |root| fs::write(worker_json(root), "{\"schema_version\": 7, \"id\": 3}").unwrap(),
        strict: Some("unsupported: worker.json 1 19 30\n"),
        says: "schema_version is 7, only 1 is read",
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
            orphaned: worker.json\n\
            orphaned: transcript.jsonl 459\n\
            orphaned: worker.json\n\
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
            orphaned: worker.json\n\
            orphaned: transcript.jsonl 459\n\
            orphaned: worker.json\n\
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
        name: "diagnostic ids that do not increase",
        damage: |root| edit(&runtime_json(root), "\"id\": 2,", "\"id\": 1, \"x\": 3,"),
        strict: Some("not increasing: runtime.json 25 625 261\n"),
        says: "diagnostic 1 after 1",
        salvage: "not increasing: runtime.json 25 625 261\ngap: runtime.json 13 302\n",
        kept: [2, 8, 4],
    },
    State {
        name: "two directories for one worker",
        damage: |root| {
            let name = worker_dir(root, 1)
                .file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            let name = name.replace('f', "F");
            copy(
                &worker_dir(root, 1),
                &runtime_dir(root).join("workers").join(name),
            );
        },
        strict: Some("duplicate directory: id-776F726b65722d3030303030303031\n"),
        says: "the same id as id-776f726b65722d3030303030303031",
        salvage: "duplicate directory: id-776F726b65722d3030303030303031\n\
            orphaned: worker.json\norphaned: transcript.jsonl 459\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a directory whose name stands for no worker",
        damage: |root| fs::create_dir(runtime_dir(root).join("workers/id-zz")).unwrap(),
        strict: Some("invalid name: id-zz\n"),
        says: "not only hex digits",
        salvage: "invalid name: id-zz\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a symbolic link to a log",
        damage: |root| {
            fs::rename(events(root), root.join("elsewhere")).unwrap();
            symlink(root.join("elsewhere"), events(root)).unwrap();
        },
        strict: Some("not a regular file: events.jsonl\n"),
        says: "this is a symbolic link",
        salvage: "not a regular file: events.jsonl\ngap: events.jsonl\n",
        kept: [2, 0, 4],
    },
    State {
        name: "a symbolic link to a worker's directory",
        damage: |root| {
            fs::rename(worker_dir(root, 1), root.join("elsewhere")).unwrap();
            symlink(root.join("elsewhere"), worker_dir(root, 1)).unwrap();
        },
        strict: Some("not a regular file: id-776f726b65722d3030303030303031\n"),
        says: "this is a symbolic link",
        salvage: "not a regular file: id-776f726b65722d3030303030303031\n\
            unknown worker: runtime.json 15 328\n\
            unknown worker: events.jsonl 2 71\n",
        kept: [1, 8, 1],
    },
    State {
        name: "a symbolic link that nothing reads",
        damage: |root| symlink("/etc/passwd", runtime_dir(root).join("notes")).unwrap(),
        strict: Some("not a regular file: notes\n"),
        says: "this is a symbolic link",
        salvage: "not a regular file: notes\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a directory in the place of a file",
        damage: |root| {
            fs::remove_file(transcript(root)).unwrap();
            fs::create_dir(transcript(root)).unwrap();
        },
        strict: Some("not a regular file: transcript.jsonl\n"),
        says: "this is a directory",
        salvage: "not a regular file: transcript.jsonl\ngap: transcript.jsonl\n",
        kept: [2, 8, 1],
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
        name: "a file in the place of workers/",
        damage: |root| {
            fs::remove_dir_all(runtime_dir(root).join("workers")).unwrap();
            fs::write(runtime_dir(root).join("workers"), "").unwrap();
        },
        strict: Some("stray file: workers\n"),
        says: "a file where a directory belongs",
        salvage: "stray file: workers\n\
            unknown worker: runtime.json 15 328\n\
            unknown worker: events.jsonl 2 71\n\
            unknown worker: events.jsonl 5 517\n",
        kept: [0, 8, 0],
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
        salvage: "invalid document: worker.json 3 25 25\n\
            orphaned: transcript.jsonl 459\n\
            unknown worker: runtime.json 15 328\n\
            unknown worker: events.jsonl 2 71\n",
        kept: [1, 8, 1],
    },
];

#[test]
fn every_state_is_handled_as_documented() {
    let mut wrong = String::new();
    for state in STATES {
        let dir = small();
        (state.damage)(dir.path());
        if let Some(expected) = state.strict {
            let finding = refusal(dir.path());
            let found = kinds(std::slice::from_ref(&finding));
            if found != expected || !finding.message.contains(state.says) {
                let _ = writeln!(wrong, "{}: refused: {finding}\n{found}", state.name);
            }
        } else {
            strict(&store(), dir.path()).unwrap();
        }
        let (_, report) = salvaged(dir.path());
        let runtime = &report.runtimes[0];
        let kept = [runtime.workers, runtime.events, runtime.transcript_entries];
        let found = kinds(&report.findings);
        if found != state.salvage || kept != state.kept {
            let _ = writeln!(wrong, "{}: salvaged: {kept:?}\n{found}", state.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
