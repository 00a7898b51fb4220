//! The texts of what a salvage leaves out: in the report and in the store.

use super::layout_later::{id_of, of_form};
use super::layout_salvage::salvaged;
use super::layout_states::{events, runtime_json, transcript, worker_json};
use super::layout_support::*;
use crate::support::named;
use redb_runtime_store::Store;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::layout::{FindingKind, ImportOptions, ImportReport, import};
use std::fs;

/// Asserts that the report has `bytes` as the text of a finding about a file of that name, and the store too.
fn assert_kept(store: &Store, report: &ImportReport, name: &str, bytes: &[u8]) {
    let is_it = |finding: &&redb_runtime_store::layout::Finding| {
        let text = finding.text.as_ref().map(|text| text.as_bytes());
        finding.path.ends_with(name) && text == Some(bytes)
    };
    let finding = report.findings.iter().find(is_it);
    let finding = finding.unwrap_or_else(|| panic!("{name}: {report:?}"));
    let json = serde_json::to_string(finding).unwrap();
    let snapshot = store.snapshot().unwrap();
    let id = RuntimeId::new("demo").unwrap();
    let record = snapshot.import_record(&id).unwrap().unwrap();
    assert!(record.findings.contains(&json), "{name}");
}

#[test]
fn texts_of_left_out_workers_are_whole() {
    let dir = small();
    edit(
        &worker_json(dir.path()),
        "\"worker_id\": \"worker-00000001\"\n",
        "\"worker_id\": \"w\"\n",
    );
    let (document, entries) = (
        fs::read(worker_json(dir.path())).unwrap(),
        fs::read(transcript(dir.path())).unwrap(),
    );
    let (store, report) = salvaged(dir.path());
    assert_eq!(report.runtimes[0].workers, 1);
    assert_kept(&store, &report, "worker.json", &document);
    assert_kept(&store, &report, "transcript.jsonl", &entries);
}

#[test]
fn texts_of_left_out_runtimes_are_whole() {
    let dir = small();
    edit(&runtime_json(dir.path()), "\"fs_store\"", "\"other\"");
    let (store, report) = salvaged(dir.path());
    assert_eq!(report.runtimes[0].workers, 0);
    for (path, content) in tree(&runtime_dir(dir.path())) {
        if let Some(content) = content {
            assert_kept(&store, &report, path.to_str().unwrap(), &content);
        }
    }
}

#[test]
fn text_of_a_damaged_document_is_whole() {
    let dir = small();
    let damaged = b"{\"schema_version\": 1, \"request\": {\"intent\": \xFF";
    fs::write(worker_json(dir.path()), damaged).unwrap();
    let (store, report) = salvaged(dir.path());
    assert_eq!(report.findings[0].kind, FindingKind::InvalidDocument);
    assert_kept(&store, &report, "worker.json", damaged);
}

/// The texts that the store has besides the findings: path and bytes.
fn stored_texts(store: &Store, id: Option<&RuntimeId>) -> Vec<(String, Vec<u8>)> {
    let snapshot = store.snapshot().unwrap();
    let files = match id {
        Some(id) => snapshot.kept_files(id).unwrap(),
        None => snapshot.kept_files_of_no_runtime().unwrap(),
    };
    let text = |file: &redb_runtime_store::store::KeptFile| {
        let mut bytes = Vec::new();
        snapshot.write_kept_file(id, file, &mut bytes).unwrap();
        (file.path.to_str().unwrap().to_owned(), bytes)
    };
    files.iter().map(text).collect()
}

#[test]
fn texts_beyond_the_list_of_findings_are_stored() {
    let dir = small();
    let path = events(dir.path());
    let before = fs::metadata(&path).unwrap().len();
    let line = |n: usize| format!("bad line {n}");
    for n in 0..10_003 {
        append_line(&path, &line(n));
    }
    let (store, report) = salvaged(dir.path());
    let id = RuntimeId::new("demo").unwrap();
    let texts = stored_texts(&store, Some(&id));
    assert_eq!(texts.len(), 3);
    let lengths: usize = (0..10_000).map(|n| line(n).len() + 1).sum();
    let (name, bytes) = &texts[0];
    assert_eq!(
        *name,
        format!("left-out/events.jsonl@{}~1", before as usize + lengths)
    );
    assert_eq!(*bytes, line(10_000).as_bytes());
    assert_eq!(report.runtimes[0].events, 8);
    // The export has them as files; damaged again, they stay what they are.
    let out = exported(&store);
    for n in 0..10_003 {
        append_line(&events(out.path()), &line(n));
    }
    let (again, _) = salvaged(out.path());
    // The finding about them takes the place of one of the others.
    assert_eq!(stored_texts(&again, Some(&id)).len(), 3 + 4);
}

fn append_line(path: &std::path::Path, line: &str) {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

#[test]
fn texts_over_the_limits_are_stored_whole() {
    let dir = small();
    // A line beyond the limit of lines, and a damaged document beyond that of the texts of all findings.
    let line = "x".repeat(3 << 20);
    append_line(&transcript(dir.path()), &line);
    let options = ImportOptions::new().salvage(true).max_line_bytes(1 << 20);
    fs::write(
        worker_dir(dir.path(), 2).join("worker.json"),
        vec![0; 12 << 20],
    )
    .unwrap();
    let store = store();
    let report = import(&store, dir.path(), &options).unwrap();
    let id = RuntimeId::new("demo").unwrap();
    let long =
        |finding: &&redb_runtime_store::layout::Finding| finding.kind == FindingKind::LineTooLong;
    let finding = report.findings.iter().find(long).unwrap();
    assert_eq!(finding.length, Some(3 << 20));
    assert_eq!(finding.text.as_ref().unwrap().as_bytes(), line.as_bytes());
    let texts = stored_texts(&store, Some(&id));
    assert_eq!(
        texts.len(),
        1,
        "{:?}",
        texts.iter().map(|text| &text.0).collect::<Vec<_>>()
    );
    assert_eq!(texts[0].0, "left-out/worker.json@0~1");
    assert!(texts[0].1 == vec![0; 12 << 20]);
}

#[test]
fn texts_of_left_out_runtimes_are_stored_whole() {
    let dir = small();
    edit(&runtime_json(dir.path()), "\"fs_store\"", "\"other\"");
    fs::write(transcript(dir.path()), vec![0; 65 << 20]).unwrap();
    let store = store();
    salvage(&store, dir.path());
    let texts = stored_texts(&store, None);
    assert_eq!(texts.len(), 1);
    assert_eq!(
        texts[0].0,
        "left-out/id-64656d6f/worker worker-00000001/transcript.jsonl@0~1"
    );
    assert_eq!(texts[0].1.len(), 65 << 20);
}

#[test]
fn texts_of_a_worker_in_the_root_go_with_it() {
    let dir = of_form("f");
    let document = dir.path().join("workers/1/worker.json");
    fs::write(document, vec![0; 12 << 20]).unwrap();
    let store = store();
    salvage(&store, dir.path());
    let id = RuntimeId::new(id_of("f")).unwrap();
    // Each worker has its observations, too.
    let names = || -> Vec<String> {
        let texts = stored_texts(&store, Some(&id)).into_iter();
        texts.map(|(path, _)| path).collect()
    };
    let of_two = "observations.jsonl";
    assert_eq!(names(), ["left-out/worker.json@0~1", of_two, of_two]);
    let runtime = store.runtime(named(id_of("f"))).unwrap();
    let worker = runtime.list_workers().unwrap()[0].worker_ref.clone();
    runtime.stop_worker(&worker, None).unwrap();
    runtime.delete_worker(&worker).unwrap();
    assert_eq!(names(), [of_two]);
}

#[test]
fn texts_of_an_earlier_salvage_keep_their_names() {
    let dir = small();
    let worker = worker_dir(dir.path(), 2);
    fs::write(worker.join("worker.json"), vec![0; 12 << 20]).unwrap();
    fs::create_dir(worker.join("left-out")).unwrap();
    fs::write(worker.join("left-out/worker.json@0~1"), "earlier").unwrap();
    let store = store();
    salvage(&store, dir.path());
    let id = RuntimeId::new("demo").unwrap();
    let texts = stored_texts(&store, Some(&id));
    let found: Vec<_> = texts
        .iter()
        .map(|(path, text)| (path.as_str(), text.len()))
        .collect();
    assert_eq!(
        found,
        [
            ("left-out/worker.json@0~1", "earlier".len()),
            ("left-out/worker.json@0~2", 12 << 20)
        ]
    );
}
