//! Findings: of the check for damage, of imports, and the diagnostics of the runtimes.

use crate::output::failure::Failure;
use crate::output::text::count;
use crate::report::page::{Page, number};
use crate::report::source::{MOST_FINDINGS, Source};
use crate::report::text::{Line, Message};
use crate::report::walk::{RuntimeFacts, Survey};
use crate::transfer::imports::in_words;
use maud::{Markup, html};
use redb_runtime_store::diagnostics::RuntimeDiagnostic;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::store::{ImportRecord, Snapshot};
use serde_json::Value;
use std::time::{Duration, UNIX_EPOCH};

/// The most import records that are listed.
const MOST_IMPORTS: usize = 50;

pub(crate) fn write(
    page: &mut Page,
    source: &Source,
    survey: &Survey,
    snapshot: &Snapshot,
) -> Result<(), Failure> {
    page.tag("<section id=findings><h2>Findings</h2>")?;
    let mut is_empty = true;
    if let Some(checked) = &source.checked {
        let report = &checked.report;
        let found = report.errors + report.warnings + report.infos;
        if found > 0 {
            is_empty = false;
            let lines = report
                .findings
                .iter()
                .map(|finding| (finding.severity.to_string(), finding.to_string()));
            page.put(html! { h3 { "Check for damage" } (list(lines, found)) })?;
        }
    }
    is_empty &= !imports(page, snapshot)?;
    for runtime in survey
        .runtimes
        .iter()
        .filter(|runtime| !runtime.diagnostics.is_empty())
    {
        is_empty = false;
        page.put(diagnostics(runtime))?;
    }
    if is_empty {
        page.put(html! { p .none { "No findings of imports, and no diagnostics." } })?;
    }
    page.tag("</section>")
}

/// Lists findings with their severity. `found` is the number of all of them.
fn list(lines: impl Iterator<Item = (String, String)>, found: u64) -> Markup {
    let lines: Vec<_> = lines.take(MOST_FINDINGS).collect();
    let more = found.saturating_sub(lines.len() as u64);
    html! {
        ul .findings {
            @for (severity, text) in &lines {
                li { span .tag .(severity) { (severity) } bdi { (Message(text)) } }
            }
        }
        @if more > 0 {
            p .more { "And " (count(more, "more finding", "more findings")) "." }
        }
    }
}

/// Writes the records of imports, if there are any.
fn imports(page: &mut Page, snapshot: &Snapshot) -> Result<bool, Failure> {
    let mut more = 0;
    let mut has_any = false;
    for (seen, record) in snapshot.import_records().enumerate() {
        let (id, record) = record?;
        if seen >= MOST_IMPORTS {
            more += 1;
            continue;
        }
        if !has_any {
            page.put(html! { h3 { "Imports" } })?;
        }
        has_any = true;
        let is_there = match &id {
            Some(id) => snapshot.has_runtime(id)?,
            None => false,
        };
        page.put(import(
            page.times.date_and_time(imported_at(&record)),
            id.as_ref(),
            is_there,
            &record,
        ))?;
    }
    if more > 0 {
        page.put(html! { p .more { "And " (count(more, "more import", "more imports")) "." } })?;
    }
    Ok(has_any)
}

fn imported_at(record: &ImportRecord) -> Option<std::time::SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_secs(record.imported_at_s))
}

fn import(at: String, id: Option<&RuntimeId>, is_there: bool, record: &ImportRecord) -> Markup {
    let found = record.findings.iter().map(|json| {
        let finding: Value = serde_json::from_str(json).unwrap_or_default();
        let severity = finding
            .get("severity")
            .and_then(Value::as_str)
            .unwrap_or("info");
        let words = in_words(&finding);
        let words = words
            .strip_prefix(&format!("{severity}: "))
            .unwrap_or(&words)
            .to_owned();
        (known_severity(severity).to_owned(), words)
    });
    html! {
        p .import {
            @match (id, is_there) {
                (None, _) => { "Files of no runtime" }
                (Some(id), true) => { bdi .id { (Line(id.as_str())) } " was imported" }
                (Some(id), false) => { bdi .id { (Line(id.as_str())) } " was left out" }
            }
            " from " bdi .path { (Line(&record.source)) } " on " span .time { (at) }
            @if is_there {
                ": " (count(record.workers, "worker", "workers")) ", "
                (count(record.events, "event", "events")) ", "
                (count(record.transcript_entries, "entry", "entries"))
            }
            @if record.salvaged { ", salvaged" }
            "."
        }
        @if record.findings.is_empty() {
            p .none { "No findings." }
        } @else {
            (list(found, record.findings.len() as u64))
        }
    }
}

/// The severity as the name of a class: the text comes from the store.
fn known_severity(severity: &str) -> &'static str {
    match severity {
        "error" => "error",
        "warning" => "warning",
        _ => "info",
    }
}

/// The diagnostics of a runtime, the last ones first.
fn diagnostics(runtime: &RuntimeFacts) -> Markup {
    let line = |diagnostic: &RuntimeDiagnostic| {
        let worker = diagnostic.worker_ref.as_ref();
        let worker = worker.map_or_else(String::new, |worker| format!(" ({})", worker.worker_id));
        let RuntimeDiagnostic { code, message, .. } = diagnostic;
        (
            diagnostic.severity.to_string(),
            format!("{code}: {message}{worker}"),
        )
    };
    let all = &runtime.diagnostics;
    html! {
        h3 { "Diagnostics of " bdi .id { (Line(runtime.id.as_str())) } " " span .count { (number(all.len() as u64)) } }
        (list(all.iter().rev().map(line), all.len() as u64))
    }
}
