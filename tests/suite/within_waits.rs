//! Calls inside closures and callbacks that could wait for themselves through another thread, or that
//! must not.
//!
//! A hang fails its test after [`LONG`].

use crate::hosts::Shared;
use crate::support::assert_refused;
use crate::within::{Host, LONG, host, in_time, poll, waker};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::{Pending, Runtime, RuntimeError};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use std::task::{Poll, Waker};
use std::thread;

#[test]
fn transactions_of_two_stores_do_not_deadlock() {
    for kind in Shared::ALL {
        let (a, b) = (host(*kind), host(*kind));
        let both = in_time("within each other", move || {
            let barrier = Barrier::new(2);
            let within = |from: &Runtime, to: &Runtime| {
                from.transaction(|_| {
                    barrier.wait();
                    to.list_workers()?;
                    to.create_worker(CreateWorkerRequest::default())
                })
            };
            thread::scope(|scope| {
                let other = scope.spawn(|| within(&a.runtime, &b.runtime));
                [within(&b.runtime, &a.runtime), other.join().unwrap()]
            })
        });
        for refused in both {
            assert_refused!(refused, RuntimeError::InvalidRequest(_));
        }
    }
}

/// What another thread of the host submitted cannot run before the transaction ends.
#[test]
fn pending_is_refused_inside_transaction() {
    for kind in Shared::ALL {
        let host = host(*kind);
        in_time("a pending inside a transaction", move || {
            let before = host.submit();
            before.wait().unwrap();
            let elsewhere = Arc::clone(&host);
            let waits_for_callers = Shared::BY_CALLERS.contains(kind);
            let pending = waits_for_callers.then(|| [host.submit(), host.submit()]);
            let done = host.runtime.transaction(|tx| {
                // Where a thread in the background would run it, it is submitted while the transaction holds that up.
                let submit = move || [elsewhere.submit(), elsewhere.submit()];
                let [mut polled, waited] =
                    pending.unwrap_or_else(|| thread::spawn(submit).join().unwrap());
                let polled = poll(&mut polled, Waker::noop());
                assert!(
                    matches!(polled, Poll::Ready(Err(RuntimeError::InvalidRequest(_)))),
                    "{polled:?}"
                );
                assert_refused!(waited.wait(), RuntimeError::InvalidRequest(_));
                tx.summary()
            });
            done.unwrap();
            // Refusing the wait does not undo the operations.
            host.submit().wait().unwrap();
            assert_eq!(
                host.runtime
                    .worker_detail(&host.worker)
                    .unwrap()
                    .transcript_len,
                5
            );
        });
    }
}

/// A pending may be waited for in its own waker: its result is there.
#[test]
fn waker_gets_result_of_its_own_submission() {
    for kind in Shared::ALL {
        let host = host(*kind);
        let (sends, sent) = channel::<Pending<u64>>();
        let (tells, told) = channel();
        let shared = Arc::new((Mutex::new(sent), tells));
        let waker = waker(shared, |(sent, tells)| {
            let pending = sent.lock().unwrap().recv().unwrap();
            let _ = tells.send(pending.wait());
        });
        sends.send(host.submit_waking(&waker)).unwrap();
        let id = told.recv_timeout(LONG).expect("it waits for itself");
        assert!(id.unwrap() > 0, "{kind:?}");
    }
}

/// A batch is full and the thread that commits it is in a waker, which submits one operation more.
#[test]
fn waker_in_background_commits_full_batch() {
    for kind in Shared::BY_CALLERS {
        let host = host(*kind);
        let (entered, is_entered) = channel();
        let (go, gate) = channel::<()>();
        let (done, is_done) = channel();
        let shared = Arc::new((Arc::clone(&host), entered, Mutex::new(gate), done));
        let submits = waker(shared, |(host, entered, gate, done)| {
            entered.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
            done.send(host.submit()).unwrap();
        });
        let first = host.submit_waking(&submits);
        is_entered.recv_timeout(LONG).unwrap();
        // As many as a batch takes.
        let batch: Vec<_> = (0..1024).map(|_| host.submit()).collect();
        go.send(()).unwrap();
        let last = is_done
            .recv_timeout(LONG)
            .expect("the batch is never committed");
        in_time("the rest", move || {
            for pending in std::iter::once(first).chain(batch).chain([last]) {
                pending.wait().unwrap();
            }
        });
    }
}

#[test]
fn memory_runtime_is_created_inside_transaction() {
    for kind in Shared::ALL {
        let host = host(*kind);
        in_time("a runtime in memory", move || {
            let outer = &host.runtime;
            let inner = outer.transaction(|tx| {
                let inner = Runtime::new_memory();
                let written = inner.create_worker(CreateWorkerRequest::default());
                assert_refused!(written, RuntimeError::InvalidRequest(_));
                // It is still the outer transaction.
                let written = outer.create_worker(CreateWorkerRequest::default());
                assert_refused!(written, RuntimeError::InvalidRequest(_));
                tx.create_worker(CreateWorkerRequest::default())?;
                Ok(inner)
            });
            inner
                .unwrap()
                .create_worker(CreateWorkerRequest::default())
                .unwrap();
        });
    }
}

/// The background threads of two stores close each other's.
#[test]
fn wakers_that_close_each_other_are_refused() {
    for kind in Shared::IN_BACKGROUND {
        assert_closing_each_other_is_refused([host(*kind), host(*kind)]);
    }
}

fn assert_closing_each_other_is_refused(hosts: [Arc<Host>; 2]) {
    let barrier = Arc::new(Barrier::new(2));
    let (tells, told) = channel();
    for (own, other) in [(0, 1), (1, 0)] {
        let shared = (
            Arc::clone(&hosts[other]),
            Arc::clone(&barrier),
            tells.clone(),
        );
        let closes = waker(Arc::new(shared), |(other, barrier, tells)| {
            barrier.wait();
            let closed = other.store.close();
            barrier.wait();
            tells.send(closed).unwrap();
        });
        drop(hosts[own].submit_waking(&closes));
    }
    for _ in 0..2 {
        let closed = told.recv_timeout(LONG).expect("they wait for each other");
        assert_refused!(closed, RuntimeError::InvalidRequest(_));
    }
}
