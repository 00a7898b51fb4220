//! Open work: what a process began and did not end.

use crate::hosts::Shared;
use crate::support::{Host, Kept, Place, named, new_worker, on_one_writer};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::{RuntimeError, Store};

/// Name and note of all unfinished work.
fn unfinished(store: &Store) -> Vec<(String, String)> {
    let work = store.unfinished().unwrap();
    work.into_iter()
        .map(|work| (work.name, work.note))
        .collect()
}

fn pair(name: &str, note: &str) -> (String, String) {
    (name.to_owned(), note.to_owned())
}

#[test]
fn work_of_an_earlier_opening_is_unfinished() {
    let mut host = Host::new(Kept::ONE_WRITER, named("r"));
    let runtime = host.runtime.clone();
    let worker = new_worker(&runtime);
    runtime
        .transaction(|transaction| {
            transaction.send_input(&worker, WorkerInput::user("look it up"))?;
            transaction.open_work(&worker, "call-1", "search")?;
            transaction.open_work(&worker, "call-2", "fetch")
        })
        .unwrap();
    // It is this process's.
    assert_eq!(unfinished(runtime.store()), []);
    assert!(runtime.close_work(&worker, "call-2").unwrap());
    assert!(!runtime.close_work(&worker, "call-2").unwrap());

    host.reopen();
    let runtime = host.runtime.clone();
    let work = runtime.store().unfinished().unwrap();
    assert_eq!(work.len(), 1);
    assert_eq!(work[0].worker_ref, worker);
    assert_eq!((&*work[0].name, &*work[0].note), ("call-1", "search"));
    assert!(work[0].opened_at.is_some());
    // Opening it again takes it over.
    runtime
        .open_work(&worker, "call-1", "search again")
        .unwrap();
    assert_eq!(unfinished(runtime.store()), []);
    runtime.open_work(&worker, "call-1", "twice").unwrap_err();
    host.reopen();
    let runtime = host.runtime.clone();
    assert_eq!(
        unfinished(runtime.store()),
        [pair("call-1", "search again")]
    );
    // Closing works after a stop.
    runtime.stop_runtime().unwrap();
    assert!(runtime.close_work(&worker, "call-1").unwrap());
    assert_eq!(unfinished(runtime.store()), []);
    assert!(runtime.attributes(&worker).unwrap().is_empty());
}

#[test]
fn reader_lists_all_open_work() {
    let place = Place::new();
    let runtime = Shared::ONE_WRITER.open(&place).unwrap().runtime(named("r"));
    let runtime = runtime.unwrap();
    let worker = new_worker(&runtime);
    runtime.open_work(&worker, "call", "n").unwrap();
    runtime.store().close().unwrap();
    assert_eq!(unfinished(&place.open_read_only()), [pair("call", "n")]);
}

#[test]
fn open_work_stays_when_a_host_sets_attributes() {
    on_one_writer(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        runtime.open_work(&worker, "call", "n").unwrap();
        let patch = redb_runtime_store::attributes::Attributes::new().with("a", 1);
        runtime.set_attributes(&worker, patch.unwrap()).unwrap();
        assert!(runtime.close_work(&worker, "call").unwrap());
        assert_eq!(runtime.attributes(&worker).unwrap().to_json(), r#"{"a":1}"#);
    });
}

#[test]
fn open_work_is_bounded_and_named() {
    on_one_writer(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        for name in ["", " ", &"x".repeat(4097)] {
            runtime.open_work(&worker, name, "").unwrap_err();
        }
        let long = "x".repeat(4097);
        runtime.open_work(&worker, "n", &long).unwrap_err();
        for number in 0..256 {
            let name = number.to_string();
            runtime.open_work(&worker, &name, "").unwrap();
        }
        runtime.open_work(&worker, "more", "").unwrap_err();
        runtime.stop_worker(&worker, None).unwrap();
        assert!(runtime.close_work(&worker, "7").unwrap());
        runtime.open_work(&worker, "7", "").unwrap_err();
    });
}

#[test]
fn several_writers_have_no_open_work() {
    let place = Place::new();
    let store = Shared::ManyWriters.open(&place).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    let worker = new_worker(&runtime);
    match runtime.open_work(&worker, "call", "") {
        Err(RuntimeError::InvalidRequest(why)) => assert!(why.contains("one process"), "{why}"),
        other => panic!("{other:?}"),
    }
}
