//! The import record: the source, counts and findings that an import writes to the store.

use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::read::reading::Reading;
use crate::model::persisted::ImportRecord;
use std::collections::HashSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Limit for the findings of one record, in bytes: half of the largest value of the store.
const MAX_FINDINGS_BYTES: usize = 512 << 20;

/// The record of an imported runtime.
pub(crate) fn of_runtime(root: &Path, dir: &Path, reading: &Reading) -> ImportRecord {
    ImportRecord {
        fingerprint: reading.fingerprint,
        workers: reading.counts.workers,
        events: reading.counts.events,
        transcript_entries: reading.counts.transcript_entries,
        bytes: reading.counts.bytes,
        salvaged: reading.findings.iter().any(|f| !f.kind.is_accepted()),
        ..of_findings(root, dir, reading.findings.iter().map(Form::of))
    }
}

/// The record of a runtime that was left out as a whole.
pub(crate) fn of_left_out(root: &Path, dir: &Path, reading: &Reading) -> ImportRecord {
    ImportRecord {
        workers: 0,
        events: 0,
        transcript_entries: 0,
        salvaged: true,
        ..of_runtime(root, dir, reading)
    }
}

/// The record of `findings` that belong to no runtime, together with those of earlier imports; `None`
/// where the stored record `before` has them all.
pub(crate) fn of_rest(
    root: &Path,
    dir: &Path,
    findings: &[Finding],
    before: Option<ImportRecord>,
) -> Option<ImportRecord> {
    let known: HashSet<String> = before.into_iter().flat_map(|b| b.findings).collect();
    let new: Vec<Form> = findings.iter().map(Form::of).collect();
    if new.iter().all(|finding| known.contains(&finding.whole)) {
        return None;
    }
    let seen: HashSet<String> = new.iter().map(|finding| finding.whole.clone()).collect();
    let mut older: Vec<String> = known.difference(&seen).cloned().collect();
    older.sort_unstable();
    let all = new.into_iter().chain(older.into_iter().map(Form::from));
    Some(ImportRecord {
        salvaged: findings.iter().any(|f| !f.kind.is_accepted()),
        ..of_findings(root, dir, all)
    })
}

fn of_findings(root: &Path, dir: &Path, findings: impl Iterator<Item = Form>) -> ImportRecord {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    ImportRecord {
        source: root.to_string_lossy().into_owned(),
        fingerprint: 0,
        imported_at_s: now.map_or(0, |since| since.as_secs()),
        workers: 0,
        events: 0,
        transcript_entries: 0,
        bytes: 0,
        salvaged: false,
        findings: that_fit(dir, findings, MAX_FINDINGS_BYTES),
    }
}

/// The JSON of a finding.
struct Form {
    whole: String,
    /// The JSON without the text; `None` where the finding has none.
    short: Option<String>,
}

impl Form {
    fn of(finding: &Finding) -> Self {
        let short = finding.text.is_some().then(|| {
            let mut short = finding.clone();
            short.text = None;
            short
                .message
                .push_str(" (its text does not fit into this record)");
            as_json(&short)
        });
        Self {
            whole: as_json(finding),
            short,
        }
    }
}

impl From<String> for Form {
    fn from(whole: String) -> Self {
        Self { whole, short: None }
    }
}

/// The findings that fit into `max_bytes`. A finding must not fail an import: one that is too long is
/// stored without its text, or only counted.
fn that_fit(dir: &Path, findings: impl Iterator<Item = Form>, max_bytes: usize) -> Vec<String> {
    let (mut kept, mut bytes, mut left_out) = (Vec::new(), 0, 0_u64);
    for finding in findings {
        let fits = |json: &String| bytes + json.len() <= max_bytes;
        match Some(finding.whole)
            .filter(fits)
            .or(finding.short.filter(fits))
        {
            Some(json) => {
                bytes += json.len();
                kept.push(json);
            }
            None => left_out += 1,
        }
    }
    if left_out > 0 {
        let message = format!("{left_out} more findings do not fit into this record");
        let kind = FindingKind::Suppressed;
        kept.push(as_json(&Finding::new(kind, dir.to_owned(), message)));
    }
    kept
}

fn as_json(finding: &Finding) -> String {
    // A finding is strings and numbers: it can always be written.
    serde_json::to_string(finding).unwrap_or_else(|_| finding.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_that_do_not_fit_go_without_their_text_or_are_counted() {
        let dir = Path::new("/d");
        let finding = |length: usize| {
            let finding = Finding::new(FindingKind::InvalidLine, dir.to_owned(), "m");
            finding.at(1, 0, &vec![b'x'; length])
        };
        let all = [finding(10), finding(10_000), finding(20)];
        let whole: Vec<String> = all.iter().map(as_json).collect();
        let kept = |max_bytes| that_fit(dir, all.iter().map(Form::of), max_bytes);
        assert_eq!(kept(100_000), whole);
        let some = kept(1000);
        assert_eq!((&some[0], &some[2]), (&whole[0], &whole[2]));
        assert!(
            some[1].contains("does not fit") && some[1].contains("10000"),
            "{}",
            some[1]
        );
        let few = kept(whole[0].len());
        assert_eq!((few.len(), &few[0]), (2, &whole[0]));
        assert!(few[1].contains("2 more findings do not fit"), "{}", few[1]);
    }
}
