//! `workers`: lists the workers of a runtime.

use crate::arguments::help;
use crate::arguments::select::{RuntimeArgument, StoreArgument};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::table::{Column, Table};
use clap::Args;
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::catalog::{WorkerFilter, WorkerIntent, WorkerSummary};
use redb_runtime_store::management::RuntimeOptions;
use serde::Serialize;

/// List the workers of a runtime
#[derive(Args)]
#[command(after_help = help::WORKERS)]
pub(crate) struct Workers {
    #[command(flatten)]
    store: StoreArgument,
    #[command(flatten)]
    runtime: RuntimeArgument,
    /// List only workers with this attribute; repeatable. VALUE is JSON, or else a text
    #[arg(long = "where", value_name = "KEY=VALUE", value_parser = parse_condition)]
    conditions: Vec<Attributes>,
}

/// An attribute that a worker must have.
fn parse_condition(text: &str) -> Result<Attributes, String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| "expected KEY=VALUE".to_owned())?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| serde_json::Value::from(value));
    let one = Attributes::new().with(key, value);
    one.map_err(|error| error.to_string())
}

/// A worker, with the attributes that it has.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    summary: &'a WorkerSummary,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: &'a Attributes,
}

impl Workers {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime_id) = self.runtime.open(&self.store, output)?;
        let runtime = store.runtime(RuntimeOptions {
            runtime_id: Some(runtime_id),
            ..RuntimeOptions::default()
        })?;
        let mut table = Table::new([
            Column::text("WORKER", 16),
            Column::text("STATUS", 9),
            Column::number("ENTRIES", 8),
            Column::number("LAST EVENT", 10),
            Column::rest("INTENT", 29),
        ]);
        let (mut next, mut is_empty) = (Some(self.filter()?), true);
        while let Some(filter) = next {
            let page = runtime.workers(&filter)?;
            for worker in &page.workers {
                is_empty = false;
                match output.json {
                    true => output.object(&Printed {
                        summary: &worker.summary,
                        attributes: &worker.attributes,
                    })?,
                    false => row(&mut table, output, &worker.summary)?,
                }
            }
            next = page.next.map(|last| filter.after(last));
        }
        if is_empty {
            output.summary(match self.conditions.is_empty() {
                true => "this runtime has no workers",
                false => "no worker has these attributes",
            })?;
        }
        Ok(Status::Done)
    }

    fn filter(&self) -> Result<WorkerFilter, Failure> {
        let mut all = Attributes::new();
        for condition in &self.conditions {
            for name in condition.names() {
                let value: Option<serde_json::Value> = condition.get(name);
                let added = all.with(name, value);
                all = added.map_err(|error| Failure::WrongUse(error.to_string()))?;
            }
        }
        Ok(WorkerFilter::new().attributes(all))
    }
}

/// The purpose of a worker, in words.
pub(crate) fn intent_text(intent: &WorkerIntent) -> String {
    match intent {
        WorkerIntent::Assistant { purpose: None } => "assistant".to_owned(),
        WorkerIntent::Assistant {
            purpose: Some(purpose),
        } => format!("assistant: {purpose}"),
        WorkerIntent::Task { objective } => format!("task: {objective}"),
        WorkerIntent::Role { role, .. } => format!("role: {role}"),
    }
}

fn row(table: &mut Table<5>, output: &mut Output, worker: &WorkerSummary) -> Result<(), Failure> {
    let intent = intent_text(&worker.intent);
    let cells = [
        worker.worker_id.as_str(),
        worker.status.as_str(),
        &worker.transcript_len.to_string(),
        &worker.last_event_id.to_string(),
        &intent,
    ];
    table.row(output, cells)
}
