//! Importing a directory again: what is recognised, refused, replaced and recorded.

use super::layout_moves::{demo, go_on, imported};
use super::layout_support::*;
use redb_runtime_store::Store;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::layout::{
    FindingKind, ImportOptions, ImportOutcome, ImportReport, LayoutError, check, compare, import,
};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn outcome(store: &Store, root: &Path, options: &ImportOptions) -> ImportOutcome {
    import(store, root, options).unwrap().runtimes[0].outcome
}

#[test]
fn same_source_is_recognised_after_later_writes() {
    let options = ImportOptions::new();
    let store = imported();
    assert_eq!(
        outcome(&store, SMALL.as_ref(), &options),
        ImportOutcome::AlreadyImported
    );
    go_on(&store);
    let before = content(&store);
    assert_eq!(
        outcome(&store, SMALL.as_ref(), &options),
        ImportOutcome::AlreadyImported
    );
    assert_eq!(
        outcome(&store, small().path(), &options),
        ImportOutcome::AlreadyImported
    );
    let salvage = ImportOptions::new().salvage(true);
    assert_eq!(
        outcome(&store, SMALL.as_ref(), &salvage),
        ImportOutcome::AlreadyImported
    );
    assert_eq!(content(&store), before);
}

#[test]
fn equal_directory_counts_as_already_imported() {
    let store = imported();
    go_on(&store);
    let out = exported(&store);
    let options = ImportOptions::new();
    assert_eq!(
        outcome(&store, out.path(), &options),
        ImportOutcome::AlreadyImported
    );
}

/// The bytes that an import of `root` reads, and how it ends. The callback for progress is called with
/// every read.
fn bytes_read(
    store: &Store,
    root: &Path,
    options: ImportOptions,
) -> (u64, Result<ImportReport, LayoutError>) {
    let read = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&read);
    let options = options.on_progress(move |progress| {
        count.store(progress.bytes_done, Ordering::Relaxed);
    });
    let done = import(store, root, &options);
    (read.load(Ordering::Relaxed), done)
}

#[test]
fn changed_runtime_is_read_at_most_twice() {
    let size = |root: &Path| {
        let files = tree(root).into_values().flatten();
        files.map(|content| content.len() as u64).sum::<u64>()
    };
    let store = imported();
    let (read, unchanged) = bytes_read(&store, SMALL.as_ref(), ImportOptions::new());
    assert_eq!(read, size(SMALL.as_ref()), "the fingerprint alone decides");
    unchanged.unwrap();

    let changed = small();
    let document = runtime_dir(changed.path()).join("runtime.json");
    edit(&document, "A small", "Another");
    let once = size(changed.path());
    let (read, refused) = bytes_read(&store, changed.path(), ImportOptions::new());
    assert_eq!(read, 2 * once, "for its fingerprint, then to compare it");
    let refused = refused.unwrap_err();
    assert!(matches!(refused, LayoutError::Conflict { .. }), "{refused}");
    let salvage = ImportOptions::new().salvage(true);
    let (read, skipped) = bytes_read(&store, changed.path(), salvage);
    assert_eq!(read, 2 * once, "with salvage too");
    assert_eq!(skipped.unwrap().count(ImportOutcome::Skipped), 1);
    let replace = ImportOptions::new().replace(true);
    let (read, replaced) = bytes_read(&store, changed.path(), replace);
    assert_eq!(read, once, "a replacement compares nothing");
    assert_eq!(replaced.unwrap().count(ImportOutcome::Replaced), 1);
}

#[test]
fn grown_source_is_refused_unless_replacing() {
    let dir = small();
    let store = store();
    strict(&store, dir.path()).unwrap();
    let event = r#"{"id":9,"kind":{"kind":"runtime_stopped"},"message":"late"}"#;
    append(
        &runtime_dir(dir.path()).join("events.jsonl"),
        format!("{event}\n").as_bytes(),
    );
    edit(
        &runtime_dir(dir.path()).join("runtime.json"),
        "\"next_event_id\": 9",
        "\"next_event_id\": 10",
    );
    let before = content(&store);

    let error = strict(&store, dir.path()).unwrap_err();
    assert!(matches!(error, LayoutError::Conflict { .. }), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("line 9: the store does not have event id 9"),
        "{text}"
    );
    assert!(
        text.contains("next_event_id is 10 in the directory and 9 in the store"),
        "{text}"
    );
    assert!(
        text.contains("replace these runtimes or leave them out"),
        "{text}"
    );
    assert!(!text.contains("--"), "the library names no option: {text}");

    let report = salvage(&store, dir.path());
    assert_eq!(report.runtimes[0].outcome, ImportOutcome::Skipped);
    assert_eq!(report.findings[0].kind, FindingKind::Conflict);
    assert_eq!(content(&store), before);

    let replace = ImportOptions::new().replace(true);
    let dry = replace.clone().dry_run(true);
    assert_eq!(outcome(&store, dir.path(), &dry), ImportOutcome::Replaced);
    assert_eq!(content(&store), before);
    assert_eq!(
        outcome(&store, dir.path(), &replace),
        ImportOutcome::Replaced
    );
    assert!(compare(&store, dir.path()).unwrap().is_same());
}

#[test]
fn unreadable_runtime_replaces_nothing_in_salvage() {
    let dir = small();
    let store = store();
    strict(&store, dir.path()).unwrap();
    let before = content(&store);
    let document = runtime_dir(dir.path()).join("runtime.json");
    edit(&document, "\"fs_store\"", "\"other\"");
    let options = ImportOptions::new().salvage(true).replace(true);
    assert_eq!(
        outcome(&store, dir.path(), &options),
        ImportOutcome::Skipped
    );
    assert_eq!(content(&store), before);
    assert!(import(&store, dir.path(), ImportOptions::new().replace(true)).is_err());
    assert_eq!(content(&store), before);
}

#[test]
fn dry_run_finds_same_and_writes_nothing() {
    let dir = small();
    append(&runtime_dir(dir.path()).join("events.jsonl"), b"{\"id\":9");
    let salvage = ImportOptions::new().salvage(true);
    let dry = salvage.clone().dry_run(true);
    let store = store();
    let planned = import(&store, dir.path(), &dry).unwrap();
    assert_eq!(check(dir.path(), &salvage).unwrap(), planned);
    assert_eq!(content(&store), Vec::<String>::new());
    assert_eq!(import(&store, dir.path(), &salvage).unwrap(), planned);
    let error = check(dir.path(), ImportOptions::new()).unwrap_err();
    assert!(matches!(error, LayoutError::Refused { .. }), "{error}");
}

#[test]
fn store_records_the_findings_of_imports() {
    let dir = small();
    append(
        &runtime_dir(dir.path()).join("events.jsonl"),
        b"{\"id\":9\xff",
    );
    let store = store();
    let report = salvage(&store, dir.path());
    let record = store
        .snapshot()
        .unwrap()
        .import_record(&demo())
        .unwrap()
        .unwrap();
    let findings: Vec<String> = report
        .findings
        .iter()
        .map(|finding| serde_json::to_string(finding).unwrap())
        .collect();
    assert_eq!(record.findings, findings);
    assert!(
        findings[0].contains("\"text_hex\":\"7b226964223a39ff\""),
        "{findings:?}"
    );
    assert!(record.salvaged);
    assert_eq!(
        (record.workers, record.events, record.transcript_entries),
        (2, 8, 4)
    );
    assert_eq!(record.bytes, report.runtimes[0].bytes);
}

#[test]
fn salvage_continues_past_a_bad_runtime() {
    let clean = several();
    let alpha = clean.path().join("runtimes").join(dir_of("runtime-alpha"));
    edit(&alpha.join("runtime.json"), "\"fs_store\"", "\"other\"");
    fs::create_dir(clean.path().join("runtimes/backup")).unwrap();
    let store = store();
    let report = salvage(&store, clean.path());
    assert_eq!(report.count(ImportOutcome::Imported), 2);
    assert_eq!(report.count(ImportOutcome::Skipped), 1);
    assert_eq!(report.findings[0].kind, FindingKind::InvalidName);
    assert!(report.has_losses());

    let only = ImportOptions::new().runtimes([RuntimeId::new("r").unwrap()]);
    let other = super::layout_support::store();
    assert_eq!(
        import(&other, clean.path(), &only).unwrap().runtimes.len(),
        1
    );
    let missing = ImportOptions::new().runtimes([demo()]);
    let error = import(&other, clean.path(), &missing).unwrap_err();
    assert!(
        matches!(error, LayoutError::RuntimeNotInDirectory { .. }),
        "{error}"
    );
}
