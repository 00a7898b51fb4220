//! Compares the output of the program with the files of `tests/snapshots`, byte for byte.
//! `UPDATE_SNAPSHOTS=1` in the environment rewrites them: read the differences.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

const PACKAGE: &str = env!("CARGO_MANIFEST_DIR");
const FIXTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/small");

const VERBS: [&str; 31] = [
    "import",
    "export",
    "copy",
    "compare",
    "imports",
    "runtimes",
    "workers",
    "worker",
    "events",
    "transcript",
    "search",
    "diagnostics",
    "unfinished",
    "stats",
    "report",
    "stop-worker",
    "stop-runtime",
    "rename",
    "set-limits",
    "delete-worker",
    "delete-runtime",
    "set-attributes",
    "redact",
    "prune",
    "pin",
    "verify",
    "backup",
    "compact",
    "migrate",
    "completions",
    "man",
];

/// The program, in an environment that does not depend on the user.
fn program(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_runtime-store"));
    command.args(arguments).current_dir(directory);
    for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS"] {
        command.env_remove(name);
    }
    command
}

fn run(directory: &Path, arguments: &[&str]) -> Output {
    program(directory, arguments).output().unwrap()
}

/// Replaces durations, which differ in each run.
fn without_times(line: &str) -> String {
    match line.split_once(" in ") {
        Some((before, after)) if after.ends_with("/s)") => format!("{before} in TIME"),
        _ => line.replace(FIXTURE, "FIXTURE"),
    }
}

/// A run as a user sees it: the command, its output, its exit code.
fn shown(directory: &Path, arguments: &[&str]) -> String {
    let output = run(directory, arguments);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let lines = out.lines().chain(err.lines());
    let mut shown =
        format!("$ runtime-store {}\n", arguments.join(" ")).replace(FIXTURE, "FIXTURE");
    for line in lines.map(without_times) {
        assert!(!line.contains('\u{1b}'), "a colour in a pipe: {line:?}");
        shown.push_str(&line);
        shown.push('\n');
    }
    if let Some(code) = output.status.code().filter(|code| *code != 0) {
        shown.push_str(&format!("(exit code {code})\n"));
    }
    shown
}

pub(crate) fn assert_snapshot(name: &str, shown: &str) {
    let path: PathBuf = Path::new(PACKAGE).join(format!("tests/snapshots/{name}.txt"));
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::write(&path, shown).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == shown,
        "{} is otherwise; UPDATE_SNAPSHOTS=1 writes what is printed now:\n{shown}",
        path.display()
    );
}

/// A directory with the store `agents.redb` in it, which has the fixture.
fn workplace() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let imported = run(directory.path(), &["import", FIXTURE, "agents.redb"]);
    assert!(imported.status.success());
    directory
}

#[test]
fn help_matches_snapshots_in_80_columns() {
    let directory = tempfile::tempdir().unwrap();
    let check = |name: &str, arguments: &[&str]| {
        let shown = shown(directory.path(), arguments);
        for line in shown.lines() {
            assert!(line.chars().count() <= 80, "{name}: {line}");
        }
        assert_snapshot(name, &shown);
    };
    check("help", &["--help"]);
    for verb in VERBS {
        check(&format!("help-{verb}"), &[verb, "--help"]);
    }
}

#[test]
fn every_verb_is_listed_with_examples() {
    let directory = tempfile::tempdir().unwrap();
    let listed = shown(directory.path(), &["--help"]);
    let commands = listed.split_once("Commands:").unwrap().1;
    let commands = commands.split_once("Options:").unwrap().0;
    let mut names: Vec<&str> = commands
        .lines()
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(names.pop(), Some("help"));
    assert_eq!(names, VERBS);
    for verb in VERBS {
        let help = shown(directory.path(), &[verb, "--help"]);
        let example = format!("\n  runtime-store {verb} ");
        assert!(help.contains(&example), "{verb} has no example");
    }
}

#[test]
fn printed_text_matches_snapshots() {
    let work = workplace();
    let store = "agents.redb";
    let runs: [(&str, &[&[&str]]); 5] = [
        (
            "look",
            &[
                &["runtimes", store],
                &["workers", store],
                &["events", store, "--limit", "4"],
                &["transcript", store, "worker-00000001"],
                &["search", store, "t", "--worker", "worker-00000001"],
            ],
        ),
        (
            "move",
            &[
                &["import", FIXTURE, "new.redb", "--dry-run"],
                &["import", FIXTURE, "new.redb"],
                &["import", FIXTURE, "new.redb"],
                &["export", store, "exported"],
                &["export", store, "exported"],
                &["compare", "exported", store],
            ],
        ),
        ("whole", &[&["verify", store], &["migrate", store]]),
        (
            "json",
            &[
                &["runtimes", store, "--json"],
                &["events", store, "--limit", "2", "--json"],
                &[
                    "search",
                    store,
                    "WORKER",
                    "--ignore-case",
                    "--limit",
                    "2",
                    "--json",
                ],
                &["search", store, "Thanks", "--json"],
            ],
        ),
        (
            "refused",
            &[
                &["runtimes", "nothing.redb"],
                &["runtimes", "exported"],
                &["transcript", store, "nobody"],
                &["events", store, "--runtime", "nobody"],
                &["events", store, "--from", "first"],
                &["search", store, "a(b", "--regex"],
                &["search", store, "absent"],
                &["man", "nothing"],
            ],
        ),
    ];
    for (name, commands) in runs {
        let all: Vec<String> = commands
            .iter()
            .map(|arguments| shown(work.path(), arguments))
            .collect();
        assert_snapshot(name, &all.join("\n"));
    }
}

#[test]
fn manual_pages_exist_for_every_verb() {
    let directory = tempfile::tempdir().unwrap();
    let page = |arguments: &[&str]| {
        let output = run(directory.path(), arguments);
        assert!(output.status.success(), "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    // roff escapes the hyphens of names.
    let program = page(&["man"]).replace("\\-", "-");
    assert!(program.contains(".TH runtime-store 1"), "{program}");
    for verb in VERBS {
        assert!(program.contains(verb), "{verb}");
        let own = page(&["man", verb]);
        assert!(own.contains(".SH SYNOPSIS"), "{own}");
        let name = format!(".TH runtime-store-{verb} 1");
        assert!(own.contains(&name), "{own}");
        for section in ["EXIT STATUS", "EXAMPLES"] {
            assert!(
                own.contains(&format!(".SH \"{section}\""))
                    || own.contains(&format!(".SH {section}")),
                "{own}"
            );
        }
        assert!(
            !own.contains("EXTRA") && !own.contains("Examples:"),
            "{own}"
        );
    }
}

#[test]
fn colours_follow_terminal_and_environment() {
    let work = workplace();
    let colours = |variables: &[(&str, &str)], arguments: &[&str]| {
        let mut command = program(work.path(), arguments);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        [output.stdout, output.stderr].concat().contains(&0x1b)
    };
    for arguments in [
        &["runtimes", "agents.redb"] as &[&str],
        &["transcript", "agents.redb", "worker-00000001"],
        &["search", "agents.redb", "Thanks"],
        &["runtimes", "nothing.redb"],
    ] {
        assert!(!colours(&[], arguments), "in a pipe: {arguments:?}");
        assert!(
            colours(&[("CLICOLOR_FORCE", "1")], arguments),
            "{arguments:?}"
        );
        let both = [("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")];
        assert!(!colours(&both, arguments), "NO_COLOR: {arguments:?}");
    }
}
