//! Bytes that an export would write otherwise come back as they were: white space, escapes, order, line ends.

use super::layout_later::{FORMS, id_of, of_form};
use super::layout_support::*;
use crate::support::{named, say};
use redb_runtime_store::layout::{ExistingDirectory, ExportOptions, compare, export};
use std::fs;
use std::path::{Path, PathBuf};

/// The event log of the directory of a form.
fn events_of(root: &Path) -> PathBuf {
    match root.join("runtimes").exists() {
        true => runtime_dir(root).join("events.jsonl"),
        false => root.join("events.jsonl"),
    }
}

/// The name of a change, and the change of a text.
type Change = (&'static str, fn(&str) -> String);

const OF_LOGS: [Change; 12] = [
    ("no newline at the end", |text| text.trim_end().to_owned()),
    ("a blank line", |text| text.replacen('\n', "\n\n", 1)),
    ("blank lines at both ends", |text| {
        format!("\n \t\n{text}\r\n\n ")
    }),
    ("an escape that is not needed", |text| {
        text.replacen("worker", "w\\u006Frker", 1)
    }),
    ("an escaped slash", |text| {
        text.replacen("\"runtime started\"", "\"runtime\\/started\"", 1)
    }),
    ("a space after a comma", |text| {
        text.replacen(",\"kind\"", ", \"kind\"", 1)
    }),
    ("CRLF", |text| text.replace('\n', "\r\n")),
    ("some CRLF", |text| text.replacen('\n', "\r\n", 2)),
    ("other order", |text| {
        text.replacen(
            "{\"id\":1,\"kind\":{\"kind\":\"runtime_started\"},",
            "{\"kind\":{\"kind\":\"runtime_started\"},\"id\":1,",
            1,
        )
    }),
    ("an unknown member in front", |text| {
        text.replacen("{\"id\"", "{\"x\": 1.50,\"id\"", 1)
    }),
    ("an unknown member in a reference", |text| {
        text.replacen("\"worker_ref\":{", "\"worker_ref\":{\"y\": [ ],", 1)
    }),
    ("a time in the middle", |text| {
        text.replacen(
            "{\"id\":2,",
            "{\"id\":2,\"recorded_at\":\"2026-11-29T12:00:00.000Z\",",
            1,
        )
    }),
];

/// Imports a directory and exports it with `options`, into a new directory and as an update: both have its bytes.
fn comes_back(dir: &Path, options: ExportOptions, what: &str) {
    let store = store();
    strict(&store, dir).unwrap_or_else(|error| panic!("{what}: {error}"));
    let out = tempfile::tempdir().unwrap();
    export(&store, out.path(), &options).unwrap();
    assert_eq!(tree(out.path()), tree(dir), "{what}");
    assert!(compare(&store, dir).unwrap().is_same(), "{what}");
    let update = options.existing(ExistingDirectory::Update);
    export(&store, dir, &update).unwrap();
    assert_eq!(tree(out.path()), tree(dir), "updated: {what}");
}

#[test]
fn lines_come_back_as_they_were_in_every_form() {
    for (name, form) in FORMS {
        if form.letter() >= 'g' {
            continue;
        }
        for (change, apply) in OF_LOGS {
            let dir = of_form(name);
            let events = events_of(dir.path());
            let text = fs::read_to_string(&events).unwrap();
            let changed = apply(&text);
            assert_ne!(text, changed, "{change}");
            fs::write(&events, changed).unwrap();
            // A time is written only if the export has times.
            let options = ExportOptions::new().times(change.contains("time"));
            comes_back(dir.path(), options, &format!("{name}, {change}"));
        }
    }
}

#[test]
fn log_goes_on_after_its_last_line_lacks_a_newline() {
    for (name, _) in FORMS.iter().take(7) {
        let dir = of_form(name);
        let events = events_of(dir.path());
        let text = fs::read_to_string(&events).unwrap();
        fs::write(&events, text.trim_end()).unwrap();
        let store = store();
        strict(&store, dir.path()).unwrap();
        let runtime = store.runtime(named(id_of(name))).unwrap();
        let first = runtime.list_workers().unwrap()[0].worker_ref.clone();
        say(&runtime, &first, "more").unwrap();
        let out = exported(&store);
        let now = fs::read_to_string(events_of(out.path())).unwrap();
        let added = now.strip_prefix(&text).unwrap();
        assert_eq!(
            (added.lines().count(), added.ends_with('\n')),
            (1, true),
            "{name}"
        );
        let update = ExportOptions::new().existing(ExistingDirectory::Update);
        export(&store, dir.path(), &update).unwrap();
        assert_eq!(tree(out.path()), tree(dir.path()), "{name}");
    }
}

const OF_DOCUMENTS: [Change; 8] = [
    ("on one line", |text| {
        serde_json::from_str::<serde_json::Value>(text)
            .unwrap()
            .to_string()
    }),
    ("no newline at the end", |text| text.trim_end().to_owned()),
    ("blank lines", |text| format!("\n\n{text}\n")),
    ("CRLF", |text| {
        text.trim_end().replace('\n', "\r\n") + "\r\n"
    }),
    ("tabs", |text| text.replace("  ", "\t")),
    ("an escape that is not needed", |text| {
        text.replacen("fs_store", "fs\\u005fstore", 1)
            .replacen("builtin", "b\\u0075iltin", 1)
    }),
    ("an unknown member in front", |text| {
        text.replacen('{', "{\"x\" : 1e400,", 1)
    }),
    ("odd white space", |text| {
        text.replace(": ", " :\t").replace(",", " ,")
    }),
];

#[test]
fn documents_come_back_as_they_were_in_every_form() {
    for (name, _) in FORMS {
        for (change, apply) in OF_DOCUMENTS {
            let dir = of_form(name);
            let mut changed = 0;
            for (path, bytes) in tree(dir.path()) {
                let is_document = path.extension().is_some_and(|name| name == "json");
                if let Some(bytes) = bytes.filter(|_| is_document) {
                    let text = String::from_utf8(bytes).unwrap();
                    changed += usize::from(apply(&text) != text);
                    fs::write(dir.path().join(path), apply(&text)).unwrap();
                }
            }
            assert!(changed > 0 || name > "f", "{name}, {change}");
            comes_back(
                dir.path(),
                ExportOptions::new(),
                &format!("{name}, {change}"),
            );
        }
    }
}

#[test]
fn log_of_blank_lines_comes_back() {
    let dir = small();
    let transcript = worker_dir(dir.path(), 1).join("transcript.jsonl");
    let text = fs::read_to_string(&transcript).unwrap();
    fs::write(&transcript, " \r\n\n").unwrap();
    let store = store();
    strict(&store, dir.path()).unwrap();
    assert_eq!(tree(exported(&store).path()), tree(dir.path()));
    let runtime = store.runtime(named("demo")).unwrap();
    let first = runtime.list_workers().unwrap()[0].worker_ref.clone();
    say(&runtime, &first, "again").unwrap();
    let out = exported(&store);
    let now = fs::read_to_string(worker_dir(out.path(), 1).join("transcript.jsonl")).unwrap();
    assert!(now.starts_with(" \r\n\n{\"sequence\":4,"), "{now}");
    assert!(!text.starts_with(' '));
}

#[test]
fn compare_says_that_only_bytes_differ() {
    let store = store();
    strict(&store, SMALL.as_ref()).unwrap();
    let dir = small();
    edit(
        &runtime_dir(dir.path()).join("events.jsonl"),
        ",\"kind\"",
        ", \"kind\"",
    );
    edit(&worker_dir(dir.path(), 1).join("worker.json"), ": 1", ":1");
    let comparison = compare(&store, dir.path()).unwrap();
    assert!(comparison.is_same(), "{comparison:?}");
    assert_eq!(comparison.only_bytes, 2);
}
