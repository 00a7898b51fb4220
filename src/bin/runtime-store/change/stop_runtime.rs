//! `stop-runtime`: stops a runtime and its workers.

use crate::arguments::help;
use crate::arguments::select::WritableArgument;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use clap::Args;
use redb_runtime_store::identity::RuntimeId;
use serde::Serialize;

/// Stop a runtime and its running workers
///
/// A stopped runtime accepts no input and no worker, and cannot be started again. Fails with exit code 3 while a host
/// has the store open.
#[derive(Args)]
#[command(after_help = help::STOP_RUNTIME)]
pub(crate) struct StopRuntime {
    #[command(flatten)]
    store: WritableArgument,
}

#[derive(Serialize)]
struct Printed {
    runtime_id: RuntimeId,
    last_event_id: u64,
}

impl StopRuntime {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime) = self.store.open(output)?;
        let runtime_id = runtime.runtime_id()?;
        let last_event_id = runtime.stop_runtime()?;
        store.close()?;
        if output.json {
            output.object(&Printed {
                runtime_id,
                last_event_id,
            })?;
            return Ok(Status::Done);
        }
        output.summary(format!("runtime {} is stopped", visible(&runtime_id)))?;
        Ok(Status::Done)
    }
}
