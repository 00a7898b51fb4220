//! `worker`: prints everything about one worker.

use crate::arguments::help;
use crate::arguments::select::{
    RuntimeArgument, StoreArgument, parse_worker_id, runtime_of, worker_of,
};
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::bytes_for_people;
use crate::read::times::{Times, rfc3339};
use crate::read::workers::intent_text;
use clap::Args;
use redb_runtime_store::attributes::Attributes;
use redb_runtime_store::catalog::{ProfileSelector, WorkerDetail};
use redb_runtime_store::diagnostics::RuntimeDiagnostic;
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use redb_runtime_store::interaction::TranscriptRole;
use redb_runtime_store::store::{BorrowedEntry, Snapshot};
use redb_runtime_store::{Runtime, RuntimeError};
use serde::Serialize;
use std::time::SystemTime;

/// Print everything about a worker
#[derive(Args)]
#[command(after_help = help::WORKER)]
pub(crate) struct Worker {
    #[command(flatten)]
    store: StoreArgument,
    /// The worker: its id, the beginning of its id, or its number
    #[arg(value_name = "WORKER", value_parser = parse_worker_id)]
    worker: WorkerId,
    #[command(flatten)]
    runtime: RuntimeArgument,
    /// Show times in UTC instead of the local time zone
    #[arg(long)]
    utc: bool,
}

/// Counts of the entries of a worker.
#[derive(Default, Serialize)]
struct Entries {
    first_position: u64,
    user_entries: u64,
    assistant_entries: u64,
    system_entries: u64,
    /// The length of their texts.
    text_bytes: u64,
    #[serde(skip)]
    first: Option<SystemTime>,
    #[serde(skip)]
    last: Option<SystemTime>,
}

#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    detail: &'a WorkerDetail,
    is_pinned: bool,
    #[serde(skip_serializing_if = "Attributes::is_empty")]
    attributes: &'a Attributes,
    #[serde(flatten)]
    entries: &'a Entries,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_recorded_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_recorded_at: Option<String>,
    diagnostics: &'a [RuntimeDiagnostic],
}

impl Worker {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime_id) = self.runtime.open(&self.store, output)?;
        let snapshot = store.snapshot()?;
        let worker = worker_of(&snapshot, &runtime_id, &self.worker)?;
        let runtime = runtime_of(&store, &runtime_id)?;
        let detail = runtime.worker_detail(&worker)?;
        let entries = Entries::of(&snapshot, &worker)?;
        let is_pinned = snapshot.is_pinned(&worker)?;
        let attributes = runtime.attributes(&worker)?;
        let diagnostics = about(&runtime, &worker)?;
        // While a person reads a page, the snapshot would keep old pages in the store's file.
        drop(snapshot);
        if output.json {
            output.object(&Printed {
                detail: &detail,
                is_pinned,
                attributes: &attributes,
                entries: &entries,
                first_recorded_at: entries.first.and_then(rfc3339),
                last_recorded_at: entries.last.and_then(rfc3339),
                diagnostics: &diagnostics,
            })?;
            return Ok(Status::Done);
        }
        output.line(format!("{} of {runtime_id}", detail.worker_id))?;
        print_request(output, &detail, is_pinned)?;
        for name in attributes.names() {
            let value: Option<serde_json::Value> = attributes.get(name);
            let value = value.unwrap_or_default();
            field(output, "attribute", format!("{name} = {value}"))?;
        }
        print_entries(output, &detail, &entries, &Times::shown(self.utc))?;
        for diagnostic in &diagnostics {
            let RuntimeDiagnostic {
                severity,
                code,
                message,
                ..
            } = diagnostic;
            field(
                output,
                "diagnostic",
                format!("{severity}: {code}: {message}"),
            )?;
        }
        Ok(Status::Done)
    }
}

impl Entries {
    /// Reads the whole transcript.
    fn of(snapshot: &Snapshot, worker: &WorkerRef) -> Result<Self, Failure> {
        let mut found = Self {
            first_position: snapshot.first_position(worker)?,
            ..Self::default()
        };
        snapshot.each_entry(worker, |entry| -> Result<(), RuntimeError> {
            found.add(&entry);
            Ok(())
        })?;
        Ok(found)
    }

    fn add(&mut self, entry: &BorrowedEntry<'_>) {
        match entry.role {
            TranscriptRole::User => self.user_entries += 1,
            TranscriptRole::Assistant => self.assistant_entries += 1,
            TranscriptRole::System => self.system_entries += 1,
        }
        self.text_bytes += entry.content.len() as u64;
        self.first = self.first.or(entry.recorded_at);
        self.last = entry.recorded_at.or(self.last);
    }
}

fn about(runtime: &Runtime, worker: &WorkerRef) -> Result<Vec<RuntimeDiagnostic>, Failure> {
    let mut all = runtime.diagnostics()?;
    all.retain(|diagnostic| diagnostic.worker_ref.as_ref() == Some(worker));
    Ok(all)
}

/// Prints one line: a name and a value.
fn field(output: &mut Output, name: &str, value: impl AsRef<str>) -> Result<(), Failure> {
    output.line(format!("  {name:<14}{}", value.as_ref()))
}

/// Prints what the worker was created with.
fn print_request(
    output: &mut Output,
    detail: &WorkerDetail,
    is_pinned: bool,
) -> Result<(), Failure> {
    field(output, "status", detail.status.as_str())?;
    field(output, "intent", intent_text(&detail.intent))?;
    let profile = match &detail.profile {
        ProfileSelector::RuntimeDefault => "the runtime's default".to_owned(),
        ProfileSelector::Builtin(name) => format!("built-in: {name}"),
        ProfileSelector::Named(name) => format!("named: {name}"),
    };
    field(output, "profile", profile)?;
    if let Some(bundle) = &detail.config_bundle {
        field(output, "bundle", &bundle.id)?;
    }
    for capability in &detail.requested_capabilities {
        let reason = capability.reason.as_ref();
        let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
        field(output, "capability", format!("{}{reason}", capability.name))?;
    }
    for workspace in &detail.workspace_refs {
        let place = format!("{} at {}", workspace.name, workspace.reference);
        field(output, "workspace", place)?;
    }
    for mount in &detail.mount_refs {
        let place = format!("{} at {}", mount.name, mount.reference);
        field(output, "mount", place)?;
    }
    if is_pinned {
        field(output, "pinned", "retention keeps its transcript")?;
    }
    Ok(())
}

fn print_entries(
    output: &mut Output,
    detail: &WorkerDetail,
    entries: &Entries,
    times: &Times,
) -> Result<(), Failure> {
    let left = entries.user_entries + entries.assistant_entries + entries.system_entries;
    let mut text = format!(
        "{left}: user {}, assistant {}, system {}",
        entries.user_entries, entries.assistant_entries, entries.system_entries
    );
    if entries.first_position > 0 {
        text += &format!(
            "; those before position {} were removed",
            entries.first_position
        );
    }
    field(output, "entries", text)?;
    field(output, "text", bytes_for_people(entries.text_bytes))?;
    if entries.first.is_some() {
        field(output, "first entry", times.date_and_time(entries.first))?;
        field(output, "last entry", times.date_and_time(entries.last))?;
    }
    field(output, "last event", detail.last_event_id.to_string())
}
