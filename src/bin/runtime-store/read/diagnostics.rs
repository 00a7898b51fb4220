//! `diagnostics`: prints the diagnostics of a runtime.

use crate::arguments::help;
use crate::arguments::rows::{TextArguments, severity};
use crate::arguments::select::{RuntimeArgument, StoreArgument, parse_worker_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::table::{Column, Table};
use crate::read::events::known_worker;
use clap::Args;
use redb_runtime_store::diagnostics::{DiagnosticSeverity, RuntimeDiagnostic};
use redb_runtime_store::identity::WorkerId;

/// Print the diagnostics of a runtime
#[derive(Args)]
#[command(after_help = help::DIAGNOSTICS)]
pub(crate) struct Diagnostics {
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    runtime: RuntimeArgument,
    /// Print only diagnostics of this severity; repeatable
    #[arg(long, value_parser = severity())]
    severity: Vec<DiagnosticSeverity>,
    /// Print only diagnostics with this code, or with a code that begins with it and a dot; repeatable
    #[arg(long, value_name = "CODE")]
    code: Vec<String>,
    /// Print only diagnostics about this worker: its id, the beginning of its id, or its number
    #[arg(long, value_name = "ID", value_parser = parse_worker_id)]
    worker: Option<WorkerId>,
    #[command(flatten)]
    text: TextArguments,
}

impl Diagnostics {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime_id) = self.runtime.open(&self.store, output)?;
        let known = |worker| known_worker(&store, &runtime_id, worker);
        let worker = self.worker.as_ref().map(known).transpose()?;
        let snapshot = store.snapshot()?;
        let runtime = snapshot.runtime(&runtime_id)?;
        let all = runtime.map(|runtime| runtime.into_inner().diagnostics);
        // While a person reads a page, the snapshot would keep old pages in the store's file.
        drop(snapshot);
        let mut table = Table::new([
            Column::number("ID", 6),
            Column::text("SEVERITY", 8),
            Column::text("CODE", 20),
            Column::text("WORKER", 15),
            Column::rest("MESSAGE", 23),
        ]);
        for diagnostic in all.unwrap_or_default() {
            let is_about = |worker| diagnostic.worker_ref.as_ref() == Some(worker);
            if !self.wants(&diagnostic) || !worker.as_ref().is_none_or(is_about) {
                continue;
            }
            match output.json {
                true => output.object(&diagnostic)?,
                false => row(&mut table, output, &diagnostic)?,
            }
        }
        Ok(Status::Done)
    }

    fn wants(&self, diagnostic: &RuntimeDiagnostic) -> bool {
        let code = diagnostic.code.as_str();
        let is_of = |wanted: &String| {
            let rest = code.strip_prefix(wanted.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        (self.severity.is_empty() || self.severity.contains(&diagnostic.severity))
            && (self.code.is_empty() || self.code.iter().any(is_of))
            && self.text.select(&diagnostic.message)
    }
}

fn row(
    table: &mut Table<5>,
    output: &mut Output,
    diagnostic: &RuntimeDiagnostic,
) -> Result<(), Failure> {
    let worker = diagnostic.worker_ref.as_ref();
    let id = diagnostic.id.to_string();
    let cells = [
        id.as_str(),
        diagnostic.severity.as_str(),
        &diagnostic.code,
        worker.map_or("-", |worker| worker.worker_id.as_str()),
        &diagnostic.message,
    ];
    table.row(output, cells)
}
