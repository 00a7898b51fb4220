//! Attributes in the layout: they come back as the same bytes, in every form.

use super::layout_later::{FORMS, id_of, of_form, operate};
use super::layout_support::*;
use crate::support::{named, new_worker, say};
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::catalog::WorkerFilter;
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
use redb_runtime_store::layout::{
    ExistingDirectory, ExportOptions, FindingKind, ImportOptions, compare, export, import,
};
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::fs;
use std::path::{Path, PathBuf};

fn of(json: &str) -> Attributes {
    Attributes::from_json(json).unwrap()
}

/// Inserts a member before the end of the outermost object of a text.
fn with_member(text: &str, member: &str) -> String {
    let end = text.rfind('}').unwrap();
    let (body, rest) = text.split_at(end);
    // A document ends in a line of its own.
    let indented = body.ends_with('\n');
    let body = body.trim_end();
    match indented {
        true => format!("{body},\n  {member}\n{rest}"),
        false => format!("{body},{member}{rest}"),
    }
}

/// The files of a directory with this name, sorted.
fn files(dir: &Path, name: &str) -> Vec<PathBuf> {
    let paths = tree(dir).into_keys().filter(|path| path.ends_with(name));
    paths.map(|path| dir.join(path)).collect()
}

/// Changes the document of the first worker.
fn edit_worker(dir: &Path, change: impl Fn(&str) -> String) {
    let path = &files(dir, "worker.json")[0];
    let text = fs::read_to_string(path).unwrap();
    fs::write(path, change(&text)).unwrap();
}

/// Changes the first line of the last transcript. Returns whether there is one.
fn edit_entry(dir: &Path, change: impl Fn(&str) -> String) -> bool {
    let paths = files(dir, "transcript.jsonl").into_iter();
    let mut texts = paths.map(|path| (fs::read_to_string(&path).unwrap(), path));
    let Some((text, path)) = texts.rfind(|(text, _)| !text.is_empty()) else {
        return false;
    };
    let (line, rest) = text.split_once('\n').unwrap();
    fs::write(path, format!("{}\n{rest}", change(line))).unwrap();
    true
}

fn runtime_of(store: &Store, id: &str) -> Runtime {
    store.runtime(named(id)).unwrap()
}

/// The attributes of all workers that have any.
fn of_workers(runtime: &Runtime) -> Vec<String> {
    let page = runtime.workers(&WorkerFilter::new()).unwrap();
    let all = page.workers.into_iter().map(|worker| worker.attributes);
    all.filter(|attributes| !attributes.is_empty())
        .map(|attributes| attributes.to_json())
        .collect()
}

/// The attributes of all entries that have any.
fn of_entries(runtime: &Runtime) -> Vec<String> {
    let workers = runtime.list_workers().unwrap();
    let entries = workers.iter().flat_map(|worker| {
        let read = runtime.recorded_transcript(&worker.worker_ref, TranscriptQuery::new(0, 100));
        read.unwrap().items
    });
    entries
        .map(|entry| entry.attributes)
        .filter(|attributes| !attributes.is_empty())
        .map(|attributes| attributes.to_json())
        .collect()
}

#[test]
fn attributes_are_accepted_in_every_form() {
    for (name, _) in FORMS {
        let dir = of_form(name);
        let member = r#""attributes": {"title": "Report", "n": [1, 2.50]}"#;
        edit_worker(dir.path(), |text| with_member(text, member));
        let has_entry = edit_entry(dir.path(), |line| with_member(line, member));
        let store = store();
        let report = strict(&store, dir.path()).unwrap();
        let bad = FindingKind::UnreadableAttributes;
        assert!(report.findings.iter().all(|one| one.kind != bad), "{name}");
        let runtime = runtime_of(&store, id_of(name));
        let expected = r#"{"n":[1,2.5],"title":"Report"}"#;
        assert_eq!(of_workers(&runtime), [expected], "{name}");
        let entries = of_entries(&runtime);
        assert_eq!(entries, vec![expected; usize::from(has_entry)], "{name}");
        assert!(store.verify().unwrap().is_clean(), "{name}");
        let out = exported(&store);
        assert_eq!(tree(out.path()), tree(dir.path()), "{name}");
        assert!(compare(&store, out.path()).unwrap().is_same(), "{name}");
        // Operations change other members only.
        operate(&store, name);
        let text = fs::read_to_string(&files(exported(&store).path(), "worker.json")[0]).unwrap();
        assert!(text.contains(member), "{name}: {text}");
    }
}

#[test]
fn values_that_are_no_attributes_stay_unknown_members() {
    let large = format!(r#""attributes":{{"a":"{}"}}"#, "x".repeat(64 << 10));
    let bad = [
        r#""attributes":[1]"#,
        r#""attributes":"text""#,
        r#""attributes":{"a":1e999}"#,
        r#""attributes":{"$open_work":{"call":{"note":"","at_ms":1,"opening":1}}}"#,
        r#""attributes":{"a":1},"attributes":{"a":2}"#,
        &large,
    ];
    for (place, member) in bad.iter().enumerate() {
        let name = FORMS[place].0;
        let dir = of_form(name);
        edit_worker(dir.path(), |text| with_member(text, member));
        let has_entry = edit_entry(dir.path(), |line| with_member(line, member));
        let store = store();
        let report = strict(&store, dir.path()).unwrap();
        let found = report.findings.iter();
        let found = found.filter(|one| one.kind == FindingKind::UnreadableAttributes);
        assert_eq!(found.count(), 1 + usize::from(has_entry), "{member:.40}");
        let runtime = runtime_of(&store, id_of(name));
        assert_eq!(
            (of_workers(&runtime), of_entries(&runtime)),
            Default::default()
        );
        assert_eq!(
            tree(exported(&store).path()),
            tree(dir.path()),
            "{member:.40}"
        );
        // The host's attributes take the place of that member.
        let worker = runtime.list_workers().unwrap()[0].worker_ref.clone();
        runtime.set_attributes(&worker, of(r#"{"b":1}"#)).unwrap();
        let again = tempfile_store(exported(&store).path());
        let found = of_workers(&runtime_of(&again, id_of(name)));
        assert_eq!(found, [r#"{"b":1}"#], "{member:.40}");
    }
}

fn tempfile_store(dir: &Path) -> Store {
    let again = store();
    strict(&again, dir).unwrap();
    again
}

#[test]
fn attributes_stand_before_unknown_members_and_times() {
    let store = store();
    let runtime = runtime_of(&store, "r");
    let worker = new_worker(&runtime);
    let input = WorkerInput::user("hello");
    runtime
        .send_input_with(&worker, input, of(r#"{"a":1}"#))
        .unwrap();
    runtime.set_attributes(&worker, of(r#"{"t":"x"}"#)).unwrap();
    let out = tempfile::tempdir().unwrap();
    let options = ExportOptions::new().times(true);
    export(&store, out.path(), options).unwrap();
    let line = fs::read_to_string(&files(out.path(), "transcript.jsonl")[0]).unwrap();
    let place = line
        .find(r#","attributes":{"a":1},"recorded_at":""#)
        .unwrap();
    assert!(line[..place].ends_with(r#""event_id":3"#), "{line}");
    let text = fs::read_to_string(&files(out.path(), "worker.json")[0]).unwrap();
    assert!(
        text.ends_with("  \"attributes\": {\"t\":\"x\"}\n}\n"),
        "{text}"
    );
    // An unknown member that stood before them is exported after them, and the own bytes of the line are stored.
    let dir = of_form("a");
    let members = r#""zeta":1,"attributes":{"a":1},"eta":2"#;
    assert!(edit_entry(dir.path(), |line| with_member(line, members)));
    let store = tempfile_store(dir.path());
    assert_eq!(tree(exported(&store).path()), tree(dir.path()));
}

#[test]
fn keys_forks_and_redactions_survive_an_export() {
    let store = store();
    let runtime = runtime_of(&store, "r");
    let worker = new_worker(&runtime);
    let once = |runtime: &Runtime, text: &str| {
        runtime.send_input_once(&worker, "key", WorkerInput::user(text))
    };
    let sent = once(&runtime, "first").unwrap();
    say(&runtime, &worker, "SECRET").unwrap();
    runtime.redact_entry(&worker, 1, "gone").unwrap();
    let fork = runtime.fork_worker(&worker, None).unwrap().worker_ref;
    runtime.open_work(&worker, "call", "search").unwrap();
    runtime.set_attributes(&worker, of(r#"{"t":1}"#)).unwrap();
    let out = exported(&store);
    let text: String = files(out.path(), "worker.json")
        .iter()
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert!(
        text.contains("$open_work") && text.contains("$forked_from"),
        "{text}"
    );
    assert!(!text.contains("opening"), "{text}");

    let again = tempfile_store(out.path());
    assert_eq!(tree(exported(&again).path()), tree(out.path()));
    let runtime = runtime_of(&again, "r");
    // The work is that of an earlier opening, also after this one opened some.
    runtime.open_work(&fork, "mine", "").unwrap();
    let left = again.unfinished().unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!((&*left[0].name, &*left[0].note), ("call", "search"));
    assert_eq!(once(&runtime, "first").unwrap(), sent);
    let reused = once(&runtime, "second").unwrap_err();
    assert!(matches!(reused, RuntimeError::KeyReused { .. }), "{reused}");
    let from = runtime.attributes(&fork).unwrap();
    let from: serde_json::Value = from.get("$forked_from").unwrap();
    assert_eq!(from["worker_id"], worker.worker_id.as_str());
    let entries = of_entries(&runtime);
    let redacted = entries.iter().filter(|entry| entry.contains("$redacted"));
    assert_eq!(redacted.count(), 2, "{entries:?}");
    assert!(again.verify().unwrap().is_clean());
}

#[test]
fn attributes_that_differ_are_reported_by_compare() {
    let store = store();
    let runtime = runtime_of(&store, "r");
    let worker = new_worker(&runtime);
    say(&runtime, &worker, "hello").unwrap();
    let out = exported(&store);
    assert!(compare(&store, out.path()).unwrap().is_same());
    runtime.set_attributes(&worker, of(r#"{"t":1}"#)).unwrap();
    assert!(!compare(&store, out.path()).unwrap().is_same());
    let out = exported(&store);
    assert!(compare(&store, out.path()).unwrap().is_same());
    // A number of this store is not compared.
    runtime.open_work(&worker, "call", "").unwrap();
    let out = exported(&store);
    assert!(compare(&store, out.path()).unwrap().is_same());
    let line = |line: &str| with_member(line, r#""attributes":{"a":1}"#);
    assert!(edit_entry(out.path(), line));
    let comparison = compare(&store, out.path()).unwrap();
    assert_eq!(comparison.total_differences, 1, "{comparison:?}");
}

#[test]
fn import_gives_change_numbers_anew() {
    let store = store();
    let runtime = runtime_of(&store, "r");
    let workers: Vec<_> = (0..3).map(|_| new_worker(&runtime)).collect();
    for _ in 0..5 {
        say(&runtime, &workers[1], "hello").unwrap();
    }
    let changes = |store: &Store| -> (Vec<u64>, u64) {
        let page = runtime_of(store, "r")
            .workers(&WorkerFilter::new())
            .unwrap();
        let mut all: Vec<_> = page.workers.iter().map(|worker| worker.change).collect();
        all.sort_unstable();
        (all, page.last_change)
    };
    let out = exported(&store);
    let again = tempfile_store(out.path());
    assert_eq!(changes(&again), (vec![1, 2, 3], 3));
    // A replacement is later than all changes before: a mirror sees it.
    let (_, last) = changes(&store);
    let replace = ImportOptions::new().replace(true);
    let other = exported(&again);
    edit_worker(other.path(), |text| with_member(text, r#""x": 1"#));
    import(&store, other.path(), replace).unwrap();
    assert_eq!(
        changes(&store),
        (vec![last + 1, last + 2, last + 3], last + 3)
    );
    assert!(store.verify().unwrap().is_clean());
}

/// An archive has entries that the store has pruned, and times.
#[test]
fn update_writes_only_redacted_lines_anew() {
    let store = store();
    let runtime = runtime_of(&store, "r");
    let worker = new_worker(&runtime);
    for number in 0..6 {
        say(&runtime, &worker, &format!("SECRET {number}")).unwrap();
    }
    let root = tempfile::tempdir().unwrap();
    let options = |times| {
        let update = ExportOptions::new().existing(ExistingDirectory::Update);
        update.times(times)
    };
    export(&store, root.path(), options(true)).unwrap();
    let log = || fs::read_to_string(&files(root.path(), "transcript.jsonl")[0]).unwrap();
    let before = log();
    let policy = Retention::new().keep_entries(4);
    runtime.prune(&policy, PruneOptions::new()).unwrap();
    runtime.redact_entries(&worker, [3, 5], "gone").unwrap();
    say(&runtime, &worker, "later").unwrap();
    let report = export(&store, root.path(), options(false)).unwrap();
    let counts = &report.runtimes[0];
    assert_eq!((counts.redacted_entries, counts.transcript_entries), (2, 1));
    let after = log();
    let lines: Vec<_> = after.lines().collect();
    assert_eq!(lines.len(), 7);
    for (place, line) in before.lines().enumerate() {
        let is_redacted = [3, 5].contains(&place);
        assert_eq!(lines[place] == line, !is_redacted, "{}", lines[place]);
        assert_eq!(lines[place].contains("SECRET"), !is_redacted);
        assert!(lines[place].contains("recorded_at"), "{}", lines[place]);
    }
    assert!(compare(&store, root.path()).unwrap().is_same());
    let again = export(&store, root.path(), options(false)).unwrap();
    assert_eq!(again.runtimes[0].redacted_entries, 0);
    assert_eq!(log(), after);
    // A directory with the text of an entry that the store has unchanged is still refused.
    let path = &files(root.path(), "transcript.jsonl")[0];
    fs::write(path, after.replace("SECRET 4", "SECRET 9")).unwrap();
    export(&store, root.path(), options(false)).unwrap_err();
}
