//! Each command takes a URL where it takes a file.

use crate::runs::{GOLDEN, SHARED, SMALL, connect, new_url, program, run, runtime};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::interaction::WorkerInput;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

#[test]
fn directory_comes_back_byte_for_byte() {
    let url = new_url();
    let work = tempfile::tempdir().unwrap();
    let root = work.path().join("exported");
    let dry = run(&[&"import", &SMALL, &url, &"--dry-run"]);
    let shown = dry.expect_code(0).stdout();
    assert!(shown.contains("would import: 1 runtime"), "{shown}");
    run(&[&"runtimes", &url]).expect_code(1);
    run(&[&"import", &SMALL, &url]).expect_code(0);
    let again = run(&[&"import", &SMALL, &url]).expect_code(0).stdout();
    assert_eq!(again, "already imported: 1 runtime\n");
    run(&[&"compare", &SMALL, &url]).expect_code(0);
    run(&[&"compare", &url, &SMALL]).expect_code(0);
    run(&[&"export", &url, &root]).expect_code(0);
    let different = std::process::Command::new("diff")
        .args(["-r", SMALL])
        .arg(&root)
        .output();
    assert!(different.unwrap().status.success());
}

#[test]
fn damaged_directory_creates_no_schema() {
    let url = new_url();
    let work = tempfile::tempdir().unwrap();
    let runtime = work.path().join("runtimes/id-62");
    fs::create_dir_all(&runtime).unwrap();
    fs::write(runtime.join("runtime.json"), "{").unwrap();
    run(&[&"import", &work.path(), &url]).expect_code(4);
    run(&[&"runtimes", &url]).expect_code(1);
    // Reading a store does not create it, either.
    let missing = run(&[&"compact", &url]);
    missing.expect_code(0);
    run(&[&"verify", &url]).expect_code(1);
    run(&[&"rename", &url, &"x"]).expect_code(1);
    run(&[&"runtimes", &url]).expect_code(1);
}

#[test]
fn every_reading_command_works() {
    let url = new_url();
    let work = tempfile::tempdir().unwrap();
    run(&[&"copy", &GOLDEN, &url]).expect_code(0);
    let report = work.path().join("report.html");
    let runtimes = run(&[&"runtimes", &url, &"--json"]).expect_code(0).stdout();
    let first: serde_json::Value = serde_json::from_str(runtimes.lines().next().unwrap()).unwrap();
    let id = first["runtime_id"].as_str().unwrap().to_owned();
    for verb in ["workers", "events", "diagnostics"] {
        let there = run(&[&verb, &url, &"--runtime", &id, &"--json"]);
        let here = run(&[&verb, &GOLDEN, &"--runtime", &id, &"--json"]);
        assert_eq!(
            there.expect_code(0).stdout(),
            here.expect_code(0).stdout(),
            "{verb}"
        );
    }
    for verb in ["stats", "imports", "unfinished", "verify"] {
        run(&[&verb, &url]).expect_code(0);
        run(&[&verb, &url, &"--json"]).expect_code(0);
    }
    let found = |store: &str| {
        let found = run(&[&"search", &store, &"e", &"--runtime", &id, &"--json"]);
        found.expect_code(0).stdout()
    };
    assert_eq!(found(&url), found(GOLDEN));
    run(&[&"report", &url, &"--verify", &"-o", &report]).expect_code(0);
    let html = fs::read_to_string(report).unwrap();
    assert!(html.contains("schema=program_"), "the name of the store");
    let verified = run(&[&"verify", &url]);
    assert!(verified.stderr().contains("the pages are the server's"));
}

#[test]
fn backup_is_a_file_and_the_server_compacts() {
    let url = new_url();
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("backup.redb");
    run(&[&"copy", &GOLDEN, &url]).expect_code(0);
    run(&[&"backup", &url, &file]).expect_code(0);
    run(&[&"compare", &url, &file]).expect_code(0);
    run(&[&"compare", &GOLDEN, &file]).expect_code(0);
    run(&[&"verify", &file]).expect_code(0);
    let compacted = run(&[&"compact", &url]).expect_code(0).stdout();
    assert!(compacted.contains("autovacuum"), "{compacted}");
    for arguments in [vec![], vec!["--dry-run"]] {
        let mut command = program();
        command.args(["migrate", &url]).args(arguments);
        let output = command.output().unwrap();
        let shown = String::from_utf8_lossy(&output.stdout);
        assert!(shown.contains("is the newest"), "{shown}");
    }
}

/// Commands that change a store do so while a host writes.
#[test]
fn changes_work_beside_a_host() {
    let url = new_url();
    let host = connect(&url);
    let live = runtime(&host, "live");
    let worker = live
        .create_worker(CreateWorkerRequest::default())
        .unwrap()
        .worker_ref;
    let (is_over, live) = (AtomicBool::new(false), &live);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                live.send_input(&worker, WorkerInput::user("hello"))
                    .unwrap();
            }
        });
        run(&[&"import", &SMALL, &url]).expect_code(0);
        let on = |verb: &str, rest: &[&str]| {
            let mut command = program();
            command.arg(verb).arg(&url).args(rest);
            let output = command.output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{verb} {rest:?}: {error}");
        };
        let demo = ["--runtime", "demo"];
        on("rename", &["Renamed", "--runtime", "demo"]);
        on("pin", &[&["worker-00000001"], &demo[..]].concat());
        on("set-limits", &[&["--events", "10"], &demo[..]].concat());
        on(
            "prune",
            &[&["--keep-events", "2", "--yes"], &demo[..]].concat(),
        );
        on("redact", &[&["e", "--yes"], &demo[..]].concat());
        on("stop-runtime", &demo);
        on("delete-runtime", &["demo", "--yes"]);
        on("verify", &[]);
        is_over.store(true, Ordering::Relaxed);
    });
    run(&[&"workers", &url, &"--runtime", &"demo"]).expect_code(1);
    assert!(live.worker_detail(&worker).unwrap().transcript_len > 0);
}

/// Not in an error of the connection, of the arguments, or of the store.
#[test]
fn password_is_in_no_message() {
    let port = SHARED.primary().port();
    let wrong = [
        format!("postgres://me:secret@127.0.0.1:{port}/nowhere?sslmode=disable"),
        "postgres://me:secret@127.0.0.1:1/x?sslmode=disable".to_owned(),
        "postgres://me:secret@127.0.0.1/x?sslmode=what".to_owned(),
        "postgres://me:se/cr/secret@127.0.0.1/x".to_owned(),
        "postgres://me:secret@127.0.0.1/x?schema=".to_owned(),
        "postgres://me@127.0.0.1:1/x?password=secret&sslmode=disable".to_owned(),
    ];
    for url in &wrong {
        for arguments in [
            vec!["runtimes", url],
            vec!["runtimes", url, "--json"],
            vec!["runtimes", "a.redb", url],
            vec![url],
            vec!["compare", url, url],
            vec!["copy", url, "nowhere.redb"],
            vec!["import", SMALL, url],
            vec!["migrate", url],
            vec!["search", url, "x", "--nothing", url],
        ] {
            let output = program().args(&arguments).output().unwrap();
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text);
            assert!(!output.status.success(), "{arguments:?}");
            assert!(!text.contains("secret"), "{arguments:?}: {text}");
        }
    }
}
