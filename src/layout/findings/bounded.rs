//! The findings of one reading, bounded, because the store has them in one row.

use crate::layout::findings::finding::{Finding, FindingKind, boundary_before};
use std::collections::BTreeMap;

/// The number of findings of one runtime in a report. Further ones are only counted.
const MAX_FINDINGS: usize = 10_000;

/// Limit for the texts of all findings, in bytes of JSON. A text that does not fit is cut.
const MAX_TEXT_BYTES: u64 = 64 << 20;

/// The length to which a text or a message is cut, in bytes. A message can quote a member of any
/// length.
const KEPT_BYTES: usize = 1024;

/// A bounded list of findings, and the counts by kind of those beyond the bound.
#[derive(Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    text_bytes: u64,
    more: BTreeMap<FindingKind, (u64, Finding)>,
}

impl Findings {
    pub(crate) fn add(&mut self, mut finding: Finding) {
        cut_message(&mut finding.message);
        if self.list.len() >= MAX_FINDINGS {
            self.count(finding);
            return;
        }
        if let Some(text) = &mut finding.text {
            let (bytes, length) = (text.json_bytes(), text.as_bytes().len());
            if self.text_bytes + bytes > MAX_TEXT_BYTES && length > KEPT_BYTES {
                text.cut(KEPT_BYTES);
                let kept = text.as_bytes().len();
                let message = &mut finding.message;
                message.push_str(&format!(
                    " (too long to be kept: the first {kept} bytes are)"
                ));
            }
            self.text_bytes += text.json_bytes();
        }
        self.list.push(finding);
    }

    fn count(&mut self, finding: Finding) {
        let length = finding.length.unwrap_or(0);
        let (count, first) = self.more.entry(finding.kind).or_insert_with(|| {
            let first = Finding {
                text: None,
                length: finding.length.map(|_| 0),
                ..finding
            };
            (0, first)
        });
        *count += 1;
        if length > 0 {
            first.length = Some(first.length.unwrap_or(0).saturating_add(length));
        }
    }

    pub(crate) fn finish(mut self) -> Vec<Finding> {
        for (_, (count, mut first)) in self.more {
            first.message = format!(
                "{count} more findings of this kind from here on, too many to list: {}",
                first.message
            );
            self.list.push(first);
        }
        self.list
    }
}

/// Cuts a message at its end.
fn cut_message(message: &mut String) {
    if message.len() > KEPT_BYTES {
        let length = message.len();
        message.truncate(boundary_before(message, KEPT_BYTES));
        message.push_str(&format!("… ({length} bytes)"));
    }
}
