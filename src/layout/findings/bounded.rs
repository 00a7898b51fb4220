//! A bounded list of findings. The bound is needed because the store has all findings of a runtime in one
//! row.

use crate::layout::findings::finding::{Finding, FindingKind, FindingText, boundary_before};
use std::collections::BTreeMap;

/// The greatest number of findings of one runtime in a report. Further findings are only counted.
const MAX_FINDINGS: usize = 10_000;

/// The limit for the texts of all findings, in bytes of JSON. A text beyond the limit is cut, and stored whole as a file.
pub(crate) const MAX_TEXT_BYTES: u64 = 64 << 20;

/// The length to which a text or a message is cut, in bytes. Messages need a limit, too, because they can
/// quote a member of any length.
pub(crate) const CUT_BYTES: usize = 1024;

/// A bounded list of findings, and the counts by kind of those beyond the bound.
#[derive(Default)]
pub(crate) struct Findings {
    list: Vec<Finding>,
    text_bytes: u64,
    more: BTreeMap<FindingKind, (u64, Finding)>,
}

impl Findings {
    /// Adds a finding. Returns its whole text if the list does not have it.
    pub(crate) fn add(&mut self, mut finding: Finding) -> Option<FindingText> {
        cut_message(&mut finding.message);
        if self.list.len() >= MAX_FINDINGS {
            let text = finding.text.take();
            self.count(finding);
            return text;
        }
        let mut whole = None;
        if let Some(text) = &mut finding.text {
            let (bytes, length) = (text.json_bytes(), text.as_bytes().len());
            if self.text_bytes + bytes > MAX_TEXT_BYTES && length > CUT_BYTES {
                whole = Some(text.clone());
                text.cut(CUT_BYTES);
                let left = text.as_bytes().len();
                let message = &mut finding.message;
                message.push_str(&format!(
                    " (the report has only the first {left} bytes of the text)"
                ));
            }
            self.text_bytes += text.json_bytes();
        }
        self.list.push(finding);
        whole
    }

    /// Counts a finding beyond the bound. Of each kind it holds the first, for the place, and the sum of the
    /// lengths.
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

    /// The list, with one more finding for each kind that was counted beyond the bound.
    pub(crate) fn finish(mut self) -> Vec<Finding> {
        for (_, (count, mut first)) in self.more {
            first.message = format!(
                "{count} more findings of this kind are not listed; the first of them: {}",
                first.message
            );
            self.list.push(first);
        }
        self.list
    }
}

/// Cuts a message that is too long, and appends its length.
fn cut_message(message: &mut String) {
    if message.len() > CUT_BYTES {
        let length = message.len();
        message.truncate(boundary_before(message, CUT_BYTES));
        message.push_str(&format!("… ({length} bytes)"));
    }
}
