//! Histograms of constant size over numbers whose range is not known in advance.

use std::collections::BTreeMap;

/// Counts by number. While more than `most` bins are in use, the width of all bins, a power of two, doubles.
pub(crate) struct Bins {
    most: usize,
    shift: u32,
    counts: BTreeMap<u64, u64>,
    /// The bin that was added to last, which is not in `counts`. Rows of a log come in order, so that most of them fall into
    /// it.
    last: Option<(u64, u64)>,
}

impl Bins {
    /// Empty bins, of which at most `most`, and at least two, will be in use: two hold every number already.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            // The width of a single bin of all numbers would not fit into 64 bits.
            most: most.max(2),
            shift: 0,
            counts: BTreeMap::new(),
            last: None,
        }
    }

    /// Adds `count` at `number`.
    pub(crate) fn add(&mut self, number: u64, count: u64) {
        let bin = number >> self.shift;
        match &mut self.last {
            Some((last, sum)) if *last == bin => *sum = sum.saturating_add(count),
            _ => {
                self.flush();
                // Flushing can have widened the bins.
                self.last = Some((number >> self.shift, count));
            }
        }
    }

    fn flush(&mut self) {
        let Some((bin, count)) = self.last.take() else {
            return;
        };
        let sum = self.counts.entry(bin).or_default();
        *sum = sum.saturating_add(count);
        while self.counts.len() > self.most {
            self.shift += 1;
            let mut wider = BTreeMap::new();
            for (bin, count) in std::mem::take(&mut self.counts) {
                let sum: &mut u64 = wider.entry(bin >> 1).or_default();
                *sum = sum.saturating_add(count);
            }
            self.counts = wider;
        }
    }

    /// The middle of each bin that is in use, with its count, in ascending order.
    pub(crate) fn counted(&mut self) -> impl Iterator<Item = (u64, u64)> + use<'_> {
        self.flush();
        let shift = self.shift;
        let half = (1_u64 << shift) >> 1;
        let middle = move |bin: u64| (bin << shift) + half;
        self.counts
            .iter()
            .map(move |(bin, count)| (middle(*bin), *count))
    }
}

#[cfg(test)]
mod tests {
    use super::Bins;

    #[test]
    fn few_numbers_keep_their_own_bins() {
        let mut bins = Bins::new(4);
        for number in [7, 7, u64::MAX, 3, 7] {
            bins.add(number, 1);
        }
        let counted: Vec<_> = bins.counted().collect();
        assert_eq!(counted, [(3, 1), (7, 3), (u64::MAX, 1)]);
    }

    #[test]
    fn bins_stay_bounded_and_lose_no_count() {
        let mut bins = Bins::new(100);
        for number in 0..100_000_u64 {
            // From the middle to both sides.
            let number = match number % 2 {
                0 => 1_000_000 + number,
                _ => 1_000_000 - number,
            };
            bins.add(number, 2);
        }
        let counted: Vec<_> = bins.counted().collect();
        assert!(
            counted.len() <= 100 && counted.len() > 25,
            "{}",
            counted.len()
        );
        assert_eq!(counted.iter().map(|(_, count)| count).sum::<u64>(), 200_000);
        assert!(counted.is_sorted());
        let ends = (counted[0].0, counted[counted.len() - 1].0);
        assert!(ends.0 < 910_000 && ends.1 > 1_090_000, "{ends:?}");
    }

    #[test]
    fn widest_bins_do_not_overflow() {
        let mut bins = Bins::new(0);
        for number in [0, u64::MAX, 1, u64::MAX / 2, u64::MAX / 2 + 1] {
            bins.add(number, u64::MAX);
        }
        let counted: Vec<_> = bins.counted().collect();
        let quarter = 1 << 62;
        let upper = (1 << 63) + quarter;
        assert_eq!(counted, [(quarter, u64::MAX), (upper, u64::MAX)]);
    }
}
