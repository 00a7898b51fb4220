//! What the program does for shells: completions, and help for words of other programs.

use super::program::{Workplace, run};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerId;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// A shell's answer to a script that completes, with the program in its path.
fn shell(name: &str, directory: &Path, script: &str) -> Option<String> {
    let bin = Path::new(env!("CARGO_BIN_EXE_runtime-store"))
        .parent()
        .unwrap();
    let mut path = OsString::from(bin);
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut command = Command::new(name);
    command.arg("-c").arg(script).current_dir(directory);
    command.env("PATH", path).stdin(Stdio::null());
    let output = match command.output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        output => output.unwrap(),
    };
    assert!(output.status.success(), "{name}: {output:?}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// A directory with the store `agents.redb` and the completion script of each shell.
fn with_completions() -> Workplace {
    let work = Workplace::new();
    let store = work.imported();
    fs::rename(store, work.path("agents.redb")).unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = run(&[&"completions", &shell]).expect_code(0).stdout();
        assert!(script.contains("RUNTIME_STORE_COMPLETE"), "{script}");
        fs::write(work.path(shell), script).unwrap();
    }
    work
}

/// A line, as bash passes it to the completion: the words, and the one that is completed last.
fn in_bash(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
    let (last, before) = (words[words.len() - 1], words[words.len() - 2]);
    format!(
        "source ./bash; COMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9; \
         _clap_complete_runtime_store runtime-store '{last}' '{before}' 2>/dev/null; \
         printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1,
    )
}

#[test]
fn completions_know_ids_of_the_store() {
    let work = with_completions();
    let directory = work.path("");
    let offered = |words: &[&str]| {
        let answer = shell("bash", &directory, &in_bash(words)).expect("bash is there");
        answer.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let workers = offered(&["runtime-store", "events", "agents.redb", "--worker", "w"]);
    assert_eq!(workers, ["worker-00000001", "worker-00000002"]);
    let runtimes = offered(&["runtime-store", "events", "agents.redb", "--runtime", ""]);
    assert_eq!(runtimes, ["demo"]);
    assert_eq!(offered(&["runtime-store", "trans"]), ["transcript"]);
    let quoted = [
        "runtime-store",
        "events",
        "'agents.redb'",
        "--runtime",
        "de",
        "--worker",
        "w",
    ];
    assert_eq!(offered(&quoted), workers);
    let none = offered(&["runtime-store", "events", "missing.redb", "--worker", "w"]);
    assert_eq!(none, [""]);
}

#[test]
fn completions_know_the_runtime_and_the_home_directory() {
    let work = with_completions();
    let host = redb_runtime_store::Store::open(work.path("agents.redb")).unwrap();
    let other = host.runtime(crate::support::named("other")).unwrap();
    let id = WorkerId::new("w-of-other").unwrap();
    other
        .create_worker_as(id, CreateWorkerRequest::default())
        .unwrap();
    host.close().unwrap();
    let home = work.path("");
    // The script sees the home directory of the test.
    let offered = |words: &[&str]| {
        let script = format!("export HOME='{}'; {}", home.display(), in_bash(words));
        let answer = shell("bash", &home, &script).expect("bash is there");
        answer.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let of_other = [
        "runtime-store",
        "events",
        "agents.redb",
        "--runtime",
        "other",
    ];
    let ids = offered(&[&of_other[..], &["--worker", "w"]].concat());
    assert_eq!(ids, ["w-of-other"]);
    let all = offered(&["runtime-store", "events", "~/agents.redb", "--worker", "w"]);
    assert_eq!(all, ["w-of-other", "worker-00000001", "worker-00000002"]);
}

#[test]
fn completions_offer_no_commands_as_ids() {
    let work = with_completions();
    let runtime = work.runtime("hostile.redb");
    for id in [
        "ok.1",
        "$(touch pwned)",
        "a b",
        "q'uote",
        "semi;colon",
        "-rf",
    ] {
        let id = WorkerId::new(id).unwrap();
        runtime
            .create_worker_as(id, CreateWorkerRequest::default())
            .unwrap();
    }
    let line = in_bash(&["runtime-store", "worker", "hostile.redb", ""]);
    let answer = shell("bash", &work.path(""), &line).expect("bash is there");
    let ids: Vec<&str> = answer.lines().filter(|id| !id.starts_with("--")).collect();
    assert_eq!(ids, ["ok.1"]);
    assert!(!work.path("pwned").exists());
}

#[test]
fn completions_load_in_other_shells() {
    let work = with_completions();
    let directory = work.path("");
    let line = "complete -C 'runtime-store events agents.redb --worker w'";
    match shell("fish", &directory, &format!("source ./fish; {line}")) {
        Some(answer) => assert_eq!(answer, "worker-00000001\nworker-00000002\n"),
        None => println!("fish is not installed"),
    }
    let load =
        "autoload -Uz compinit && compinit -D -u && source ./zsh && print $_comps[runtime-store]";
    match shell("zsh", &directory, load) {
        Some(answer) => assert!(answer.contains("runtime_store"), "{answer}"),
        None => println!("zsh is not installed"),
    }
}

#[test]
fn help_knows_words_of_other_programs() {
    let own = run(&[&"events", &"--help"]).expect_code(0).stdout();
    let helped = run(&[&"help", &"log"]).expect_code(0).stdout();
    assert!(own.starts_with("Print the event log"), "{own}");
    assert_eq!(helped.lines().next(), own.lines().next());
    let several = run(&[&"help", &"ls"]).expect_code(0).stdout();
    assert!(
        several.contains("runtimes ") && several.contains("workers "),
        "{several}"
    );
    let wrong = run(&[&"ls", &"agents.redb"]);
    let said = wrong.expect_code(2).stderr();
    assert!(said.contains("'runtimes', 'workers'"), "{said}");
    run(&[&"help", &"nonsense"]).expect_code(2);
}
