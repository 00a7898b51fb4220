//! Copies to a server that goes away: running one again continues it.

use crate::hosts::{SHARED, assert_refused, named, options, schema};
use postgres_tests::proxy::{Fault, Point, Side, When};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::store::{CopyOptions, CopyOutcome};
use redb_runtime_store::{RuntimeError, Store};
use std::time::Duration;
use tempfile::TempDir;

/// More than a load takes before it ends, so that each runtime has a load of its own.
const LARGE: usize = 4_300_000;

/// A store in a file with `runtimes` that have so many `bytes` each.
fn source(runtimes: usize, bytes: usize) -> (Store, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    for number in 0..runtimes {
        let runtime = store.runtime(named(&format!("r{number}"))).unwrap();
        let worker = runtime.create_worker(Default::default()).unwrap();
        let text = number.to_string().repeat(bytes / 4);
        let said = runtime.transaction(|transaction| {
            (0..4).try_for_each(|_| {
                let input = WorkerInput::user(&text);
                transaction.send_input(&worker.worker_ref, input).map(drop)
            })
        });
        said.unwrap();
    }
    (store, directory)
}

/// How many runtimes the destination has. Each is the one of the source.
fn there(source: &Store, schema: &str) -> usize {
    let there = Store::connect(options(&SHARED.url(), schema)).unwrap();
    let report = source.check_copy(Some(&there), &CopyOptions::new());
    report.unwrap().count(CopyOutcome::Same)
}

/// Copies what is missing. Afterwards there is no difference.
fn finish(source: &Store, schema: &str) {
    let destination = Store::connect(options(&SHARED.url(), schema)).unwrap();
    source.copy_to(&destination, &CopyOptions::new()).unwrap();
    let all = source.runtimes().unwrap().len();
    assert_eq!(there(source, schema), all);
    let back = destination.check_copy(Some(source), &CopyOptions::new());
    assert_eq!(back.unwrap().count(CopyOutcome::Same), all);
    assert!(destination.verify().unwrap().is_clean());
}

#[test]
fn uncertain_copy_is_continued() {
    let ((source, _directory), schema) = (source(5, LARGE), schema());
    let (proxy, url) = SHARED.proxied();
    let options = options(&url, &schema).outage_timeout(Duration::from_secs(1));
    // How many runtimes are there after each loss, which hits the load of this number.
    for (nth, point, expected) in [
        (1, Point::ANSWER_LOST, 1),
        (1, Point::COMMIT_LOST, 1),
        (2, Point::ANSWER_LOST, 3),
        (2, Point::COMMIT_LOST, 4),
    ] {
        let destination = Store::connect(options.clone()).unwrap();
        proxy.plan(Point { nth, ..point }, Fault::Outage);
        let uncertain = source.copy_to(&destination, &CopyOptions::new());
        assert!(proxy.has_fired());
        assert_refused!(uncertain, RuntimeError::CommitUncertain { .. });
        // The handle can be used when the server is back.
        proxy.restore();
        assert_eq!(destination.runtimes().unwrap().len(), expected, "{point:?}");
    }
    assert_eq!(there(&source, &schema), 4);
    finish(&source, &schema);
}

/// The answer to the COMMIT of a load is lost, and the server can be reached: the copy continues.
#[test]
fn lost_answer_of_a_copy_is_settled() {
    let (source, _directory) = source(2, LARGE);
    let (proxy, url) = SHARED.proxied();
    for nth in 1..=2 {
        let schema = schema();
        let destination = Store::connect(options(&url, &schema)).unwrap();
        let point = Point {
            nth,
            ..Point::ANSWER_LOST
        };
        proxy.plan(point, Fault::Cut);
        source.copy_to(&destination, &CopyOptions::new()).unwrap();
        assert!(proxy.has_fired());
        finish(&source, &schema);
    }
}

#[test]
fn copy_cut_at_any_message_is_continued() {
    let ((source, _directory), schema) = (source(6, 100), schema());
    let mut failed = 0;
    for (side, when, step) in [
        (Side::Host, When::After, 90),
        (Side::Server, When::Before, 150),
    ] {
        let (proxy, url) = SHARED.proxied();
        let options = options(&url, &schema).outage_timeout(Duration::from_secs(1));
        for nth in (1..).step_by(step) {
            let destination = Store::connect(options.clone()).unwrap();
            proxy.plan(Point::message(side, nth, when), Fault::Outage);
            let copied = source.copy_to(&destination, &CopyOptions::new());
            if let Err(error) = copied {
                failed += 1;
                assert_refused!(
                    Err::<(), _>(error),
                    RuntimeError::StoreIo { .. } | RuntimeError::CommitUncertain { .. }
                );
            }
            let is_over = !proxy.has_fired();
            proxy.restore();
            // All of them are in one load.
            let found = there(&source, &schema);
            assert!([0, 6].contains(&found), "{found}");
            if is_over {
                break;
            }
        }
    }
    assert!(failed > 8, "{failed}");
    finish(&source, &schema);
}
