//! `runtimes`: lists the runtimes of a store.

use crate::arguments::help;
use crate::arguments::select::StoreArgument;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::table::{Column, Table};
use clap::Args;

/// List the runtimes of a store
#[derive(Args)]
#[command(after_help = help::RUNTIMES)]
pub(crate) struct Runtimes {
    #[command(flatten)]
    store: StoreArgument,
}

impl Runtimes {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let store = self.store.open(output)?;
        let mut table = Table::new([
            Column::text("RUNTIME", 24),
            Column::rest("NAME", 18),
            Column::text("STATUS", 7),
            Column::number("WORKERS", 8),
            Column::number("ACTIVE", 8),
        ]);
        let runtimes = store.runtimes()?;
        if runtimes.is_empty() {
            output.summary("this store has no runtimes")?;
        }
        for runtime in runtimes {
            if output.json {
                output.object(&runtime)?;
                continue;
            }
            let cells = [
                runtime.runtime_id.as_str(),
                runtime.display_name.as_deref().unwrap_or("-"),
                runtime.status.as_str(),
                &runtime.worker_count.to_string(),
                &runtime.active_worker_count.to_string(),
            ];
            table.row(output, cells)?;
        }
        Ok(Status::Done)
    }
}
