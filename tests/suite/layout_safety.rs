//! Untrusted directories: no link is followed, no number is trusted, and no file is held in memory as a
//! whole.

use super::layout_support::*;
use redb_runtime_store::identity::MAX_ID_BYTES;
use redb_runtime_store::layout::{
    CompareOptions, DEFAULT_MAX_LINE_BYTES, ExistingDirectory, ExportOptions, Finding, FindingKind,
    ImportOptions, ImportOutcome, LayoutError, check, compare, compare_with, export, import,
};
use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

/// The finding of a strict import for `line` as the ninth event, which is not an event.
fn refused_line(line: &[u8]) -> Finding {
    let dir = small();
    append(&runtime_dir(dir.path()).join("events.jsonl"), line);
    append(&runtime_dir(dir.path()).join("events.jsonl"), b"\n");
    let report = salvage(&store(), dir.path());
    let found = report.findings.iter().find(|f| f.line == Some(9)).unwrap();
    assert_eq!(report.runtimes[0].events, 8);
    assert_eq!(found.byte, Some(1097));
    assert_eq!(found.text.as_ref().unwrap().as_bytes(), line);
    match strict(&store(), dir.path()) {
        Err(LayoutError::Refused { findings, .. }) => {
            assert_eq!(findings[0], *found);
            findings.into_iter().next().unwrap()
        }
        other => panic!("not refused: {other:?}"),
    }
}

fn event(message: &str) -> String {
    format!(r#"{{"id":9,"kind":{{"kind":"runtime_stopped"}},"message":{message}}}"#)
}

fn with_member(member: &str) -> String {
    format!("{},{member}}}", event("\"m\"").trim_end_matches('}'))
}

#[test]
fn invalid_lines_are_refused_with_position() {
    let deep = format!("{{\"id\":{}1{}}}", "[".repeat(200), "]".repeat(200));
    let cases: [(Vec<u8>, &str); 13] = [
        (
            b"[9,null,{\"kind\":\"runtime_stopped\"},\"m\"]".to_vec(),
            "a JSON object was expected",
        ),
        (event("\"a\u{0}b\"").into_bytes(), "control character"),
        (b"\0\0\0\0".to_vec(), "expected value"),
        (
            b"{\"id\":9,\"message\":\"\xff\xfe\"}".to_vec(),
            "it is not UTF-8 at byte 19",
        ),
        (deep.into_bytes(), "invalid type: sequence, expected u64"),
        (
            event("\"m\"")
                .replace(":9,", ":99999999999999999999999,")
                .into_bytes(),
            "/id: the number 99999999999999999999999 does not fit into 64 bits at byte 28",
        ),
        (
            event("\"m\"").replace(":9,", ":-1,").into_bytes(),
            "invalid value: integer `-1`",
        ),
        (
            event("\"m\"").replace(":9,", ":9.0,").into_bytes(),
            "invalid type: floating point",
        ),
        (
            event("\"m\"").replace(":9,", ":9,\"id\":9,").into_bytes(),
            "duplicate field `id`",
        ),
        (
            event("\"\\ud800\"").into_bytes(),
            "unexpected end of hex escape",
        ),
        (b"null".to_vec(), "a JSON object was expected at byte 0"),
        (
            event("\"m\"")
                .replace("{\"kind\":\"runtime_stopped\"}", "[\"runtime_stopped\"]")
                .into_bytes(),
            "/kind: a JSON object was expected at byte 15",
        ),
        (
            event("0").into_bytes(),
            "/message: invalid type: integer `0`, expected a string",
        ),
    ];
    for (line, says) in cases {
        let finding = refused_line(&line);
        assert!(finding.message.contains(says), "{says:?}: {finding}");
    }
}

#[test]
fn unknown_members_survive_depth_and_huge_numbers() {
    let dir = small();
    let root = dir.path();
    let nested = format!("{}1e999999{}", "[".repeat(100_000), "]".repeat(100_000));
    let line = with_member(&format!("\"x\":{nested}"));
    append(
        &runtime_dir(root).join("events.jsonl"),
        format!("{line}\n").as_bytes(),
    );
    edit(
        &runtime_dir(root).join("runtime.json"),
        "event_id\": 9",
        "event_id\": 10",
    );
    let store = store();
    strict(&store, root).unwrap();
    assert_eq!(tree(exported(&store).path()), tree(root));
}

#[test]
fn unrepresentable_values_survive_in_tagged_objects() {
    let nested = format!("{}1{}", "[".repeat(300), "]".repeat(300));
    for kept in ["1e999", "\"\\ud800\"", &nested] {
        let dir = small();
        let root = dir.path();
        let worker = worker_dir(root, 1).join("worker.json");
        let purpose = "\"purpose\": \"answers questions\"";
        edit(
            &worker,
            purpose,
            &format!("{purpose},\n      \"x\": {kept}"),
        );
        let profile = "\"kind\": \"runtime_default\"";
        edit(
            &worker,
            profile,
            &format!("{profile},\n      \"y\": {kept}"),
        );
        let events = runtime_dir(root).join("events.jsonl");
        let kind = "{\"kind\":\"runtime_started\"";
        edit(&events, kind, &format!("{kind},\"z\":{kept}"));
        let store = store();
        let report = strict(&store, root).unwrap();
        assert!(report.findings.is_empty(), "{:?}", report.findings);
        assert_eq!(tree(exported(&store).path()), tree(root));
        // A member that belongs to the kind is not unknown.
        edit(&worker, "\"answers questions\"", kept);
        strict(&store, root).unwrap_err();
    }
}

#[test]
fn oversized_document_is_recognised_again() {
    let dir = small();
    let worker = worker_dir(dir.path(), 1).join("worker.json");
    let options = ImportOptions::new().salvage(true).max_document_bytes(1000);
    edit(&worker, "answers", &"x".repeat(1000));
    let store = store();
    import(&store, dir.path(), &options).unwrap();
    let again = import(&store, dir.path(), &options).unwrap();
    assert_eq!(again.runtimes[0].outcome, ImportOutcome::AlreadyImported);
    edit(&worker, "xx", "yy");
    let changed = import(&store, dir.path(), &options).unwrap();
    assert_eq!(changed.runtimes[0].outcome, ImportOutcome::Skipped);
    let is_conflict = |finding: &Finding| finding.kind == FindingKind::Conflict;
    assert!(changed.findings.iter().any(is_conflict));
}

#[test]
fn exports_stay_within_import_limits() {
    let dir = small();
    let document = runtime_dir(dir.path()).join("runtime.json");
    let text = fs::read_to_string(&document).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    fs::write(&document, value.to_string()).unwrap();
    let long = text.len() as u64;
    let at_most = |bytes| ImportOptions::new().max_document_bytes(bytes);
    import(&store(), dir.path(), at_most(long)).unwrap();
    let refused = import(&store(), dir.path(), at_most(long - 1)).unwrap_err();
    let says = format!("would have {long} bytes, the limit is {}", long - 1);
    assert!(refused.to_string().contains(&says), "{refused}");
}

#[test]
fn unknown_members_export_in_linear_time() {
    let members = |count: usize| vec!["\"a\":0"; count].join(",");
    let dir = small();
    let document = runtime_dir(dir.path()).join("runtime.json");
    edit(
        &document,
        "\"runtime_id\"",
        &format!("{}, \"runtime_id\"", members(60_000)),
    );
    let store = store();
    strict(&store, dir.path()).unwrap();
    // Comparing each with each takes minutes.
    let out = exported(&store);
    strict(&super::layout_support::store(), out.path()).unwrap();
    edit(
        &document,
        "\"runtime_id\"",
        &format!("{}, \"runtime_id\"", members(10_000)),
    );
    let refused = strict(&super::layout_support::store(), dir.path()).unwrap_err();
    let says = "an object has more than 65536 members";
    assert!(refused.to_string().contains(says), "{refused}");
}

#[test]
fn bad_lines_are_salvaged_with_bounded_work() {
    let dir = small();
    let line = format!("{}\n", "{\"id\":1,\"x\":".repeat(4000));
    append(
        &runtime_dir(dir.path()).join("events.jsonl"),
        line.repeat(40).as_bytes(),
    );
    let report = salvage(&store(), dir.path());
    let too_many = |finding: &&Finding| finding.message.starts_with("too many beginnings");
    // The first ones share the work of all others.
    assert!(report.findings.iter().filter(too_many).count() > 30);
    assert_eq!(report.runtimes[0].events, 8);
}

#[test]
fn byte_order_mark_is_reported_and_skipped() {
    let dir = small();
    let events = runtime_dir(dir.path()).join("events.jsonl");
    let text = fs::read(&events).unwrap();
    fs::write(&events, [b"\xEF\xBB\xBF".as_slice(), &text].concat()).unwrap();
    let report = salvage(&store(), dir.path());
    let finding = &report.findings[0];
    assert_eq!(report.runtimes[0].events, 8);
    assert_eq!(
        (finding.line, finding.byte, finding.length),
        (Some(1), Some(0), Some(3))
    );
    assert!(finding.message.contains("byte-order mark"), "{finding}");

    let document = small();
    let path = runtime_dir(document.path()).join("runtime.json");
    let text = fs::read(&path).unwrap();
    fs::write(&path, [b"\xEF\xBB\xBF".as_slice(), &text].concat()).unwrap();
    let error = strict(&store(), document.path()).unwrap_err().to_string();
    let place = "runtime.json, line 1, byte 0: invalid document: it begins with a byte-order mark";
    assert!(error.contains(place), "{error}");
}

#[test]
fn crlf_lines_are_imported_and_reported() {
    let dir = small();
    let events = runtime_dir(dir.path()).join("events.jsonl");
    let text = fs::read_to_string(&events).unwrap();
    let (first, rest) = text.split_once('\n').unwrap();
    fs::write(&events, format!("{first}\n{}", rest.replace('\n', "\r\n"))).unwrap();
    let store = store();
    let report = strict(&store, dir.path()).unwrap();
    let finding = &report.findings[0];
    assert_eq!(finding.kind, FindingKind::LineEnding);
    let second_line = first.len() as u64 + 1;
    assert_eq!((finding.line, finding.byte), (Some(2), Some(second_line)));
    assert!(finding.message.contains("7 lines"), "{finding}");
    assert_eq!(report.runtimes[0].events, 8);
    let exported = exported(&store);
    let again = fs::read(runtime_dir(exported.path()).join("events.jsonl")).unwrap();
    assert_eq!(again, fs::read(&events).unwrap());
}

/// The replaced text of a document, its replacement, the line in the finding, and a part of its
/// message.
type Case = (&'static str, &'static str, Option<u64>, &'static str);

const BAD_DOCUMENTS: [Case; 10] = [
    (
        "\"status\": \"running\"",
        "\"status\": \"idle\"",
        Some(6),
        "unknown variant `idle`",
    ),
    (
        "\"status\": \"running\"",
        "\"status\": {\"running\": null}",
        Some(6),
        "/status: a plain value was expected",
    ),
    (
        "\"severity\": \"info\"",
        "\"severity\": 0",
        Some(17),
        "/diagnostics/0/severity: a string was expected",
    ),
    (
        "\"next_event_id\": 9",
        "\"next_event_id\": 18446744073709551616",
        Some(12),
        "/next_event_id: the number 18446744073709551616 does not fit into 64 bits",
    ),
    (
        "\"backend\": \"fs_store\",",
        "\"backend\": \"fs_store\", \"\\ud800\": 1,",
        Some(5),
        "unexpected end of hex escape",
    ),
    (
        "{\n  \"schema_version\": 1,",
        "[{\n  \"schema_version\": 1,",
        Some(37),
        "EOF while parsing a list",
    ),
    (
        "{\n  \"schema_version\"",
        "\u{feff}{\n  \"schema_version\"",
        Some(1),
        "byte-order mark",
    ),
    (
        "\"backend\": \"fs_store\",",
        "\"backend\": \"fs_store\", \"backend\": \"fs_store\",",
        Some(5),
        "duplicate field `backend`",
    ),
    (
        "\"runtime_id\": \"demo\"",
        "\"runtime_id\": \" \"",
        Some(3),
        "an id must not be blank",
    ),
    ("  ]\n}\n", "  ]\n}\n{}", Some(37), "trailing characters"),
];

#[test]
fn invalid_documents_are_refused_with_position() {
    for (old, new, line, says) in BAD_DOCUMENTS {
        let dir = small();
        let path = runtime_dir(dir.path()).join("runtime.json");
        edit(&path, old, new);
        let Err(LayoutError::Refused { findings, .. }) = strict(&store(), dir.path()) else {
            panic!("{new} is not refused");
        };
        assert_eq!(
            findings[0].kind,
            FindingKind::InvalidDocument,
            "{}",
            findings[0]
        );
        assert_eq!(findings[0].line, line, "{}", findings[0]);
        assert!(findings[0].message.contains(says), "{}", findings[0]);
        let text = findings[0].text.as_ref().unwrap();
        assert_eq!(text.as_bytes(), fs::read(&path).unwrap());
    }
}

#[test]
fn oversized_line_is_refused_without_buffering() {
    let dir = small();
    let transcript = worker_dir(dir.path(), 1).join("transcript.jsonl");
    let options = ImportOptions::new().max_line_bytes(168);
    check(dir.path(), &options).unwrap();
    let options = ImportOptions::new().max_line_bytes(167);
    let Err(LayoutError::Refused { findings, .. }) = check(dir.path(), &options) else {
        panic!("not refused");
    };
    assert_eq!(findings[0].path, transcript);
    assert_eq!(findings[0].kind, FindingKind::LineTooLong);
    assert_eq!((findings[0].line, findings[0].byte), (Some(2), Some(163)));
    assert_eq!(findings[0].length, Some(168));
    assert!(
        findings[0].message.contains("168 bytes, the limit is 167"),
        "{}",
        findings[0]
    );
    let report = check(dir.path(), options.salvage(true)).unwrap();
    assert_eq!(report.runtimes[0].transcript_entries, 3);
}

#[test]
fn special_files_are_never_opened() {
    let dir = small();
    let events = runtime_dir(dir.path()).join("events.jsonl");
    fs::remove_file(&events).unwrap();
    // Opening a pipe for reading would block until a writer opens it.
    let made = Command::new("mkfifo").arg(&events).status().unwrap();
    assert!(made.success());
    let error = strict(&store(), dir.path()).unwrap_err();
    assert!(
        error.to_string().contains("this is a named pipe"),
        "{error}"
    );
    let report = salvage(&store(), dir.path());
    assert_eq!(report.findings[0].kind, FindingKind::NotRegular);

    let dir = small();
    let _socket = UnixListener::bind(runtime_dir(dir.path()).join("s")).unwrap();
    let error = strict(&store(), dir.path()).unwrap_err();
    assert!(error.to_string().contains("this is a socket"), "{error}");
}

/// Imports, and makes `change` after a part of the directory was read.
fn changed_meanwhile(change: fn(&Path)) -> FindingKind {
    changed_meanwhile_from(885, change)
}

/// Imports, and makes `change` after more than `bytes` of the directory were read.
fn changed_meanwhile_from(bytes: u64, change: fn(&Path)) -> FindingKind {
    let dir = small();
    let root = dir.path().to_owned();
    let options = ImportOptions::new().on_progress(move |progress| {
        if progress.bytes_done > bytes && !root.join("changed").exists() {
            fs::write(root.join("changed"), "").unwrap();
            change(&root);
        }
    });
    let store = store();
    let Err(LayoutError::Refused { findings, .. }) = import(&store, dir.path(), &options) else {
        panic!("not refused");
    };
    assert_eq!(content(&store), Vec::<String>::new());
    findings[0].kind
}

#[test]
fn file_changing_during_import_is_refused() {
    let rewritten = changed_meanwhile(|root| {
        let path = runtime_dir(root).join("runtime.json");
        let bytes = fs::read(&path).unwrap();
        fs::write(root.join("new"), bytes).unwrap();
        fs::rename(root.join("new"), path).unwrap();
    });
    assert_eq!(rewritten, FindingKind::Changed);
    let grown = changed_meanwhile(|root| {
        append(&worker_dir(root, 1).join("worker.json"), b" ");
    });
    assert_eq!(grown, FindingKind::Changed);
    let gone = changed_meanwhile(|root| {
        fs::remove_file(worker_dir(root, 1).join("worker.json")).unwrap();
    });
    assert_eq!(gone, FindingKind::Changed);
    let gone_before = changed_meanwhile(|root| {
        fs::remove_dir_all(worker_dir(root, 2)).unwrap();
    });
    assert_eq!(gone_before, FindingKind::Changed);
    // A file that was read to its end and closed is checked again.
    let grown_after = changed_meanwhile_from(885 + 370 + 459, |root| {
        append(&worker_dir(root, 1).join("transcript.jsonl"), b" \n");
    });
    assert_eq!(grown_after, FindingKind::Changed);
    let rewritten_after = changed_meanwhile_from(885 + 370 + 459, |root| {
        edit(
            &worker_dir(root, 1).join("worker.json"),
            "running",
            "stopped",
        );
    });
    assert_eq!(rewritten_after, FindingKind::Changed);
}

#[test]
fn bad_lines_are_counted_past_a_bound() {
    let dir = small();
    let events = runtime_dir(dir.path()).join("events.jsonl");
    append(&events, "x\n".repeat(25_000).as_bytes());
    let report = salvage(&store(), dir.path());
    assert_eq!(report.findings.len(), 10_001);
    let last = report.findings.last().unwrap();
    assert_eq!(last.length, Some(15_000));
    assert!(
        last.message.starts_with("15000 more findings of this kind"),
        "{last}"
    );
}

#[test]
fn compare_names_damage_of_the_directory() {
    let dir = small();
    let store = store();
    strict(&store, dir.path()).unwrap();
    append(&runtime_dir(dir.path()).join("events.jsonl"), b"{\"id\":9");
    let comparison = compare(&store, dir.path()).unwrap();
    assert_eq!(comparison.total_differences, 1);
    assert!(
        comparison.differences[0]
            .to_string()
            .contains("line 9: cut off")
    );
    fs::remove_file(runtime_dir(dir.path()).join("runtime.json")).unwrap();
    assert!(!compare(&store, dir.path()).unwrap().is_same());
}

#[test]
fn compare_and_update_limit_line_length() {
    let dir = small();
    let store = store();
    strict(&store, dir.path()).unwrap();
    let limited = CompareOptions::new().max_line_bytes(100);
    let comparison = compare_with(&store, dir.path(), limited).unwrap();
    let too_long =
        |what: &str| what.contains("line too long: the line has") && what.contains("limit is 100");
    assert!(
        comparison.differences.iter().any(|d| too_long(&d.what)),
        "{comparison:?}"
    );
    let update = ExportOptions::new().existing(ExistingDirectory::Update);
    match export(&store, dir.path(), update.clone().max_line_bytes(100)) {
        Err(LayoutError::NotAPrefix { difference, .. }) => assert!(too_long(&difference.what)),
        other => panic!("not refused: {other:?}"),
    }
    export(&store, dir.path(), &update).unwrap();
    // The default is that of an import. Zeros take no space on disk.
    let log = runtime_dir(dir.path()).join("events.jsonl");
    let log = fs::OpenOptions::new().write(true).open(log).unwrap();
    let length = log.metadata().unwrap().len();
    log.set_len(length + DEFAULT_MAX_LINE_BYTES as u64 + 1)
        .unwrap();
    let comparison = compare(&store, dir.path()).unwrap();
    assert!(
        comparison.differences[0].what.starts_with("line too long"),
        "{comparison:?}"
    );
    let refused = export(&store, dir.path(), &update).unwrap_err().to_string();
    assert!(refused.contains("line too long"), "{refused}");
}

#[test]
fn worker_id_over_limit_is_a_finding() {
    let id = "w".repeat(MAX_ID_BYTES + 1);
    let named = format!(r#"{{"runtime_id":"demo","worker_id":"{id}"}}"#);
    let line = event("\"m\"").replace("\"kind\":{", &format!("\"worker_ref\":{named},\"kind\":{{"));
    let finding = refused_line(line.as_bytes());
    assert_eq!(finding.kind, FindingKind::IdTooLong);
    assert_eq!(
        finding.message,
        "worker_id has 65537 bytes, the limit is 65536"
    );
    // One that is as long as the limit is imported.
    let dir = small();
    let line = line.replace(&id, &id[1..]);
    let log = runtime_dir(dir.path()).join("events.jsonl");
    append(&log, format!("{line}\n").as_bytes());
    edit(
        &runtime_dir(dir.path()).join("runtime.json"),
        "\"next_event_id\": 9",
        "\"next_event_id\": 10",
    );
    strict(&store(), dir.path()).unwrap();
    // And one that a diagnostic names.
    let dir = small();
    let document = runtime_dir(dir.path()).join("runtime.json");
    let diagnostics = fs::read_to_string(&document).unwrap();
    let worker = "\"worker_id\": \"worker-00000001\"";
    assert!(diagnostics.contains(worker), "{diagnostics}");
    fs::write(
        &document,
        diagnostics.replacen(worker, &format!("\"worker_id\": \"{id}\""), 1),
    )
    .unwrap();
    let report = salvage(&store(), dir.path());
    assert!(
        report
            .findings
            .iter()
            .any(|f| f.kind == FindingKind::IdTooLong),
        "{report:?}"
    );
    match strict(&store(), dir.path()) {
        Err(LayoutError::Refused { findings, .. }) => {
            assert_eq!(findings[0].kind, FindingKind::IdTooLong)
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn worker_counter_of_zero_is_raised() {
    let dir = small();
    for worker in [1, 2] {
        fs::remove_dir_all(worker_dir(dir.path(), worker)).unwrap();
    }
    let document = runtime_dir(dir.path()).join("runtime.json");
    edit(
        &document,
        "\"next_worker_sequence\": 3",
        "\"next_worker_sequence\": 0",
    );
    let report = salvage(&store(), dir.path());
    let raised =
        |finding: &Finding| finding.message == "next_worker_sequence is 0, the first worker is 1";
    assert!(report.findings.iter().any(raised), "{report:?}");
    assert_eq!(report.runtimes[0].workers, 0);
}

/// Hosts may leave members out of their JSON. In a document their absence is noticed.
#[test]
fn documents_take_no_default_silently() {
    let intent = "\"intent\": {\n      \"kind\": \"assistant\",\n      \"purpose\": \"answers questions\"\n    }";
    let profile = "\"profile\": {\n      \"kind\": \"runtime_default\"\n    }";
    let both = format!("{intent},\n    {profile}");
    let without_intent = small();
    let document = |dir: &Path| worker_dir(dir, 1).join("worker.json");
    edit(&document(without_intent.path()), &both, profile);
    let early = store();
    strict(&early, without_intent.path()).unwrap();
    // An intent that was taken as the default would be added.
    assert_eq!(tree(exported(&early).path()), tree(without_intent.path()));
    let without_profile = small();
    edit(&document(without_profile.path()), &both, intent);
    let refused = strict(&store(), without_profile.path()).unwrap_err();
    let refused = refused.to_string();
    assert!(refused.contains("missing field `profile`"), "{refused}");
}
