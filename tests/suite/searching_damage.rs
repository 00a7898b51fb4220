//! Searching a damaged store: in place, and never with fewer matches than there are.

use crate::searching::{all, eight_entries};
use crate::support::{assert_refused, scratch};
use redb::{Database, ReadableDatabase, TableDefinition};
use redb_runtime_store::search::Search;
use redb_runtime_store::{RuntimeError, Store};
use std::path::Path;

/// Changes the stored value of `key`, or removes it.
fn damage<K: redb::Key + 'static>(
    path: &Path,
    table: &str,
    key: K::SelfType<'_>,
    change: Option<fn(&mut Vec<u8>)>,
) {
    let definition: TableDefinition<'_, K, &[u8]> = TableDefinition::new(table);
    let database = Database::open(path).unwrap();
    let read = database.begin_read().unwrap();
    let open = read.open_table(definition).unwrap();
    let mut value = open.get(&key).unwrap().unwrap().value().to_vec();
    drop((open, read));
    let transaction = database.begin_write().unwrap();
    let mut open = transaction.open_table(definition).unwrap();
    match change {
        None => drop(open.remove(&key).unwrap()),
        Some(change) => {
            change(&mut value);
            open.insert(&key, value.as_slice()).unwrap();
        }
    }
    drop(open);
    transaction.commit().unwrap();
}

type EntryKey = (&'static str, &'static str, u64);

#[test]
fn search_reads_no_row_before_it_is_asked() {
    let (_directory, path) = scratch();
    eight_entries(&Store::open(&path).unwrap());
    damage::<EntryKey>(&path, "transcripts", ("r", "worker-00000001", 5), None);
    let store = Store::open(&path).unwrap();
    let snapshot = store.snapshot().unwrap();
    let search = Search::literal("text").entries_only();
    // Each match is there before the damaged row is read, and nothing after it.
    let mut matches = snapshot.search(&search).unwrap();
    for text in 0..5 {
        assert_eq!(
            matches.next().unwrap().unwrap().text(),
            format!("text {text}")
        );
    }
    assert_refused!(
        matches.next().unwrap(),
        RuntimeError::StoreCorrupt { operation: "search", message, .. } if message.contains("transcripts")
    );
    assert!(matches.next().is_none());
    let mut matches = snapshot.search(&search.newest_first(true)).unwrap();
    for text in [7, 6] {
        assert_eq!(
            matches.next().unwrap().unwrap().text(),
            format!("text {text}")
        );
    }
    assert_refused!(matches.next().unwrap(), RuntimeError::StoreCorrupt { .. });
    assert!(matches.next().is_none());
}

#[test]
fn damaged_row_is_error_also_without_match() {
    let (_directory, path) = scratch();
    eight_entries(&Store::open(&path).unwrap());
    // One letter of the text: nothing but the checksum of the value shows it.
    let change: fn(&mut Vec<u8>) = |value| {
        let at = value.windows(4).position(|part| part == b"text").unwrap();
        value[at] = b'T';
    };
    damage::<EntryKey>(
        &path,
        "transcripts",
        ("r", "worker-00000001", 3),
        Some(change),
    );
    let change: fn(&mut Vec<u8>) = |value| *value.last_mut().unwrap() ^= 1;
    damage::<(&str, u64)>(&path, "events", ("r", 4), Some(change));
    let store = Store::open(&path).unwrap();
    let snapshot = store.snapshot().unwrap();
    for search in [
        Search::literal("absent"),
        Search::regex("abs+ent"),
        Search::literal("Text"),
    ] {
        for newest_first in [false, true] {
            let search = search.clone().newest_first(newest_first);
            let entries: Result<Vec<_>, _> = snapshot
                .search(&search.clone().entries_only())
                .unwrap()
                .collect();
            assert_refused!(
                entries,
                RuntimeError::StoreCorrupt { message, .. }
                    if message.contains(r#"("r", "worker-00000001", 3)"#)
            );
            let events: Result<Vec<_>, _> =
                snapshot.search(&search.events_only()).unwrap().collect();
            assert_refused!(
                events,
                RuntimeError::StoreCorrupt { message, .. } if message.contains(r#"("r", 4)"#)
            );
        }
    }
}

#[test]
fn missing_worker_is_damage_not_fewer_matches() {
    let (_directory, path) = scratch();
    let worker = eight_entries(&Store::open(&path).unwrap());
    damage::<(&str, &str)>(&path, "workers", ("r", "worker-00000001"), None);
    let store = Store::open(&path).unwrap();
    let snapshot = store.snapshot().unwrap();
    for newest_first in [false, true] {
        let search = Search::literal("text")
            .entries_only()
            .newest_first(newest_first);
        let found: Result<Vec<_>, _> = snapshot.search(&search).unwrap().collect();
        assert_refused!(found, RuntimeError::StoreCorrupt { .. });
        // A search that names it finds no such worker, as every other read.
        let named = search.worker(worker.clone());
        assert!(all(&snapshot, &named).is_empty());
    }
}
