//! Opening a store whose process was killed while it wrote.

use super::{Bench, WORKERS};
use crate::child::hammer_and_kill;
use crate::measure::median;
use crate::ours;
use crate::table::{Bound, Line, Table, Unit, duration, thousands};
use crate::workload::Dataset;
use anyhow::{Result, ensure};
use redb_runtime_store::observation::EventCursor;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// About 1 GB of rows.
const LARGE: Dataset = Dataset {
    inputs: 3_200_000,
    workers: WORKERS,
};

/// How long the process writes before it is killed.
const SPAN: Duration = Duration::from_millis(500);

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let dir = TempDir::new_in(&bench.dir)?;
    let path = dir.path().join("large.redb");
    ours::build(&path, &LARGE, &bench.inputs)?;
    let mut seconds = Vec::new();
    for _ in 0..bench.rounds(7, 2) {
        let acknowledged = hammer_and_kill(&path, LARGE.workers, SPAN)?;
        ensure!(acknowledged > LARGE.events(), "nothing was written");
        let start = Instant::now();
        let runtime = ours::open(&path)?;
        let now = runtime.event_cursor_now()?;
        seconds.push(start.elapsed().as_secs_f64());
        ensure!(now.next_event_id > acknowledged, "an event was lost");
        let last = EventCursor {
            next_event_id: acknowledged,
            ..now
        };
        let batch = runtime.read_events(&last, 1)?;
        ensure!(batch.events[0].id == acknowledged, "an event was lost");
        runtime.store().close()?;
    }
    let mib = std::fs::metadata(&path)?.len() >> 20;
    let worst = seconds.iter().copied().fold(0.0, f64::max);
    let value = median(seconds);
    table.push(Line {
        work: "reopen after kill -9, 1 GB".to_owned(),
        against: "a second",
        threshold: Bound::AtMost(1.0),
        stretch: Bound::None,
        value,
        unit: Unit::Seconds,
        ours: format!("worst {}", duration(worst)),
        theirs: String::new(),
    });
    table.note(format!(
        "the store that is killed has {} inputs in a file of {mib} MiB; \
         its pages are in the system's cache",
        thousands(LARGE.inputs)
    ));
    Ok(())
}
