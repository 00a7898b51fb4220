//! The program as its users see it.

use crate::program_run::Run;
use crate::support::{all_entries, all_events, named, new_worker, say, scratch, send_many};
use crate::terminal::terminal;
use redb_runtime_store::catalog::{CreateWorkerRequest, ProfileSelector, WorkerIntent};
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use unicode_width::UnicodeWidthStr;

pub(crate) const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/small");

pub(crate) struct Workplace(tempfile::TempDir);

impl Workplace {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A store with the fixture in it.
    pub(crate) fn imported(&self) -> PathBuf {
        let store = self.path("store");
        run(&[&"import", &FIXTURE, &store]).expect_code(0);
        store
    }

    /// A runtime with one worker, in a store of its own, which is open.
    pub(crate) fn runtime(&self, store: &str) -> Runtime {
        let store = Store::open(self.path(store)).expect("open");
        store
            .runtime(RuntimeOptions {
                runtime_id: RuntimeId::new("live"),
                ..RuntimeOptions::default()
            })
            .expect("runtime")
    }
}

pub(crate) fn command(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime-store"));
    for argument in arguments {
        command.arg(argument.as_ref());
    }
    command
}

pub(crate) fn run(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Run {
    Run::of(command(arguments))
}

/// The standard output of a run at a terminal, without colours.
pub(crate) fn at_terminal(columns: u16, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> String {
    let (terminal, end) = terminal((24, columns));
    let mut command = command(arguments);
    command.env("NO_COLOR", "1").env("RUNTIME_STORE_PAGER", "");
    command.stdout(Stdio::from(end));
    let mut child = command.spawn().unwrap();
    // It has the program's end, too.
    drop(command);
    // An error when the program has closed its end.
    let mut shown = Vec::new();
    let _ = (&terminal).read_to_end(&mut shown);
    assert!(child.wait().unwrap().success());
    String::from_utf8(shown).unwrap()
}

/// Every file below `root`, with its content; directories without.
fn tree(root: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).expect("list") {
            let path = entry.expect("entry").path();
            let name = path.strip_prefix(root).expect("below the root").to_owned();
            if path.is_dir() {
                found.insert(name, None);
                open.push(path);
            } else {
                found.insert(name, Some(fs::read(&path).expect("read")));
            }
        }
    }
    found
}

#[test]
fn program_exports_imports_byte_for_byte() {
    let work = Workplace::new();
    let store = work.imported();
    let exported = work.path("exported");
    run(&[&"export", &store, &exported]).expect_code(0);
    assert_eq!(tree(Path::new(FIXTURE)), tree(&exported));
    run(&[&"compare", &exported, &store]).expect_code(0);
}

#[test]
fn import_and_export_print_totals() {
    let work = Workplace::new();
    let imported = run(&[&"import", &FIXTURE, &work.path("store")]).stdout();
    assert!(
        imported.contains("imported: 1 runtime, 2 workers, 8 events, 4 entries"),
        "{imported}"
    );
    assert!(imported.contains("/s)"), "how fast: {imported}");
    let exported = run(&[&"export", &work.path("store"), &work.path("out")]).stdout();
    assert!(
        exported.contains("exported: 1 runtime, 2 workers, 8 events, 4 entries"),
        "{exported}"
    );
}

#[test]
fn quiet_prints_only_results() {
    let work = Workplace::new();
    let store = work.path("store");
    let imported = run(&[&"import", &FIXTURE, &store, &"--quiet"]);
    imported.expect_code(0);
    assert_eq!(imported.stdout() + &imported.stderr(), "");
}

#[test]
fn json_logs_are_layout_lines() {
    let work = Workplace::new();
    let store = work.imported();
    let files = tree(Path::new(FIXTURE));
    let content = |suffix: &str| {
        let mut matching = files.iter().filter(|(path, _)| path.ends_with(suffix));
        matching
            .next()
            .and_then(|(_, content)| content.clone())
            .expect("a file")
    };
    let events = run(&[&"events", &store, &"--json"]);
    assert_eq!(events.expect_code(0).output.stdout, content("events.jsonl"));
    let transcript = run(&[&"transcript", &store, &"worker-00000001", &"--json"]);
    let worker = "id-776f726b65722d3030303030303031/transcript.jsonl";
    assert_eq!(transcript.expect_code(0).output.stdout, content(worker));
}

#[test]
fn json_lists_are_one_object_per_line() {
    let work = Workplace::new();
    let store = work.imported();
    for (verb, lines) in [("runtimes", 1), ("workers", 2)] {
        let listed = run(&[&verb, &store, &"--json"]).expect_code(0).stdout();
        assert_eq!(listed.lines().count(), lines, "{listed}");
        for line in listed.lines() {
            let object: serde_json::Value = serde_json::from_str(line).expect("JSON");
            assert!(object.is_object(), "{line}");
        }
    }
}

#[test]
fn logs_are_limited_and_filtered() {
    let work = Workplace::new();
    let store = work.imported();
    let ids = |arguments: &[&dyn AsRef<std::ffi::OsStr>]| -> Vec<u64> {
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&"events", &store, &"--json"];
        all.extend(arguments);
        let printed = run(&all).expect_code(0).stdout();
        let id =
            |line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["id"].as_u64();
        printed.lines().filter_map(id).collect()
    };
    assert_eq!(ids(&[&"--from", &"3", &"--limit", &"2"]), [3, 4]);
    assert_eq!(ids(&[&"--worker", &"worker-00000002"]), [5, 6, 8]);
    assert_eq!(
        ids(&[&"--worker", &"worker-00000002", &"--limit", &"1"]),
        [5]
    );
    assert_eq!(ids(&[&"--from", &"9"]), [0; 0]);
    let page = run(&[
        &"transcript",
        &store,
        &"worker-00000001",
        &"--start",
        &"1",
        &"--limit",
        &"1",
    ]);
    assert!(
        page.expect_code(0)
            .stdout()
            .contains("What does this directory hold?")
    );
    assert!(!page.stdout().contains("Thanks."));
}

#[test]
fn exit_codes_distinguish_each_outcome() {
    let work = Workplace::new();
    let store = work.imported();
    run(&[&"frobnicate"]).expect_code(2);
    run(&[&"events", &store, &"--limit", &"many"]).expect_code(2);
    let missing = run(&[&"runtimes", &work.path("nothing")]);
    assert!(
        missing.expect_code(1).stderr().contains("no such file"),
        "{}",
        missing.stderr()
    );
    run(&[&"events", &store, &"--runtime", &"unknown"]).expect_code(1);
    run(&[&"transcript", &store, &"unknown"]).expect_code(1);
    run(&[&"export", &store, &work.path("out")]).expect_code(0);
    run(&[&"export", &store, &work.path("out")]).expect_code(1);
    run(&[&"import", &work.path("nothing"), &work.path("new")]).expect_code(1);
    assert!(!work.path("new").exists(), "a failed import makes no store");
}

#[test]
fn several_runtimes_require_a_choice() {
    let work = Workplace::new();
    let store = work.imported();
    let opened = Store::open(&store).expect("open");
    opened
        .runtime(RuntimeOptions {
            runtime_id: RuntimeId::new("another"),
            ..RuntimeOptions::default()
        })
        .expect("create");
    opened.close().expect("close");
    let refused = run(&[&"events", &store]);
    assert!(
        refused
            .expect_code(2)
            .stderr()
            .contains("--runtime \"another\"")
    );
    run(&[&"events", &store, &"--runtime", &"another"]).expect_code(0);
}

#[test]
fn locked_store_is_exit_code_3() {
    let work = Workplace::new();
    let runtime = work.runtime("store");
    run(&[&"import", &FIXTURE, &work.path("store")]).expect_code(3);
    drop(runtime);
    run(&[&"import", &FIXTURE, &work.path("store")]).expect_code(0);
}

#[test]
fn backup_onto_directory_is_refused() {
    let work = Workplace::new();
    let store = work.imported();
    let mut target = work.path("copy").into_os_string();
    target.push("/");
    let refused = run(&[&"backup", &store, &target]);
    let message = refused.expect_code(1).stderr();
    assert!(message.contains("directory"), "{message}");
    assert!(!work.path("copy").exists());
}

#[test]
fn damage_and_differences_are_exit_code_4() {
    let work = Workplace::new();
    let root = work.path("exported");
    let store = work.imported();
    run(&[&"export", &store, &root]).expect_code(0);
    let events = root.join("runtimes/id-64656d6f/events.jsonl");
    let whole = fs::read(&events).expect("read");
    fs::write(&events, &whole[..whole.len() - 9]).expect("cut off");

    let compared = run(&[&"compare", &root, &store]);
    assert!(
        compared.expect_code(4).stdout().contains("events.jsonl"),
        "{}",
        compared.stdout()
    );
    let strict = run(&[&"import", &root, &work.path("strict")]);
    let message = strict.expect_code(4).stderr();
    assert!(message.contains("events.jsonl, line 8, byte"), "{message}");
    assert!(message.contains("--salvage"), "{message}");
    assert!(
        !work.path("strict").exists(),
        "a refused import makes no store"
    );
    let dry = run(&[
        &"import",
        &root,
        &work.path("dry"),
        &"--salvage",
        &"--dry-run",
    ]);
    assert!(
        dry.expect_code(4).stderr().contains("cut off"),
        "{}",
        dry.stderr()
    );
    assert!(!work.path("dry").exists(), "a dry run makes no store");
    run(&[&"import", &root, &work.path("salvaged"), &"--salvage"]).expect_code(4);
    let events = run(&[&"events", &work.path("salvaged"), &"--json"]);
    assert_eq!(events.expect_code(0).stdout().lines().count(), 7);
}

#[test]
fn verify_lists_damaged_pages_after_kill() {
    let work = Workplace::new();
    let runtime = work.runtime("store");
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.expect("create").worker_ref;
    for text in ["first", "second"] {
        let long = WorkerInput::user(text.repeat(2000));
        runtime.send_input(&worker, long).expect("send");
    }
    // The bytes of an open file are those that a kill leaves.
    let mut bytes = fs::read(work.path("store")).expect("read");
    let mut named = Vec::new();
    for text in ["firstfirst", "secondsecond"] {
        let mut windows = bytes.windows(text.len());
        let at = windows.position(|here| here == text.as_bytes());
        let at = at.expect("the text is in the file");
        bytes[at] ^= 1;
        named.push(format!("at byte {} ", at / 4096 * 4096));
    }
    let left = work.path("left");
    fs::write(&left, &bytes).expect("write");
    let verified = run(&[&"verify", &left]);
    let listed = verified.expect_code(4).stdout();
    for named in named {
        assert!(listed.contains(&named), "{named}: {listed}");
    }
    assert!(listed.contains("table transcripts"), "{listed}");
    assert!(
        !verified.stderr().contains("`runtime-store verify`"),
        "circular advice"
    );
    assert!(
        bytes == fs::read(&left).expect("read"),
        "the file was changed"
    );
}

/// Runs the program where no file may grow or be written to: every write fails with `EFBIG`.
fn run_without_writes(arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Run {
    let program = command(arguments);
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -f 0; exec \"$0\" \"$@\""])
        .arg(program.get_program())
        .args(program.get_args());
    Run::of(limited)
}

#[test]
fn unrepaired_store_is_read_where_writes_fail() {
    let work = Workplace::new();
    let runtime = work.runtime("live");
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.expect("create").worker_ref;
    let input = WorkerInput::user("said");
    runtime.send_input(&worker, input).expect("send");
    // What a killed host leaves is what is in the file while it is open.
    let left = work.path("left");
    fs::copy(work.path("live"), &left).expect("copy");
    let before = fs::read(&left).expect("read");
    for verb in ["runtimes", "workers", "events", "stats", "verify"] {
        let read = run_without_writes(&[&verb, &left]);
        let remarks = read.expect_code(0).stderr();
        assert!(remarks.contains("without a repair"), "{verb}: {remarks}");
        let quiet = run_without_writes(&[&verb, &left, &"--quiet"]);
        assert_eq!(quiet.expect_code(0).stderr(), "");
    }
    let strict = run_without_writes(&[&"runtimes", &left, &"--no-repair"]);
    strict.expect_code(1);
    assert!(before == fs::read(&left).expect("read"), "it was changed");
    let text = run_without_writes(&[&"transcript", &left, &"worker-00000001"]);
    assert!(text.expect_code(0).stdout().contains("said"));
}

#[test]
fn damage_report_hides_redb_panics() {
    let work = Workplace::new();
    let runtime = work.runtime("store");
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.expect("create").worker_ref;
    let input = WorkerInput::user("some text");
    runtime.send_input(&worker, input).expect("send");
    runtime.store().close().expect("close");
    let store = work.path("store");
    let mut bytes = fs::read(&store).expect("read");
    let text = b"some text";
    for at in 0..bytes.len() - text.len() {
        if bytes[at..].starts_with(text) {
            bytes[at] ^= 1;
        }
    }
    fs::write(&store, bytes).expect("write");
    for arguments in [
        &[&"verify" as &dyn AsRef<std::ffi::OsStr>, &store][..],
        &[&"transcript", &store, &"worker-00000001"],
    ] {
        let failed = run(arguments);
        let said = failed.expect_code(4).stderr() + &failed.stdout();
        assert!(said.contains("at byte"), "{said}");
        assert!(!failed.stderr().contains("panicked at"), "{said}");
    }
}

#[test]
fn live_store_can_be_read() {
    let work = Workplace::new();
    let runtime = work.runtime("store");
    let worker = runtime
        .create_worker(CreateWorkerRequest::default())
        .expect("create");
    for round in 1..=3 {
        let input = WorkerInput::user(format!("round {round}"));
        runtime.send_input(&worker.worker_ref, input).expect("send");
        let shown = run(&[&"transcript", &work.path("store"), &"worker-00000001"]);
        assert!(
            shown
                .expect_code(0)
                .stdout()
                .contains(&format!("round {round}"))
        );
    }
    run(&[&"export", &work.path("store"), &work.path("out")]).expect_code(0);
}

#[test]
fn closed_pipe_ends_program_quietly() {
    let work = Workplace::new();
    let runtime = work.runtime("store");
    let worker = runtime
        .create_worker(CreateWorkerRequest::default())
        .expect("create");
    let long = "many words ".repeat(100_000);
    runtime
        .send_input(&worker.worker_ref, WorkerInput::user(long))
        .expect("send");
    let mut child = command(&[&"transcript", &work.path("store"), &"worker-00000001"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("wait");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn tables_fit_80_columns_and_escape_controls() {
    let work = Workplace::new();
    let store = Store::open(work.path("store")).expect("open");
    let wide = "ランタイム/".repeat(12);
    let runtime = store
        .runtime(RuntimeOptions {
            runtime_id: RuntimeId::new(wide.clone()),
            display_name: Some(format!("\u{1b}[31mred\u{202e} {wide}")),
            ..RuntimeOptions::default()
        })
        .expect("runtime");
    let intent = WorkerIntent::Task {
        objective: format!("first\nsecond\u{7} {wide}"),
    };
    let request = CreateWorkerRequest::tools_less(intent, ProfileSelector::RuntimeDefault);
    let worker = runtime.create_worker(request).expect("create").worker_ref;
    let said = format!(
        "tab\there \u{1b}]0;title\u{7} {wide}\r\n{}",
        "x".repeat(300)
    );
    runtime
        .send_input(&worker, WorkerInput::user(said))
        .expect("send");
    runtime
        .stop_worker(&worker, Some(format!("\u{9b}31m {wide}")))
        .expect("stop");
    for arguments in [
        ["runtimes", "", ""],
        ["workers", "--runtime", &wide],
        ["events", "--runtime", &wide],
    ] {
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = Vec::new();
        all.extend(
            arguments
                .iter()
                .filter(|a| !a.is_empty())
                .map(|a| a as &dyn AsRef<_>),
        );
        let path = work.path("store");
        all.insert(1, &path);
        check_shown(&at_terminal(80, &all));
        // Elsewhere nothing is cut.
        let piped = run(&all).expect_code(0).stdout();
        assert!(piped.contains(&wide), "{piped}");
    }
    let (store, worker) = (work.path("store"), worker.worker_id);
    check_shown(&at_terminal(80, &[&"transcript", &store, &worker.as_str()]));
}

#[test]
fn tables_take_the_width_of_the_terminal() {
    let work = Workplace::new();
    let store = work.imported();
    for columns in [80, 120, 200] {
        let shown = at_terminal(columns, &[&"events", &store]);
        let widest = shown.lines().map(UnicodeWidthStr::width).max().unwrap();
        assert!(widest <= usize::from(columns), "{columns}: {shown}");
        let is_whole = shown.contains("worker worker-00000001 created");
        assert_eq!(is_whole, columns > 90, "{columns}: {shown}");
    }
}

#[track_caller]
pub(crate) fn check_shown(shown: &str) {
    assert!(!shown.is_empty());
    for line in shown.lines() {
        let width = line.trim_end_matches('\r').width();
        assert!(width <= 80, "{width} columns: {line}");
        let raw = line.trim_end_matches('\r').chars();
        let raw = raw.into_iter().find(|c| c.is_control() || *c == '\u{202e}');
        assert_eq!(raw, None, "{line:?}");
    }
}

/// A reader of standard output that is slow, or stopped, keeps no snapshot of the store.
#[test]
fn blocked_output_holds_no_snapshot() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    // More than a pipe takes, and more than one part.
    send_many(&runtime, &worker, 6000);
    let id = worker.worker_id.to_string();
    let verbs: [&[&dyn AsRef<std::ffi::OsStr>]; 2] = [
        &[&"events", &path, &"--json"],
        &[&"transcript", &path, &id, &"--json"],
    ];
    for arguments in verbs {
        let rows = match arguments.len() {
            3 => all_events(&runtime).len(),
            _ => all_entries(&runtime, &worker).len(),
        };
        let mut child = command(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut String::new()).unwrap();
        // Only an attempt that comes before the program blocks may find a snapshot.
        let deadline = Instant::now() + Duration::from_secs(60);
        while let Err(error) = store.compact() {
            assert!(matches!(error, RuntimeError::StoreBusy { .. }), "{error:?}");
            assert!(Instant::now() < deadline, "a snapshot is held");
        }
        // The end of the log is the one that the program found.
        say(&runtime, &worker, "later").unwrap();
        assert_eq!(1 + stdout.lines().map(Result::unwrap).count(), rows);
        assert!(child.wait().unwrap().success());
    }
}
