//! The summary of a runtime with few and with many workers.

use super::Bench;
use crate::measure::{Contender, interleave, time};
use crate::ours;
use crate::table::{Bound, Line, Table, Unit, duration, thousands};
use crate::workload::Dataset;
use anyhow::{Result, ensure};
use redb_runtime_store::Runtime;
use tempfile::TempDir;

const FEW: usize = 100;
const MANY: usize = 100_000;

/// How often it is read in a round.
const REPEATS: u32 = 2000;

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let dir = TempDir::new_in(&bench.dir)?;
    let build = |workers: usize| -> Result<Runtime> {
        let path = dir.path().join(format!("{workers}.redb"));
        ours::build(&path, &Dataset { inputs: 0, workers }, &bench.inputs)?;
        ours::open(&path)
    };
    let (few, many) = (build(FEW)?, build(MANY)?);
    let contenders: Vec<Contender<'_>> = vec![
        Box::new(|| summary(&many, MANY)),
        Box::new(|| summary(&few, FEW)),
    ];
    let samples = interleave(bench.rounds(15, 9), contenders)?;
    table.push(Line {
        work: format!("summary, {} workers", thousands(MANY as u64)),
        against: "the same of 100",
        // Independent of their number, but for noise.
        threshold: Bound::AtMost(1.5),
        stretch: Bound::None,
        value: samples[1].speed_over(&samples[0]),
        unit: Unit::Times,
        ours: duration(samples[0].median()),
        theirs: duration(samples[1].median()),
    });
    Ok(())
}

fn summary(runtime: &Runtime, workers: usize) -> Result<f64> {
    let (seconds, summary) = time(REPEATS, || Ok(runtime.summary()?))?;
    ensure!(summary.worker_count == workers, "workers are missing");
    Ok(seconds)
}
