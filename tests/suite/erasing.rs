//! Compaction: the bytes of removed rows are gone from the file.

use crate::deleting::assert_sound;
use crate::layout_support::content;
use crate::support::{full_request, named, runtime_id, scratch, seed};
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::catalog::{CreateWorkerRequest, WorkerIntent, WorkerStatus};
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::store::{DeleteRuntimeOptions, Sharing};
use redb_runtime_store::{Runtime, Store};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use torture::rng::Rng;

const MODES: [Sharing; 3] = [Sharing::OneWriter, Sharing::Exclusive, Sharing::ManyWriters];

const MARK: &[u8] = b"mark-";
const MARK_BYTES: usize = MARK.len() + 6;

/// All marks in bytes.
fn marks_in(bytes: &[u8]) -> BTreeSet<String> {
    let windows = bytes.windows(MARK_BYTES);
    let marks = windows.filter(|window| window.starts_with(MARK));
    marks
        .map(|mark| String::from_utf8(mark.to_vec()).unwrap())
        .collect()
}

/// Texts that each end with a mark of their own.
struct Marks(u32);

impl Marks {
    fn text(&mut self, random: &mut Rng) -> String {
        self.0 += 1;
        let bytes = *random.pick(&[0, 1, 20, 300, 3_000, 20_000]);
        format!("{}mark-{:06}", "x".repeat(bytes), self.0)
    }
}

/// Changes one of three runtimes at random.
fn change(store: &Store, random: &mut Rng, marks: &mut Marks) {
    let id = *random.pick(&["a", "b", "c"]);
    let runtime = store.runtime(named(id)).unwrap();
    let workers = runtime.list_workers().unwrap();
    let worker = (!workers.is_empty()).then(|| random.pick(&workers).clone());
    match (random.below(24), worker) {
        (20..22, Some(worker)) => {
            let patch = Attributes::new().with("title", marks.text(random)).unwrap();
            runtime.set_attributes(&worker.worker_ref, patch).unwrap();
        }
        (22.., Some(worker)) => {
            let first = runtime.worker_detail(&worker.worker_ref).unwrap();
            let last = (first.transcript_len as u64).saturating_sub(1);
            let redacted = runtime.redact_entry(&worker.worker_ref, last, "gone");
            assert!(redacted.is_ok() || last == 0, "{redacted:?}");
        }
        (0..4, _) | (_, None) => {
            let objective = marks.text(random);
            let intent = WorkerIntent::Task { objective };
            let request = CreateWorkerRequest {
                intent,
                ..full_request()
            };
            runtime.create_worker(request).unwrap();
        }
        (4..14, Some(worker)) if worker.status == WorkerStatus::Running => {
            let said: Vec<_> = (0..=random.below(4)).map(|_| marks.text(random)).collect();
            for text in said {
                let note = Attributes::new().with("note", marks.text(random)).unwrap();
                let sent =
                    runtime.send_input_with(&worker.worker_ref, WorkerInput::user(text), note);
                sent.unwrap();
            }
        }
        (14..16, Some(worker)) if worker.status == WorkerStatus::Running => {
            let reason = Some(marks.text(random));
            runtime.stop_worker(&worker.worker_ref, reason).unwrap();
        }
        (17, _) => {
            let policy = Retention::new().keep_entries(3).keep_events(10);
            runtime.prune(&policy, PruneOptions::new()).unwrap();
        }
        (16, Some(worker)) => {
            let first = &workers[0].worker_ref;
            if *first != worker.worker_ref {
                shorten(store, id, [first, &worker.worker_ref]);
            }
        }
        (18, _) => {
            let options = DeleteRuntimeOptions::new().even_if_running(true);
            store
                .delete_runtime_with(&runtime_id(id), &options)
                .unwrap();
        }
        (_, Some(worker)) => remove(&runtime, &worker.worker_ref, worker.status),
    }
}

fn remove(runtime: &Runtime, worker: &WorkerRef, status: WorkerStatus) {
    if status == WorkerStatus::Running {
        runtime.stop_worker(worker, None).unwrap();
    }
    runtime.delete_worker(worker).unwrap();
}

/// Asserts that the file has the marks of the store's rows and no others.
fn assert_only_live(store: &Store, path: &Path) {
    let live = marks_in(content(store).join("\n").as_bytes());
    let bytes = fs::read(path).unwrap();
    let in_file = marks_in(&bytes);
    let dead: Vec<_> = in_file.difference(&live).collect();
    assert!(dead.is_empty(), "{dead:?} are in {} bytes", bytes.len());
    assert_eq!(live, in_file);
}

/// Writes the rows of two workers in one commit. The second row becomes shorter in a page that is new already, so that
/// the end of the old row is left after the content of the page.
fn shorten(store: &Store, id: &str, [first, second]: [&WorkerRef; 2]) {
    let boundary = store.runtime_store(&runtime_id(id)).unwrap();
    let workers = boundary.load_runtime_state().unwrap().workers;
    let find = |worker: &WorkerRef| {
        let mut workers = workers.iter().filter(|one| one.worker_ref == *worker);
        workers.next().unwrap().clone()
    };
    let (first, mut second) = (find(first), find(second));
    let objective = String::new();
    second.request.intent = WorkerIntent::Task { objective };
    let written = boundary.commit(|tx| {
        tx.write_worker_snapshot(&first)?;
        tx.write_worker_snapshot(&second)
    });
    written.unwrap();
}

/// A page of the cache has the bytes at its end, too, and redb copies it whole to replace a row by one of its length.
#[test]
fn page_cache_brings_no_erased_bytes_back() {
    for sharing in MODES {
        let (_directory, path) = scratch();
        let store = Store::options().sharing(sharing).open(&path).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let create = |objective: String| {
            let intent = WorkerIntent::Task { objective };
            let request = CreateWorkerRequest {
                intent,
                ..full_request()
            };
            runtime.create_worker(request).unwrap().worker_ref
        };
        let stays = create("mark-000001".to_owned());
        let long = create(format!("{}mark-000002", "x".repeat(300)));
        runtime.set_pinned(&stays, true).unwrap();
        shorten(&store, "r", [&stays, &long]);
        assert_eq!(marks_in(&fs::read(&path).unwrap()).len(), 2, "{sharing:?}");
        store.compact().unwrap();
        assert_only_live(&store, &path);
        runtime.set_pinned(&stays, false).unwrap();
        assert_only_live(&store, &path);
        store.close().unwrap();
    }
}

/// Writes to pages of the cache without another length of their rows: redb copies such pages as they are.
fn rewrite_pages(store: &Store) {
    for id in store.runtimes().unwrap() {
        let runtime = store.runtime(named(id.runtime_id.as_str())).unwrap();
        runtime.stop_runtime().unwrap();
    }
}

#[test]
fn compaction_erases_removed_bytes_in_every_mode() {
    let mut random = Rng::new(seed());
    for sharing in MODES {
        println!("{sharing:?}");
        let (_directory, path) = scratch();
        let store = Store::options().sharing(sharing).open(&path).unwrap();
        let (mut marks, mut had_dead) = (Marks(0), 0);
        for _ in 0..4 {
            for _ in 0..40 {
                change(&store, &mut random, &mut marks);
            }
            let live = marks_in(content(&store).join("\n").as_bytes());
            let before = marks_in(&fs::read(&path).unwrap());
            had_dead += before.difference(&live).count();
            assert!(store.compact().unwrap().is_erased);
            assert_only_live(&store, &path);
            assert_sound(&store);
        }
        assert!(
            had_dead > 0,
            "{had_dead} removed texts before the compactions"
        );
        rewrite_pages(&store);
        store.close().unwrap();
        let store = Store::open(&path).unwrap();
        assert_only_live(&store, &path);
        assert_sound(&store);
    }
}
