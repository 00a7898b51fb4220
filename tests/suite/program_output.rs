//! What the program prints for people, how wide that is, and what of it there is at all.

use super::layout_support::{append, runtime_dir, small};
use super::program::{Workplace, command, run};
use std::ffi::OsStr;
use std::process::Stdio;
use tempfile::TempDir;

/// A copy of the small directory whose event log is cut off.
fn torn() -> TempDir {
    let dir = small();
    append(&runtime_dir(dir.path()).join("events.jsonl"), b"{\"id\":9");
    dir
}

/// The exit code of a run whose standard error nobody reads.
fn code_without_stderr(arguments: &[&dyn AsRef<OsStr>]) -> Option<i32> {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = command(arguments);
    command.stdout(Stdio::null()).stderr(writer);
    command.status().unwrap().code()
}

#[test]
fn a_closed_standard_error_changes_nothing_but_what_is_said() {
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
