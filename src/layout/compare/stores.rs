//! Compares two stores.

use crate::error::RuntimeError;
use crate::layout::compare::diff::{first_difference, have_same_values, runtime_json, worker_json};
use crate::layout::compare::documents::StoredDocument;
use crate::layout::compare::merged::{Pair, merged};
use crate::layout::compare::store_log::first_sequence;
use crate::layout::compare::store_rows::{Comparing, STORES, Subject};
use crate::layout::error::LayoutError;
use crate::layout::format::document::{RuntimeDocument, WorkerDocument};
use crate::layout::options::CompareOptions;
use crate::layout::read::documents::Document;
use crate::layout::report::DifferenceKind;
use crate::layout::stores_report::StoreComparison;
use crate::ledger::stored::tombstone::TombstoneRow;
use crate::model::identity::{RuntimeId, WorkerId};
use crate::model::interaction::TranscriptEntry;
use crate::model::observation::RuntimeEvent;
use crate::model::persisted::{PersistedWorkerSnapshot, Stored};
use crate::store::handle::Store;
use crate::store::snapshot::Snapshot;
use std::borrow::Borrow;
use std::path::Path;

/// Compares two stores record by record, each in one snapshot: runtimes with their limits and floors, workers with their
/// requests, attributes and pins, events, transcript entries, diagnostics, kept files, and the ids of removed workers,
/// member by member. Memory grows with the number of runtimes and the largest record, not with the stores.
///
/// A record that one store lacks is a difference. These are none, and the report counts them: a time that only one store
/// has; rows that one store has pruned, whose floor is the difference; own texts of imported documents and lines
/// that have the same values; import records. Change numbers of workers and the times of their ends are not compared.
///
/// The line limit of `options` has no meaning here.
///
/// # Errors
///
/// The errors of reading both stores, each of which names its store. `RuntimeNotFound` where neither has a
/// given runtime. A difference is not an error.
pub fn compare_stores(
    first: &Store,
    second: &Store,
    options: impl Borrow<CompareOptions>,
) -> Result<StoreComparison, LayoutError> {
    let wanted = options.borrow().runtimes.as_slice();
    let snapshots = [first.snapshot()?, second.snapshot()?];
    let ids = [snapshots[0].runtime_ids()?, snapshots[1].runtime_ids()?];
    let is_nowhere = |id: &&RuntimeId| ids.iter().all(|ids| !ids.contains(*id));
    if let Some(missing) = wanted.iter().find(is_nowhere) {
        return Err(LayoutError::Store(RuntimeError::RuntimeNotFound {
            path: first.path().to_owned(),
            runtime_id: missing.clone(),
        }));
    }
    let is_wanted = |id: &RuntimeId| wanted.is_empty() || wanted.contains(id);
    let mut comparing = Comparing::new(&snapshots);
    if wanted.is_empty() {
        comparing.files(None)?;
    }
    let [left, right] = ids.map(|ids| ids.into_iter().filter(is_wanted).map(Ok::<_, RuntimeError>));
    for pair in merged(left, right, RuntimeId::clone) {
        comparing.runtime(pair?)?;
    }
    comparing.import_records(is_wanted)?;
    Ok(comparing.out)
}

impl Comparing<'_> {
    /// Compares the runtimes of one id.
    fn runtime(&mut self, pair: Pair<RuntimeId>) -> Result<(), LayoutError> {
        let id = match pair {
            Pair::Left(id) => return self.lacks(&Subject::runtime(&id), STORES.right),
            Pair::Right(id) => return self.lacks(&Subject::runtime(&id), STORES.left),
            Pair::Both(id, _) => id,
        };
        self.out.runtimes += 1;
        let before = self.out.total_differences;
        self.own_members(&id)?;
        self.diagnostics(&id)?;
        self.removed_workers(&id)?;
        let [left, right] = self.snapshots;
        let workers = merged(left.workers(&id)?, right.workers(&id)?, |worker| {
            worker.value.worker_ref.worker_id.clone()
        });
        for pair in workers {
            self.worker(pair?)?;
        }
        let floors = [left.first_event_id(&id)?, right.first_event_id(&id)?];
        let rows = (left.written_events(&id, 0)?, right.written_events(&id, 0)?);
        self.out.events += self.log::<RuntimeEvent>((&id, None), floors, rows)?;
        self.files(Some(&id))?;
        self.out.same_runtimes += u64::from(self.out.total_differences == before);
        Ok(())
    }

    /// Compares the members of a runtime that are in none of its tables.
    fn own_members(&mut self, id: &RuntimeId) -> Result<(), LayoutError> {
        let path = Path::new(RuntimeDocument::FILE);
        let document = |snapshot: &Snapshot| -> Result<Vec<u8>, LayoutError> {
            match snapshot.runtime_alone(id)? {
                Some(runtime) => runtime_json(path, runtime, snapshot.first_event_id(id)?),
                None => Ok(Vec::new()),
            }
        };
        let [left, right] = self.snapshots;
        let (one, other) = (document(left)?, document(right)?);
        if !have_same_values(&one, &other) {
            self.differ(
                &Subject::runtime(id),
                first_difference(STORES, &one, &other),
            );
            return Ok(());
        }
        let is_same = left.layout_form(id)? == right.layout_form(id)?
            && self.have_same_text(id, &RuntimeDocument::stored_path(id))?;
        self.out.only_bytes += u64::from(!is_same);
        Ok(())
    }

    /// Whether both stores have the same own text of a document, or none.
    fn have_same_text(&self, id: &RuntimeId, path: &str) -> Result<bool, LayoutError> {
        let [left, right] = self.snapshots;
        Ok(left.document_text(id, path)? == right.document_text(id, path)?)
    }

    /// Compares the workers of one id, with their transcripts.
    fn worker(&mut self, pair: Pair<Stored<PersistedWorkerSnapshot>>) -> Result<(), LayoutError> {
        let (one, other) = match pair {
            Pair::Left(one) => {
                return self.lacks(&Subject::worker(&one.value.worker_ref), STORES.right);
            }
            Pair::Right(other) => {
                return self.lacks(&Subject::worker(&other.value.worker_ref), STORES.left);
            }
            Pair::Both(one, other) => (one, other),
        };
        let worker = one.value.worker_ref.clone();
        let [left, right] = self.snapshots;
        let path = Path::new(WorkerDocument::FILE);
        let one = worker_json(path, one, left.retention(&worker)?)?;
        let other = worker_json(path, other, right.retention(&worker)?)?;
        if have_same_values(&one, &other) {
            self.out.workers += 1;
            let stored_path = WorkerDocument::stored_path(&worker);
            let is_same = self.have_same_text(&worker.runtime_id, &stored_path)?;
            self.out.only_bytes += u64::from(!is_same);
        } else {
            let found = first_difference(STORES, &one, &other);
            self.differ(&Subject::worker(&worker), found);
        }
        let floors = [
            first_sequence(left, &worker)?,
            first_sequence(right, &worker)?,
        ];
        let rows = (
            left.written_transcript(&worker, 0)?,
            right.written_transcript(&worker, 0)?,
        );
        let owner = (&worker.runtime_id, Some(&worker.worker_id));
        self.out.transcript_entries += self.log::<TranscriptEntry>(owner, floors, rows)?;
        Ok(())
    }

    /// Compares what is known of workers that were deleted, or that retention removed.
    fn removed_workers(&mut self, id: &RuntimeId) -> Result<(), LayoutError> {
        let [left, right] = self.snapshots;
        let key = |(worker, _): &(String, TombstoneRow)| worker.clone();
        for pair in merged(left.tombstones(id), right.tombstones(id), key) {
            let (worker, found) = match pair? {
                Pair::Left((worker, row)) => (worker, only_in(STORES.left, &row)),
                Pair::Right((worker, row)) => (worker, only_in(STORES.right, &row)),
                Pair::Both((_, one), (_, other)) if have_same_end(&one, &other) => continue,
                Pair::Both((worker, _), _) => (
                    worker,
                    "the worker was removed in another way, or in another state".to_owned(),
                ),
            };
            let worker_id = WorkerId::new(worker);
            let subject = Subject {
                worker_id: worker_id.as_ref(),
                ..Subject::of(DifferenceKind::RemovedWorker, Some(id))
            };
            self.differ(&subject, found);
        }
        Ok(())
    }

    /// Counts the import records of wanted runtimes that differ, or that one store lacks.
    fn import_records(
        &mut self,
        is_wanted: impl Fn(&RuntimeId) -> bool,
    ) -> Result<(), LayoutError> {
        let [left, right] = self.snapshots;
        let records = merged(left.import_records(), right.import_records(), |(id, _)| {
            id.clone()
        });
        for pair in records {
            let (id, is_same) = match pair? {
                Pair::Left((id, _)) | Pair::Right((id, _)) => (id, false),
                Pair::Both((id, one), (_, other)) => (id, one == other),
            };
            let counts = !is_same && id.as_ref().is_none_or(&is_wanted);
            self.out.import_records += u64::from(counts);
        }
        Ok(())
    }
}

/// The difference that only one store knows of a removed worker.
fn only_in(side: &str, row: &TombstoneRow) -> String {
    match row {
        TombstoneRow::Dropped { .. } => format!("retention removed the worker only in {side}"),
        _ => format!("the worker was deleted only in {side}"),
    }
}

/// Whether two removed workers were removed in the same way and state, at whatever time.
fn have_same_end(one: &TombstoneRow, other: &TombstoneRow) -> bool {
    use TombstoneRow::{Deleted, Dropped};
    match (one, other) {
        (Deleted { .. }, Deleted { .. }) => true,
        (Dropped { end: one, .. }, Dropped { end: other, .. }) => one == other,
        _ => false,
    }
}
