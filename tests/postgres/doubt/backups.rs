//! Backups of a store on a server, and counts.

use crate::hosts::{SHARED, named, options, say, schema};
use postgres_tests::proxy::{Fault, Point};
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::store::{
    BackupOptions, CensusOptions, CopyOptions, CopyOutcome, DeleteRuntimeOptions, RowProgress,
};
use redb_runtime_store::{RuntimeError, Store};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Progress that was reported.
#[derive(Clone, Default)]
struct Reported(Arc<Mutex<Vec<RowProgress>>>);

impl Reported {
    fn note(&self) -> impl Fn(RowProgress) + Send + Sync + 'static {
        let reported = Arc::clone(&self.0);
        move |progress| reported.lock().unwrap().push(progress)
    }

    /// Asserts that the reports rise to the number of all rows.
    fn assert_complete(&self) {
        let reported = self.0.lock().unwrap();
        assert!(reported.is_sorted_by_key(|progress| progress.done));
        let last = reported.last().expect("a report");
        assert!(last.done > 0 && last.done <= last.total, "{last:?}");
        // A report is made every few thousand rows.
        assert!(last.total - last.done < 4096, "{last:?}");
    }
}

#[test]
fn backup_has_all_rows_and_reports_them() {
    let store = Store::connect(options(&SHARED.url(), &schema())).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime.create_worker(Default::default()).unwrap();
    let worker = worker.worker_ref;
    runtime
        .transaction(|transaction| {
            for _ in 0..5_000 {
                transaction.append_reply(&worker, "hello")?;
            }
            Ok::<_, RuntimeError>(())
        })
        .unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.redb");
    let (backed_up, counted) = (Reported::default(), Reported::default());
    let with = BackupOptions::new().on_progress(backed_up.note());
    let report = store.backup_with(&path, &with).unwrap();
    assert!(report.rows > 5_000);
    backed_up.assert_complete();
    // Nothing else is left in the directory.
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    store
        .census_with(&CensusOptions::new().on_progress(counted.note()))
        .unwrap();
    counted.assert_complete();
    let copy = Store::open(&path).unwrap();
    let compared = store.check_copy(Some(&copy), &CopyOptions::new()).unwrap();
    assert_eq!(compared.count(CopyOutcome::Same), 1);
    assert!(copy.verify().unwrap().is_clean());
    let again = store.backup(&path);
    assert!(
        matches!(again, Err(RuntimeError::StoreIo { .. })),
        "{again:?}"
    );
}

/// Rows that readers do not see are in no backup.
#[test]
fn backup_leaves_out_what_a_deletion_has_left() {
    let (proxy, url) = SHARED.proxied();
    let schema = schema();
    let through = options(&url, &schema).outage_timeout(Duration::from_millis(500));
    let store = Store::connect(through).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    for _ in 0..6 {
        let worker = runtime.create_worker(Default::default()).unwrap();
        say(&runtime, &worker.worker_ref, &"x".repeat(2 << 20)).unwrap();
    }
    proxy.plan(
        Point {
            nth: 2,
            ..Point::COMMIT_LOST
        },
        Fault::Outage,
    );
    let id = RuntimeId::new("r").unwrap();
    let options_of = DeleteRuntimeOptions::new().even_if_running(true);
    store.delete_runtime_with(&id, &options_of).unwrap_err();
    let reading = Store::connect(options(&SHARED.url(), &schema).read_only(true)).unwrap();
    assert_eq!(reading.runtimes().unwrap(), []);
    let left = format!("SELECT count(*) > 0 FROM {schema}.transcripts");
    assert_eq!(
        SHARED.primary().ask(&left),
        "t",
        "the deletion is unfinished"
    );
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copy.redb");
    reading.backup(&path).unwrap();
    let copy = Store::open_read_only(&path).unwrap();
    let census = copy.census().unwrap();
    for table in ["runtimes", "workers", "events", "transcripts", "tombstones"] {
        let found = census.tables.iter().find(|found| found.table == table);
        assert_eq!(found.unwrap().rows, 0, "{table}");
    }
}
