//! The persistence boundary below a runtime, for hosts with their own rules.

use crate::support::{
    Host, all_entries, all_events, assert_refused, assert_whole, cursor, entry, event, fresh,
    named, on_both, runtime_id, say, worker_ref, worker_snapshot,
};
use redb_runtime_store::catalog::{CreateWorkerRequest, WorkerStatus};
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::interaction::TranscriptQuery;
use redb_runtime_store::management::{RuntimeLimits, RuntimeStatus};
use redb_runtime_store::observation::RuntimeEvent;
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::store::PersistedRuntimeSnapshot;
use redb_runtime_store::{RedbRuntimeStore, RuntimeError, RuntimeStoreTransaction};
use std::panic::{AssertUnwindSafe, catch_unwind};

pub(crate) fn below(host: &Host) -> RedbRuntimeStore {
    host.runtime
        .store()
        .runtime_store(&runtime_id("r"))
        .unwrap()
}

pub(crate) fn diagnostic(id: u64, worker: Option<&str>) -> RuntimeDiagnostic {
    RuntimeDiagnostic {
        id,
        severity: DiagnosticSeverity::Warning,
        code: "code".to_owned(),
        message: format!("diagnostic {id}"),
        worker_ref: worker.map(|worker| worker_ref("r", worker)),
    }
}

/// The runtime's own state, changed by `change`.
pub(crate) fn changed(
    store: &RedbRuntimeStore,
    change: impl FnOnce(&mut PersistedRuntimeSnapshot),
) -> PersistedRuntimeSnapshot {
    let mut state = store.load_runtime_state().unwrap().runtime;
    change(&mut state);
    state
}

/// Asserts that `stage` is rejected with `InvalidRequest`, and that the store does not change.
#[track_caller]
fn assert_invalid(
    store: &RedbRuntimeStore,
    stage: impl FnOnce(&mut RuntimeStoreTransaction<'_>) -> Result<(), RuntimeError>,
) {
    let before = store.load_runtime_state().unwrap();
    match store.commit(stage) {
        Err(RuntimeError::InvalidRequest(_)) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(store.load_runtime_state().unwrap(), before);
}

#[test]
fn store_of_missing_runtime_is_refused() {
    on_both(|host| {
        let store = host.runtime.store().runtime_store(&runtime_id("q"));
        assert_refused!(
            store,
            RuntimeError::RuntimeNotFound { runtime_id: id, .. } if id == runtime_id("q")
        );
        let store = below(host);
        assert_eq!(store.runtime_id(), &runtime_id("r"));
        assert_eq!(store.path(), host.runtime.store().path());
    });
}

#[test]
fn commit_is_visible_whole_and_after_reopening() {
    on_both(|host| {
        let store = below(host);
        let worker = worker_ref("r", "any name/é");
        let snapshot = changed(&store, |state| {
            state.display_name = Some("theirs".to_owned());
            state.status = RuntimeStatus::Stopped;
            state.limits = RuntimeLimits {
                max_transcript_projection_items: 7,
                max_event_batch_items: 8,
            };
            state.next_worker_sequence = 11;
            state.next_event_id = 40;
            state.next_diagnostic_id = 9;
            state.diagnostics = vec![diagnostic(3, None), diagnostic(8, Some("w"))];
        });
        let mut worker_state = worker_snapshot(&worker, 6);
        worker_state.status = WorkerStatus::Cancelled;
        worker_state.last_event_id = 30;
        let event = RuntimeEvent {
            worker_ref: Some(worker.clone()),
            ..event(30, "its own words")
        };
        let given = store.commit(|transaction| {
            transaction.append_event(&event)?;
            transaction.write_worker_snapshot(&worker_state)?;
            transaction.append_transcript_entry(&entry(&worker, 2, "a"))?;
            transaction.append_transcript_entry(&entry(&worker, 5, "b"))?;
            transaction.write_runtime_snapshot(&snapshot)?;
            Ok("given back")
        });
        assert_eq!(given.unwrap(), "given back");
        for _ in 0..2 {
            let store = below(host);
            let state = store.load_runtime_state().unwrap();
            assert_eq!(state.runtime, snapshot);
            assert_eq!(state.workers, std::slice::from_ref(&worker_state));
            let batch = store.read_events(&cursor("r", 2), 1, 1).unwrap();
            assert_eq!(batch.events, std::slice::from_ref(&event));
            let query = TranscriptQuery::new(0, 9);
            let page = store.read_transcript(&worker, query, 9).unwrap();
            assert_eq!(page.items, [entry(&worker, 2, "a"), entry(&worker, 5, "b")]);
            let summary = host.runtime.summary().unwrap();
            assert_eq!(
                (summary.worker_count, summary.cancelled_worker_count),
                (1, 1)
            );
            assert_eq!(summary.diagnostic_count, 2);
            host.reopen();
        }
    });
}

#[test]
fn reads_respect_limits_and_refuse_foreign_refs() {
    on_both(|host| {
        let store = below(host);
        let worker = host
            .runtime
            .create_worker(CreateWorkerRequest::default())
            .unwrap()
            .worker_ref;
        let query = TranscriptQuery::new(0, 3);
        assert_refused!(
            store.read_events(&cursor("r", 1), 3, 2),
            RuntimeError::LimitTooLarge {
                requested: 3,
                max: 2
            }
        );
        assert_refused!(
            store.read_transcript(&worker, query, 2),
            RuntimeError::LimitTooLarge {
                requested: 3,
                max: 2
            }
        );
        // The caller's maximum counts, not the runtime's.
        assert_eq!(
            store
                .read_events(&cursor("r", 1), 9_999, 9_999)
                .unwrap()
                .events
                .len(),
            2
        );
        store.read_transcript(&worker, query, 3).unwrap();
        assert_refused!(
            store.read_events(&cursor("q", 1), 1, 1),
            RuntimeError::WrongRuntimeCursor { .. }
        );
        assert_refused!(
            store.read_transcript(&worker_ref("q", "w"), query, 3),
            RuntimeError::WrongRuntime { .. }
        );
        assert_refused!(
            store.read_transcript(&worker_ref("r", "w"), query, 3),
            RuntimeError::WorkerNotFound { .. }
        );
    });
}

#[test]
fn every_write_refuses_foreign_refs() {
    on_both(|host| {
        let store = below(host);
        let foreign = worker_ref("q", "w");
        let foreign_event = RuntimeEvent {
            worker_ref: Some(foreign.clone()),
            ..event(9, "a")
        };
        let foreign_diagnostic = changed(&store, |state| {
            let worker_ref = Some(foreign.clone());
            state.diagnostics.push(RuntimeDiagnostic {
                worker_ref,
                ..diagnostic(1, None)
            });
            state.next_diagnostic_id = 2;
        });
        macro_rules! assert_wrong_runtime {
            ($method:ident($argument:expr)) => {
                assert_refused!(
                    store.commit(|transaction| transaction.$method($argument)),
                    RuntimeError::WrongRuntime { .. }
                )
            };
        }
        assert_wrong_runtime!(append_event(&foreign_event));
        assert_wrong_runtime!(write_worker_snapshot(&worker_snapshot(&foreign, 1)));
        assert_wrong_runtime!(append_transcript_entry(&entry(&foreign, 1, "a")));
        assert_wrong_runtime!(write_runtime_snapshot(&foreign_diagnostic));
        let other = changed(&store, |state| state.runtime_id = runtime_id("q"));
        assert_invalid(&store, |transaction| {
            transaction.write_runtime_snapshot(&other)
        });
        assert_refused!(
            store.commit(|transaction| {
                transaction.append_transcript_entry(&entry(&worker_ref("r", "w"), 1, "a"))
            }),
            RuntimeError::WorkerNotFound { .. }
        );
        assert_whole(&host.runtime);
    });
}

#[test]
fn ids_not_above_the_last_are_refused() {
    on_both(|host| {
        let store = below(host);
        let worker = worker_ref("r", "w");
        store
            .commit(|transaction| {
                transaction.append_event(&event(10, "a"))?;
                transaction.write_worker_snapshot(&worker_snapshot(&worker, 1))?;
                transaction.append_transcript_entry(&entry(&worker, 10, "a"))
            })
            .unwrap();
        for id in [0, 1, 9, 10, u64::MAX] {
            assert_invalid(&store, |transaction| {
                transaction.append_event(&event(id, "b"))
            });
            assert_invalid(&store, |transaction| {
                transaction.append_transcript_entry(&entry(&worker, id, "b"))
            });
        }
        // Also against what the same commit wrote.
        assert_invalid(&store, |transaction| {
            transaction.append_event(&event(12, "b"))?;
            transaction.append_event(&event(11, "b"))
        });
        assert_invalid(&store, |transaction| {
            transaction.append_transcript_entry(&entry(&worker, 12, "b"))?;
            transaction.append_transcript_entry(&entry(&worker, 12, "b"))
        });
        let state = store.load_runtime_state().unwrap();
        assert_eq!(state.runtime.next_event_id, 11, "raised past the event");
        assert_eq!(
            state.workers[0].next_transcript_sequence, 11,
            "raised past the entry"
        );
    });
}

#[test]
fn counters_ahead_of_logs_stay_ahead() {
    on_both(|host| {
        let store = below(host);
        let worker = worker_ref("r", "w");
        let ahead = changed(&store, |state| state.next_event_id = 100);
        store
            .commit(|transaction| {
                transaction.write_runtime_snapshot(&ahead)?;
                transaction.append_event(&event(50, "a"))?;
                transaction.write_worker_snapshot(&worker_snapshot(&worker, 200))?;
                transaction.append_transcript_entry(&entry(&worker, 50, "a"))
            })
            .unwrap();
        host.reopen();
        let state = below(host).load_runtime_state().unwrap();
        assert_eq!(state.runtime.next_event_id, 100);
        assert_eq!(state.workers[0].next_transcript_sequence, 200);
        let said = crate::support::say(&host.runtime, &worker, "next").unwrap();
        assert_eq!(said, 100);
        assert_eq!(all_entries(&host.runtime, &worker)[1].sequence, 200);
    });
}

#[test]
fn counters_behind_logs_or_zero_are_refused() {
    on_both(|host| {
        let store = below(host);
        let worker = worker_ref("r", "w");
        let first = changed(&store, |state| {
            state.diagnostics = vec![diagnostic(4, None)];
            state.next_diagnostic_id = 5;
        });
        store
            .commit(|transaction| {
                transaction.write_runtime_snapshot(&first)?;
                transaction.append_event(&event(10, "a"))?;
                transaction.write_worker_snapshot(&worker_snapshot(&worker, 3))?;
                transaction.append_transcript_entry(&entry(&worker, 3, "a"))
            })
            .unwrap();
        let changes: [fn(&mut PersistedRuntimeSnapshot); 6] = [
            |state| state.next_event_id = 10,
            |state| state.next_event_id = 0,
            |state| state.next_diagnostic_id = 4,
            |state| state.next_diagnostic_id = 0,
            |state| state.next_worker_sequence = 0,
            |state| state.runtime_id = runtime_id("other"),
        ];
        for change in changes {
            let state = changed(&store, change);
            assert_invalid(&store, |transaction| {
                transaction.write_runtime_snapshot(&state)
            });
        }
        for next in [0, 1, 3] {
            let state = worker_snapshot(&worker, next);
            assert_invalid(&store, |transaction| {
                transaction.write_worker_snapshot(&state)
            });
        }
        let fresh = worker_snapshot(&worker_ref("r", "fresh"), 0);
        assert_invalid(&store, |transaction| {
            transaction.write_worker_snapshot(&fresh)
        });
    });
}

#[test]
fn diagnostics_are_only_ever_appended() {
    on_both(|host| {
        let store = below(host);
        let with = |diagnostics: Vec<RuntimeDiagnostic>| {
            changed(&store, |state| {
                state.diagnostics = diagnostics;
                state.next_diagnostic_id = 20;
            })
        };
        let first = with(vec![diagnostic(1, None), diagnostic(5, Some("w"))]);
        store
            .commit(|transaction| transaction.write_runtime_snapshot(&first))
            .unwrap();
        let refused = [
            vec![],
            vec![diagnostic(1, None)],
            vec![diagnostic(1, None), diagnostic(5, None)],
            vec![diagnostic(5, Some("w")), diagnostic(1, None)],
            vec![
                diagnostic(1, None),
                diagnostic(5, Some("w")),
                diagnostic(5, None),
            ],
            vec![
                diagnostic(1, None),
                diagnostic(5, Some("w")),
                diagnostic(20, None),
            ],
        ];
        for diagnostics in refused {
            let state = with(diagnostics);
            assert_invalid(&store, |transaction| {
                transaction.write_runtime_snapshot(&state)
            });
        }
        let more = with(vec![
            diagnostic(1, None),
            diagnostic(5, Some("w")),
            diagnostic(6, None),
        ]);
        store
            .commit(|transaction| transaction.write_runtime_snapshot(&more))
            .unwrap();
        host.reopen();
        assert_eq!(host.runtime.diagnostics().unwrap(), more.diagnostics);
        assert_eq!(host.runtime.summary().unwrap().diagnostic_count, 3);
    });
}

#[test]
fn worker_counts_follow_the_snapshots() {
    on_both(|host| {
        let store = below(host);
        let put = |name: &str, status: WorkerStatus| {
            let mut state = worker_snapshot(&worker_ref("r", name), 1);
            state.status = status;
            store
                .commit(|transaction| transaction.write_worker_snapshot(&state))
                .unwrap();
        };
        put("a", WorkerStatus::Running);
        put("b", WorkerStatus::Running);
        put("c", WorkerStatus::Stopped);
        put("a", WorkerStatus::Cancelled);
        put("b", WorkerStatus::Running);
        // A host may restart a worker that ended.
        put("c", WorkerStatus::Running);
        let summary = host.runtime.summary().unwrap();
        assert_eq!(summary.active_worker_count, 2);
        assert_eq!(summary.cancelled_worker_count, 1);
        assert_eq!(summary.stopped_worker_count, 0);
        assert_whole(&host.runtime);
    });
}

#[test]
fn failed_host_commit_leaves_no_trace() {
    on_both(|host| {
        let store = below(host);
        let worker = worker_ref("r", "w");
        let stage = |transaction: &mut RuntimeStoreTransaction<'_>| {
            transaction.append_event(&event(2, "a"))?;
            transaction.write_worker_snapshot(&worker_snapshot(&worker, 1))?;
            transaction.append_transcript_entry(&entry(&worker, 1, "a"))
        };
        let before = store.load_runtime_state().unwrap();
        for _ in 0..3 {
            let refused: Result<(), _> = store.commit(|transaction| {
                stage(transaction)?;
                Err(RuntimeError::InvalidRequest("after all".to_owned()))
            });
            assert_refused!(refused, RuntimeError::InvalidRequest(text) if text == "after all");
            let panicked = catch_unwind(AssertUnwindSafe(|| {
                store.commit(|transaction| -> Result<(), RuntimeError> {
                    stage(transaction)?;
                    std::panic::panic_any("the caller's own panic");
                })
            }));
            let panic = panicked.unwrap_err();
            assert_eq!(panic.downcast_ref(), Some(&"the caller's own panic"));
        }
        host.reopen();
        let store = below(host);
        assert_eq!(store.load_runtime_state().unwrap(), before);
        assert_eq!(all_events(&host.runtime).len(), 1);
        store.commit(stage).unwrap();
        assert_eq!(all_entries(&host.runtime, &worker).len(), 1);
    });
}

#[test]
fn refused_write_leaves_nothing_in_its_commit() {
    on_both(|host| {
        let store = below(host);
        let half = changed(&store, |state| {
            state.diagnostics = vec![diagnostic(1, None), diagnostic(2, None)];
            state.next_diagnostic_id = 2;
        });
        store
            .commit(|transaction| {
                transaction.write_runtime_snapshot(&half).unwrap_err();
                transaction.append_event(&event(1, "a")).unwrap_err();
                transaction.append_event(&event(2, "b"))
            })
            .unwrap();
        host.reopen();
        assert_eq!(host.runtime.diagnostics().unwrap(), []);
        assert_eq!(all_events(&host.runtime)[1].message, "b");
        assert_whole(&host.runtime);
    });
}

/// Asserts that every write to `store` is rejected on this thread now.
fn assert_refuses_writes(store: &RedbRuntimeStore, host: &Host) {
    let request = CreateWorkerRequest::default();
    assert_refused!(
        host.runtime.create_worker(request),
        RuntimeError::InvalidRequest(_)
    );
    assert_refused!(host.runtime.stop_runtime(), RuntimeError::InvalidRequest(_));
    assert_refused!(store.commit(|_| Ok(())), RuntimeError::InvalidRequest(_));
    let store = host.runtime.store();
    assert_refused!(store.runtime(named("new")), RuntimeError::InvalidRequest(_));
    let load = store.bulk_load(|_| Ok::<_, RuntimeError>(()));
    assert_refused!(load, RuntimeError::InvalidRequest(_));
    assert_refused!(store.close(), RuntimeError::InvalidRequest(_));
}

#[test]
fn nested_write_in_commit_is_refused() {
    on_both(|host| {
        let store = below(host);
        let host: &Host = host;
        let other = fresh();
        let other = other.runtime(named("other")).unwrap();
        store
            .commit(|transaction| {
                assert_refuses_writes(&store, host);
                // Reads see what was committed before.
                transaction.append_event(&event(2, "a"))?;
                assert_eq!(host.runtime.event_cursor_now()?, cursor("r", 2));
                // Another store may be read and not written to, and does not make this one forget.
                assert_eq!(other.list_workers()?, []);
                let written = other.create_worker(CreateWorkerRequest::default());
                assert_refused!(written, RuntimeError::InvalidRequest(_));
                assert_refuses_writes(&store, host);
                Ok(())
            })
            .unwrap();
        store
            .commit(|transaction| transaction.append_event(&event(3, "b")))
            .unwrap();
        assert_eq!(host.runtime.event_cursor_now().unwrap(), cursor("r", 4));
    });
}

#[test]
fn nested_write_in_bulk_load_is_refused() {
    on_both(|host| {
        let store = below(host);
        let host: &Host = host;
        let load = host.runtime.store().bulk_load(|load| {
            assert_refuses_writes(&store, host);
            load.contains_runtime(&runtime_id("r"))
        });
        assert!(load.unwrap());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            host.runtime
                .store()
                .bulk_load(|load| -> Result<(), RuntimeError> {
                    load.append_event(&runtime_id("r"), event(2, "a").into())?;
                    panic!("in the middle of a load");
                })
        }));
        assert!(panicked.is_err());
        assert_eq!(all_events(&host.runtime).len(), 1);
        host.runtime
            .create_worker(CreateWorkerRequest::default())
            .unwrap();
        assert_whole(&host.runtime);
    });
}

#[test]
fn worker_snapshot_precedes_entries_after_a_prune() {
    let store = fresh();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.unwrap().worker_ref;
    say(&runtime, &worker, "pruned").unwrap();
    let none = Retention::new().keep_entries(0);
    runtime.prune(&none, PruneOptions::new()).unwrap();
    let below = store.runtime_store(&runtime_id("r")).unwrap();
    let write = |tx: &mut RuntimeStoreTransaction<'_>, sequences: std::ops::Range<u64>| {
        tx.write_worker_snapshot(&worker_snapshot(&worker, sequences.end))?;
        let entries = sequences.map(|sequence| entry(&worker, sequence, "x"));
        entries
            .into_iter()
            .try_for_each(|entry| tx.append_transcript_entry(&entry))
    };
    assert_invalid(&below, |tx| write(tx, 1..3));
    below.commit(|tx| write(tx, 2..4)).unwrap();
    assert_eq!(all_entries(&runtime, &worker).len(), 2);
}
