//! The rules of deleted workers and of unfinished deletions.

use crate::engine::redb::maintenance::verify::report::VerifyKind;
use crate::engine::redb::maintenance::verify::rules::Rules;
use crate::engine::redb::tables::definitions::{RUNTIMES, TOMBSTONES, WORKERS};
use crate::error::RuntimeError;
use crate::ledger::stored::tombstone::{TombstoneRow, Unfinished};
use crate::ledger::table_names::UNFINISHED;

impl Rules<'_> {
    /// Checks the tombstones, and notes the unfinished deletions. First, since their rows break no rule.
    pub(crate) fn tombstones(&mut self) -> Result<(), RuntimeError> {
        self.walk(&TOMBSTONES, .., |rules, (runtime, worker), row| {
            let key = format!("{:?}", (runtime, worker));
            match row {
                Some(TombstoneRow::Unfinished(unfinished)) if runtime == UNFINISHED => {
                    rules.unfinished(&key, worker, unfinished)
                }
                Some(_) if runtime == UNFINISHED => {
                    let message = "no list of unfinished deletions".to_owned();
                    rules.add(VerifyKind::Value, TOMBSTONES.name, &key, message);
                    Ok(())
                }
                Some(TombstoneRow::Unfinished(_)) => {
                    let message = "a list of unfinished deletions under the key of a worker";
                    rules.add(VerifyKind::Value, TOMBSTONES.name, &key, message.to_owned());
                    Ok(())
                }
                _ => rules.tombstone(&key, (runtime, worker)),
            }
        })?;
        Ok(())
    }

    fn unfinished(
        &mut self,
        key: &str,
        runtime: &str,
        unfinished: Unfinished,
    ) -> Result<(), RuntimeError> {
        let message = match unfinished.is_whole {
            true => "the deletion of the runtime is not finished".to_owned(),
            false => format!(
                "the deletion of {} workers is not finished",
                unfinished.workers.len()
            ),
        };
        self.add(
            VerifyKind::UnfinishedDeletion,
            TOMBSTONES.name,
            key,
            message,
        );
        if unfinished.is_whole && self.has(&RUNTIMES, runtime)? == Some(true) {
            let message = "the runtime exists, but its deletion is not finished".to_owned();
            self.add(VerifyKind::Tombstone, TOMBSTONES.name, key, message);
        }
        self.unfinished.insert(runtime.to_owned(), unfinished);
        Ok(())
    }

    fn tombstone(&mut self, key: &str, worker: (&str, &str)) -> Result<(), RuntimeError> {
        // Rows of the runtime that is deleted follow its list in the order of the keys.
        let is_hidden = self.is_hidden_runtime(worker.0);
        if !is_hidden && self.has(&RUNTIMES, worker.0)? == Some(false) {
            let message = "a deleted worker of a runtime that does not exist".to_owned();
            self.add(VerifyKind::Orphan, TOMBSTONES.name, key, message);
        }
        if self.has(&WORKERS, worker)? == Some(true) {
            let message = "the worker was deleted, but exists".to_owned();
            self.add(VerifyKind::Tombstone, TOMBSTONES.name, key, message);
        }
        Ok(())
    }

    /// Whether the runtime is deleted, with rows that are left.
    pub(crate) fn is_hidden_runtime(&self, runtime: &str) -> bool {
        let unfinished = self.unfinished.get(runtime);
        unfinished.is_some_and(|unfinished| unfinished.is_whole)
    }

    /// Whether the worker is deleted, with entries that are left.
    pub(crate) fn is_hidden_worker(&self, runtime: &str, worker: &str) -> bool {
        let unfinished = self.unfinished.get(runtime);
        unfinished.is_some_and(|unfinished| unfinished.workers.iter().any(|left| left == worker))
    }
}
