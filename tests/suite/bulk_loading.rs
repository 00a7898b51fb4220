//! Bulk loads: encoded runs of rows that are added in one transaction.

use crate::support::{
    assert_refused, bulk, entry, event, fresh, runtime_id, runtime_snapshot, worker_ref,
    worker_snapshot,
};
use redb_runtime_store::RuntimeError;
use redb_runtime_store::catalog::WorkerStatus;
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::interaction::{TranscriptEntry, WorkerInput};
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::observation::RuntimeEvent;
use redb_runtime_store::store::{BulkLoad, EventRun, Stored, TranscriptRun};

fn events(ids: std::ops::Range<u64>) -> EventRun {
    let mut run = EventRun::new(runtime_id("r"));
    for id in ids {
        run.push(&Stored::from(event(id, "event")).into()).unwrap();
    }
    run
}

/// Entries with the sequences `sequences`, whose first is at position `start`.
fn entries(worker: &str, start: u64, sequences: std::ops::Range<u64>) -> TranscriptRun {
    let worker = worker_ref("r", worker);
    let mut run = TranscriptRun::new(worker.clone(), start);
    for sequence in sequences {
        run.push(&Stored::from(entry(&worker, sequence, "said")).into())
            .unwrap();
    }
    run
}

#[test]
fn runs_and_single_rows_make_one_log() {
    let store = fresh();
    let (one, other) = (worker_ref("r", "one"), worker_ref("r", "other"));
    bulk(&store, |load| {
        load.put_worker(worker_snapshot(&one, 10).into())?;
        load.append_transcript_entry(entry(&one, 1, "said").into())?;
        load.append_transcript(entries("one", 1, 2..5))?;
        load.append_transcript_entry(entry(&one, 5, "said").into())?;
        load.append_transcript(entries("other", 0, 1..3))?;
        load.append_transcript(entries("one", 5, 6..10))?;
        load.put_worker(worker_snapshot(&other, 3).into())?;
        load.append_events(events(1..4))?;
        load.append_event(&runtime_id("r"), event(4, "event").into())?;
        load.append_events(events(5..10))?;
        load.put_runtime(runtime_snapshot("r", 10).into())
    });
    let snapshot = store.snapshot().unwrap();
    let transcript = |worker| {
        let entries = snapshot.transcript(worker, 0).unwrap();
        let entries: Result<Vec<Stored<TranscriptEntry>>, _> = entries.collect();
        let entries = entries.unwrap().into_iter();
        entries.map(|entry| entry.value).collect::<Vec<_>>()
    };
    let expected = |worker, end| {
        (1..end)
            .map(|n| entry(worker, n, "said"))
            .collect::<Vec<_>>()
    };
    assert_eq!(transcript(&one), expected(&one, 10));
    assert_eq!(transcript(&other), expected(&other, 3));
    let log = snapshot.events(&runtime_id("r"), 0).unwrap();
    let log: Vec<RuntimeEvent> = log.map(|event| event.unwrap().value).collect();
    assert_eq!(
        log,
        (1..10).map(|id| event(id, "event")).collect::<Vec<_>>()
    );
    for worker in [&one, &other] {
        let mut seen = Vec::new();
        let each = |row: redb_runtime_store::store::BorrowedEntry<'_>| {
            assert!(row.worker_ref == *worker);
            seen.push((row.sequence, row.content.into_owned()));
            Ok::<_, RuntimeError>(())
        };
        snapshot.each_entry(worker, each).unwrap();
        let transcript = transcript(worker).into_iter();
        let transcript: Vec<_> = transcript.map(|e| (e.sequence, e.content)).collect();
        assert_eq!(seen, transcript);
    }
}

#[test]
fn run_with_gap_after_transcript_is_refused() {
    let store = fresh();
    for start in [0, 1, 3] {
        let refused = store.bulk_load(|load| {
            load.append_transcript(entries("w", 0, 1..3))?;
            load.append_transcript(entries("w", start, 3..5))
        });
        assert_refused!(refused, RuntimeError::InvalidRequest(_));
    }
}

#[test]
fn run_of_existing_events_is_refused() {
    let store = fresh();
    for again in [1..4, 3..4, 2..9] {
        let refused = store.bulk_load(|load| {
            load.append_events(events(1..4))?;
            load.append_events(events(again))
        });
        assert_refused!(refused, RuntimeError::InvalidRequest(_));
    }
}

#[test]
fn visitor_error_ends_the_walk() {
    let store = fresh();
    bulk(&store, |load| {
        load.append_events(events(1..4))?;
        load.put_runtime(runtime_snapshot("r", 4).into())
    });
    let snapshot = store.snapshot().unwrap();
    let mut seen = Vec::new();
    let stopped = snapshot.each_event(&runtime_id("r"), |event| {
        seen.push(event.id);
        match event.id {
            2 => Err(RuntimeError::InvalidRequest("enough".into())),
            _ => Ok(()),
        }
    });
    assert!(matches!(stopped, Err(RuntimeError::InvalidRequest(why)) if why == "enough"));
    assert_eq!(seen, [1, 2]);
}

#[test]
fn existing_key_at_append_position_is_damage() {
    for inputs in [1, 20] {
        let store = fresh();
        let worker = worker_ref("r", "w");
        bulk(&store, |load| {
            load.without_checks();
            load.put_worker(worker_snapshot(&worker, 1).into())?;
            load.append_events(events(1..30))?;
            // The counter is behind the log, which operations alone never cause.
            load.put_runtime(runtime_snapshot("r", 2).into())
        });
        let before: Vec<_> = store.snapshot().unwrap().runtime_ids().unwrap();
        let runtime = store
            .runtime(RuntimeOptions {
                runtime_id: Some(before[0].clone()),
                ..Default::default()
            })
            .unwrap();
        let refused = runtime.transaction(|tx| {
            for _ in 0..inputs {
                tx.send_input(&worker, WorkerInput::user("over it"))?;
            }
            Ok(())
        });
        assert_refused!(refused, RuntimeError::StoreCorrupt { .. });
        let log = store.snapshot().unwrap();
        let log = log.events(&before[0], 0).unwrap();
        let log: Vec<RuntimeEvent> = log.map(|event| event.unwrap().value).collect();
        assert_eq!(
            log,
            (1..30).map(|id| event(id, "event")).collect::<Vec<_>>()
        );
    }
}

/// A load whose runtime breaks one rule of every store.
type BrokenLoad = fn(&mut BulkLoad<'_>) -> Result<(), RuntimeError>;

const BROKEN_LOADS: [(&str, BrokenLoad, &str); 8] = [
    (
        "a worker after its runtime",
        |load| {
            load.put_runtime(runtime_snapshot("r", 1).into())?;
            load.put_worker(worker_snapshot(&worker_ref("r", "w"), 1).into())
        },
        "counts 0 running workers, but has 1",
    ),
    (
        "an event counter behind the log",
        |load| {
            load.append_events(events(1..5))?;
            load.put_runtime(runtime_snapshot("r", 4).into())
        },
        "next_event_id 4",
    ),
    (
        "an event after its runtime",
        |load| {
            load.put_runtime(runtime_snapshot("r", 1).into())?;
            load.append_events(events(1..5))
        },
        "next_event_id 1",
    ),
    (
        "a last event that was never given out",
        |load| {
            let mut worker = worker_snapshot(&worker_ref("r", "w"), 1);
            worker.last_event_id = 7;
            load.put_worker(worker.into())?;
            load.put_runtime(runtime_snapshot("r", 7).into())
        },
        "next_event_id 7",
    ),
    (
        "a sequence counter behind the transcript",
        |load| {
            load.append_transcript(entries("w", 0, 1..4))?;
            load.put_worker(worker_snapshot(&worker_ref("r", "w"), 3).into())?;
            load.put_runtime(runtime_snapshot("r", 1).into())
        },
        "next_transcript_sequence 3",
    ),
    (
        "sequences that repeat from run to run",
        |load| {
            load.append_transcript(entries("w", 0, 1..4))?;
            load.append_transcript(entries("w", 3, 3..6))?;
            load.put_worker(worker_snapshot(&worker_ref("r", "w"), 9).into())?;
            load.put_runtime(runtime_snapshot("r", 1).into())
        },
        "transcript sequence 3",
    ),
    (
        "a transcript without its worker",
        |load| {
            load.append_transcript(entries("w", 0, 1..4))?;
            load.put_runtime(runtime_snapshot("r", 1).into())
        },
        "put the worker",
    ),
    (
        "a worker without its runtime",
        |load| load.put_worker(worker_snapshot(&worker_ref("r", "w"), 1).into()),
        "put the runtime",
    ),
];

#[test]
fn broken_loads_are_rejected_and_commit_nothing() {
    for (what, load, says) in BROKEN_LOADS {
        let store = fresh();
        let error = store.bulk_load(load).expect_err(what);
        let message = error.to_string();
        assert!(
            matches!(error, RuntimeError::InvalidRequest(_)),
            "{what}: {error:?}"
        );
        assert!(message.contains(says), "{what}: {message}");
        assert_eq!(
            store.snapshot().unwrap().runtime_ids().unwrap(),
            [],
            "{what}"
        );
        assert_eq!(store.census().unwrap().runtimes.len(), 0, "{what}");
    }
}

#[test]
fn duplicate_diagnostic_ids_are_rejected() {
    let diagnostic = |id| RuntimeDiagnostic {
        id,
        severity: DiagnosticSeverity::Info,
        code: "c".into(),
        message: "m".into(),
        worker_ref: None,
    };
    for (ids, next) in [
        (vec![1, 1], 2),
        (vec![2, 1], 3),
        (vec![1, 2], 2),
        (vec![0], 1),
    ] {
        let store = fresh();
        let refused = store.bulk_load(|load| {
            let mut runtime = runtime_snapshot("r", 1);
            runtime.diagnostics = ids.iter().copied().map(diagnostic).collect();
            runtime.next_diagnostic_id = next;
            load.put_runtime(runtime.into())
        });
        assert_refused!(refused, RuntimeError::InvalidRequest(_));
    }
}

#[test]
fn stored_counts_never_underflow() {
    let store = fresh();
    let worker = worker_ref("r", "w");
    bulk(&store, |load| {
        load.without_checks();
        load.put_runtime(runtime_snapshot("r", 1).into())?;
        load.put_worker(worker_snapshot(&worker, 1).into())
    });
    let runtime = store
        .runtime(RuntimeOptions {
            runtime_id: Some(runtime_id("r")),
            ..Default::default()
        })
        .unwrap();
    let stopped = runtime.stop_worker(&worker, None);
    assert_refused!(
        stopped,
        RuntimeError::StoreCorrupt { message, .. }
            if message.contains("table runtimes, key \"r\": running_workers is 0")
    );
    let mut snapshot = worker_snapshot(&worker, 1);
    snapshot.status = WorkerStatus::Stopped;
    let written = store.runtime_store(&runtime_id("r")).unwrap();
    let written = written.commit(|tx| tx.write_worker_snapshot(&snapshot));
    assert_refused!(
        written,
        RuntimeError::StoreCorrupt { message, .. } if message.contains("running_workers is 0")
    );
}
