//! `imports`: lists the import records of a store.

use crate::arguments::help;
use crate::arguments::select::{StoreArgument, parse_runtime_id};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::{count, cut, visible};
use clap::Args;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::store::ImportRecord;
use redb_runtime_store::{RuntimeError, Store};
use serde::Serialize;
use serde_json::Value;

/// Show what was imported, and what was left out
///
/// Lists each runtime that was imported from a directory: the directory, the number of records, and
/// every finding. Runtimes that could not be imported are listed too. Findings that belong to no
/// runtime come first. --json prints the texts of findings in full.
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
    /// Whether the store has the runtime; false for a runtime that the import left out.
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
        if let Some(id) = &self.runtime
            && !snapshot.has_runtime(id)?
            && snapshot.import_record(id)?.is_none()
        {
            return Err(Failure::Store(RuntimeError::RuntimeNotFound {
                path: store.path().to_owned(),
                runtime_id: id.clone(),
            }));
        }
        let ids: Vec<Option<RuntimeId>> = match &self.runtime {
            Some(id) => vec![Some(id.clone())],
            None => snapshot
                .import_records()
                .map(|record| Ok(record?.0))
                .collect::<Result<_, RuntimeError>>()?,
        };
        // A slow reader of standard output must not keep a snapshot. Records are large, so each is read again.
        drop(snapshot);
        for id in ids {
            self.one(&store, id.as_ref(), output)?;
        }
        Ok(Status::Done)
    }

    fn one(
        &self,
        store: &Store,
        id: Option<&RuntimeId>,
        output: &mut Output,
    ) -> Result<(), Failure> {
        let (record, is_in_store) = {
            let snapshot = store.snapshot()?;
            match id {
                Some(id) => (snapshot.import_record(id)?, snapshot.has_runtime(id)?),
                None => (snapshot.import_record_without_runtime()?, false),
            }
        };
        let Some(record) = record else {
            // A runtime that was not imported, or a record that was removed meanwhile.
            return Ok(());
        };
        let printed = Printed::new(id, is_in_store, &record);
        match output.json {
            true => output.object(&printed),
            false => printed.print(output),
        }
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
            None => format!("{}: findings outside of any runtime:", self.source),
            Some(id) if !self.is_in_store => format!("{id}: not imported from {}:", self.source),
            Some(id) => format!(
                "{id}: imported from {}: {}, {}, {}",
                self.source,
                count(self.workers, "worker", "workers"),
                count(self.events, "event", "events"),
                count(self.transcript_entries, "entry", "entries"),
            ),
        };
        output.line(head)?;
        for finding in &self.findings {
            output.line(format!("  {}", in_words(finding)))?;
            if let Some(text) = finding.get("text").or(finding.get("text_hex")) {
                let text = text.as_str().unwrap_or_default();
                output.line(format!("      {}", cut(&visible(text))))?;
            }
        }
        Ok(())
    }
}

/// A stored finding in the words in which the import printed it.
pub(crate) fn in_words(finding: &Value) -> String {
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
