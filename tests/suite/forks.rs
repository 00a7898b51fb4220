//! Forks of workers, and redaction of entries. What needs a file is in `forks_in_files`.

use crate::support::{Host, Kept, all_entries, full_request, named, new_worker, on_both, say};
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::catalog::WorkerStatus;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
use redb_runtime_store::{Runtime, RuntimeError};

fn contents(runtime: &Runtime, worker: &WorkerRef) -> Vec<String> {
    let entries = all_entries(runtime, worker);
    entries.into_iter().map(|entry| entry.content).collect()
}

#[test]
fn fork_has_the_entries_before_its_position() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let title = Attributes::new().with("title", "a").unwrap();
        let created = runtime.create_worker_with(full_request(), title).unwrap();
        let source = created.worker_ref;
        let keyed = WorkerInput::user("zero");
        runtime
            .send_input_once(&source, "k", keyed.clone())
            .unwrap();
        runtime.append_reply(&source, "one").unwrap();
        say(&runtime, &source, "two").unwrap();
        if host.kept.has_one_writer() {
            runtime.open_work(&source, "call", "n").unwrap();
        }
        runtime.stop_worker(&source, None).unwrap();
        let before = runtime.attributes(&source).unwrap();

        let fork = runtime.fork_worker(&source, Some(2)).unwrap();
        let target = fork.worker_ref.clone();
        assert_eq!(
            (fork.status, fork.transcript_len),
            (WorkerStatus::Running, 2)
        );
        assert_eq!(fork.requested_capabilities, created.requested_capabilities);
        let (copied, all) = (
            all_entries(&runtime, &target),
            all_entries(&runtime, &source),
        );
        assert_eq!(contents(&runtime, &target), ["zero", "one"]);
        for (copy, entry) in copied.iter().zip(&all) {
            assert_eq!(
                (copy.sequence, copy.event_id),
                (entry.sequence, entry.event_id)
            );
            assert_eq!(copy.worker_ref, target);
        }
        let attributes = runtime.attributes(&target).unwrap();
        assert_eq!(
            attributes.to_json(),
            format!(
                r#"{{"$forked_from":{{"at":2,"worker_id":"{}"}},"title":"a"}}"#,
                source.worker_id
            )
        );
        // The key was not copied.
        let sent = runtime.send_input_once(&target, "k", keyed).unwrap();
        assert_eq!(sent.transcript_sequence, all[1].sequence + 1);
        assert_eq!(contents(&runtime, &target), ["zero", "one", "zero"]);
        // The source is as it was.
        assert_eq!(contents(&runtime, &source), ["zero", "one", "two"]);
        assert_eq!(runtime.attributes(&source).unwrap(), before);
        let whole = runtime.fork_worker(&source, None).unwrap();
        assert_eq!(
            contents(&runtime, &whole.worker_ref),
            ["zero", "one", "two"]
        );
        let empty = runtime.fork_worker(&source, Some(0)).unwrap();
        assert_eq!(empty.transcript_len, 0);
        let refused = runtime.fork_worker(&source, Some(4)).unwrap_err();
        assert!(
            matches!(refused, RuntimeError::InvalidRequest(_)),
            "{refused}"
        );
        host.reopen();
        let report = host.runtime.store().verify().unwrap();
        assert!(report.is_clean(), "{report:?}");
    });
}

/// A worker with more entries than one commit copies.
pub(crate) fn long_worker(runtime: &Runtime) -> WorkerRef {
    let worker = new_worker(runtime);
    let text = "x".repeat(1 << 20);
    for number in 0..10 {
        say(runtime, &worker, &format!("{number} {text}")).unwrap();
    }
    worker
}

#[test]
fn long_fork_takes_several_commits_and_is_whole() {
    let mut host = Host::new(Kept::ONE_WRITER, named("r"));
    let source = long_worker(&host.runtime);
    let fork = host.runtime.fork_worker(&source, None).unwrap();
    assert_eq!(
        contents(&host.runtime, &fork.worker_ref),
        contents(&host.runtime, &source)
    );
    host.reopen();
    assert_eq!(
        contents(&host.runtime, &fork.worker_ref),
        contents(&host.runtime, &source)
    );
    let report = host.runtime.store().verify().unwrap();
    assert!(report.is_clean(), "{report:?}");
    let refused = host
        .runtime
        .transaction(|transaction| transaction.fork_worker(&source, None));
    assert!(
        matches!(refused, Err(RuntimeError::InvalidRequest(_))),
        "{refused:?}"
    );
}

#[test]
fn redacted_entry_loses_its_text_and_keeps_its_place() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        let secret = Attributes::new().with("note", "SECRET").unwrap();
        runtime
            .send_input_once(&worker, "k", WorkerInput::user("zero"))
            .unwrap();
        runtime
            .send_input_with(&worker, WorkerInput::user("my SECRET"), secret)
            .unwrap();
        say(&runtime, &worker, "two").unwrap();
        let page = |runtime: &Runtime| {
            let query = TranscriptQuery::new(0, 10);
            runtime.recorded_transcript(&worker, query).unwrap().items
        };
        let before = page(&runtime);
        let events = runtime.event_cursor_now().unwrap();
        runtime.stop_runtime().unwrap();
        runtime
            .redact_entries(&worker, [0, 1], "[redacted]")
            .unwrap();

        host.reopen();
        let runtime = host.runtime.clone();
        let after = page(&runtime);
        for (old, new) in before.iter().zip(&after).take(2) {
            let mut expected = old.entry.clone();
            expected.content = "[redacted]".to_owned();
            assert_eq!((&new.entry, new.recorded_at), (&expected, old.recorded_at));
            let names: Vec<&str> = new.attributes.names().collect();
            assert!(names.contains(&"$redacted") && !names.contains(&"note"));
        }
        assert_eq!(after[2], before[2]);
        // The key of a redacted input still stands for it.
        let again = runtime.send_input_once(&worker, "k", WorkerInput::user("zero"));
        assert_eq!(again.unwrap().transcript_sequence, before[0].entry.sequence);
        let diagnostics = runtime.diagnostics().unwrap();
        let last = diagnostics.last().unwrap();
        assert_eq!(last.code, "worker.redacted");
        assert_eq!(last.message, "2 transcript entries were redacted");
        // One event, of the stop.
        let now = runtime.event_cursor_now().unwrap();
        assert_eq!(now.next_event_id, events.next_event_id + 1);
        for (positions, text) in [(vec![3], "x"), (vec![0, 9], "x"), (vec![2], " ")] {
            runtime
                .redact_entries(&worker, positions, text)
                .unwrap_err();
        }
        assert_eq!(page(&runtime), after);
        assert!(runtime.store().verify().unwrap().is_clean());
    });
}

#[test]
fn redaction_in_the_commit_of_its_entry_works() {
    on_both(|host: &mut Host| {
        let runtime = host.runtime.clone();
        let worker = new_worker(&runtime);
        say(&runtime, &worker, "zero").unwrap();
        runtime
            .transaction(|transaction| {
                transaction.send_input(&worker, WorkerInput::user("one"))?;
                transaction.redact_entry(&worker, 1, "first")?;
                transaction.redact_entry(&worker, 0, "second")?;
                transaction.redact_entry(&worker, 1, "third")?;
                transaction.send_input(&worker, WorkerInput::user("two"))?;
                let query = TranscriptQuery::new(0, 10);
                let page = transaction.transcript_projection(&worker, query)?;
                let seen: Vec<_> = page.items.iter().map(|entry| &*entry.content).collect();
                assert_eq!(seen, ["second", "third", "two"]);
                Ok(())
            })
            .unwrap();
        host.reopen();
        assert_eq!(contents(&host.runtime, &worker), ["second", "third", "two"]);
    });
}
