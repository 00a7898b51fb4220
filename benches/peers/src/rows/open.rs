//! Opening a store that was closed.

use super::{Bench, LONG};
use crate::measure::{Contender, interleave, time};
use crate::table::{Bound, Line, Table, Unit, duration, thousands};
use crate::workload::Dataset;
use crate::{directory, ours};
use anyhow::{Result, ensure};
use std::path::Path;
use std::time::Instant;

const SHORT: Dataset = Dataset {
    inputs: 10_000,
    workers: 1,
};

/// How often a store is opened in a round.
const REPEATS: u32 = 5;

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let logs = bench.logs()?;
    let short = bench.dir.join("short.redb");
    ours::build(&short, &SHORT, &bench.inputs)?;
    let contenders: Vec<Contender<'_>> = vec![
        Box::new(|| open(&logs.ours, &LONG)),
        Box::new(|| open(&short, &SHORT)),
        Box::new(|| {
            let (seconds, records) = time(1, || directory::open(&logs.directory, LONG.workers))?;
            ensure!(
                records == LONG.events() + LONG.inputs,
                "records are missing"
            );
            Ok(seconds)
        }),
    ];
    let samples = interleave(bench.rounds(15, 3), contenders)?;
    let [ours, ours_short, directory] = &samples[..] else {
        unreachable!("three were measured");
    };
    let mut line = Line {
        work: format!("open a closed store of {}", thousands(LONG.inputs)),
        against: "the same of 10,000",
        threshold: Bound::AtMost(1.5),
        stretch: Bound::None,
        value: ours_short.speed_over(ours),
        unit: Unit::Times,
        ours: duration(ours.median()),
        theirs: duration(ours_short.median()),
    };
    table.push(line.clone());
    line.against = "directory";
    line.threshold = Bound::AtLeast(100.0);
    line.value = ours.speed_over(directory);
    line.theirs = duration(directory.median());
    table.push(line);
    Ok(())
}

/// The seconds until a store is open and its runtime says where it is. Closing is not measured.
fn open(path: &Path, dataset: &Dataset) -> Result<f64> {
    // The allocator tidies up after the directory, which had all records in memory.
    ours::open(path)?.store().close()?;
    let mut seconds = 0.0;
    for _ in 0..REPEATS {
        let start = Instant::now();
        let runtime = ours::open(path)?;
        let now = runtime.event_cursor_now()?;
        seconds += start.elapsed().as_secs_f64();
        ensure!(
            now.next_event_id == dataset.events() + 1,
            "events are missing"
        );
        runtime.store().close()?;
    }
    Ok(seconds / f64::from(REPEATS))
}
