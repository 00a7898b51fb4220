//! The program's output for people: its width, its escapes, and which parts are printed.

use super::layout_support::{append, edit, runtime_dir, small, worker_dir};
use super::program::{FIXTURE, Workplace, at_terminal, check_shown, command, run};
use redb_runtime_store::Store;
use redb_runtime_store::catalog::{CreateWorkerRequest, ProfileSelector, WorkerIntent};
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::management::{RuntimeLimits, RuntimeOptions};
use std::ffi::OsStr;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

/// Characters whose width depends on their neighbours.
const WIDE_TOGETHER: [&str; 4] = ["❤️", "1️⃣", "🇩🇪", "👩‍👩‍👧"];

/// A copy of the small directory whose event log is cut off.
fn torn() -> TempDir {
    let dir = small();
    append(&runtime_dir(dir.path()).join("events.jsonl"), b"{\"id\":9");
    dir
}

/// The exit code of a run whose standard error is closed.
fn code_without_stderr(arguments: &[&dyn AsRef<OsStr>]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = command(arguments);
    command.stdout(Stdio::null()).stderr(writer);
    command.status().unwrap().code()
}

#[test]
fn closed_stderr_changes_no_result() {
    let work = Workplace::new();
    let (damaged, accepted) = (torn(), small());
    std::fs::write(runtime_dir(accepted.path()).join("notes"), "").unwrap();
    let salvaged = work.path("salvaged");
    let code = code_without_stderr(&[&"import", &damaged.path(), &salvaged, &"--salvage"]);
    assert_eq!(code, Some(4));
    run(&[&"verify", &salvaged]).expect_code(0);
    let code = code_without_stderr(&[&"import", &accepted.path(), &work.path("accepted")]);
    assert_eq!(code, Some(0));
    let code = code_without_stderr(&[&"import", &damaged.path(), &work.path("refused")]);
    assert_eq!(code, Some(4));
    let code = code_without_stderr(&[&"runtimes", &work.path("nothing")]);
    assert_eq!(code, Some(1));
}

#[test]
fn quiet_keeps_the_exit_code() {
    let work = Workplace::new();
    let damaged = torn();
    let (store, root) = (work.path("store"), damaged.path());
    let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"import", &root, &store];
    arguments.extend([&"--salvage" as &dyn AsRef<OsStr>, &"--dry-run"]);
    let loud = run(&arguments);
    assert!(loud.expect_code(4).stderr().contains("cut off"));
    arguments.push(&"--quiet");
    let quiet = run(&arguments);
    assert_eq!(quiet.expect_code(4).stdout() + &quiet.stderr(), "");
}

/// A store whose second worker was stopped by event `id`, with a message that is too long.
fn store_with_event(work: &Workplace, id: u64) -> std::path::PathBuf {
    let dir = small();
    let runtime = runtime_dir(dir.path());
    edit(
        &runtime.join("events.jsonl"),
        "\"id\":8,",
        &format!("\"id\":{id},"),
    );
    edit(
        &runtime.join("events.jsonl"),
        "for today",
        &"today ".repeat(20),
    );
    let next = format!("\"next_event_id\": {}", id + 1);
    edit(&runtime.join("runtime.json"), "\"next_event_id\": 9", &next);
    let last = format!("\"last_event_id\": {id}");
    let document = worker_dir(dir.path(), 2).join("worker.json");
    edit(&document, "\"last_event_id\": 8", &last);
    let store = work.path(&format!("store-{id}"));
    run(&[&"import", &dir.path(), &store]).expect_code(0);
    store
}

#[test]
fn numbers_are_never_truncated_in_rows() {
    let work = Workplace::new();
    for id in [
        1_234_567,
        123_456_789,
        1_234_567_890_123_456_789,
        u64::MAX - 1,
    ] {
        let store = store_with_event(&work, id);
        for verb in ["events", "workers"] {
            let shown = at_terminal(80, &[&verb, &store]);
            check_shown(&shown);
            let row = shown.lines().find(|line| line.contains(&id.to_string()));
            let row = row.unwrap_or_else(|| panic!("{verb}: {id} is not in\n{shown}"));
            assert!(row.ends_with('…'), "{verb}: {row}");
            let piped = run(&[&verb, &store]).expect_code(0).stdout();
            assert!(!piped.contains('…'), "{piped}");
        }
    }
}

#[test]
fn wide_rows_wrap_without_loss() {
    let work = Workplace::new();
    for (n, text) in WIDE_TOGETHER.into_iter().enumerate() {
        let path = work.path(&format!("store-{n}"));
        let store = Store::open(&path).unwrap();
        let id = text.repeat(60);
        let options = RuntimeOptions {
            runtime_id: RuntimeId::new(id.clone()),
            display_name: Some(id.clone()),
            ..RuntimeOptions::default()
        };
        let runtime = store.runtime(options).unwrap();
        let objective = id.clone();
        let intent = WorkerIntent::Task { objective };
        let request = CreateWorkerRequest::tools_less(intent, ProfileSelector::RuntimeDefault);
        let worker = runtime.create_worker(request).unwrap().worker_ref;
        let said = format!("{id} and {}", format!("{text} ").repeat(60));
        runtime
            .send_input(&worker, WorkerInput::user(said.clone()))
            .unwrap();
        runtime.stop_worker(&worker, Some(id)).unwrap();
        for verb in ["runtimes", "workers", "events", "stats"] {
            check_shown(&at_terminal(80, &[&verb, &path]));
        }
        let worker_id = worker.worker_id.as_str();
        let dated = run(&[&"transcript", &path, &worker_id]);
        check_shown(&dated.expect_code(0).stdout());
        let shown = run(&[&"transcript", &path, &worker_id, &"--no-time"]);
        let shown = shown.expect_code(0).stdout();
        check_shown(&shown);
        let printed = shown.replacen("1 user", "", 1);
        let without_space = |text: &str| text.split_whitespace().collect::<String>();
        assert_eq!(without_space(&printed), without_space(&said));
    }
}

#[test]
fn transcript_fits_80_columns_always() {
    let work = Workplace::new();
    for sequence in [9_999_999, 10_000_000, u64::MAX - 1] {
        let dir = small();
        let transcript = worker_dir(dir.path(), 1).join("transcript.jsonl");
        edit(
            &transcript,
            "\"sequence\":3",
            &format!("\"sequence\":{sequence}"),
        );
        edit(&transcript, "Thanks.", &"thanks ".repeat(40));
        let next = format!("_sequence\": {}", sequence + 1);
        let document = worker_dir(dir.path(), 1).join("worker.json");
        edit(&document, "_sequence\": 4", &next);
        let store = work.path(&format!("store-{sequence}"));
        run(&[&"import", &dir.path(), &store]).expect_code(0);
        let shown = run(&[&"transcript", &store, &"worker-00000001"]);
        let shown = shown.expect_code(0).stdout();
        check_shown(&shown);
        assert!(shown.contains(&format!("{sequence} user ")), "{shown}");
        assert_eq!(shown.matches("thanks").count(), 40, "{shown}");
    }
}

#[test]
fn empty_list_notice_is_text_only() {
    let work = Workplace::new();
    let path = work.path("store");
    let store = Store::open(&path).unwrap();
    let listed = |verb: &str, option: &str| {
        let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&verb, &path];
        if !option.is_empty() {
            arguments.push(&option);
        }
        run(&arguments).expect_code(0).stdout()
    };
    assert_eq!(listed("runtimes", ""), "this store has no runtimes\n");
    assert_eq!(
        listed("runtimes", "--json") + &listed("runtimes", "--quiet"),
        ""
    );
    store.runtime(RuntimeOptions::default()).unwrap();
    assert_eq!(listed("workers", ""), "this runtime has no workers\n");
    assert_eq!(
        listed("workers", "--json") + &listed("workers", "--quiet"),
        ""
    );
}

#[test]
fn unlimited_logs_print_past_one_batch() {
    let work = Workplace::new();
    let path = work.path("store");
    let store = Store::open(&path).unwrap();
    let options = RuntimeOptions {
        limits: RuntimeLimits {
            max_transcript_projection_items: 2,
            max_event_batch_items: 2,
        },
        ..RuntimeOptions::default()
    };
    let runtime = store.runtime(options).unwrap();
    let request = CreateWorkerRequest::default();
    let worker = runtime.create_worker(request).unwrap().worker_ref;
    for n in 0..600 {
        runtime
            .send_input(&worker, WorkerInput::user(format!("n{n}")))
            .unwrap();
    }
    let lines =
        |arguments: &[&dyn AsRef<OsStr>]| run(arguments).expect_code(0).stdout().lines().count();
    assert_eq!(lines(&[&"events", &path, &"--json"]), 602);
    assert_eq!(lines(&[&"events", &path]), 603, "with the titles");
    let worker = worker.worker_id.as_str();
    assert_eq!(lines(&[&"transcript", &path, &worker, &"--json"]), 600);
    assert_eq!(lines(&[&"transcript", &path, &worker, &"--no-time"]), 600);
    assert_eq!(lines(&[&"events", &path, &"--json", &"--limit", &"5"]), 5);
}

/// The ids of the runtimes of a store.
fn ids(store: &Path) -> Vec<String> {
    let listed = run(&[&"runtimes", &store, &"--json"])
        .expect_code(0)
        .stdout();
    let id = |line| serde_json::from_str::<serde_json::Value>(line).unwrap()["runtime_id"].clone();
    listed
        .lines()
        .map(|line| id(line).as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn only_named_runtimes_are_moved() {
    let work = Workplace::new();
    let (all, root) = (work.path("all"), work.path("root"));
    let store = Store::open(&all).unwrap();
    for id in ["a", "b", "c"] {
        let runtime_id = RuntimeId::new(id);
        store
            .runtime(RuntimeOptions {
                runtime_id,
                ..RuntimeOptions::default()
            })
            .unwrap();
    }
    run(&[&"export", &all, &root]).expect_code(0);

    let some = work.path("some");
    let named: [&dyn AsRef<OsStr>; 4] = [&"--runtime", &"a", &"--runtime", &"c"];
    let with = |first: [&dyn AsRef<OsStr>; 3], named: &[&dyn AsRef<OsStr>]| {
        let mut arguments = first.to_vec();
        arguments.extend(named);
        run(&arguments)
    };
    with([&"import", &root, &some], &named).expect_code(0);
    assert_eq!(ids(&some), ["a", "c"]);
    let out = work.path("out");
    with([&"export", &all, &out], &named).expect_code(0);
    assert_eq!(std::fs::read_dir(out.join("runtimes")).unwrap().count(), 2);

    with([&"compare", &root, &some], &[]).expect_code(4);
    with([&"compare", &root, &some], &named).expect_code(0);
    with([&"compare", &root, &some], &[&"--runtime", &"b"]).expect_code(4);
    with([&"compare", &out, &all], &[&"--runtime", &"b"]).expect_code(4);
    let nowhere: [&dyn AsRef<OsStr>; 2] = [&"--runtime", &"nowhere"];
    with([&"compare", &root, &some], &nowhere).expect_code(1);
    with([&"import", &root, &work.path("none")], &nowhere).expect_code(1);
    with([&"export", &all, &work.path("none")], &nowhere).expect_code(1);
    assert!(!work.path("none").exists());
    assert_eq!(ids(Path::new(&all)), ["a", "b", "c"]);
    run(&[&"import", &FIXTURE, &some]).expect_code(0);
    assert_eq!(ids(&some), ["a", "c", "demo"]);
}
