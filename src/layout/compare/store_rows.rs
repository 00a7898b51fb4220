//! Compares rows of two stores: those of a log, diagnostics and kept files.

use crate::error::RuntimeError;
use crate::layout::compare::diff::{Found, Sides, diagnostic_json, first_difference, record_json};
use crate::layout::compare::files::{LISTED_DIFFERENCES, different, window_of};
use crate::layout::compare::merged::{Pair, merged};
use crate::layout::compare::store_log::has_other_bytes;
use crate::layout::error::LayoutError;
use crate::layout::read::log_record::{LogRecord, LogRow};
use crate::layout::report::{DifferenceKind, DifferenceWindow};
use crate::layout::stores_report::{StoreComparison, StoreDifference};
use crate::ledger::convert::{self, stored_size};
use crate::ledger::rows::DiagnosticRow;
use crate::ledger::stored::kept_file::{FileChunkRow, parsed_path};
use crate::model::identity::{RuntimeId, WorkerId, WorkerRef};
use crate::model::persisted::Stored;
use crate::store::snapshot::Snapshot;
use std::path::{Path, PathBuf};

/// Both sides, as messages name them.
pub(crate) const STORES: Sides = Sides {
    left: "the first store",
    right: "the second store",
};

/// What a difference is about.
#[derive(Clone, Debug)]
pub(crate) struct Subject<'a> {
    pub(crate) kind: DifferenceKind,
    pub(crate) runtime_id: Option<&'a RuntimeId>,
    pub(crate) worker_id: Option<&'a WorkerId>,
    pub(crate) number: Option<u64>,
    pub(crate) path: Option<PathBuf>,
}

impl<'a> Subject<'a> {
    pub(crate) fn of(kind: DifferenceKind, runtime_id: Option<&'a RuntimeId>) -> Self {
        Self {
            kind,
            runtime_id,
            worker_id: None,
            number: None,
            path: None,
        }
    }

    pub(crate) fn runtime(id: &'a RuntimeId) -> Self {
        Self::of(DifferenceKind::Runtime, Some(id))
    }

    pub(crate) fn worker(worker: &'a WorkerRef) -> Self {
        Self {
            worker_id: Some(&worker.worker_id),
            ..Self::of(DifferenceKind::Worker, Some(&worker.runtime_id))
        }
    }
}

/// A comparison of two stores, each in one snapshot.
pub(crate) struct Comparing<'s> {
    pub(crate) snapshots: [&'s Snapshot; 2],
    pub(crate) out: StoreComparison,
}

/// Which store has a time of an equal record that the other one lacks.
fn count_times<T: Ord + Copy>(out: &mut StoreComparison, one: Option<T>, other: Option<T>) {
    out.times_only_in_first += u64::from(one.is_some() && other.is_none());
    out.times_only_in_second += u64::from(one.is_none() && other.is_some());
}

impl<'s> Comparing<'s> {
    pub(crate) fn new([first, second]: &'s [Snapshot; 2]) -> Self {
        Self {
            snapshots: [first, second],
            out: StoreComparison::default(),
        }
    }

    /// Counts a difference, and lists it unless there are too many.
    pub(crate) fn differ(&mut self, subject: &Subject<'_>, found: impl Into<Found>) {
        let out = &mut self.out;
        out.total_differences += 1;
        *out.differing.entry(subject.kind).or_default() += 1;
        if out.differences.len() < LISTED_DIFFERENCES {
            let Found { what, window } = found.into();
            out.differences.push(StoreDifference {
                kind: subject.kind,
                runtime_id: subject.runtime_id.cloned(),
                worker_id: subject.worker_id.cloned(),
                number: subject.number,
                path: subject.path.clone(),
                what,
                window,
            });
        }
    }

    /// Counts something that the store `side` lacks.
    pub(crate) fn lacks(&mut self, subject: &Subject<'_>, side: &str) -> Result<(), LayoutError> {
        let name = match subject.kind {
            DifferenceKind::Runtime => "runtime",
            DifferenceKind::Worker => "worker",
            DifferenceKind::Event => "event",
            DifferenceKind::TranscriptEntry => "entry",
            DifferenceKind::Diagnostic => "diagnostic",
            _ => "file",
        };
        self.differ(subject, format!("{side} does not have this {name}"));
        Ok(())
    }

    /// Compares the records of a log of `owner`. `floors` are the first numbers that the logs can have. Returns the number
    /// of equal records.
    pub(crate) fn log<T: LogRecord>(
        &mut self,
        (runtime_id, worker_id): (&RuntimeId, Option<&WorkerId>),
        [left_floor, right_floor]: [u64; 2],
        (left, right): (
            impl Iterator<Item = Result<Stored<T::Recorded>, RuntimeError>>,
            impl Iterator<Item = Result<Stored<T::Recorded>, RuntimeError>>,
        ),
    ) -> Result<u64, LayoutError> {
        let subject = |number: u64| Subject {
            worker_id,
            number: Some(number),
            ..Subject::of(T::KIND, Some(runtime_id))
        };
        let rows = (
            left.map(|row| row.map(T::of_store)),
            right.map(|row| row.map(T::of_store)),
        );
        let mut same = 0;
        for pair in merged(rows.0, rows.1, |row| row.number()) {
            match pair? {
                Pair::Left(row) if row.number() < right_floor => {
                    self.out.pruned_only_in_first += 1;
                }
                Pair::Right(row) if row.number() < left_floor => {
                    self.out.pruned_only_in_second += 1;
                }
                Pair::Left(row) => self.lacks(&subject(row.number()), STORES.right)?,
                Pair::Right(row) => self.lacks(&subject(row.number()), STORES.left)?,
                Pair::Both(one, other) if T::is_same(&one, &other) => {
                    same += 1;
                    count_times(&mut self.out, one.recorded_at(), other.recorded_at());
                    self.out.only_bytes += u64::from(has_other_bytes(&one, &other));
                }
                Pair::Both(one, other) => {
                    let path = Path::new(T::FILE);
                    let number = one.number();
                    let lines = (
                        record_json(path, &one, true)?,
                        record_json(path, &other, true)?,
                    );
                    let found = first_difference(STORES, &lines.0, &lines.1);
                    self.differ(&subject(number), found);
                }
            }
        }
        Ok(same)
    }

    /// Compares the diagnostics of a runtime.
    pub(crate) fn diagnostics(&mut self, id: &RuntimeId) -> Result<(), LayoutError> {
        let subject = |number: u64| Subject {
            number: Some(number),
            ..Subject::of(DifferenceKind::Diagnostic, Some(id))
        };
        let [left, right] = self.snapshots;
        let rows = (left.diagnostic_rows(id), right.diagnostic_rows(id));
        for pair in merged(rows.0, rows.1, |(number, _)| *number) {
            match pair? {
                Pair::Left((number, _)) => self.lacks(&subject(number), STORES.right)?,
                Pair::Right((number, _)) => self.lacks(&subject(number), STORES.left)?,
                Pair::Both((number, one), (_, other)) => {
                    let times = (one.recorded_at_ms, other.recorded_at_ms);
                    match different_diagnostic(id, number, (one, other))? {
                        Some(found) => self.differ(&subject(number), found),
                        None => {
                            self.out.diagnostics += 1;
                            count_times(&mut self.out, times.0, times.1);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Compares the kept files of a runtime, or with `None` those of no runtime. Files of a worker that only one store has
    /// are left out: the worker is the difference.
    pub(crate) fn files(&mut self, id: Option<&RuntimeId>) -> Result<(), LayoutError> {
        let [left, right] = self.snapshots;
        let paths = (kept_paths(left, id), kept_paths(right, id));
        for pair in merged(paths.0, paths.1, String::clone) {
            let pair = pair?;
            let (Pair::Left(stored) | Pair::Right(stored) | Pair::Both(stored, _)) = &pair;
            let (worker, path) = parsed_path(stored).unzip();
            let worker_id = worker.flatten().and_then(WorkerId::new);
            let subject = Subject {
                worker_id: worker_id.as_ref(),
                path,
                ..Subject::of(DifferenceKind::File, id)
            };
            let has_owner = |snapshot: &Snapshot| snapshot.is_kept(id, stored);
            match &pair {
                Pair::Left(_) if has_owner(right)? => self.lacks(&subject, STORES.right)?,
                Pair::Right(_) if has_owner(left)? => self.lacks(&subject, STORES.left)?,
                Pair::Left(_) | Pair::Right(_) => {}
                Pair::Both(..) => match different_file([left, right], id, stored)? {
                    None => self.out.files += 1,
                    Some(window) => {
                        let what = "the file differs";
                        self.differ(&subject, different(what, window));
                    }
                },
            }
        }
        Ok(())
    }
}

/// The difference of two diagnostics with one id; `None` if they are equal. A time that one side lacks is no difference.
fn different_diagnostic(
    id: &RuntimeId,
    number: u64,
    (mut one, mut other): (DiagnosticRow, DiagnosticRow),
) -> Result<Option<Found>, LayoutError> {
    let times = (one.recorded_at_ms.take(), other.recorded_at_ms.take());
    if let (Some(one), Some(other)) = times
        && one != other
    {
        return Ok(Some(
            "the diagnostics were recorded at different times".into(),
        ));
    }
    if one == other {
        return Ok(None);
    }
    let json = |row: DiagnosticRow| -> Result<Vec<u8>, LayoutError> {
        let diagnostic = convert::diagnostic(id, number, row);
        diagnostic_json(diagnostic.map_err(RuntimeError::InvalidRequest)?)
    };
    Ok(Some(first_difference(STORES, &json(one)?, &json(other)?)))
}

/// The stored paths of the kept files of a runtime, or with `None` of no runtime, in their order.
fn kept_paths<'a>(
    snapshot: &'a Snapshot,
    id: Option<&'a RuntimeId>,
) -> impl Iterator<Item = Result<String, RuntimeError>> + use<'a> {
    let mut last: Option<String> = None;
    std::iter::from_fn(move || {
        loop {
            let from = last.as_deref().unwrap_or_default();
            let next = snapshot.next_file(id, from, last.is_some()).transpose()?;
            let path = match next {
                Ok(path) => path,
                Err(error) => return Some(Err(error)),
            };
            last = Some(path.clone());
            match snapshot.is_kept(id, &path) {
                Ok(true) => return Some(Ok(path)),
                Ok(false) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    })
}

/// The surroundings of the first difference of a file that both stores have, if there is text; `None` for equal files.
fn different_file(
    snapshots: [&Snapshot; 2],
    id: Option<&RuntimeId>,
    stored: &str,
) -> Result<Option<Option<DifferenceWindow>>, RuntimeError> {
    let (mut chunk, mut bytes) = (0, 0);
    loop {
        let [left, right] = snapshots.map(|snapshot| snapshot.file_chunk(id, stored, chunk));
        let (left, right) = (left?, right?);
        if left != right {
            return Ok(Some(window_of(left.as_ref(), right.as_ref(), bytes)));
        }
        match left {
            None => return Ok(None),
            Some(FileChunkRow::Bytes(some)) => bytes += stored_size(some.len()),
            Some(FileChunkRow::Directory | FileChunkRow::Origin(_)) => {}
        }
        chunk += 1;
    }
}
