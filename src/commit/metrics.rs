//! Counts of the commits of a store since it was opened.

use crate::commit::trace::Batch;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The number of classes of commit times. The last one begins at 2^30 microseconds, which are 18 minutes.
const CLASSES: usize = 31;

/// The commits of a store by their time; see [`StoreMetrics::commit_times`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommitTimes {
    /// The time, in microseconds, that the commits took at most. It is one less than a power of two; `u64::MAX` for the
    /// last class.
    pub up_to_us: u64,
    /// The number of commits that took longer than the class before, and at most this time.
    pub commits: u64,
}

/// Counters of a store since this process opened it: see [`Store::metrics`](crate::Store::metrics).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreMetrics {
    /// Commits that are on disk.
    pub commits: u64,
    /// Operations in these commits. A load is one operation.
    pub operations: u64,
    /// The estimated bytes of the rows in these commits, without those of loads.
    pub bytes: u64,
    /// Syncs of the file, by all commits and by maintenance.
    pub syncs: u64,
    /// Commits that failed.
    pub failures: u64,
    /// The length of the file, in bytes; 0 for a store in memory.
    pub file_bytes: u64,
    /// A histogram of the times of commits, from the begin of the write transaction to the last sync.
    pub commit_times: Vec<CommitTimes>,
}

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    commits: AtomicU64,
    operations: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    times: [AtomicU64; CLASSES],
}

impl Metrics {
    /// Counts a commit that took `time`.
    pub(crate) fn count(&self, batch: Batch, time: Duration, has_failed: bool) {
        let add = |counter: &AtomicU64, number: u64| {
            counter.fetch_add(number, Ordering::Relaxed);
        };
        if has_failed {
            add(&self.failures, 1);
            return;
        }
        add(&self.commits, 1);
        add(&self.operations, batch.operations as u64);
        add(&self.bytes, batch.bytes.unwrap_or(0) as u64);
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        if let Some(class) = self.times.get(class_of(micros)) {
            add(class, 1);
        }
    }

    /// The counts by now. Counters that another commit changes meanwhile can be of different moments.
    pub(crate) fn read(&self, syncs: u64, file_bytes: u64) -> StoreMetrics {
        let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let times = self.times.iter().enumerate();
        StoreMetrics {
            commits: number(&self.commits),
            operations: number(&self.operations),
            bytes: number(&self.bytes),
            syncs,
            failures: number(&self.failures),
            file_bytes,
            commit_times: times
                .map(|(class, commits)| CommitTimes {
                    up_to_us: end_of(class),
                    commits: number(commits),
                })
                .collect(),
        }
    }
}

/// The class of a time: the number of its bits.
fn class_of(micros: u64) -> usize {
    let bits = u64::BITS - micros.leading_zeros();
    (bits as usize).min(CLASSES - 1)
}

/// The greatest time of a class.
fn end_of(class: usize) -> u64 {
    match class + 1 == CLASSES {
        true => u64::MAX,
        false => (1 << class) - 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_in_the_class_that_ends_after_it() {
        for micros in [0, 1, 2, 3, 4, 1023, 1024, 1 << 29, 1 << 30, u64::MAX] {
            let class = class_of(micros);
            assert!(micros <= end_of(class), "{micros}");
            assert!(class == 0 || micros > end_of(class - 1), "{micros}");
        }
    }
}
