//! The report of a store: one HTML file.

use crate::program::{FIXTURE, Workplace, command, run};
use crate::support::{
    bulk, entry, named, new_worker, runtime_snapshot, say, worker_ref, worker_snapshot,
};
use redb_runtime_store::Store;
use redb_runtime_store::catalog::WorkerIntent;
use redb_runtime_store::interaction::WorkerInput;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::path::Path;

/// The report that the program prints for a store.
fn printed(store: &Path, options: &[&str]) -> String {
    let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"report", &store];
    arguments.extend(options.iter().map(|option| option as &dyn AsRef<OsStr>));
    run(&arguments).expect_code(0).stdout()
}

/// The values of an attribute, which are always in double quotes.
fn attributes<'r>(report: &'r str, name: &str) -> Vec<&'r str> {
    let begin = format!(" {name}=\"");
    let parts = report.split(begin.as_str()).skip(1);
    parts.filter_map(|part| part.split('"').next()).collect()
}

/// The names in `directory`.
fn names(directory: &Path) -> BTreeSet<std::ffi::OsString> {
    let entries = fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn report_has_no_address_and_no_script() {
    let work = Workplace::new();
    let report = printed(&work.imported(), &["--verify"]);
    assert!(
        report.starts_with("<!DOCTYPE html><html lang=\"en\">"),
        "{report}"
    );
    assert!(report.ends_with("</html>\n"), "{report}");
    for absent in [
        "http:",
        "https:",
        "//",
        "<script",
        "<link",
        "<img",
        "xmlns",
        " src=",
        "@import",
        "url(",
        "javascript:",
    ] {
        assert!(!report.contains(absent), "{absent} in\n{report}");
    }
    assert!(
        report.contains("content=\"default-src 'none'; "),
        "{report}"
    );
    for shown in [
        "A small demo",
        "task: translate what it is given",
        "Übersetze: &quot;naïve café&quot; — 日本語も",
        "Checked: no damage",
        FIXTURE.rsplit('/').next().unwrap(),
    ] {
        assert!(report.contains(shown), "{shown} is not in\n{report}");
    }
}

#[test]
fn hostile_ids_are_escaped_and_linked() {
    let work = Workplace::new();
    let path = work.path("hostile.redb");
    let hostile = [
        "\"><script>alert(1)</script>",
        "it's & \u{202E}",
        "#t1",
        "a\nb",
    ];
    let store = Store::open(&path).unwrap();
    bulk(&store, |load| {
        for id in hostile {
            let worker = worker_ref("<r>\"'", id);
            load.append_transcript_entry(entry(&worker, 1, "<b>\u{1b}").into())?;
            let mut snapshot = worker_snapshot(&worker, 2);
            let objective = "</td><i class=esc>".to_owned();
            snapshot.request.intent = WorkerIntent::Task { objective };
            load.put_worker(snapshot.into())?;
        }
        load.put_runtime(runtime_snapshot("<r>\"'", 2).into())
    });
    store.close().unwrap();
    let report = printed(&path, &[]);
    for escaped in [
        "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;",
        r"it's &amp; <i class=esc>\u{202e}</i>",
        r"a<i class=esc>\n</i>b",
        "&lt;/td&gt;&lt;i class=esc&gt;",
        r"&lt;b&gt;<i class=esc>\u{1b}</i>",
        "&lt;r&gt;&quot;'",
    ] {
        assert!(report.contains(escaped), "{escaped} is not in\n{report}");
    }
    assert!(!report.contains("<script>") && !report.contains('\u{202E}'));
    let targets: BTreeSet<&str> = attributes(&report, "id").into_iter().collect();
    let links = attributes(&report, "href");
    assert!(links.len() > 4 * 2, "{links:?}");
    for link in links {
        let name = link.strip_prefix('#').unwrap();
        let sections = ["findings", "timeline", "growth", "workers", "transcripts"];
        let is_there = targets.contains(name) || report.contains(&format!(" id={name}>"));
        assert!(is_there, "{link} leads nowhere");
        assert!(
            sections.contains(&name) || name[1..].parse::<u64>().is_ok(),
            "{link}"
        );
    }
}

#[test]
fn failed_report_leaves_the_old_file() {
    let work = Workplace::new();
    let (store, file) = (work.imported(), work.path("report.html"));
    fs::write(&file, "old").unwrap();
    let before = names(file.parent().unwrap());
    let with: &[&dyn AsRef<OsStr>] = &[&"report", &store, &"-o", &file];
    run(&[with, &[&"--worker", &"nobody"]].concat()).expect_code(1);
    run(&[with, &[&"--runtime", &"nobody"]].concat()).expect_code(1);
    assert_eq!(fs::read_to_string(&file).unwrap(), "old");
    assert_eq!(names(file.parent().unwrap()), before);
    let done = run(with);
    assert!(
        done.expect_code(0).stdout().starts_with("wrote "),
        "{}",
        done.stdout()
    );
    assert!(fs::read_to_string(&file).unwrap().ends_with("</html>\n"));
    assert_eq!(names(file.parent().unwrap()), before);
    // A directory that is not there.
    let absent = work.path("absent").join("report.html");
    let refused = run(&[&"report", &store, &"-o", &absent]);
    assert!(
        refused.expect_code(1).stderr().contains("report.html: "),
        "{}",
        refused.stderr()
    );
}

#[test]
fn report_never_replaces_its_store() {
    let work = Workplace::new();
    let store = work.imported();
    let (link, hard, directory) = (work.path("link"), work.path("hard"), work.path("directory"));
    std::os::unix::fs::symlink(&store, &link).unwrap();
    fs::hard_link(&store, &hard).unwrap();
    fs::create_dir(&directory).unwrap();
    let before = fs::read(&store).unwrap();
    for file in [&store, &link, &hard, &directory, Path::new("/dev/full")] {
        run(&[&"report", &store, &"-o", &file]).expect_code(2);
    }
    assert_eq!(fs::read(&store).unwrap(), before);
    run(&[&"verify", &store]).expect_code(0);
}

#[test]
fn named_workers_alone_are_listed() {
    let work = Workplace::new();
    let path = work.path("two.redb");
    let store = Store::open(&path).unwrap();
    for id in ["one", "other"] {
        let runtime = store.runtime(named(id)).unwrap();
        for text in ["first", "second"] {
            let worker = new_worker(&runtime);
            say(&runtime, &worker, &format!("the {text} of {id}")).unwrap();
        }
    }
    store.close().unwrap();
    let rows = |report: &str| report.matches("<tr id=").count();
    let report = printed(&path, &[]);
    assert_eq!((rows(&report), report.matches("<details").count()), (4, 4));
    let report = printed(&path, &["--runtime", "one", "--worker", "2"]);
    assert_eq!((rows(&report), report.matches("<details").count()), (1, 1));
    assert!(report.contains("the second of one") && !report.contains("the first of one"));
    assert_eq!(
        report.matches("class=\"lane ").count(),
        2,
        "the timeline has all workers"
    );
    assert!(report.contains("And 1 more worker."), "{report}");
    // Several runtimes have such a worker, or none has.
    let refused = run(&[&"report", &path, &"--worker", &"2"]);
    assert!(
        refused.expect_code(2).stderr().contains("--runtime"),
        "{}",
        refused.stderr()
    );
    run(&[&"report", &path, &"--worker", &"nobody"]).expect_code(2);
}

#[test]
fn whole_transcripts_are_shown_on_request() {
    let work = Workplace::new();
    let path = work.path("long.redb");
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    let long = "long ".repeat(4000);
    runtime
        .transaction(|tx| {
            for number in 1..=250 {
                tx.send_input(&worker, WorkerInput::user(format!("text {number}.")))?;
            }
            tx.append_reply(&worker, long.clone())?;
            Ok(())
        })
        .unwrap();
    store.close().unwrap();
    let shown = printed(&path, &[]);
    assert!(
        !shown.contains("text 51.") && shown.contains("text 52."),
        "{shown}"
    );
    assert!(shown.contains("the last 200 of 251 entries"), "{shown}");
    assert!(
        !shown.contains(&long) && shown.contains("more, which --all shows"),
        "{shown}"
    );
    let all = printed(&path, &["--all"]);
    assert!(all.contains("text 1.") && all.contains(&long) && !all.contains("the last "));
}

#[test]
fn empty_stores_have_reports() {
    let work = Workplace::new();
    let path = work.path("empty.redb");
    Store::open(&path).unwrap().close().unwrap();
    let report = printed(&path, &[]);
    assert!(report.contains("The store has no runtimes."), "{report}");
    let store = Store::open(&path).unwrap();
    store.runtime(named("idle")).unwrap();
    store.close().unwrap();
    let report = printed(&path, &[]);
    assert!(
        report.contains("No workers.") && report.contains("The store has no workers."),
        "{report}"
    );
    run(&[&"report", &path, &"--worker", &"1"]).expect_code(1);
}

#[test]
fn many_runtimes_and_workers_are_counted() {
    let work = Workplace::new();
    let path = work.path("many.redb");
    let store = Store::open(&path).unwrap();
    bulk(&store, |load| {
        for runtime in 0..60 {
            let id = format!("r{runtime:02}");
            for number in 0..30 {
                let worker = worker_ref(&id, &format!("w{number}"));
                load.append_transcript_entry(entry(&worker, 1, "said").into())?;
                load.put_worker(worker_snapshot(&worker, 2).into())?;
            }
            load.put_runtime(runtime_snapshot(&id, 2).into())?;
        }
        Ok(())
    });
    store.close().unwrap();
    let report = printed(&path, &[]);
    assert!(report.contains("And 10 more runtimes."), "{report}");
    assert!(report.contains("<dd>1,800</dd>"), "{report}");
    assert!(
        report.contains("And 10 more workers."),
        "20 of 30 are listed"
    );
    let all = printed(&path, &["--all"]);
    assert_eq!(all.matches("<details").count(), 60 * 30);
    assert!(!all.contains("more runtimes."));
}

#[test]
fn exit_codes_of_reports_tell_damage() {
    let work = Workplace::new();
    let (store, file) = (work.imported(), work.path("report.html"));
    run(&[&"report", &store, &"--json"]).expect_code(2);
    let done = run(&[&"report", &store, &"--json", &"-o", &file]);
    let printed: serde_json::Value = serde_json::from_str(&done.expect_code(0).stdout()).unwrap();
    assert_eq!(printed["bytes"], file.metadata().unwrap().len());
    assert_eq!(
        (&printed["workers"], &printed["events"]),
        (&2.into(), &8.into())
    );
    run(&[&"report", &work.path("absent"), &"-o", &file]).expect_code(1);
    // A worker's row that no rule allows.
    let damaged = work.path("damaged.redb");
    let store = Store::open(&damaged).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    say(&runtime, &worker, "said").unwrap();
    #[cfg(feature = "fault-injection")]
    bulk(&store, |load| {
        load.without_checks();
        load.put_worker(worker_snapshot(&worker, 1).into())
    });
    store.close().unwrap();
    if cfg!(feature = "fault-injection") {
        run(&[&"report", &damaged, &"--verify", &"-o", &file]).expect_code(4);
        let report = fs::read_to_string(&file).unwrap();
        assert!(report.contains("Checked: damaged, 1 error"), "{report}");
    }
}

/// The memory that the program may take for a report, in KiB of addresses.
const MEMORY_KIB: u32 = 160 << 10;

#[test]
fn memory_of_reports_does_not_grow() {
    let work = Workplace::new();
    let path = work.path("texts.redb");
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    let text = "0123456789abcdef".repeat(1 << 16);
    for _ in 0..10 {
        runtime
            .transaction(|tx| {
                for _ in 0..32 {
                    tx.send_input(&worker, WorkerInput::user(text.clone()))?;
                }
                Ok(())
            })
            .unwrap();
    }
    store.close().unwrap();
    // 320 MiB of texts in less than half of that.
    let program = command(&[]).get_program().to_owned();
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(format!(
        "ulimit -v {MEMORY_KIB} && exec \"$0\" report \"$1\""
    ));
    let output = shell.arg(program).arg(&path).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    let report = String::from_utf8(output.stdout).unwrap();
    assert!(report.contains("320.00 MiB of text"));
}
