//! Attributes and change numbers that no operation writes are findings.

use crate::engine::redb::maintenance::verify::report::VerifyKind;
use crate::engine::redb::tables::definitions::{TRANSCRIPTS, WORKERS};
use crate::engine::redb::tables::row_writer::RowWriter;
use crate::engine::redb::tables::view::View;
use crate::ledger::rows::{Rows, TranscriptRow, WorkerRow};
use crate::model::attributes::MAX_ATTRIBUTES_BYTES;
use crate::model::interaction::{TranscriptRole, WorkerInput};
use crate::model::layout_form::LineForm;
use crate::runtime::Runtime;
use redb::WriteTransaction;
use std::borrow::Cow;

/// A runtime with a worker that has an entry and open work.
fn runtime() -> (Runtime, String) {
    let runtime = Runtime::new_memory();
    let worker = runtime.create_worker(Default::default()).unwrap();
    let worker = worker.worker_ref;
    runtime.send_input(&worker, WorkerInput::user("x")).unwrap();
    runtime.open_work(&worker, "call", "").unwrap();
    (runtime, worker.worker_id.to_string())
}

/// The kinds and messages of the findings after `change` of the worker's row and of the attributes of its entry.
fn findings(change: impl Fn(&mut WorkerRow, &mut Option<String>)) -> Vec<(VerifyKind, String)> {
    let (runtime, worker) = runtime();
    let id = runtime.runtime_id().unwrap();
    let (id, worker) = (id.as_str(), worker.as_str());
    let store = runtime.store();
    let store_of = store.shared.redb("change").unwrap();
    let at = store_of.engine().at("change");
    let changed = store_of.write_exclusively("change", |transaction| {
        let transaction: &WriteTransaction = transaction;
        let view = View {
            tables: transaction,
            at,
        };
        let (mut row, mut attributes) = (view.worker(id, worker)?.unwrap(), None);
        change(&mut row, &mut attributes);
        let entry = TranscriptRow {
            sequence: 1,
            role: TranscriptRole::User,
            event_id: row.last_event_id,
            content: Cow::Borrowed("x"),
            unknown: Vec::new(),
            recorded_at_ms: None,
            attributes: attributes.map(Cow::Owned),
            form: LineForm::default(),
        };
        let writer = RowWriter { transaction, at };
        writer.write(&TRANSCRIPTS, std::iter::once(((id, worker, 0), &entry)))?;
        writer.write(&WORKERS, std::iter::once(((id, worker), &row)))
    });
    changed.unwrap();
    let report = store.verify().unwrap();
    let found = report.findings.into_iter();
    // The store is in memory.
    let found = found.filter(|one| one.kind != VerifyKind::PagesNotChecked);
    found.map(|one| (one.kind, one.message)).collect()
}

#[test]
fn unreadable_and_large_attributes_are_found() {
    assert_eq!(findings(|_, _| {}), []);
    for bad in ["[]", "{", r#"{"a":1e999}"#] {
        let found = findings(|row, _| row.attributes = Some(bad.to_owned()));
        assert_eq!(
            (found.len(), found[0].0),
            (1, VerifyKind::Attributes),
            "{bad}"
        );
        let found = findings(|_, entry| *entry = Some(bad.to_owned()));
        assert_eq!(
            (found.len(), found[0].0),
            (1, VerifyKind::Attributes),
            "{bad}"
        );
    }
    let of_bytes = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    let largest = of_bytes(MAX_ATTRIBUTES_BYTES);
    assert_eq!(findings(|_, entry| *entry = Some(largest.clone())), []);
    let large = of_bytes(MAX_ATTRIBUTES_BYTES + 1);
    let found = findings(|row, _| row.attributes = Some(large.clone()));
    assert_eq!((found.len(), found[0].0), (1, VerifyKind::Attributes));
}

#[test]
fn numbers_that_were_never_given_are_found() {
    let of = |opening: &str| {
        let work =
            format!(r#"{{"$open_work":{{"c":{{"note":"","at_ms":1,"opening":{opening}}}}}}}"#);
        findings(|row, _| row.attributes = Some(work.clone()))
    };
    assert_eq!(of("1"), []);
    for later in ["2", "-1", "\"1\""] {
        let found = of(later);
        assert_eq!(
            (found.len(), found[0].0),
            (1, VerifyKind::Attributes),
            "{later}"
        );
    }
    let found = findings(|row, _| row.change = 100);
    assert_eq!((found.len(), found[0].0), (1, VerifyKind::Counter));
    let message = "the worker's change number is 100, but the runtime's last one is 3";
    assert_eq!(found[0].1, message);
}
