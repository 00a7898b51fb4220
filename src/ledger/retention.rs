//! Decides which rows of a log a policy removes: always its oldest ones. Knows no store.

/// What a decision needs to know of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RowFacts {
    /// The event id, or the position of the entry.
    pub(crate) number: u64,
    /// The size of key and value in bytes.
    pub(crate) bytes: u64,
    pub(crate) time_ms: Option<u64>,
}

/// Rows and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

impl Amount {
    pub(crate) fn add(&mut self, other: Self) {
        self.rows = self.rows.saturating_add(other.rows);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    pub(crate) fn without(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_sub(other.rows),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }
}

/// The limits of one log. `None` limits nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogLimits {
    pub(crate) keep_rows: Option<u64>,
    pub(crate) keep_bytes: Option<u64>,
    /// Rows of this time and earlier ones go.
    pub(crate) until_ms: Option<u64>,
}

impl LogLimits {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a decision needs the amount of the whole log.
    pub(crate) fn need_total(&self) -> bool {
        self.keep_rows.is_some() || self.keep_bytes.is_some()
    }
}

/// The place in a log up to which rows go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The floor that the log gets: the number after the last row that goes.
    pub(crate) to: u64,
    /// The amount of all rows up to here.
    pub(crate) amount: Amount,
    /// The last row that goes.
    pub(crate) last: RowFacts,
}

/// Takes the rows of a log, the oldest first, and finds the last one that goes.
///
/// Each limit says so of the first rows of the log. Of the age: a row without a time goes if a later one is old
/// enough, and no row behind one that is young enough goes, also if an imported log is not in the order of its times.
pub(crate) struct Cutter {
    limits: LogLimits,
    total: Amount,
    seen: Amount,
    is_young: bool,
    cut: Option<Mark>,
    /// Places about `step_bytes` apart, so that a prune can stop at each.
    marks: Vec<Mark>,
    step_bytes: u64,
}

impl Cutter {
    /// `total` is the amount of the whole log; it may be anything if the limits do not need it.
    pub(crate) fn new(limits: LogLimits, total: Amount, step_bytes: u64) -> Self {
        Self {
            limits,
            total,
            seen: Amount::default(),
            is_young: limits.until_ms.is_none(),
            cut: None,
            marks: Vec::new(),
            step_bytes,
        }
    }

    /// Takes the next row. Returns whether a later row can go.
    pub(crate) fn take(&mut self, row: RowFacts) -> bool {
        let left = self.total.without(self.seen);
        let is_surplus = |left: u64, keep: Option<u64>| keep.is_some_and(|keep| left > keep);
        let by_rows = is_surplus(left.rows, self.limits.keep_rows);
        let by_bytes = is_surplus(left.bytes, self.limits.keep_bytes);
        let by_age = match (row.time_ms, self.limits.until_ms) {
            (Some(time_ms), Some(until_ms)) if time_ms > until_ms => {
                self.is_young = true;
                false
            }
            (Some(_), Some(_)) => !self.is_young,
            _ => false,
        };
        self.seen.add(Amount {
            rows: 1,
            bytes: row.bytes,
        });
        let mark = Mark {
            to: row.number.saturating_add(1),
            amount: self.seen,
            last: row,
        };
        if by_rows || by_bytes || by_age {
            self.cut = Some(mark);
        }
        let before = self.marks.last().map_or(0, |mark| mark.amount.bytes);
        if self.seen.bytes - before >= self.step_bytes {
            self.marks.push(mark);
        }
        by_rows || by_bytes || !self.is_young
    }

    /// The places of the prune, the last one last. Empty if no row goes.
    pub(crate) fn finish(self) -> Vec<Mark> {
        let Some(cut) = self.cut else {
            return Vec::new();
        };
        let mut marks = self.marks;
        marks.retain(|mark| mark.to < cut.to);
        marks.push(cut);
        marks
    }
}

/// The bytes that each log keeps so that all keep at most `keep` together with `others`, which stay: in proportion to their
/// sizes. `None` if no log has to lose any.
pub(crate) fn shares(sizes: &[u64], others: u64, keep: u64) -> Option<Vec<u64>> {
    let all: u128 = sizes.iter().map(|size| u128::from(*size)).sum();
    let left = u128::from(keep.saturating_sub(others));
    if all <= left {
        return None;
    }
    // `all` is not 0 here. Rounding down keeps the sum below the limit.
    let share = |size: &u64| u64::try_from(u128::from(*size) * left / all).unwrap_or(*size);
    Some(sizes.iter().map(share).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(number: u64, bytes: u64, time_ms: Option<u64>) -> RowFacts {
        RowFacts {
            number,
            bytes,
            time_ms,
        }
    }

    /// The floor that `limits` give a log of `rows`; 0 if none goes.
    fn floor(rows: &[RowFacts], limits: LogLimits) -> u64 {
        let mut total = Amount::default();
        for row in rows {
            total.add(Amount {
                rows: 1,
                bytes: row.bytes,
            });
        }
        let mut cutter = Cutter::new(limits, total, u64::MAX);
        for row in rows {
            if !cutter.take(*row) {
                break;
            }
        }
        cutter.finish().last().map_or(0, |mark| mark.to)
    }

    /// Rows from 1 on, of 10 bytes each.
    fn timed(times: &[Option<u64>]) -> Vec<RowFacts> {
        let rows = (1..).zip(times);
        rows.map(|(number, time)| row(number, 10, *time)).collect()
    }

    fn until(ms: u64) -> LogLimits {
        LogLimits {
            until_ms: Some(ms),
            ..LogLimits::default()
        }
    }

    #[test]
    fn last_rows_stay_whatever_their_numbers() {
        let rows: Vec<_> = [1, 2, 9, 40].map(|number| row(number, 5, None)).into();
        let keep = |rows| LogLimits {
            keep_rows: Some(rows),
            ..LogLimits::default()
        };
        assert_eq!(floor(&rows, keep(5)), 0);
        assert_eq!(floor(&rows, keep(4)), 0);
        assert_eq!(floor(&rows, keep(3)), 2);
        // Behind the last row that went: what was never there is not pruned.
        assert_eq!(floor(&rows, keep(2)), 3);
        assert_eq!(floor(&rows, keep(0)), 41);
    }

    #[test]
    fn last_bytes_stay_in_whole_rows() {
        let rows: Vec<_> = (0..4).map(|number| row(number, 10, None)).collect();
        let keep = |bytes| LogLimits {
            keep_bytes: Some(bytes),
            ..LogLimits::default()
        };
        assert_eq!(floor(&rows, keep(40)), 0);
        assert_eq!(floor(&rows, keep(39)), 1);
        assert_eq!(floor(&rows, keep(30)), 1);
        assert_eq!(floor(&rows, keep(9)), 4);
    }

    #[test]
    fn old_rows_go_and_young_ones_stay() {
        let rows = timed(&[Some(10), Some(20), Some(30)]);
        assert_eq!(floor(&rows, until(9)), 0);
        assert_eq!(floor(&rows, until(10)), 2);
        assert_eq!(floor(&rows, until(29)), 3);
        assert_eq!(floor(&rows, until(99)), 4);
    }

    #[test]
    fn undated_rows_stay_unless_a_later_row_is_old() {
        assert_eq!(floor(&timed(&[None, None]), until(99)), 0);
        let rows = timed(&[None, Some(10), None, Some(30), None]);
        assert_eq!(floor(&rows, until(9)), 0);
        assert_eq!(floor(&rows, until(10)), 3);
        assert_eq!(floor(&rows, until(30)), 5);
    }

    #[test]
    fn no_row_behind_a_young_one_goes_by_age() {
        let rows = timed(&[Some(10), Some(90), Some(10)]);
        assert_eq!(floor(&rows, until(50)), 2);
    }

    #[test]
    fn row_goes_if_any_limit_says_so() {
        let rows = timed(&[Some(10), Some(20), Some(30), Some(40)]);
        let limits = |keep_rows, keep_bytes, until_ms| LogLimits {
            keep_rows: Some(keep_rows),
            keep_bytes: Some(keep_bytes),
            until_ms: Some(until_ms),
        };
        assert_eq!(floor(&rows, limits(3, 100, 0)), 2);
        assert_eq!(floor(&rows, limits(3, 20, 0)), 3);
        assert_eq!(floor(&rows, limits(3, 20, 30)), 4);
        assert_eq!(floor(&rows, limits(9, 99, 0)), 0);
    }

    #[test]
    fn marks_are_a_step_apart_and_end_at_the_cut() {
        let rows: Vec<_> = (0..10).map(|number| row(number, 10, None)).collect();
        let total = Amount {
            rows: 10,
            bytes: 100,
        };
        let limits = LogLimits {
            keep_rows: Some(3),
            ..LogLimits::default()
        };
        let mut cutter = Cutter::new(limits, total, 25);
        assert_eq!(rows.iter().take_while(|row| cutter.take(**row)).count(), 7);
        let marks = cutter.finish();
        let places: Vec<_> = marks
            .iter()
            .map(|mark| (mark.to, mark.amount.bytes))
            .collect();
        assert_eq!(places, [(3, 30), (6, 60), (7, 70)]);
    }

    #[test]
    fn logs_share_the_bytes_in_proportion() {
        assert_eq!(shares(&[100, 300], 0, 400), None);
        assert_eq!(shares(&[100, 300], 0, 200), Some(vec![50, 150]));
        assert_eq!(shares(&[100, 300], 100, 200), Some(vec![25, 75]));
        // What stays is more than the limit.
        assert_eq!(shares(&[100, 300], 500, 200), Some(vec![0, 0]));
        assert_eq!(shares(&[], 500, 200), None);
        assert_eq!(
            shares(&[u64::MAX; 3], 0, u64::MAX),
            Some(vec![u64::MAX / 3; 3])
        );
    }
}
