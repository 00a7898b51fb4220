//! Where the values of an imported worker come from.

use crate::error::RuntimeError;
use crate::ledger::stored::kept_file::{FileChunkRow, worker_document};
use crate::model::identity::WorkerRef;
use crate::model::layout_form::{LayoutForm, WorkerOrigin};
use crate::runtime::handle::Runtime;
use crate::runtime::pages;

impl Runtime {
    /// The form of the `worker.json` that a worker was imported from, and the members that it lacked. The values of
    /// these in [`worker_detail`](Self::worker_detail) are defaults of the model, or derived from the logs. Form a
    /// without absent members for a worker that was not imported.
    ///
    /// # Errors
    ///
    /// `WrongRuntime`, `WorkerNotFound`; the errors of every read.
    pub fn worker_origin(&self, worker_ref: &WorkerRef) -> Result<WorkerOrigin, RuntimeError> {
        self.read("read worker", |rows| {
            pages::refuse_foreign(&self.runtime_id, worker_ref)?;
            pages::worker_row(rows, worker_ref)?;
            let path = worker_document(worker_ref.worker_id.as_str());
            let row = rows.file_chunk(self.runtime_id.as_str(), &path, 0)?;
            Ok(match row {
                Some(FileChunkRow::Origin(origin)) => WorkerOrigin {
                    form: origin.form,
                    absent: origin
                        .absent
                        .into_iter()
                        // An absent log is no member.
                        .filter(|member| !member.is_log())
                        .map(|member| member.pointer)
                        .collect(),
                },
                _ => WorkerOrigin {
                    form: LayoutForm::A,
                    absent: Vec::new(),
                },
            })
        })
    }
}
