//! `unfinished`: lists the work that hosts began and did not end.

use crate::arguments::help;
use crate::arguments::select::StoreArgument;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::table::{Column, Table};
use crate::output::text::count;
use crate::read::times::{Times, rfc3339};
use clap::Args;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::store::UnfinishedWork;
use serde::Serialize;

/// List the work that hosts began and did not end
///
/// Work is listed whose host has not closed it. If no host has the store open, its process ended before that. Otherwise
/// the work can be under way.
#[derive(Args)]
#[command(after_help = help::UNFINISHED)]
pub(crate) struct Unfinished {
    #[command(flatten)]
    store: StoreArgument,
    /// Show times in UTC instead of the local time zone
    #[arg(long)]
    utc: bool,
}

#[derive(Serialize)]
struct Printed<'a> {
    worker_ref: &'a WorkerRef,
    name: &'a str,
    note: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    opened_at: Option<String>,
    /// Whether a host has the store open, which can be doing the work.
    host_has_store: bool,
}

impl Unfinished {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let store = self.store.open(output)?;
        // Before the list: work of a host that opens the store in between is listed as if it were left.
        // Which hosts have a store on a server open is not known.
        let is_on_server = self.store.location().file().is_none();
        let host_has_store = is_on_server || store.has_writer()?;
        let all = store.unfinished()?;
        let times = Times::shown(self.utc);
        let mut table = Table::new([
            Column::text("WORKER", 16),
            Column::text("RUNTIME", 8),
            Column::text("WORK", 12),
            Column::text("OPENED AT", 20),
            Column::rest("NOTE", 16),
        ]);
        for work in &all {
            match output.json {
                true => output.object(&printed(work, host_has_store))?,
                false => row(&mut table, output, work, &times)?,
            }
        }
        if all.is_empty() {
            output.summary("no open work")?;
            return Ok(Status::Done);
        }
        let host = match host_has_store {
            true if is_on_server => {
                "a host of the server can have the store open: the work can be under way"
            }
            true => "a host has the store open: the work can be under way",
            false => "no host has the store open",
        };
        let all = count(
            all.len() as u64,
            "piece of open work",
            "pieces of open work",
        );
        output.summary(format!("{all}; {host}"))?;
        Ok(Status::Done)
    }
}

fn printed(work: &UnfinishedWork, host_has_store: bool) -> Printed<'_> {
    Printed {
        worker_ref: &work.worker_ref,
        name: &work.name,
        note: &work.note,
        opened_at: work.opened_at.and_then(rfc3339),
        host_has_store,
    }
}

fn row(
    table: &mut Table<5>,
    output: &mut Output,
    work: &UnfinishedWork,
    times: &Times,
) -> Result<(), Failure> {
    let opened_at = times.date_and_time(work.opened_at);
    let cells = [
        work.worker_ref.worker_id.as_str(),
        work.worker_ref.runtime_id.as_str(),
        &work.name,
        &opened_at,
        &work.note,
    ];
    table.row(output, cells)
}
