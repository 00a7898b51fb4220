//! The same work in a store with few rows and in one with very many.

use super::{Bench, LONG};
use crate::measure::{Contender, Samples, interleave, time};
use crate::ours;
use crate::table::{Bound, Line, Table, Unit, duration, thousands};
use crate::workload::{Dataset, PAGE, worker_ref};
use anyhow::{Result, ensure};
use redb_runtime_store::Runtime;
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
use redb_runtime_store::observation::EventCursor;
use tempfile::TempDir;

const FEW: u64 = 10_000;
const MANY: u64 = 10_000_000;
/// As many as `--short` has time to build.
const MANY_IN_SHORT: u64 = 2_000_000;

/// How often a page is read in a round, and how many inputs are sent.
const READS: u32 = 300;
const INPUTS: u32 = 100;

/// The seconds that a piece of work takes.
type Work<'a> = &'a dyn Fn(&Runtime) -> Result<f64>;

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let dir = TempDir::new_in(&bench.dir)?;
    let many = if bench.short { MANY_IN_SHORT } else { MANY };
    let build = |inputs: u64| -> Result<Runtime> {
        let path = dir.path().join(format!("{inputs}.redb"));
        let dataset = Dataset { inputs, ..LONG };
        ours::build(&path, &dataset, &bench.inputs)?;
        ours::open(&path)
    };
    let stores = [build(many)?, build(FEW)?];
    let works: [(&str, Work<'_>); 3] = [
        ("last events", &last_events),
        ("transcript page", &transcript_page),
        ("send_input", &|runtime| send(runtime, bench)),
    ];
    for (work, measure) in works {
        let contenders = stores
            .iter()
            .map(|runtime| Box::new(|| measure(runtime)) as Contender<'_>)
            .collect();
        let samples = interleave(bench.rounds(15, 7), contenders)?;
        report(work, many, &samples, table);
    }
    for runtime in stores {
        runtime.store().close()?;
    }
    Ok(())
}

fn last_events(runtime: &Runtime) -> Result<f64> {
    let (seconds, events) = time(READS, || {
        let now = runtime.event_cursor_now()?;
        let from = EventCursor {
            next_event_id: now.next_event_id - PAGE as u64,
            ..now
        };
        Ok(runtime.read_events(&from, PAGE)?.events.len())
    })?;
    ensure!(events == PAGE, "events are missing");
    Ok(seconds)
}

fn transcript_page(runtime: &Runtime) -> Result<f64> {
    let worker = worker_ref(0);
    let entries = runtime.transcript_projection(&worker, TranscriptQuery::new(0, 1))?;
    let query = TranscriptQuery::new(entries.total_items / 2, PAGE);
    let (seconds, entries) = time(READS, || {
        let page = runtime.transcript_projection(&worker, query)?;
        Ok(page.items.len())
    })?;
    ensure!(entries == PAGE, "entries are missing");
    Ok(seconds)
}

fn send(runtime: &Runtime, bench: &Bench) -> Result<f64> {
    let worker = worker_ref(0);
    let (seconds, _) = time(INPUTS, || {
        let input = WorkerInput::user(bench.inputs.text(0));
        Ok(runtime.send_input(&worker, input)?)
    })?;
    Ok(seconds)
}

fn report(work: &str, many: u64, samples: &[Samples], table: &mut Table) {
    let [long, short] = samples else {
        unreachable!("two were measured");
    };
    table.push(Line {
        work: format!("{work}, with {}", thousands(many)),
        against: "the same with 10,000",
        threshold: Bound::AtLeast(0.9),
        stretch: Bound::None,
        value: long.speed_over(short),
        unit: Unit::Times,
        ours: duration(long.median()),
        theirs: duration(short.median()),
    });
}
