//! Imports as an operator sees them: their output, their records in the store, and their exit codes.

use super::layout_support::*;
use super::program::{command, run};
use super::support::{full_request, named, say, seed};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::{Runtime, Store};
use serde_json::Value;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

#[test]
fn dry_run_needs_no_lock_or_permission() {
    let scratch = tempfile::tempdir().unwrap();
    let (store, root) = (scratch.path().join("store"), small());
    run(&[&"import", &SMALL, &store]).expect_code(0);
    edit(
        &runtime_dir(root.path()).join("runtime.json"),
        "A small",
        "Another",
    );
    fs::set_permissions(&store, fs::Permissions::from_mode(0o444)).unwrap();
    let before = fs::read(&store).unwrap();
    run(&[&"import", &SMALL, &store, &"--dry-run"]).expect_code(0);
    run(&[&"import", &root.path(), &store, &"--dry-run"]).expect_code(4);
    run(&[&"import", &root.path(), &store, &"--dry-run", &"--replace"]).expect_code(0);
    assert!(fs::read(&store).unwrap() == before);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);

    fs::set_permissions(&store, fs::Permissions::from_mode(0o600)).unwrap();
    let host = Store::open(&store).unwrap();
    run(&[&"import", &SMALL, &store, &"--dry-run"]).expect_code(0);

    // As a kill leaves it.
    let killed = scratch.path().join("killed");
    fs::copy(&store, &killed).unwrap();
    drop(host);
    let before = fs::read(&killed).unwrap();
    let refused = run(&[&"import", &SMALL, &killed, &"--dry-run"]);
    let said = refused.expect_code(1).stderr();
    assert!(
        said.contains("a dry run does not repair a store")
            && said.contains("`runtime-store runtimes` repairs it"),
        "{said}"
    );
    assert!(fs::read(&killed).unwrap() == before);
}

#[test]
fn dry_run_fails_where_import_would() {
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("nowhere/store");
    run(&[&"import", &SMALL, &store]).expect_code(1);
    run(&[&"import", &SMALL, &store, &"--dry-run"]).expect_code(1);
}

/// Appends the beginning of an event to the log of a runtime.
fn tear(root: &Path, id: &str) {
    let log = root.join("runtimes").join(dir_of(id)).join("events.jsonl");
    append(&log, b"{\"id\":9");
}

/// A root with the small runtime under each of the ids, which have four letters.
fn runtimes(ids: &[&str]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for id in ids {
        let dir = root.path().join("runtimes").join(dir_of(id));
        copy(&runtime_dir(SMALL.as_ref()), &dir);
        for file in tree(&dir)
            .into_iter()
            .filter_map(|(path, text)| text.map(|_| path))
        {
            let text = fs::read_to_string(dir.join(&file)).unwrap();
            fs::write(
                dir.join(file),
                text.replace("\"demo\"", &format!("\"{id}\"")),
            )
            .unwrap();
        }
    }
    root
}

/// The record of `id` that `imports --json` prints.
fn record(store: &Path, id: Option<&str>) -> Option<Value> {
    let shown = run(&[&"imports", &store, &"--json"]);
    let shown = shown.expect_code(0).stdout();
    let mut records = shown
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.find(|record| record["runtime_id"].as_str() == id)
}

fn kinds(record: &Value) -> Vec<&str> {
    let findings = record["findings"].as_array().unwrap();
    findings
        .iter()
        .map(|finding| finding["kind"].as_str().unwrap())
        .collect()
}

#[test]
fn left_out_texts_are_stored_and_shown() {
    let root = runtimes(&["good", "torn", "lost"]);
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("store");
    tear(root.path(), "torn");
    let lost = root.path().join("runtimes").join(dir_of("lost"));
    // A damaged document would be rebuilt.
    let long = format!(r#"{{"schema_version":9,"x":"{}"}}"#, "q".repeat(5000));
    fs::write(lost.join("runtime.json"), &long).unwrap();
    fs::create_dir(root.path().join("runtimes/id-zz")).unwrap();
    run(&[&"import", &root.path(), &store, &"--salvage"]).expect_code(4);

    let left_out = record(&store, Some("lost")).unwrap();
    assert_eq!(kinds(&left_out)[0], "unsupported");
    assert_eq!(left_out["findings"][0]["text"], long.as_str());
    assert_eq!(
        (&left_out["is_in_store"], &left_out["salvaged"]),
        (&false.into(), &true.into())
    );
    assert_eq!(kinds(&record(&store, Some("torn")).unwrap()), ["cut_off"]);
    assert_eq!(kinds(&record(&store, None).unwrap()), ["invalid_name"]);
    let people = run(&[&"imports", &store]);
    let people = people.expect_code(0).stdout();
    assert!(
        people.contains("lost: not imported from ") && people.contains("cut off: "),
        "{people}"
    );
    run(&[&"verify", &store]).expect_code(0);
    let copy = scratch.path().join("copy");
    run(&[&"backup", &store, &copy]).expect_code(0);
    run(&[&"verify", &copy]).expect_code(0);
    assert_eq!(record(&copy, Some("lost")), Some(left_out));

    // A second salvage writes nothing. After a repair of the directory the runtime is imported.
    let before = fs::read(&store).unwrap();
    let again = runtimes(&["lost"]);
    run(&[&"import", &root.path(), &store, &"--salvage", &"--dry-run"]).expect_code(4);
    assert!(fs::read(&store).unwrap() == before);
    run(&[&"import", &again.path(), &store]).expect_code(0);
    let imported = record(&store, Some("lost")).unwrap();
    assert_eq!(
        (kinds(&imported).len(), &imported["is_in_store"]),
        (0, &true.into())
    );
    run(&[&"export", &store, &scratch.path().join("out")]).expect_code(0);

    // A runtime that cannot be replaced keeps its record.
    run(&[&"import", &root.path(), &store, &"--salvage", &"--replace"]).expect_code(4);
    assert_eq!(record(&store, Some("lost")), Some(imported));
    let rest = record(&store, None).unwrap();
    assert!(kinds(&rest).contains(&"unsupported"), "{rest}");
    run(&[&"verify", &store]).expect_code(0);
}

#[test]
fn salvaged_source_counts_as_already_imported() {
    let root = runtimes(&["torn"]);
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("store");
    tear(root.path(), "torn");
    run(&[&"import", &root.path(), &store, &"--salvage"]).expect_code(4);
    let root_path = root.path();
    for options in [&[][..], &["--salvage"], &["--dry-run"]] {
        let mut arguments: Vec<&dyn AsRef<OsStr>> = vec![&"import", &root_path, &store];
        arguments.extend(options.iter().map(|option| option as &dyn AsRef<OsStr>));
        let again = run(&arguments);
        let said = again.expect_code(4).stdout();
        assert!(
            said.contains("already imported: 1 runtime"),
            "{options:?}: {said}"
        );
    }
    tear(root.path(), "torn");
    let grown = run(&[&"import", &root.path(), &store]);
    assert!(
        grown
            .expect_code(4)
            .stderr()
            .contains("nothing was imported")
    );
}

#[test]
fn refusal_names_every_damaged_or_different_runtime() {
    let ids: Vec<String> = (0..14).map(|n| format!("rt{n:02}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let root = runtimes(&ids);
    let scratch = tempfile::tempdir().unwrap();
    let store = scratch.path().join("store");
    run(&[&"import", &root.path(), &store, &"--runtime", &"rt00"]).expect_code(0);
    let changed = root.path().join("runtimes").join(dir_of("rt00"));
    edit(&changed.join("runtime.json"), "A small", "Another");
    ids[1..13].iter().for_each(|id| tear(root.path(), id));

    let refused = run(&[&"import", &root.path(), &store]);
    let said = refused.expect_code(4).stderr();
    for id in &ids[..13] {
        assert!(said.contains(&format!("runtime \"{id}\"")), "{id}: {said}");
    }
    assert!(said.contains("with 1 difference\n"), "{said}");
    assert!(
        said.contains("--salvage") && said.contains("--replace"),
        "{said}"
    );
    assert!(!said.contains("rt13"), "{said}");

    let refused = run(&[&"import", &root.path(), &store, &"--json"]);
    let json: Value = serde_json::from_str(&refused.expect_code(4).stdout()).unwrap();
    assert_eq!(json["findings"].as_array().unwrap().len(), 12);
    assert_eq!(json["findings"][0]["text"], "{\"id\":9");
    assert_eq!(json["conflicts"][0]["runtime_id"], "rt00");
    assert_eq!(json["conflicts"][0]["total"], 1);

    // A salvage prints the same in one line, with advice.
    let salvaged = run(&[&"import", &root.path(), &store, &"--salvage"]);
    let said = salvaged.expect_code(4).stderr();
    let conflict = said.lines().find(|line| line.contains("conflict")).unwrap();
    assert!(
        conflict.contains("display_name is") && conflict.contains("replace the runtime"),
        "{said}"
    );
    assert!(
        said.contains("use --replace to replace what the store already has"),
        "{said}"
    );
    assert!(!said.contains("\\n"), "{said}");
}

#[test]
fn salvage_with_losses_has_own_exit_code() {
    type Damage = fn(&Path);
    let damages: [Damage; 5] = [
        |dir| fs::remove_file(dir.join("events.jsonl")).unwrap(),
        |dir| fs::remove_dir_all(dir.join("workers")).unwrap(),
        |dir| symlink("/dev/null", dir.join("workers/stray")).unwrap(),
        |dir| {
            edit(
                &dir.join("runtime.json"),
                "next_event_id\": 9",
                "next_event_id\": 7",
            )
        },
        |dir| edit(&dir.join("runtime.json"), "fs_store", "other_store"),
    ];
    let scratch = tempfile::tempdir().unwrap();
    for (n, damage) in damages.into_iter().enumerate() {
        let root = small();
        let store = scratch.path().join(n.to_string());
        damage(&runtime_dir(root.path()));
        run(&[&"import", &root.path(), &store]).expect_code(4);
        let salvaged = run(&[&"import", &root.path(), &store, &"--salvage"]);
        let said = salvaged.expect_code(4).stdout();
        // Nothing of the last directory can be salvaged.
        let why =
            "nothing was imported, and no store was created: every runtime was left out\nread ";
        assert_eq!(said.contains(why), n == 4, "{said}");
        assert_eq!(store.exists(), n < 4, "{said}");
        assert!(!said.contains("read 0 B"), "{said}");
    }
}

#[test]
fn import_says_what_it_took_into_known_store() {
    let scratch = tempfile::tempdir().unwrap();
    let (store, root) = (scratch.path().join("store"), scratch.path().join("root"));
    fs::create_dir_all(root.join("runtimes")).unwrap();
    Store::open(&store).unwrap().close().unwrap();
    let said = run(&[&"import", &root, &store]).expect_code(0).stdout();
    let nothing = "nothing was imported: the directory has no runtime\n";
    assert!(said.starts_with(nothing), "{said}");
    fs::write(root.join("runtimes/notes.txt"), "kept").unwrap();
    let wanted = "import 1 file that is not part of the layout\n";
    let said = run(&[&"import", &root, &store, &"--dry-run"])
        .expect_code(0)
        .stdout();
    assert!(said.starts_with(&format!("would {wanted}")), "{said}");
    let json = run(&[&"import", &root, &store, &"--json"])
        .expect_code(0)
        .stdout();
    assert!(json.contains("\"files\":1"), "{json}");
    let again = run(&[&"import", &root, &store]).expect_code(0).stdout();
    assert!(again.starts_with(nothing), "{again}");
    // Beside a runtime that is there already, only the file is new.
    let root = small();
    run(&[&"import", &root.path(), &store]).expect_code(0);
    fs::write(root.path().join("runtimes/more.txt"), "kept").unwrap();
    let said = run(&[&"import", &root.path(), &store])
        .expect_code(0)
        .stdout();
    let begin = "already imported: 1 runtime\nimported 1 file that is not part of the layout\n";
    assert!(said.starts_with(begin), "{said}");
}

#[test]
fn oversized_line_moves_on_request() {
    let scratch = tempfile::tempdir().unwrap();
    let (store, again) = (scratch.path().join("store"), scratch.path().join("again"));
    let out = scratch.path().join("out");
    let host = Store::open(&store).unwrap();
    let runtime = host.runtime(named("long")).unwrap();
    let worker = runtime.create_worker(full_request()).unwrap().worker_ref;
    say(&runtime, &worker, &"x".repeat(65 << 20)).unwrap();
    drop((runtime, host));
    run(&[&"export", &store, &out]).expect_code(0);
    let by_verb: [&[&dyn AsRef<OsStr>]; 3] = [
        &[&"compare", &out, &store],
        &[&"export", &store, &out, &"--update"],
        &[&"import", &out, &again],
    ];
    for verb in by_verb {
        let said = run(verb).expect_code(4).stderr();
        assert!(
            said.contains("use --max-line-bytes for longer lines"),
            "{said}"
        );
        let longer: [&dyn AsRef<OsStr>; 2] = [&"--max-line-bytes", &"70M"];
        run(&[verb, &longer].concat()).expect_code(0);
    }
    run(&[&"compare", &out, &again, &"--max-line-bytes", &"70M"]).expect_code(0);
    for wrong in ["0", "70X", "M", "99999999999G"] {
        run(&[&"import", &out, &again, &"--max-line-bytes", &wrong]).expect_code(2);
    }
}

/// Inputs to the only worker, as one commit.
fn inputs(runtime: &Runtime, count: usize) {
    let worker = runtime.list_workers().unwrap().remove(0).worker_ref;
    let many = runtime.transaction(|tx| {
        (0..count).try_for_each(|n| {
            let input = WorkerInput::user(format!("input {n} of {count}, of some length"));
            tx.send_input(&worker, input).map(drop)
        })
    });
    many.unwrap();
}

/// Real processes, killed at random times; each time the next export completes the directory.
#[test]
fn next_export_completes_a_killed_one() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let (store, old, new) = (at("store"), at("old"), at("new"));
    let host = Store::open(&store).unwrap();
    let runtime = host.runtime(named("r")).unwrap();
    runtime.create_worker(full_request()).unwrap();
    inputs(&runtime, 500);
    run(&[&"export", &store, &old]).expect_code(0);
    inputs(&runtime, 10_000);
    let begun = Instant::now();
    run(&[&"export", &store, &new]).expect_code(0);
    let whole_export = begun.elapsed().as_micros() as u64;
    let whole = tree(&new);
    let mut random = seed();
    for (option, n) in ["--replace", "--update"]
        .into_iter()
        .flat_map(|o| (0..10).map(move |n| (o, n)))
    {
        let target = at(&format!("{option}{n}"));
        copy(&old, &target);
        let mut killed = command(&[&"export", &store, &target, &option, &"--quiet"]);
        let mut killed = killed.spawn().unwrap();
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        std::thread::sleep(Duration::from_micros((random >> 33) % whole_export));
        // An export that ended before is as good.
        let _ = killed.kill();
        killed.wait().unwrap();
        let log = runtime_dir_of(&target, "r").join("events.jsonl");
        let left = fs::read(log).unwrap();
        let all = whole[Path::new(&format!("runtimes/{}/events.jsonl", dir_of("r")))].as_ref();
        assert!(all.unwrap().starts_with(&left), "{option} {n}");
        run(&[&"export", &store, &target, &option]).expect_code(0);
        assert!(tree(&target) == whole, "{option} {n}");
    }
}

fn runtime_dir_of(root: &Path, id: &str) -> PathBuf {
    root.join("runtimes").join(dir_of(id))
}
