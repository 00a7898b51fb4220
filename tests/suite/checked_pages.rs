//! Pages are checked when they are read: a damaged page is an error, and an undamaged page never is.

use crate::support::{
    TestChild, all_events, assert_refused, bulk, event, named, runtime_snapshot, say, scratch,
    tell, told_as_child,
};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::interaction::TranscriptQuery;
use redb_runtime_store::store::StoreOptions;
use redb_runtime_store::{RuntimeError, Store};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

const PAGE: usize = 4096;

/// The position of a text in a file.
fn position(bytes: &[u8], text: &str) -> usize {
    let mut windows = bytes.windows(text.len());
    windows.position(|here| here == text.as_bytes()).unwrap()
}

/// Replaces all events of the runtime `r` by `count` others, whose messages name `generation`.
fn replace_events(store: &Store, generation: u64, count: u64) {
    let id = RuntimeId::new("r").unwrap();
    bulk(store, |load| {
        load.remove_runtime(&id)?;
        for number in 1..=count {
            load.append_event(&id, event(number, &format!("{generation} {number}")).into())?;
        }
        load.put_runtime(runtime_snapshot("r", count + 1).into())
    });
}

/// A closed store with 500 events.
fn make(path: &Path) -> Vec<u8> {
    let store = Store::open(path).unwrap();
    replace_events(&store, 0, 500);
    store.close().unwrap();
    std::fs::read(path).unwrap()
}

fn read_all(store: &Store) -> Result<Vec<String>, RuntimeError> {
    let id = RuntimeId::new("r").unwrap();
    let snapshot = store.snapshot()?;
    let events = snapshot.events(&id, 0)?;
    events
        .map(|event| event.map(|event| event.value.message))
        .collect()
}

#[test]
fn damaged_page_is_named_with_its_table() {
    let (_directory, path) = scratch();
    let mut bytes = make(&path);
    let at = position(&bytes, "0 250");
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let place = format!("at byte {}", at / PAGE * PAGE);
    let store = Store::open_read_only(&path).unwrap();
    // The second time the page is in redb's cache.
    for _ in 0..2 {
        assert_refused!(read_all(&store), RuntimeError::StoreCorrupt { message, .. }
            if message.contains("table events: ") && message.contains(&place));
    }
    store.close().unwrap();
    // With debug assertions redb reads every page when it opens a file for writing.
    let read = Store::open(&path).and_then(|store| read_all(&store));
    assert_refused!(read, RuntimeError::StoreCorrupt { message, .. }
        if message.contains(&place));
}

#[test]
fn error_names_only_its_own_pages() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.unwrap().worker_ref;
    // Events have no text of their own then: these pages are the transcript's alone.
    say(&runtime, &worker, "first").unwrap();
    say(&runtime, &worker, &"long ".repeat(2000)).unwrap();
    bulk(&store, |load| {
        let id = RuntimeId::new("other").unwrap();
        load.append_event(&id, event(1, "an event").into())?;
        load.put_runtime(runtime_snapshot("other", 2).into())
    });
    store.close().unwrap();
    drop(runtime);
    let mut bytes = std::fs::read(&path).unwrap();
    let mut damage = |text: &str| {
        let at = position(&bytes, text);
        bytes[at] ^= 1;
        format!("at byte {} ", at / PAGE * PAGE)
    };
    let places = [damage("first"), damage("an event")];
    std::fs::write(&path, bytes).unwrap();
    let store = Store::open_read_only(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    // The second time the pages are in redb's cache.
    for _ in 0..2 {
        let transcript = runtime.transcript_projection(&worker, TranscriptQuery::new(0, 10));
        assert_refused!(transcript, RuntimeError::StoreCorrupt { message, .. }
            if message.contains("table transcripts: ") && message.contains(&places[0]));
        let events = runtime.read_events(&runtime.event_cursor_from_start().unwrap(), 100);
        assert_refused!(events, RuntimeError::StoreCorrupt { message, .. }
            if message.contains("table events: ") && message.contains(&places[1]));
    }
}

#[test]
fn unchecked_read_returns_all_sound_rows() {
    let (_directory, path) = scratch();
    let mut bytes = make(&path);
    let at = position(&bytes, "0 250");
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let options = Store::options().read_only(true).check_pages(false);
    let store = options.open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let mut cursor = runtime.event_cursor_from_start().unwrap();
    for (next, limit) in [(1, 248), (251, 250)] {
        cursor.next_event_id = next;
        let batch = runtime.read_events(&cursor, limit).unwrap();
        assert_eq!(batch.events.len(), limit);
    }
    cursor.next_event_id = 250;
    let read = runtime.read_events(&cursor, 1);
    assert_refused!(read, RuntimeError::StoreCorrupt { message, .. }
        if message.contains("250") && !message.contains("page"));
}

#[test]
fn flags_of_closed_file_restore_no_old_rows() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    say(&runtime, &worker.unwrap().worker_ref, "last").unwrap();
    let events = all_events(&runtime);
    store.close().unwrap();
    drop(runtime);
    let whole = std::fs::read(&path).unwrap();
    for bit in 0..8 {
        let mut bytes = whole.clone();
        bytes[9] ^= 1 << bit;
        for read_only in [true, false] {
            std::fs::write(&path, &bytes).unwrap();
            let opened = Store::options().read_only(read_only).open(&path);
            match opened.and_then(|store| store.runtime(named("r"))) {
                Ok(runtime) => assert_eq!(all_events(&runtime), events, "bit {bit}"),
                Err(RuntimeError::StoreCorrupt { .. } | RuntimeError::NeedsRepair { .. }) => {}
                Err(other) => panic!("bit {bit}: {other:?}"),
            }
        }
    }
}

#[test]
fn write_through_damaged_page_is_atomic() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap();
    for number in 0..100 {
        say(&runtime, &worker.worker_ref, &format!("{number}")).unwrap();
    }
    let events = all_events(&runtime).len();
    store.close().unwrap();
    drop(runtime);
    let whole = std::fs::read(&path).unwrap();
    let mut refused = 0;
    // An offset in the page, and what a write that copies the page would take over with it.
    let places = [4, 300, 900, 1500, 2500, 3500];
    let pages = 1..whole.len() / PAGE;
    for (page, place) in pages.flat_map(|page| places.map(|place| (page, place))) {
        let here = page * PAGE..(page + 1) * PAGE;
        if whole[here.clone()].iter().all(|byte| *byte == 0) {
            continue;
        }
        let mut bytes = whole.clone();
        bytes[page * PAGE + place] ^= 0x40;
        std::fs::write(&path, &whole).unwrap();
        // With debug assertions redb reads every page when it opens a file: the damage comes later.
        let store = Store::options().cache_bytes(0).open(&path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(&bytes[here.clone()], here.start as u64)
            .unwrap();
        let said = say(&runtime, &worker.worker_ref, "more");
        let acknowledged = usize::from(said.is_ok());
        // Closing may read the page, too.
        let _ = store.close();
        drop((runtime, store));
        refused += 1 - acknowledged;
        // With the original page everything must be readable.
        let mut after = std::fs::read(&path).unwrap();
        if after.get(here.clone()) == Some(&bytes[here.clone()]) {
            after[here.clone()].copy_from_slice(&whole[here]);
        }
        std::fs::write(&path, after).unwrap();
        let store = Store::open(&path).unwrap();
        let report = store.verify().unwrap();
        assert!(report.is_clean(), "page {page}, byte {place}: {report:#?}");
        let found = all_events(&store.runtime(named("r")).unwrap()).len();
        assert!(
            found == events + acknowledged || found == events + 1,
            "page {page}, byte {place}: {found} events of {events}, {acknowledged} acknowledged"
        );
    }
    assert!(refused > 3, "no page mattered");
}

#[test]
fn readers_of_reused_pages_see_no_damage() {
    const NAME: &str = "checked_pages::readers_of_reused_pages_see_no_damage";
    if let Some(path) = told_as_child() {
        let store = Store::options().cache_bytes(0).open(path).unwrap();
        for generation in 1.. {
            replace_events(&store, generation, 200 + generation % 7 * 100);
            if generation == 1 {
                tell("ready");
            }
        }
    }
    let (_directory, path) = scratch();
    let mut writer = TestChild::start(NAME, &path);
    assert_eq!(writer.hear().as_deref(), Some("ready"));
    // Separate processes would not differ: a store is a file handle and a cache.
    let read = |options: StoreOptions| {
        let store = options.read_only(true).open(&path).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| read_generations(&store));
            }
        });
    };
    read(Store::options().cache_bytes(0));
    read(Store::options().cache_bytes(64 << 10));
    read(Store::options());
    writer.kill();
}

/// Reads whole snapshots, and older ones again, for a while.
fn read_generations(store: &Store) {
    let id = RuntimeId::new("r").unwrap();
    let begun = Instant::now();
    let mut kept = store.snapshot().unwrap();
    let mut generations = Vec::new();
    while begun.elapsed() < Duration::from_millis(700) || generations.len() < 3 {
        let now = store.snapshot().unwrap();
        for snapshot in [&now, &kept] {
            let events = snapshot.events(&id, 0).unwrap();
            let messages = events.map(|event| event.unwrap().value.message);
            let seen: Vec<String> = messages
                .map(|message| message.split(' ').next().unwrap().to_owned())
                .collect();
            assert!(seen.windows(2).all(|two| two[0] == two[1]), "one commit");
            generations.push(seen[0].clone());
        }
        if generations.len() % 6 == 0 {
            kept = now;
        }
        generations.dedup();
    }
}
