//! What the program makes of a system, a directory and names that are not as they should be.

use super::layout_support::{runtime_dir, small, worker_dir};
use super::program::{FIXTURE, Workplace, at_terminal, run};
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A user that has no rights, for tests that run as root.
const NOBODY: u32 = 65534;

/// A command that runs the program without the rights of root in the directory `at`, which no user may
/// search.
fn in_closed_directory(work: &Workplace, at: &Path, arguments: &[&Path]) -> Command {
    let program = work.path("program");
    // Copied by a process of its own: a child that another test starts meanwhile would inherit the open copy, and
    // the system executes no file that is open for writing.
    let copied = Command::new("cp")
        .args([Path::new(env!("CARGO_BIN_EXE_runtime-store")), &program])
        .status();
    assert!(copied.unwrap().success());
    fs::create_dir(at).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "chmod 0 . && exec \"$0\" \"$@\""]);
    command.arg(program).args(arguments).current_dir(at);
    if fs::metadata(at).unwrap().uid() == 0 {
        chown(at, Some(NOBODY), None).unwrap();
        command.uid(NOBODY);
    }
    command
}

#[test]
fn export_ends_where_working_directory_is_closed() {
    let work = Workplace::new();
    let store = work.imported();
    fs::set_permissions(work.path(""), Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&store, Permissions::from_mode(0o666)).unwrap();
    let at = work.path("closed");
    for target in ["out", "a/b/out", "./out"] {
        let arguments = [Path::new("export"), &store, Path::new(target)];
        let output = in_closed_directory(&work, &at, &arguments)
            .output()
            .unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("Permission denied"), "{complaint}");
        fs::remove_dir(&at).unwrap();
    }
}

#[test]
fn few_descriptors_are_no_damage() {
    let work = Workplace::new();
    let program = env!("CARGO_BIN_EXE_runtime-store");
    let whole = work.path("whole");
    run(&[&"import", &FIXTURE, &whole]).expect_code(0);
    let (mut failed, mut done) = (0, 0);
    for limit in 6..24 {
        let store = work.path(&format!("store-{limit}"));
        for verb in [
            ["import", FIXTURE, store.to_str().unwrap(), "--salvage"],
            ["compare", FIXTURE, whole.to_str().unwrap(), "--quiet"],
        ] {
            let limited = format!("ulimit -n {limit} && exec \"$0\" \"$@\"");
            let output = Command::new("sh")
                .args(["-c", &limited, program])
                .args(verb)
                .output()
                .unwrap();
            match output.status.code() {
                Some(0) => done += 1,
                // The shell or the loader fails with even fewer.
                Some(1 | 126 | 127) => failed += 1,
                code => panic!("{limit}: {code:?}: {output:?}"),
            }
        }
    }
    assert!(failed > 0 && done > 0, "{failed} failed, {done} done");
}

/// A line that a name must not write.
const FORGED: &str = "runtime-store: imported: 1 runtime, everything is fine";

/// Asserts that no line of a run begins as the forged one, and that the name was shown escaped.
#[track_caller]
fn check_not_forged(arguments: &[&dyn AsRef<OsStr>], code: i32) {
    let run = run(arguments);
    run.expect_code(code);
    let (shown, complaint) = (run.stdout(), run.stderr());
    for line in shown.lines().chain(complaint.lines()) {
        assert!(!line.trim_start().starts_with(FORGED), "{line}");
    }
    assert!(
        (shown + &complaint).contains(&format!(r"x\n{FORGED}")),
        "{complaint}"
    );
}

#[test]
fn names_forge_no_line_of_output() {
    let work = Workplace::new();
    let forged = format!("x\n{FORGED}");
    let store = work.imported();
    let accepted = small();
    fs::write(worker_dir(accepted.path(), 1).join(&forged), "").unwrap();
    let other = work.path("other");
    check_not_forged(&[&"import", &accepted.path(), &other], 0);
    check_not_forged(&[&"imports", &other], 0);
    check_not_forged(&[&"compare", &accepted.path(), &other], 0);
    check_not_forged(&[&"compare", &accepted.path(), &store], 4);
    let damaged = small();
    symlink("/dev/null", damaged.path().join("runtimes").join(&forged)).unwrap();
    check_not_forged(&[&"import", &damaged.path(), &work.path("refused")], 4);
    check_not_forged(&[&"compare", &damaged.path(), &store], 4);
    let named = work.path(&forged);
    check_not_forged(&[&"runtimes", &named], 1);
    check_not_forged(&[&"runtimes", &store, &forged], 2);
    check_not_forged(&[&"events", &store, &"--limit", &forged], 2);
    check_not_forged(&[&"events", &store, &"--runtime", &forged], 1);
    check_not_forged(&[&"transcript", &store, &forged], 1);
    check_not_forged(
        &[&"export", &store, &work.path("out"), &"--runtime", &forged],
        1,
    );
    check_not_forged(&[&"import", &named, &work.path("none")], 1);
    fs::copy(&store, &named).unwrap();
    check_not_forged(&[&"backup", &store, &named], 1);
    fs::create_dir(work.path("raw")).unwrap();
    let bytes = [b"x\n", FORGED.as_bytes(), b"\xff"].concat();
    let raw = work.path("raw").join(OsStr::from_bytes(&bytes));
    check_not_forged(&[&"runtimes", &raw], 1);
}

#[test]
fn json_on_terminals_is_escaped_and_exact_in_pipes() {
    let work = Workplace::new();
    let hidden = "a\u{7f}b\u{9b}31mc\u{2028}d\u{202e}e\u{e0041}";
    let dir = small();
    let log = runtime_dir(dir.path()).join("events.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let text = text.replace("for today", hidden);
    fs::write(&log, &text).unwrap();
    let store = work.path("store");
    run(&[&"import", &dir.path(), &store]).expect_code(0);
    let piped = run(&[&"events", &store, &"--json"]).expect_code(0).stdout();
    assert_eq!(piped, text);
    let shown = at_terminal(80, &[&"events", &store, &"--json"]);
    let is_raw = |c: char| hidden.contains(c) && !c.is_ascii_alphanumeric();
    assert!(!shown.contains(is_raw), "{shown:?}");
    let values = |text: &str| -> Vec<serde_json::Value> {
        let parse = |line| serde_json::from_str(line).unwrap();
        text.lines().map(parse).collect()
    };
    assert_eq!(values(&shown), values(&text));
}

#[test]
fn transcripts_show_hidden_characters_escaped() {
    let work = Workplace::new();
    let dir = small();
    let log = worker_dir(dir.path(), 1).join("transcript.jsonl");
    let text = fs::read_to_string(&log).unwrap();
    let hidden = [
        '\u{61c}',
        '\u{200b}',
        '\u{2028}',
        '\u{2029}',
        '\u{feff}',
        '\u{e0041}',
    ];
    let said: String = hidden.iter().map(|c| format!("x{c}y ")).collect();
    fs::write(&log, text.replace("Thanks.", &said)).unwrap();
    let store = work.path("store");
    run(&[&"import", &dir.path(), &store]).expect_code(0);
    let shown = run(&[&"transcript", &store, &"worker-00000001"]);
    let shown = shown.expect_code(0).stdout();
    for hidden in hidden {
        assert!(!shown.contains(hidden), "{shown:?}");
        assert!(
            shown.contains(&format!("x{}y", hidden.escape_default())),
            "{shown}"
        );
    }
}

#[test]
fn misspelt_ids_are_errors_that_name_them() {
    let work = Workplace::new();
    let store = work.imported();
    let complaint = |arguments: &[&dyn AsRef<OsStr>]| run(arguments).expect_code(1).stderr();
    for option in ["--json", "--quiet"] {
        let told = complaint(&[&"events", &store, &"--worker", &"worker-0000001", &option]);
        assert!(told.contains("has no worker worker-0000001"), "{told}");
        let told = complaint(&[&"imports", &store, &"--runtime", &"dmo", &option]);
        assert!(told.contains("no runtime dmo in this store"), "{told}");
    }
    let followed: [&dyn AsRef<OsStr>; 5] = [&"events", &store, &"--follow", &"--worker", &"nobody"];
    assert!(complaint(&followed).contains("has no worker nobody"));
    run(&[&"events", &store, &"--worker", &" "]).expect_code(2);
    // A worker that only events name.
    let lost = small();
    fs::remove_dir_all(worker_dir(lost.path(), 2)).unwrap();
    let other = work.path("other");
    run(&[&"import", &lost.path(), &other]).expect_code(0);
    let shown = run(&[&"events", &other, &"--worker", &"worker-00000002"]);
    assert!(shown.expect_code(0).stdout().contains("worker-00000002"));
}
