//! `delete-runtime`: deletes a runtime with all its rows.

use crate::arguments::help;
use crate::arguments::repair;
use crate::arguments::select::parse_runtime_id;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use clap::Args;
use redb_runtime_store::Store;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::store::DeleteRuntimeOptions;
use serde::Serialize;
use std::path::PathBuf;

/// Delete a stopped runtime with all its records
///
/// The deleted text can stay in free pages of the file until the store is compacted; a backup has none of it. Fails with
/// exit code 3 while a host has the store open.
#[derive(Args)]
#[command(after_help = help::DELETE_RUNTIME)]
pub(crate) struct DeleteRuntime {
    /// The store's file
    #[arg(value_name = "STORE")]
    store: PathBuf,
    /// The runtime
    #[arg(value_name = "ID", value_parser = parse_runtime_id)]
    runtime: RuntimeId,
    /// Delete the runtime also if it is running
    #[arg(long)]
    even_if_running: bool,
}

#[derive(Serialize)]
struct Printed<'a> {
    runtime_id: &'a RuntimeId,
    deleted: bool,
}

impl DeleteRuntime {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let store = repair::for_writing(Store::options(), &self.store, output)?;
        let options = DeleteRuntimeOptions::new().even_if_running(self.even_if_running);
        store.delete_runtime_with(&self.runtime, &options)?;
        store.close()?;
        if output.json {
            output.object(&Printed {
                runtime_id: &self.runtime,
                deleted: true,
            })?;
            return Ok(Status::Done);
        }
        output.summary(format!("deleted runtime {}", visible(&self.runtime)))?;
        Ok(Status::Done)
    }
}
