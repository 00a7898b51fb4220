//! Verification of files with damaged pages: the damage is listed, and all undamaged rows are read.

use crate::maintenance::{behind_our_back, events, rich};
use crate::support::{
    bulk, entry, event, runtime_id, runtime_snapshot, scratch, worker_ref, worker_snapshot,
};
use crate::verifying::{kinds, verify};
use redb::ReadableTable;
use redb_runtime_store::Store;
use redb_runtime_store::interaction::TranscriptEntry;
use redb_runtime_store::layout::{ExportOptions, ImportOptions, export, import_to_path};
use redb_runtime_store::store::VerifyKind::Value;
use redb_runtime_store::store::{BackupOptions, VerifyKind, VerifyOptions, VerifyReport};
use std::collections::HashMap;
use std::path::Path;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use xxhash_rust::xxh3::xxh3_128;

#[test]
fn verify_finds_damaged_pages_without_changes() {
    let (_directory, path) = scratch();
    rich(&path).close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    // The texts of the inputs are in the leaf pages of transcripts.
    let text = b"input 11";
    let at = whole
        .windows(text.len())
        .position(|bytes| bytes == text)
        .unwrap();
    let mut damaged = whole;
    damaged[at] ^= 4;
    std::fs::write(&path, &damaged).unwrap();
    let report = verify(&path);
    let kinds = kinds(&report);
    assert!(kinds.contains(&VerifyKind::Pages), "{:#?}", report.findings);
    let unread = [VerifyKind::Value, VerifyKind::Unreadable];
    assert!(unread.iter().any(|kind| kinds.contains(kind)), "{kinds:?}");
    assert!(
        report.transcript_entries >= 120,
        "the other runtime was looked at"
    );
    assert_eq!(report.events, 252, "the other tables were looked at");
}

const PAGE: usize = 4096;

/// Gives the page at `page`, which was `before`, its right checksum in the page that refers to it, and
/// so on up to the header.
fn reseal(file: &mut [u8], page: usize, before: &[u8]) {
    let sum = |bytes: &[u8]| xxh3_128(bytes).to_le_bytes();
    // The checksum covers only the used part of a page, whose length the page does not state: the
    // prefix with the right checksum is it.
    let lengths: HashMap<[u8; 16], usize> = (1..=before.len())
        .map(|length| (sum(&before[..length]), length))
        .collect();
    loop {
        let stale = file.windows(16).enumerate().find_map(|(at, window)| {
            let sealed = sum(&file[page..][..*lengths.get(window)?]);
            (sealed != window).then_some((at, sealed))
        });
        let Some((at, sealed)) = stale else {
            return;
        };
        let parent = at / PAGE * PAGE;
        let parent_before = file[parent..][..PAGE].to_vec();
        file[at..][..16].copy_from_slice(&sealed);
        if parent > 0 {
            reseal(file, parent, &parent_before);
            continue;
        }
        for commit in [64, 192] {
            let sealed = sum(&file[commit..][..112]);
            file[commit + 112..][..16].copy_from_slice(&sealed);
        }
    }
}

/// Whether the page is redb's record of the free pages of a file of one region: a leaf with one key,
/// the region 0 (redb's `AllocatorStateKey`).
fn is_record_of_free_pages(page: &[u8]) -> bool {
    page.starts_with(&[1, 0, 1, 0]) && page[8..13] == [3, 0, 0, 0, 0] && page[13] == 20
}

/// The position of the bits of single pages in the record of free pages: after the bits of longer runs
/// in the tree of bits (redb's `BuddyAllocator` and `BtreeBitmap`).
fn bits_of_pages(record: &[u8]) -> usize {
    let number = |at: usize| u32::from_le_bytes(record[at..][..4].try_into().unwrap()) as usize;
    let orders = 21;
    let tree = 13 + 8 + 4 * orders;
    let levels = number(tree);
    let level_before_the_last = number(tree + 4 * (levels - 1));
    tree + level_before_the_last + 4
}

#[test]
fn verify_on_open_repairs_allocator_state() {
    let (_directory, path) = scratch();
    rich(&path).close().unwrap();
    let whole = std::fs::read(&path).unwrap();
    let pages = (PAGE..whole.len()).step_by(PAGE);
    let planted: Vec<Vec<u8>> = pages
        .filter(|page| is_record_of_free_pages(&whole[*page..][..PAGE]))
        .map(|page| {
            let record = &whole[page..][..PAGE];
            let mut file = whole.clone();
            // Marks a used page as free.
            file[page + bits_of_pages(record)] ^= 1;
            reseal(&mut file, page, record);
            file
        })
        // Free pages contain older records, to which the header no longer leads.
        .filter(|file| file[..PAGE] != whole[..PAGE])
        .collect();
    let [file] = &planted[..] else {
        panic!("{} records of free pages", planted.len());
    };
    std::fs::write(&path, file).unwrap();

    let report = verify(&path);
    assert_eq!(kinds(&report), [VerifyKind::FreePages], "{report:?}");
    assert!(report.is_clean(), "no row is concerned: {report:?}");
    let alone = Store::verify_file(&path, &VerifyOptions::default()).unwrap();
    assert!(kinds(&alone).contains(&VerifyKind::FreePages), "{alone:?}");

    let store = Store::options().verify_on_open(true).open(&path).unwrap();
    store.close().unwrap();
    assert_eq!(kinds(&verify(&path)), []);
}

/// Damages the first page that contains each of these texts. Returns the positions of the pages.
fn damage(path: &Path, texts: &[String]) -> Vec<usize> {
    let mut bytes = std::fs::read(path).unwrap();
    let mut places: Vec<usize> = texts
        .iter()
        .map(|text| {
            let mut windows = bytes.windows(text.len());
            windows.position(|here| here == text.as_bytes()).unwrap()
        })
        .collect();
    for place in &mut places {
        bytes[*place] ^= 4;
        *place = *place / 4096 * 4096;
    }
    std::fs::write(path, bytes).unwrap();
    places.sort_unstable();
    places.dedup();
    places
}

/// A closed store of one worker with `entries` entries, an event for each, and more workers.
fn long_logs(path: &Path, entries: u64) {
    let store = Store::open(path).unwrap();
    bulk(&store, |load| {
        let worker = worker_ref("r", "w");
        for sequence in 1..=entries {
            let mut of = event(sequence, &format!("event {sequence} {}", "e".repeat(90)));
            of.worker_ref = Some(worker.clone());
            load.append_event(&runtime_id("r"), of.into())?;
            let said = format!("entry {sequence} {}", "t".repeat(90));
            load.append_transcript_entry(entry(&worker, sequence, &said).into())?;
        }
        load.put_worker(worker_snapshot(&worker, entries + 1).into())?;
        for number in 0..500 {
            let other = worker_ref("r", &format!("x{number:05}"));
            load.put_worker(worker_snapshot(&other, 1).into())?;
        }
        let mut runtime = runtime_snapshot("r", entries + 1);
        runtime.display_name = Some("the only one".to_owned());
        load.put_runtime(runtime.into())
    });
    store.close().unwrap();
}

/// The messages of the findings of one kind.
fn messages(report: &VerifyReport, kind: VerifyKind) -> Vec<String> {
    let found = report.findings.iter().filter(|found| found.kind == kind);
    found.map(ToString::to_string).collect()
}

#[test]
fn verify_names_damaged_pages_and_continues() {
    let (_directory, path) = scratch();
    long_logs(&path, 3000);
    // One value in an undamaged page behind the damaged ones of its table.
    let broken = ("r", 2000);
    behind_our_back(&path, |change| {
        let mut table = change.open_table(events()).unwrap();
        let mut value = table.get(broken).unwrap().unwrap().value().to_vec();
        value[9] ^= 1;
        table.insert(broken, value.as_slice()).unwrap();
    });
    let texts = [400, 900, 1500, 2900].map(|number| format!("event {number} "));
    let mut places = damage(&path, &texts);
    places.extend(damage(
        &path,
        &[700, 701, 2200].map(|number| format!("entry {number} ")),
    ));
    places.extend(damage(&path, &["x00250".to_owned()]));
    let report = verify(&path);
    let pages = messages(&report, VerifyKind::Pages);
    for place in &places {
        let named = format!("at byte {place} ");
        assert!(
            pages.iter().any(|page| page.contains(&named)),
            "{place}: {pages:#?}"
        );
    }
    assert_eq!(pages.len(), places.len());
    assert!(report.events > 2700 && report.events < 3000, "{report:?}");
    assert!(report.transcript_entries > 2700, "{report:?}");
    assert!(report.workers > 300, "{report:?}");
    let values = messages(&report, Value);
    assert_eq!(values.len(), 1, "{values:?}");
    assert!(values[0].contains("2000"), "{values:?}");
    let unread = messages(&report, VerifyKind::Unreadable);
    assert_eq!(unread.len(), places.len(), "once a page: {unread:#?}");
    // Unreadable rows are not reported as missing.
    let mut expected = [VerifyKind::Pages, VerifyKind::Unreadable, Value];
    expected.sort();
    assert_eq!(kinds(&report), expected, "{:#?}", report.findings);
    // Without the check of pages the result for the rows is the same.
    let store = Store::open_read_only(&path).unwrap();
    let rows = store
        .verify_with(&VerifyOptions::new().pages(false))
        .unwrap();
    assert_eq!(messages(&rows, VerifyKind::Unreadable), unread);
    assert_eq!(rows.rows, report.rows);
}

/// The keys of an index page direct a search. A key that grew leads to the page before the right one,
/// and from there to keys below the searched key.
#[test]
fn verify_terminates_on_cyclic_pages() {
    const PAGE: usize = 4096;
    const BRANCH: u8 = 2;
    let (_directory, path) = scratch();
    long_logs(&path, 1_000);
    let mut file = std::fs::read(&path).unwrap();
    let pages = file.chunks_exact_mut(PAGE);
    for page in pages.filter(|page| page[0] == BRANCH) {
        let last_key = page.windows(2).rposition(|text| text == b"rw");
        if let Some(at) = last_key {
            page[at + 1] = b'x';
        }
    }
    std::fs::write(&path, file).unwrap();
    let (done, is_done) = channel();
    std::thread::spawn(move || {
        let store = Store::options().check_pages(false).open(&path).unwrap();
        let _ = done.send(store.verify().unwrap());
    });
    let report = is_done.recv_timeout(Duration::from_secs(60)).unwrap();
    let messages = messages(&report, VerifyKind::Order);
    assert!(
        messages.iter().any(|message| message.contains("a seek to")),
        "{:?}",
        report.findings
    );
}

#[test]
fn verify_checks_rows_of_unreadable_owners() {
    let (_directory, path) = scratch();
    long_logs(&path, 300);
    let bytes = std::fs::read(&path).unwrap();
    // The worker with the entries is the first one; nothing else has the runtime's name.
    for (table, text) in [("workers", "x00000"), ("runtimes", "the only one")] {
        std::fs::write(&path, &bytes).unwrap();
        damage(&path, &[text.to_owned()]);
        let report = verify(&path);
        assert_eq!(
            (report.events, report.transcript_entries),
            (300, 300),
            "{table}"
        );
        let found = kinds(&report);
        let mut expected = [VerifyKind::Pages, VerifyKind::Unreadable];
        expected.sort();
        assert_eq!(found, expected, "{table}: {:#?}", report.findings);
    }
}

#[test]
fn backup_leaves_no_free_space() {
    let (_directory, path) = scratch();
    let copy = path.with_extension("copy");
    long_logs(&path, 150_000);
    let store = Store::open(&path).unwrap();
    let report = store.backup(&copy).unwrap();
    assert_is_compact(&copy, report.bytes);
}

#[test]
fn import_into_new_file_leaves_no_free_space() {
    let (directory, path) = scratch();
    let (root, imported) = (directory.path().join("root"), path.with_extension("new"));
    long_logs(&path, 150_000);
    let store = Store::open(&path).unwrap();
    export(&store, &root, ExportOptions::new()).unwrap();
    import_to_path(&root, &imported, &Store::options(), ImportOptions::new()).unwrap();
    assert_is_compact(&imported, std::fs::metadata(&imported).unwrap().len());
}

/// Fails if a compaction makes the file smaller by more than the few pages of its own bookkeeping.
fn assert_is_compact(path: &Path, bytes: u64) {
    const BOOKKEEPING_BYTES: u64 = 256 << 10;
    assert_eq!(bytes, std::fs::metadata(path).unwrap().len());
    assert!(bytes > 8 << 20, "a file of {bytes} bytes never grew");
    let store = Store::open(path).unwrap();
    assert!(store.verify().unwrap().is_clean());
    let after = store.compact().unwrap().bytes_after;
    assert!(bytes <= after + BOOKKEEPING_BYTES, "{bytes}, then {after}");
}

/// With so many gaps not every run of event ids is remembered.
#[test]
fn verify_finds_events_among_many_gaps() {
    let (_directory, path) = scratch();
    let store = Store::open(&path).unwrap();
    let (worker, entries) = (worker_ref("r", "w"), 6_000);
    bulk(&store, |load| {
        load.without_checks();
        for sequence in 1..=entries {
            let said = entry(&worker, sequence, "text");
            // Every other id is missing, and entries name the id that is there, but for one.
            let named = if sequence == 5_000 { 1 } else { 0 };
            let said = TranscriptEntry {
                event_id: 2 * sequence + named,
                ..said
            };
            load.append_event(&runtime_id("r"), event(2 * sequence, "event").into())?;
            load.append_transcript_entry(said.into())?;
        }
        load.put_worker(worker_snapshot(&worker, entries + 1).into())?;
        load.put_runtime(runtime_snapshot("r", 2 * entries + 1).into())
    });
    let report = store.verify().unwrap();
    let unknown = messages(&report, VerifyKind::UnknownEvent);
    assert_eq!(unknown.len(), 1, "{:?}", report.findings);
    assert!(unknown[0].contains("1 of 6000 entries"), "{unknown:?}");
}

#[test]
fn verify_reports_page_progress_before_rows() {
    let (_directory, path) = scratch();
    long_logs(&path, 60_000);
    let store = Store::open(&path).unwrap();
    for is_backup in [false, true] {
        let told = Arc::new(Mutex::new((Vec::new(), 0)));
        let (of_pages, of_rows) = (Arc::clone(&told), Arc::clone(&told));
        let on_part = move |part| of_pages.lock().unwrap().0.push(part);
        let on_rows = move |_| {
            let mut told = of_rows.lock().unwrap();
            told.1 += told.0.len();
        };
        if is_backup {
            let options = BackupOptions::new().on_page_progress(on_part);
            let options = options.on_progress(on_rows);
            store
                .backup_with(path.with_extension("copy"), &options)
                .unwrap();
        } else {
            let options = VerifyOptions::new().on_page_progress(on_part);
            store.verify_with(&options.on_progress(on_rows)).unwrap();
        }
        let (parts, rows_after_pages) = &*told.lock().unwrap();
        assert!(parts.len() > 4, "{parts:?}");
        assert_eq!((parts[0], parts.last()), (0.0, Some(&1.0)), "{parts:?}");
        assert!(parts.is_sorted(), "{parts:?}");
        assert!(*rows_after_pages > 0, "the rows come after the pages");
    }
}
