//! Searching a runtime.

use crate::error::RuntimeError;
use crate::model::search::Search;
use crate::model::visible::Visible;
use crate::runtime::handle::Runtime;
use crate::runtime::pages::refuse_foreign;
use crate::store::search::SearchMatches;

impl Runtime {
    /// Searches the runtime's events and transcripts in a snapshot of the last commit; see
    /// [`search`](crate::search) for the order, the text that is searched, and the meaning of a pattern.
    ///
    /// A worker that the runtime does not have has no entries; events about it are found. Everything else is as
    /// in [`Snapshot::search`](crate::store::Snapshot::search). The matches hold the snapshot until they are
    /// dropped.
    ///
    /// ```
    /// # use redb_runtime_store::catalog::CreateWorkerRequest;
    /// # use redb_runtime_store::interaction::WorkerInput;
    /// # use redb_runtime_store::search::{Search, SearchRow};
    /// # use redb_runtime_store::{Runtime, RuntimeError};
    /// # fn main() -> Result<(), RuntimeError> {
    /// # let runtime = Runtime::new_memory();
    /// let worker = runtime.create_worker(CreateWorkerRequest::default())?.worker_ref;
    /// runtime.send_input(&worker, WorkerInput::user("deploy to staging, then deploy"))?;
    ///
    /// for found in runtime.search(&Search::literal("DEPLOY").ignore_case(true))? {
    ///     let found = found?;
    ///     let ranges: Vec<_> = found.ranges().collect();
    ///     assert_eq!(ranges, [0..6, 24..30]);
    ///     assert!(matches!(found.row, SearchRow::Entry { position: 0, .. }));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// `RuntimeNotFound`; `WrongRuntime` for a worker of another runtime; `InvalidRequest` for the id of
    /// another runtime, for an invalid or too large expression, and for limits that exclude each other; the
    /// errors of every read, also of each item.
    pub fn search(&self, search: &Search) -> Result<SearchMatches<'static>, RuntimeError> {
        let mut search = search.clone();
        for worker in &search.limits.workers {
            refuse_foreign(&self.runtime_id, worker)?;
        }
        let runtimes = &mut search.limits.runtimes;
        if let Some(other) = runtimes.iter().find(|id| **id != self.runtime_id) {
            return Err(RuntimeError::InvalidRequest(format!(
                "the search names runtime {}, this is runtime {}",
                Visible(other),
                Visible(&self.runtime_id)
            )));
        }
        *runtimes = vec![self.runtime_id.clone()];
        let snapshot = self.store.snapshot()?;
        if !snapshot.has_runtime(&self.runtime_id)? {
            return Err(RuntimeError::RuntimeNotFound {
                path: self.store.path().to_owned(),
                runtime_id: self.runtime_id.clone(),
            });
        }
        snapshot.into_search(search)
    }
}
