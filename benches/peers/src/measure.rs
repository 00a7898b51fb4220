//! Interleaved rounds, medians, and ratios of both.

use anyhow::Result;
use std::time::Instant;

/// What one contender took in each round: seconds for one operation.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    pub(crate) fn median(&self) -> f64 {
        median(self.0.clone())
    }

    /// How many times as fast as `other` this is: the median over the rounds. Whatever else the
    /// machine did in a round, it did to both.
    pub(crate) fn speed_over(&self, other: &Self) -> f64 {
        assert_eq!(self.0.len(), other.0.len(), "both were in every round");
        let pairs = self.0.iter().zip(&other.0);
        median(pairs.map(|(own, its)| its / own).collect())
    }
}

pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty(), "nothing was measured");
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 {
        values[middle]
    } else {
        (values[middle - 1] + values[middle]) / 2.0
    }
}

/// One contender: measures one round, in seconds for one operation.
pub(crate) type Contender<'a> = Box<dyn FnMut() -> Result<f64> + 'a>;

/// Runs all contenders once to warm up, then `rounds` times in turn. Each round begins with another
/// one, and every other round goes backwards, so that nobody always follows the same neighbour.
pub(crate) fn interleave(
    rounds: usize,
    mut contenders: Vec<Contender<'_>>,
) -> Result<Vec<Samples>> {
    let mut samples = vec![Samples::default(); contenders.len()];
    for contender in &mut contenders {
        contender()?;
    }
    let count = contenders.len();
    for round in 0..rounds {
        for turn in 0..count {
            let index = match round % 2 {
                0 => (round + turn) % count,
                _ => (round + count - turn) % count,
            };
            let seconds = contenders[index]()?;
            samples[index].0.push(seconds);
        }
    }
    Ok(samples)
}

/// The seconds that one of `repeats` runs of `work` takes, and what the last one returned.
pub(crate) fn time<T>(repeats: u32, mut work: impl FnMut() -> Result<T>) -> Result<(f64, T)> {
    let start = Instant::now();
    let mut last = work()?;
    for _ in 1..repeats {
        last = std::hint::black_box(work()?);
    }
    Ok((start.elapsed().as_secs_f64() / f64::from(repeats), last))
}
