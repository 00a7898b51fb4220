//! Ids that a log leaves out.

use std::fmt;

/// How many ranges are named; the others are counted.
const NAMED_RANGES: usize = 5;

/// Ranges of ids that are missing, in constant space.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gaps {
    named: Vec<(u64, u64)>,
    more_ranges: u64,
    ids: u64,
}

impl Gaps {
    /// Notes that the ids between `before` and `after` are missing, if there are any.
    pub(super) fn note(&mut self, before: u64, after: u64) {
        let (first, end) = (before.saturating_add(1), after);
        if first >= end {
            return;
        }
        self.ids = self.ids.saturating_add(end - first);
        if self.named.len() < NAMED_RANGES {
            self.named.push((first, end - 1));
        } else {
            self.more_ranges += 1;
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ids == 0
    }

    pub(super) fn ids(&self) -> u64 {
        self.ids
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
        gaps.note(0, 1);
        assert!(gaps.is_empty());
        gaps.note(3, 5);
        gaps.note(8, 12);
        assert_eq!(gaps.to_string(), "4, 9 to 11");
        for id in 10..20 {
            gaps.note(id * 10, id * 10 + 2);
        }
        assert_eq!(gaps.ids(), 14);
        assert_eq!(
            gaps.to_string(),
            "4, 9 to 11, 101, 111, 121 and 7 more ranges"
        );
        gaps.note(0, u64::MAX);
        gaps.note(u64::MAX, u64::MAX);
        assert_eq!(gaps.ids(), u64::MAX);
    }
}
