//! Ids that are missing in a log.

use crate::layout::findings::finding::{Finding, FindingKind};
use std::fmt;
use std::path::PathBuf;

/// The number of ranges in a message; further ones are only counted.
const NAMED_RANGES: usize = 5;

/// Ranges of ids that are missing, in constant space.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Gaps {
    named: Vec<(u64, u64)>,
    more_ranges: u64,
    ids: u64,
    /// Line and byte of the record after the first gap.
    first_at: Option<(u64, u64)>,
}

impl Gaps {
    /// Adds the ids between `before` and `after`, if there are any. `at` is the position of `after`: line
    /// and byte.
    pub(crate) fn note(&mut self, before: u64, after: u64, at: Option<(u64, u64)>) {
        let (first, end) = (before.saturating_add(1), after);
        if first >= end {
            return;
        }
        if self.ids == 0 {
            self.first_at = at;
        }
        self.ids = self.ids.saturating_add(end - first);
        if self.named.len() < NAMED_RANGES {
            self.named.push((first, end - 1));
        } else {
            self.more_ranges += 1;
        }
    }

    /// The finding about the gaps; `None` if there are none. `number` is the name of the ids.
    pub(crate) fn finding(&self, number: &str, path: PathBuf) -> Option<Finding> {
        let message = match self.ids {
            0 => return None,
            1 => format!("{number} {self} is missing"),
            ids => format!("{number}s {self} are missing ({ids} in all)"),
        };
        Some(Finding::new(FindingKind::Gap, path, message).placed(self.first_at))
    }
}

/// `4, 9 to 11 and 2 more ranges`.
impl fmt::Display for Gaps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (first, last)) in self.named.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first} to {last}")?,
            }
        }
        match self.more_ranges {
            0 => Ok(()),
            1 => f.write_str(" and 1 more range"),
            n => write!(f, " and {n} more ranges"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_named_up_to_a_bound_and_all_counted() {
        let mut gaps = Gaps::default();
        gaps.note(0, 1, Some((1, 0)));
        assert!(gaps.finding("id", PathBuf::new()).is_none());
        gaps.note(3, 5, Some((5, 40)));
        gaps.note(8, 12, Some((12, 80)));
        assert_eq!(gaps.to_string(), "4, 9 to 11");
        for id in 10..20 {
            gaps.note(id * 10, id * 10 + 2, None);
        }
        assert_eq!(gaps.ids, 14);
        let finding = gaps.finding("id", PathBuf::new()).unwrap();
        assert_eq!((finding.line, finding.byte), (Some(5), Some(40)));
        assert_eq!(
            gaps.to_string(),
            "4, 9 to 11, 101, 111, 121 and 7 more ranges"
        );
        gaps.note(0, u64::MAX, None);
        gaps.note(u64::MAX, u64::MAX, None);
        assert_eq!(gaps.ids, u64::MAX);
    }
}
