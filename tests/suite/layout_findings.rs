//! Findings about a directory: all records that are left out, with their places, in bounded space.

use super::layout_salvage::{kinds, salvaged};
use super::layout_support::*;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::layout::{FindingKind, ImportOptions, check};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

/// The kinds of what a salvage of the small directory finds after `damage`.
fn found_after(damage: impl FnOnce(&Path)) -> String {
    let dir = small();
    damage(dir.path());
    kinds(&salvaged(dir.path()).1.findings)
}

#[test]
fn large_bad_document_is_not_buffered() {
    let dir = small();
    let path = worker_dir(dir.path(), 1).join("worker.json");
    let file = fs::File::create(&path).unwrap();
    // Each of its bytes takes six in JSON.
    file.set_len(30 << 20).unwrap();
    let salvage = ImportOptions::new().salvage(true);
    let dry = check(dir.path(), &salvage).unwrap();
    let (store, report) = salvaged(dir.path());
    assert_eq!(dry, report);
    assert_eq!(report.runtimes[0].workers, 2);
    let finding = &report.findings[0];
    assert_eq!(finding.kind, FindingKind::InvalidDocument);
    assert_eq!(finding.length, Some(30 << 20));
    let text = finding.text.as_ref().unwrap();
    assert_eq!(text.as_bytes(), [0; 1024]);
    assert!(
        finding.message.contains("the first 1024 bytes"),
        "{finding}"
    );
    let snapshot = store.snapshot().unwrap();
    let id = RuntimeId::new("demo").unwrap();
    let record = snapshot.import_record(&id).unwrap().unwrap();
    assert_eq!(record.findings.len(), report.findings.len());

    file.set_len((64 << 20) + 1).unwrap();
    let (_, report) = salvaged(dir.path());
    let message = "the document has 67108865 bytes, the limit is 67108864";
    let said = &report.findings[0].message;
    assert!(said.starts_with(message), "{said}");
    let options = salvage.max_document_bytes(1000);
    let report = check(dir.path(), &options).unwrap();
    assert!(report.findings[0].message.contains("the limit is 1000 "));
}

#[test]
fn finding_texts_are_cut_past_a_bound() {
    let dir = small();
    let line = format!("\"{}\"\n", "\u{e9}".repeat(10 << 20));
    append(
        &runtime_dir(dir.path()).join("events.jsonl"),
        line.repeat(4).as_bytes(),
    );
    let report = salvage(&store(), dir.path());
    let kept = report.findings.iter().map(|finding| {
        let text = finding.text.as_ref().unwrap().as_str().unwrap();
        (finding.length.unwrap(), text.len() as u64)
    });
    let whole = (20 << 20) + 2;
    let kept: Vec<_> = kept.collect();
    assert_eq!(kept[..3], [(whole, whole); 3]);
    assert_eq!(kept[3], (whole, 1023));
}

#[test]
fn messages_quote_a_bounded_length() {
    let dir = small();
    let path = runtime_dir(dir.path()).join("events.jsonl");
    edit(&path, "runtime_started", &"x".repeat(5000));
    let report = salvage(&store(), dir.path());
    let message = &report.findings[0].message;
    assert!(message.len() < 1100, "{message}");
}

#[test]
fn runtime_left_out_lists_its_files() {
    let foreign = |root: &Path| {
        let document = runtime_dir(root).join("runtime.json");
        edit(&document, "\"fs_store\"", "\"other\"");
    };
    let found = found_after(|root| {
        foreign(root);
        fs::remove_file(worker_dir(root, 1).join("transcript.jsonl")).unwrap();
        symlink("/dev/null", worker_dir(root, 1).join("transcript.jsonl")).unwrap();
        fs::write(worker_dir(root, 1).join("notes"), "").unwrap();
        fs::remove_file(worker_dir(root, 2).join("worker.json")).unwrap();
        fs::create_dir(worker_dir(root, 2).join("worker.json")).unwrap();
        let workers = runtime_dir(root).join("workers");
        fs::write(workers.join("stray"), "").unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        symlink(root.join("elsewhere"), workers.join("zlink")).unwrap();
    });
    let expected = "unsupported: runtime.json 5 96 882\norphaned: events.jsonl 1097\n\
        orphaned: notes\norphaned: worker.json 384\nnot a regular file: transcript.jsonl\n\
        not a regular file: worker.json\norphaned: transcript.jsonl 165\n\
        orphaned: stray 0\nnot a regular file: zlink\n";
    assert_eq!(found, expected);
    let found = found_after(|root| {
        foreign(root);
        fs::remove_dir_all(runtime_dir(root).join("workers")).unwrap();
        fs::create_dir(root.join("elsewhere")).unwrap();
        symlink(root.join("elsewhere"), runtime_dir(root).join("workers")).unwrap();
    });
    let expected = "unsupported: runtime.json 5 96 882\norphaned: events.jsonl 1097\n\
        not a regular file: workers\n";
    assert_eq!(found, expected);
}

#[test]
fn misnamed_directory_is_stored_whole() {
    let found = found_after(|root| {
        let runtimes = root.join("runtimes");
        copy(&runtime_dir(root), &runtimes.join("id-64656D70"));
    });
    assert_eq!(found, "invalid name: id-64656D70\n");
}

#[test]
fn misnamed_directory_is_recorded_in_the_store() {
    let dir = small();
    let runtimes = dir.path().join("runtimes");
    copy(&runtime_dir(dir.path()), &runtimes.join("oops"));
    let (store, report) = salvaged(dir.path());
    let snapshot = store.snapshot().unwrap();
    let record = snapshot.import_record_without_runtime().unwrap().unwrap();
    assert_eq!(record.findings.len(), report.findings.len());
    assert_eq!(kinds(&report.findings), "invalid name: oops\n");
    assert_eq!(snapshot.kept_files_of_no_runtime().unwrap().len(), 6);
    let out = exported(&store);
    let oops = out.path().join("runtimes/oops");
    assert!(!tree(&oops).is_empty() && tree(&oops) == tree(&runtimes.join("oops")));
}

#[test]
fn leftover_of_killed_replacement_is_temporary_file() {
    let dir = small();
    fs::create_dir(dir.path().join("runtimes/.export.old-1-2")).unwrap();
    let report = strict(&store(), dir.path()).unwrap();
    let found = kinds(&report.findings);
    assert_eq!(found, "temporary file: .export.old-1-2\n");
}
