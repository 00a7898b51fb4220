//! `set-attributes`: changes the attributes of a worker.

use crate::arguments::help;
use crate::arguments::select::{WritableArgument, parse_worker_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use clap::Args;
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use serde::Serialize;

/// Change the attributes of a worker
///
/// JSON is a merge patch: a member that is null removes the one of its name, an object is merged into an object, any other
/// value replaces. Names that begin with $ belong to the store. Fails with exit code 3 while a host has the store open.
#[derive(Args)]
#[command(after_help = help::SET_ATTRIBUTES)]
pub(crate) struct SetAttributes {
    #[command(flatten)]
    store: WritableArgument,
    /// The worker: its id, the beginning of its id, or its number
    #[arg(value_name = "WORKER", value_parser = parse_worker_id)]
    worker: WorkerId,
    /// The changes, as a JSON object
    #[arg(value_name = "JSON", value_parser = parse_attributes)]
    patch: Attributes,
}

fn parse_attributes(text: &str) -> Result<Attributes, String> {
    Attributes::from_json(text).map_err(|error| error.to_string())
}

#[derive(Serialize)]
struct Printed<'a> {
    worker_ref: &'a WorkerRef,
    attributes: &'a Attributes,
}

impl SetAttributes {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime, worker_ref) = self.store.open_worker(&self.worker, output)?;
        let attributes = runtime.set_attributes(&worker_ref, self.patch.clone())?;
        store.close()?;
        if output.json {
            output.object(&Printed {
                worker_ref: &worker_ref,
                attributes: &attributes,
            })?;
            return Ok(Status::Done);
        }
        let (worker, attributes) = (visible(&worker_ref.worker_id), visible(attributes));
        output.summary(format!("{worker}: {attributes}"))?;
        Ok(Status::Done)
    }
}
