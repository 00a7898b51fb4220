//! `imports`: what imports noted in a store.

use crate::failure::{Failure, Status};
use crate::help;
use crate::output::{Output, count, cut, visible};
use crate::select::{StoreArgument, parse_runtime_id};
use clap::Args;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::store::ImportRecord;
use serde::Serialize;
use serde_json::Value;

/// Show what imports noted in a store
///
/// Of each runtime that came from a directory: from where, how much, and every finding; also of those
/// that had to be left out. First, without a runtime, what was found beside them. --json has the
/// texts of findings whole.
#[derive(Args)]
#[command(after_help = help::IMPORTS)]
pub(crate) struct Imports {
    #[command(flatten)]
    store: StoreArgument,
    /// Show only this runtime
    #[arg(long, value_name = "ID", value_parser = parse_runtime_id)]
    runtime: Option<RuntimeId>,
}

#[derive(Serialize)]
struct Printed<'a> {
    runtime_id: Option<&'a RuntimeId>,
    /// Whether the store has the runtime: one that was left out it does not.
    is_in_store: bool,
    source: &'a str,
    imported_at_s: u64,
    fingerprint: String,
    workers: u64,
    events: u64,
    transcript_entries: u64,
    bytes: u64,
    salvaged: bool,
    findings: Vec<Value>,
}

impl Imports {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let store = self.store.open(output)?;
        let snapshot = store.snapshot()?;
        for record in snapshot.import_records() {
            let (id, record) = record?;
            if self.runtime.is_some() && self.runtime != id {
                continue;
            }
            let is_in_store = match &id {
                Some(id) => snapshot.runtime(id)?.is_some(),
                None => false,
            };
            let printed = Printed::new(id.as_ref(), is_in_store, &record);
            match output.json {
                true => output.object(&printed)?,
                false => printed.print(output)?,
            }
        }
        Ok(Status::Done)
    }
}

impl<'a> Printed<'a> {
    fn new(runtime_id: Option<&'a RuntimeId>, is_in_store: bool, record: &'a ImportRecord) -> Self {
        let parse = |json: &String| {
            let text = |_| Value::String(json.clone());
            serde_json::from_str(json).unwrap_or_else(text)
        };
        Self {
            runtime_id,
            is_in_store,
            source: &record.source,
            imported_at_s: record.imported_at_s,
            fingerprint: format!("{:032x}", record.fingerprint),
            workers: record.workers,
            events: record.events,
            transcript_entries: record.transcript_entries,
            bytes: record.bytes,
            salvaged: record.salvaged,
            findings: record.findings.iter().map(parse).collect(),
        }
    }

    fn print(&self, output: &mut Output) -> Result<(), Failure> {
        let head = match self.runtime_id {
            None => format!("beside the runtimes of {}:", self.source),
            Some(id) if !self.is_in_store => format!("{id}: left out of {}", self.source),
            Some(id) => format!(
                "{id}: from {}: {}, {}, {}",
                self.source,
                count(self.workers, "worker", "workers"),
                count(self.events, "event", "events"),
                count(self.transcript_entries, "entry", "entries"),
            ),
        };
        output.line(visible(&head))?;
        for finding in &self.findings {
            output.line(format!("  {}", visible(&in_words(finding))))?;
            if let Some(text) = finding.get("text").or(finding.get("text_hex")) {
                let text = text.as_str().unwrap_or_default();
                output.line(format!("      {}", cut(&visible(text))))?;
            }
        }
        Ok(())
    }
}

/// A finding as the import showed it.
fn in_words(finding: &Value) -> String {
    let text = |name: &str| {
        finding
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let mut words = format!("{}: {}", text("severity"), text("path"));
    for name in ["line", "byte"] {
        if let Some(number) = finding.get(name).and_then(Value::as_u64) {
            words.push_str(&format!(", {name} {number}"));
        }
    }
    let kind = text("kind").replace('_', " ");
    words + &format!(": {kind}: {}", text("message"))
}
