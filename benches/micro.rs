//! Micro-benchmarks: what one operation costs where no disk is waited for, and what moving data
//! costs for a megabyte.
//!
//! Inputs are of 200 bytes and always the same. What is read is compared with what was written, so
//! that nobody measures a no-op. The peers are in `benches/peers`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::{RuntimeId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
use redb_runtime_store::layout::{self, ExportOptions, ImportOptions};
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::observation::EventCursor;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const INPUT_BYTES: usize = 200;
const PAGE: usize = 256;
/// The inputs of a store that is read, opened, imported and exported.
const INPUTS: usize = 20_000;
const INPUTS_OF_A_COMMIT: usize = 1000;

/// An input that looks like text: the same for the same number.
fn text(number: usize) -> String {
    let mut text = format!("{number:08} please review the failing test and explain; ").repeat(5);
    text.truncate(INPUT_BYTES);
    text
}

fn runtime(store: &Store) -> Runtime {
    let id = RuntimeId::new("runtime-micro").expect("the name is not blank");
    let options = RuntimeOptions {
        runtime_id: Some(id),
        ..RuntimeOptions::default()
    };
    store.runtime(options).expect("a runtime")
}

/// Gives a new worker `INPUTS` inputs.
fn fill(runtime: &Runtime) -> Result<WorkerRef, RuntimeError> {
    let worker = runtime.create_worker(CreateWorkerRequest::default())?;
    for first in (0..INPUTS).step_by(INPUTS_OF_A_COMMIT) {
        runtime.transaction(|tx| {
            for number in first..first + INPUTS_OF_A_COMMIT {
                tx.send_input(&worker.worker_ref, WorkerInput::user(text(number)))?;
            }
            Ok(())
        })?;
    }
    Ok(worker.worker_ref)
}

/// Encoding, rules and the commit, with no disk below: in a store in memory.
fn writes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("write_in_memory");
    for inputs in [1_usize, 100] {
        let runtime = runtime(&Store::in_memory().expect("a store"));
        let worker = runtime
            .create_worker(CreateWorkerRequest::default())
            .expect("a worker")
            .worker_ref;
        let texts: Vec<String> = (0..inputs).map(text).collect();
        group.throughput(Throughput::Elements(inputs as u64));
        let mut commits = 0;
        group.bench_function(BenchmarkId::new("inputs_in_a_commit", inputs), |bencher| {
            bencher.iter(|| {
                commits += 1;
                runtime.transaction(|tx| {
                    for text in &texts {
                        tx.send_input(&worker, WorkerInput::user(text.as_str()))?;
                    }
                    Ok(())
                })
            });
        });
        let stored = runtime.worker_detail(&worker).expect("the worker");
        assert_eq!(stored.transcript_len, commits * inputs);
    }
    group.finish();
}

/// How an input is sent.
type Send = fn(&Runtime, &WorkerRef, usize) -> Result<(), RuntimeError>;

const SENDS: [(&str, Send); 2] = [
    ("send_input", |runtime, worker, number| {
        let sent = runtime.send_input(worker, WorkerInput::user(text(number)));
        sent.map(drop)
    }),
    ("send_input_once", |runtime, worker, number| {
        let key = format!("key-{number}");
        let sent = runtime.send_input_once(worker, &key, WorkerInput::user(text(number)));
        sent.map(drop)
    }),
];

/// The threads that send at the same time.
const THREADS: usize = 64;

/// The processor time of this process.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// An input with a key compared with one without: the time from one thread, and the processor time with 64. Each input has a
/// key of its own, so each is looked up among the last 256 entries and written.
fn sends(criterion: &mut Criterion) {
    let dir = TempDir::new().expect("a directory");
    let mut group = criterion.benchmark_group("send");
    group.sample_size(10);
    for (name, send) in SENDS {
        let path = dir.path().join(format!("{name}.redb"));
        let store = Store::open(&path).expect("a store");
        let runtime = runtime(&store);
        let worker = runtime.create_worker(CreateWorkerRequest::default());
        let worker = worker.expect("a worker").worker_ref;
        let next = AtomicUsize::new(0);
        let send_next = || {
            let number = next.fetch_add(1, Ordering::Relaxed);
            send(&runtime, &worker, number).expect("an input");
        };
        group.bench_function(BenchmarkId::new("one_thread", name), |bencher| {
            bencher.iter(send_next);
        });
        let id = BenchmarkId::new("processor_time_of_64_threads", name);
        group.throughput(Throughput::Elements(THREADS as u64));
        group.bench_function(id, |bencher| {
            bencher.iter_custom(|rounds| {
                let before = processor_time();
                std::thread::scope(|scope| {
                    for _ in 0..THREADS {
                        scope.spawn(|| (0..rounds).for_each(|_| send_next()));
                    }
                });
                processor_time() - before
            });
        });
        let stored = runtime.worker_detail(&worker).expect("the worker");
        assert_eq!(stored.transcript_len, next.load(Ordering::Relaxed));
    }
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let runtime = runtime(&Store::in_memory().expect("a store"));
    let worker = fill(&runtime).expect("a full store");
    let middle = INPUTS / 2;
    let end = runtime.event_cursor_now().expect("a cursor");
    let cursor = EventCursor {
        next_event_id: middle as u64,
        ..end.clone()
    };
    let mut group = criterion.benchmark_group("read");
    group.bench_function("page_of_events", |bencher| {
        bencher.iter(|| runtime.read_events(black_box(&cursor), PAGE));
    });
    let batch = runtime.read_events(&cursor, PAGE).expect("a page");
    assert_eq!(batch.events.len(), PAGE);
    let query = TranscriptQuery::new(middle, PAGE);
    group.bench_function("page_of_a_transcript", |bencher| {
        bencher.iter(|| runtime.transcript_projection(&worker, black_box(query)));
    });
    let page = runtime.transcript_projection(&worker, query);
    assert_eq!(
        page.expect("a page").items[PAGE - 1].content,
        text(middle + PAGE - 1)
    );
    group.bench_function("cursor_poll", |bencher| {
        bencher.iter(|| runtime.read_events(black_box(&end), PAGE));
    });
    let batch = runtime.read_events(&end, PAGE).expect("a page");
    assert!(batch.events.is_empty() && !batch.has_more);
    group.bench_function("summary", |bencher| bencher.iter(|| runtime.summary()));
    group.finish();
}

/// A closed store on the disk.
fn closed_store(path: &Path) -> u64 {
    let store = Store::open(path).expect("a store");
    let runtime = runtime(&store);
    fill(&runtime).expect("a full store");
    let next = runtime.event_cursor_now().expect("a cursor").next_event_id;
    store.close().expect("a closed store");
    next
}

fn open(criterion: &mut Criterion) {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("open.redb");
    let next = closed_store(&path);
    criterion.bench_function("open_and_close", |bencher| {
        bencher.iter(|| {
            let store = Store::open(&path).expect("a store");
            let cursor = runtime(&store).event_cursor_now().expect("a cursor");
            assert_eq!(cursor.next_event_id, next);
            store.close()
        });
    });
}

/// The bytes of the logs that are moved: criterion turns them into megabytes in a second.
fn moving(criterion: &mut Criterion) {
    let dir = TempDir::new().expect("a directory");
    let path = dir.path().join("moved.redb");
    closed_store(&path);
    let store = Store::open(&path).expect("a store");
    let exported = dir.path().join("exported");
    let report = layout::export(&store, &exported, ExportOptions::new()).expect("an export");
    let bytes = report.runtimes[0].bytes;
    let mut group = criterion.benchmark_group("move");
    group.sample_size(10).throughput(Throughput::Bytes(bytes));
    group.bench_function("export", |bencher| {
        bencher.iter_with_setup(
            || TempDir::new_in(dir.path()).expect("a directory"),
            |target| {
                let report = layout::export(&store, target.path(), ExportOptions::new());
                assert_eq!(report.expect("an export").runtimes[0].bytes, bytes);
                target
            },
        );
    });
    group.bench_function("import_into_memory", |bencher| {
        bencher.iter_with_setup(
            || Store::in_memory().expect("a store"),
            |target| {
                let report = layout::import(&target, &exported, ImportOptions::new());
                assert_eq!(report.expect("an import").runtimes[0].bytes, bytes);
                target
            },
        );
    });
    group.finish();
}

criterion_group!(benches, writes, sends, reads, open, moving);
criterion_main!(benches);
