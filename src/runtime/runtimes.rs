//! The runtimes of a store: opening, creating and listing them, and their settings.

use crate::error::RuntimeError;
use crate::ledger::rows::Rows;
use crate::ledger::unique_id::unique_id;
use crate::ledger::{checks, convert, deletion, whole};
use crate::model::identity::RuntimeId;
use crate::model::management::{RuntimeLimits, RuntimeOptions, RuntimeSummary};
use crate::runtime::handle::Runtime;
use crate::runtime::{operations, pages, queries};
use crate::store::handle::Store;

impl Store {
    /// Opens the runtime with the id in `options`, or creates it. The options do not change the name, limits
    /// and status of an existing runtime. A new runtime logs `RuntimeStarted` as event 1 and is on disk when
    /// this returns.
    ///
    /// Without an id, opens the only runtime of the store; in an empty store, creates one with a unique id.
    ///
    /// ```
    /// use redb_runtime_store::identity::RuntimeId;
    /// use redb_runtime_store::management::RuntimeOptions;
    ///
    /// # let store = redb_runtime_store::Store::in_memory()?;
    /// let agents = store.runtime(RuntimeOptions {
    ///     runtime_id: RuntimeId::new("agents"),
    ///     ..RuntimeOptions::default()
    /// })?;
    /// # assert_eq!(store.runtimes()?.len(), 1);
    /// # Ok::<(), redb_runtime_store::RuntimeError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// `InvalidRequest` if the id is longer than [`MAX_ID_BYTES`](crate::identity::MAX_ID_BYTES), and if the
    /// options have no id and the store has several runtimes; the message lists them. `StoreReadOnly` for a
    /// new runtime in a read-only store. The errors of every read and write.
    pub fn runtime(&self, options: RuntimeOptions) -> Result<Runtime, RuntimeError> {
        let existing = self.read("open runtime", |rows| resolve(rows, &options))?;
        let runtime_id = match existing {
            Some(runtime_id) => runtime_id,
            None => self.create_runtime(&options)?,
        };
        Ok(Runtime {
            store: self.clone(),
            runtime_id,
        })
    }

    /// Creates a runtime. If an earlier runtime with its id is not fully deleted, removes the rest first.
    fn create_runtime(&self, options: &RuntimeOptions) -> Result<RuntimeId, RuntimeError> {
        let operation = "create runtime";
        loop {
            let (runtime_id, is_created) = self.write(operation, |transaction| {
                // Another thread can have created it since the read.
                if let Some(runtime_id) = resolve(transaction, options)? {
                    return Ok((runtime_id, true));
                }
                let runtime_id = match &options.runtime_id {
                    Some(runtime_id) => runtime_id.clone(),
                    None => unique_runtime_id(transaction)?,
                };
                if deletion::unfinished(transaction, runtime_id.as_str())?.is_whole {
                    return Ok((runtime_id, false));
                }
                operations::create_runtime(transaction, &runtime_id, options)?;
                Ok((runtime_id, true))
            })?;
            if is_created {
                return Ok(runtime_id);
            }
            self.finish_deletions_of(operation, &runtime_id, deletion::STEP_BYTES)?;
        }
    }

    /// All runtimes of the store, sorted by the bytes of their ids.
    ///
    /// # Errors
    ///
    /// The errors of every read: `StoreIo`, `StoreCorrupt`, `StoreClosed`.
    pub fn runtimes(&self) -> Result<Vec<RuntimeSummary>, RuntimeError> {
        let backend = self.shared.backend();
        self.read("list runtimes", |rows| {
            let all = whole::all_runtimes(rows)?;
            Ok(all
                .into_iter()
                .map(|(id, row)| queries::summary(&id, row, backend))
                .collect())
        })
    }
}

/// The id of the runtime that `options` select; `None` if the store does not have it.
fn resolve(rows: &dyn Rows, options: &RuntimeOptions) -> Result<Option<RuntimeId>, RuntimeError> {
    if let Some(runtime_id) = &options.runtime_id {
        checks::refuse_long_id(runtime_id.as_str())?;
        let row = rows.runtime(runtime_id.as_str())?;
        return Ok(row.map(|_| runtime_id.clone()));
    }
    let mut all = whole::all_runtimes(rows)?;
    if all.len() > 1 {
        let ids: Vec<String> = all
            .iter()
            .map(|(id, _)| format!("{:?}", id.as_str()))
            .collect();
        return Err(RuntimeError::InvalidRequest(format!(
            "{}: the store has {} runtimes; name one of them: {}",
            rows.at().place,
            ids.len(),
            ids.join(", ")
        )));
    }
    Ok(all.pop().map(|(id, _)| id))
}

fn unique_runtime_id(rows: &dyn Rows) -> Result<RuntimeId, RuntimeError> {
    let id = format!("runtime-{}", unique_id(rows.at())?);
    RuntimeId::new(id).ok_or_else(|| rows.at().corrupt("a generated runtime id is blank"))
}

/// Changing a setting logs no event, and works on a stopped runtime, too.
impl Runtime {
    /// Sets or removes the runtime's display name. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// # Errors
    ///
    /// The errors of every write, except `RuntimeStopped`.
    pub fn set_display_name(&self, display_name: Option<String>) -> Result<(), RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "set display name", |transaction| {
                let mut row = pages::runtime_row(transaction, &self.runtime_id)?;
                row.display_name = display_name;
                transaction
                    .changes()
                    .put_runtime(self.runtime_id.as_str(), row)
            })
    }

    /// Sets the limits of the runtime: the most items that one read returns. They apply to reads that begin
    /// afterwards. On disk when this returns; see [`Runtime`] for failures.
    ///
    /// # Errors
    ///
    /// The errors of every write, except `RuntimeStopped`.
    pub fn set_limits(&self, limits: RuntimeLimits) -> Result<(), RuntimeError> {
        self.store
            .write_to(&self.runtime_id, "set limits", |transaction| {
                let mut row = pages::runtime_row(transaction, &self.runtime_id)?;
                convert::set_limits(&mut row, limits);
                transaction
                    .changes()
                    .put_runtime(self.runtime_id.as_str(), row)
            })
    }
}
