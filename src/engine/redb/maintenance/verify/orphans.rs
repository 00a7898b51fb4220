//! Finds orphaned rows: rows of a runtime or worker that does not exist. One seek for each runtime
//! and worker finds them.

use crate::engine::redb::maintenance::verify::damage::split_damage;
use crate::engine::redb::maintenance::verify::report::VerifyKind;
use crate::engine::redb::maintenance::verify::rules::{Expected, Rules};
use crate::engine::redb::tables::definitions::{
    DIAGNOSTICS, EVENTS, RUNTIMES, TRANSCRIPTS, TableOf, WORKERS,
};
use crate::engine::redb::tables::view::after_runtime;
use crate::error::RuntimeError;
use crate::ledger::stored::envelope::{KeyBytes, Record};
use redb::{Key, Value};
use std::ops::{ControlFlow, RangeBounds};

impl Rules<'_> {
    /// Finds the rows of runtimes and workers that have no row of their own. If a runtime has one
    /// that cannot be read, its other rows are checked as far as possible without it.
    pub(crate) fn orphans(&mut self) -> Result<(), RuntimeError> {
        self.orphans_of_runtimes(&WORKERS, |id| (id, ""), |(id, _)| id.to_owned())?;
        self.orphans_of_runtimes(&EVENTS, |id| (id, 0), |(id, _)| id.to_owned())?;
        self.orphans_of_runtimes(&DIAGNOSTICS, |id| (id, 0), |(id, _)| id.to_owned())?;
        self.orphans_of_runtimes(&TRANSCRIPTS, |id| (id, "", 0), |(id, _, _)| id.to_owned())?;
        self.orphaned_transcripts()
    }

    /// Finds the rows in `table` of runtimes that do not exist.
    fn orphans_of_runtimes<K, R>(
        &mut self,
        table: &TableOf<K, R>,
        first: for<'k> fn(&'k str) -> K::SelfType<'k>,
        runtime_of: for<'k> fn(K::SelfType<'k>) -> String,
    ) -> Result<(), RuntimeError>
    where
        K: Key + 'static,
        R: Record,
        for<'k> K::SelfType<'k>: KeyBytes + std::borrow::Borrow<K::SelfType<'k>>,
    {
        let mut from = String::new();
        loop {
            let found = self.first_key(table, first(&from), runtime_of)?;
            let Some(id) = found else {
                return Ok(());
            };
            let next = after_runtime(&id);
            match self.has(&RUNTIMES, id.as_str())? {
                Some(true) => {}
                Some(false) => {
                    let rows = self.count(table, first(&id)..first(&next))?;
                    if !self.is_hidden_runtime(&id) {
                        let message = format!("{rows} rows of a runtime that does not exist");
                        self.add(VerifyKind::Orphan, table.name, &id, message);
                    }
                }
                // The walk of all runtimes missed this one, since its row cannot be read.
                None if self.without_row.insert(id.clone()) => self.runtime(&Expected {
                    id: &id,
                    next: &next,
                    row: None,
                })?,
                None => {}
            }
            from = next;
        }
    }

    /// Finds the transcripts of workers that do not exist, in runtimes that do.
    fn orphaned_transcripts(&mut self) -> Result<(), RuntimeError> {
        let mut from = (String::new(), String::new());
        loop {
            let start = (from.0.as_str(), from.1.as_str(), 0);
            let found = self.first_key(&TRANSCRIPTS, start, |(runtime, worker, _)| {
                (runtime.to_owned(), worker.to_owned())
            })?;
            let Some((runtime, worker)) = found else {
                return Ok(());
            };
            let key = (runtime.as_str(), worker.as_str());
            // The rows of a missing runtime were reported before.
            let has_worker = match self.has(&RUNTIMES, key.0)? {
                Some(false) => Some(true),
                _ => self.has(&WORKERS, key)?,
            };
            if has_worker.is_none() {
                let expected = Expected {
                    id: key.0,
                    next: &after_runtime(key.0),
                    row: None,
                };
                self.transcript(&expected, (key.1, &format!("{key:?}")), None)?;
            }
            if has_worker == Some(false) {
                let range = (key.0, key.1, 0)..=(key.0, key.1, u64::MAX);
                let rows = self.count(&TRANSCRIPTS, range)?;
                if !self.is_hidden_worker(key.0, key.1) {
                    let message = format!("{rows} entries of a worker that does not exist");
                    let key = format!("{key:?}");
                    self.add(VerifyKind::Orphan, TRANSCRIPTS.name, &key, message);
                }
            }
            // The smallest text that is greater than the id.
            from = (runtime, format!("{worker}\0"));
        }
    }

    /// Walks orphaned rows, and counts them.
    fn count<'r, K, R>(
        &mut self,
        table: &TableOf<K, R>,
        range: impl RangeBounds<K::SelfType<'r>> + 'r,
    ) -> Result<u64, RuntimeError>
    where
        K: Key + 'static,
        R: Record,
        for<'k> K::SelfType<'k>: KeyBytes + std::borrow::Borrow<K::SelfType<'k>>,
    {
        let mut rows = 0;
        self.walk(table, range, |_, _, _| {
            rows += 1;
            Ok(())
        })?;
        Ok(rows)
    }

    /// Returns the result of `own` for the first key from `from` on that can be read.
    fn first_key<K, R, O>(
        &mut self,
        table: &TableOf<K, R>,
        from: K::SelfType<'_>,
        own: impl for<'k> Fn(K::SelfType<'k>) -> O,
    ) -> Result<Option<O>, RuntimeError>
    where
        K: Key + 'static,
        for<'k> K::SelfType<'k>: KeyBytes,
    {
        let mut from = <K as Value>::as_bytes(&from).as_ref().to_vec();
        loop {
            let mut found = None;
            let first = Some(<K as Value>::from_bytes(&from));
            let read = self.view.walk_from(table, first, 1, |key, _| {
                let key = key.value();
                let is_before = K::compare(<K as Value>::as_bytes(&key).as_ref(), &from).is_lt();
                found = Some((format!("{key:?}"), own(key), is_before));
                Ok(ControlFlow::Break(()))
            });
            let (_, Some(damage)) = split_damage(read)? else {
                let Some((key, own, is_before)) = found else {
                    return Ok(None);
                };
                if !is_before {
                    return Ok(Some(own));
                }
                // A damaged page above this one leads back. A search from this key would find the
                // same keys again.
                let asked = <K as Value>::from_bytes(&from);
                let message = format!("a seek to {asked:?} returned this key, which is smaller");
                self.add(VerifyKind::Order, table.name, &key, message);
                return Ok(None);
            };
            match self.behind(table, Some(&from), &damage)? {
                Some(next) => from = next,
                None => return Ok(None),
            }
        }
    }
}
