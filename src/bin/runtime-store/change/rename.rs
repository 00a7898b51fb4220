//! `rename`: sets the display name of a runtime.

use crate::arguments::help;
use crate::arguments::select::WritableArgument;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use clap::Args;

/// Set the display name of a runtime
///
/// The id of the runtime stays. Fails with exit code 3 while a host has the store open.
#[derive(Args)]
#[command(after_help = help::RENAME)]
pub(crate) struct Rename {
    #[command(flatten)]
    store: WritableArgument,
    /// The new name; an empty one removes the name
    #[arg(value_name = "NAME")]
    name: String,
}

impl Rename {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime) = self.store.open(output)?;
        let name = Some(self.name.clone()).filter(|name| !name.is_empty());
        runtime.set_display_name(name)?;
        let summary = runtime.summary()?;
        store.close()?;
        if output.json {
            output.object(&summary)?;
            return Ok(Status::Done);
        }
        let id = visible(&summary.runtime_id);
        output.summary(match &summary.display_name {
            Some(name) => format!("renamed runtime {id} to {}", visible(name)),
            None => format!("removed the name of runtime {id}"),
        })?;
        Ok(Status::Done)
    }
}
