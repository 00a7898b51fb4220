//! Times of rows in a file that its rules forbid.

use crate::maintenance::behind_our_back;
use crate::support::{named, scratch};
use crate::verifying::verify;
use redb::{ReadableTable, TableDefinition};
use redb_runtime_store::Store;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::store::VerifyKind;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// A store whose clock stands, with rows in every table that has times: `create_worker` adds two diagnostics.
fn store_at(now_ms: u64, path: &Path) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms);
    let store = Store::options().clock(move || now).open(path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.unwrap().worker_ref;
    runtime.send_input(&worker, WorkerInput::user("x")).unwrap();
    store.close().unwrap();
}

/// Replaces the first value of a table of `to` by that of the same key in `from`.
fn replace_first<K: redb::Key + 'static>(from: &Path, to: &Path, table: &str) {
    let definition: TableDefinition<'_, K, &[u8]> = TableDefinition::new(table);
    let mut row = None;
    behind_our_back(from, |change| {
        let table = change.open_table(definition).unwrap();
        let (key, value) = table.first().unwrap().unwrap();
        let key = K::as_bytes(&key.value()).as_ref().to_vec();
        row = Some((key, value.value().to_vec()));
    });
    let (key, value) = row.unwrap();
    behind_our_back(to, |change| {
        let mut table = change.open_table(definition).unwrap();
        let old = table.insert(K::from_bytes(&key), value.as_slice()).unwrap();
        assert!(old.is_some_and(|old| old.value() != value));
    });
}

/// Replaces a value of a table: from, to, table.
type Replace = fn(&Path, &Path, &str);

#[test]
fn verify_finds_rows_dated_after_their_runtime() {
    let replacements: [(&str, Replace); 5] = [
        ("events", replace_first::<(&str, u64)>),
        ("transcripts", replace_first::<(&str, &str, u64)>),
        ("workers", replace_first::<(&str, &str)>),
        ("diagnostics", replace_first::<(&str, u64)>),
        ("runtimes", replace_first::<&str>),
    ];
    for (table, replace) in replacements {
        let (_directory, early) = scratch();
        let late = early.with_file_name("late.redb");
        store_at(1_000, &early);
        store_at(5_000, &late);
        // The runtime's row is the one that is too early; of the others one is too late.
        let path = match table {
            "runtimes" => {
                replace(&early, &late, table);
                &late
            }
            _ => {
                replace(&late, &early, table);
                &early
            }
        };
        let report = verify(path);
        let [finding] = &report.findings[..] else {
            panic!("{table}: {:#?}", report.findings);
        };
        assert_eq!(finding.kind, VerifyKind::Time);
        assert_eq!(
            (finding.table, finding.key.as_deref()),
            (Some("runtimes"), Some("r"))
        );
        let rows = match table {
            "runtimes" => "7 rows have a time",
            _ => "1 rows have a time",
        };
        let of_table = format!("table {table},");
        let message = &finding.message;
        assert!(message.starts_with(rows), "{message}");
        assert!(
            message.contains("(1970-01-01T00:00:01.000Z)")
                && message.ends_with("1970-01-01T00:00:05.000Z"),
            "{message}"
        );
        assert!(
            table == "runtimes" || message.contains(&of_table),
            "{message}"
        );
        assert!(!report.is_clean());
    }
}
