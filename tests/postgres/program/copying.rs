//! Copies between files and servers, also interrupted ones.

use crate::runs::{
    GOLDEN, SHARED, connect, filled, new_url, program, run, runtime, schema, url_of,
};
use postgres_tests::proxy::{Fault, Point, Side, When};
use redb_runtime_store::Store;
use redb_runtime_store::store::{CopyOptions, CopyOutcome};
use std::process::Stdio;
use std::thread::{self, sleep};
use std::time::Duration;

#[test]
fn store_goes_to_a_server_on_and_back() {
    let work = tempfile::tempdir().unwrap();
    let file = work.path().join("back.redb");
    let (one, other) = (new_url(), new_url());
    let first = run(&[&"copy", &GOLDEN, &one]).expect_code(0).stdout();
    assert!(first.starts_with("copied: "), "{first}");
    run(&[&"copy", &one, &other]).expect_code(0);
    run(&[&"copy", &other, &file]).expect_code(0);
    for (left, right) in [
        (GOLDEN, one.as_str()),
        (&one, &other),
        (&other, file.to_str().unwrap()),
        (GOLDEN, file.to_str().unwrap()),
    ] {
        run(&[&"compare", &left, &right]).expect_code(0);
        let again = run(&[&"copy", &left, &right]).expect_code(0).stdout();
        assert!(again.starts_with("already there: "), "{again}");
    }
    run(&[&"verify", &one]).expect_code(0);
    run(&[&"verify", &file]).expect_code(0);
}

#[test]
fn changed_runtime_is_a_conflict_until_replaced() {
    let url = new_url();
    run(&[&"copy", &GOLDEN, &url]).expect_code(0);
    let store = connect(&url);
    let id = store.runtimes().unwrap().swap_remove(0).runtime_id;
    let changed = runtime(&store, id.as_str());
    changed.set_display_name(Some("Other".to_owned())).unwrap();
    run(&[&"copy", &GOLDEN, &url]).expect_code(4);
    run(&[&"copy", &GOLDEN, &url, &"--dry-run"]).expect_code(4);
    run(&[&"copy", &GOLDEN, &url, &"--replace"]).expect_code(0);
    run(&[&"compare", &GOLDEN, &url]).expect_code(0);
}

/// Each runtime of the destination is the one of the source, or is not there. Returns how many are there.
fn whole(source: &Store, url: &str) -> usize {
    let there = connect(url);
    let report = source.check_copy(Some(&there), &CopyOptions::new());
    report.unwrap().count(CopyOutcome::Same)
}

#[test]
fn killed_copy_is_continued() {
    let work = tempfile::tempdir().unwrap();
    let path = filled(&work.path().join("store"), 40, (400, 500));
    let url = new_url();
    let source = Store::open_read_only(&path).unwrap();
    let mut seen = Vec::new();
    for round in 0..30 {
        let mut copy = program();
        copy.arg("copy").arg(&path).arg(&url);
        let mut copy = copy.stdout(Stdio::null()).spawn().unwrap();
        sleep(Duration::from_millis(20 + 10 * round));
        let is_over = copy.try_wait().unwrap().is_some();
        copy.kill().unwrap();
        copy.wait().unwrap();
        if round > 3 {
            seen.push(whole(&source, &url));
        }
        if is_over {
            break;
        }
    }
    assert!(seen.is_sorted(), "{seen:?}");
    drop(source);
    run(&[&"copy", &path, &url]).expect_code(0);
    run(&[&"compare", &path, &url]).expect_code(0);
    run(&[&"verify", &url]).expect_code(0);
}

#[test]
fn copy_that_lost_its_connection_is_continued() {
    let work = tempfile::tempdir().unwrap();
    let path = filled(&work.path().join("store"), 6, (1500, 1000));
    let (proxy, url) = SHARED.proxied();
    let schema = schema();
    let (through, url) = (url_of(&url, &schema), url_of(&SHARED.url(), &schema));
    connect(&url);
    let source = Store::open_read_only(&path).unwrap();
    let points = (1..300).step_by(20);
    let points = points.map(|nth| Point::message(Side::Host, nth, When::After));
    let mut failed = 0;
    for point in points.chain([Point::COMMIT_LOST, Point::ANSWER_LOST]) {
        let there = connect(&through);
        proxy.plan(point, Fault::Cut);
        failed += usize::from(source.copy_to(&there, &CopyOptions::new()).is_err());
        drop(there);
        whole(&source, &url);
    }
    assert!(failed > 0);
    source.copy_to(&connect(&url), &CopyOptions::new()).unwrap();
    assert_eq!(whole(&source, &url), 6);
    drop(source);
    run(&[&"verify", &url]).expect_code(0);
}

/// Another host creates a runtime of the same id after the copy has looked for it.
#[test]
fn runtime_created_meanwhile_is_not_replaced() {
    let work = tempfile::tempdir().unwrap();
    let path = filled(&work.path().join("store"), 2, (3000, 10));
    let source = Store::open_read_only(&path).unwrap();
    let url = new_url();
    let (there, host) = (connect(&url), connect(&url));
    let options = CopyOptions::new().on_progress(move |progress| {
        // Within the load that writes the first runtime. The callback itself must not change a store.
        if progress.done > 0 {
            thread::scope(|scope| {
                scope.spawn(|| runtime(&host, "r001"));
            });
        }
    });
    let error = source.copy_to(&there, &options).unwrap_err();
    assert!(error.to_string().contains("runtime r001"), "{error}");
    let created = runtime(&there, "r001");
    assert!(created.list_workers().unwrap().is_empty());
}
