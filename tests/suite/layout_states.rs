//! Every state that a crash or an edit can leave, one by one: the finding that a strict import reports,
//! and the findings and records of a salvage import. Here are the states of directories: files that are
//! missing, misplaced or of another type.

use super::layout_salvage::{kinds, refusal, salvaged};
use super::layout_support::*;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// One state, made from a copy of the small directory.
pub(super) struct State {
    pub(super) name: &'static str,
    /// Makes the state.
    pub(super) damage: fn(&Path),
    /// The finding that a strict import is rejected with, in the form of [`kinds`]; `None` if it
    /// succeeds.
    pub(super) strict: Option<&'static str>,
    /// A part of its message.
    pub(super) says: &'static str,
    /// The findings of a salvage import.
    pub(super) salvage: &'static str,
    /// The numbers of workers, events and entries that a salvage imports.
    pub(super) kept: [u64; 3],
}

pub(super) fn runtime_json(root: &Path) -> std::path::PathBuf {
    runtime_dir(root).join("runtime.json")
}

pub(super) fn events(root: &Path) -> std::path::PathBuf {
    runtime_dir(root).join("events.jsonl")
}

pub(super) fn worker_json(root: &Path) -> std::path::PathBuf {
    worker_dir(root, 1).join("worker.json")
}

pub(super) fn transcript(root: &Path) -> std::path::PathBuf {
    worker_dir(root, 1).join("transcript.jsonl")
}

/// Asserts that imports report and import each of `states` as its row says.
pub(super) fn assert_handled(states: &[State]) {
    let mut wrong = String::new();
    for state in states {
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
        salvage: "never initialised: runtime.json\ntemporary file: .runtime.json.tmp-1-1\n",
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
        salvage: "never initialised: runtime.json\nrebuilt: runtime.json\n",
        kept: [2, 8, 4],
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
        salvage: "missing: worker.json\nrebuilt: worker.json\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a stray file in workers/",
        damage: |root| fs::write(runtime_dir(root).join("workers/.DS_Store"), "").unwrap(),
        strict: None,
        says: "",
        salvage: "other file: .DS_Store\n",
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
        strict: None,
        says: "",
        salvage: "duplicate directory: id-776F726b65722d3030303030303031\n",
        kept: [2, 8, 4],
    },
    State {
        name: "a directory whose name stands for no worker",
        damage: |root| fs::create_dir(runtime_dir(root).join("workers/id-zz")).unwrap(),
        strict: None,
        says: "",
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
];

#[test]
fn every_directory_state_is_handled_as_documented() {
    assert_handled(STATES);
}
