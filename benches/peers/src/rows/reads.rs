//! The end of a long log, and a page in the middle of a long transcript.

use super::{Bench, LONG};
use crate::measure::{Contender, Samples, interleave, time};
use crate::table::{Bound, Line, Table, Unit, duration, thousands};
use crate::workload::{PAGE, worker_ref};
use crate::{directory, ours, sqlite};
use anyhow::{Result, ensure};
use redb_runtime_store::Runtime;
use redb_runtime_store::interaction::{TranscriptEntry, TranscriptQuery};
use redb_runtime_store::observation::{EventCursor, RuntimeEvent};

/// How often a page is read in a round; the directory reads it once.
const REPEATS: u32 = 300;

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let logs = bench.logs()?;
    let runtime = ours::open(&logs.ours)?;
    let connection = sqlite::connect(&logs.sqlite)?;
    let expected: Vec<RuntimeEvent> = (LONG.events() - PAGE as u64 + 1..=LONG.events())
        .map(|id| LONG.event(id))
        .collect();
    let samples = compare(
        bench,
        &expected,
        || last_events(&runtime),
        || sqlite::last_events(&connection, PAGE),
        || directory::last_events(&logs.directory, PAGE),
    )?;
    let work = format!("last {PAGE} events of {}", thousands(LONG.inputs));
    report(&work, &samples, Bound::AtLeast(1000.0), table);

    let start = LONG.inputs as usize / 2;
    let worker = worker_ref(0);
    let expected: Vec<TranscriptEntry> = (start..start + PAGE)
        .map(|position| LONG.entry(&bench.inputs, 0, position as u64))
        .collect();
    let samples = compare(
        bench,
        &expected,
        || {
            let query = TranscriptQuery::new(start, PAGE);
            Ok(runtime.transcript_projection(&worker, query)?.items)
        },
        || sqlite::transcript_page(&connection, &worker, start, PAGE),
        || directory::transcript_page(&logs.directory, 0, start, PAGE),
    )?;
    let work = format!("transcript page of {PAGE} amid {}", thousands(LONG.inputs));
    report(&work, &samples, Bound::None, table);
    Ok(runtime.store().close()?)
}

/// Where the log ends, and the page before it.
pub(super) fn last_events(runtime: &Runtime) -> Result<Vec<RuntimeEvent>> {
    let now = runtime.event_cursor_now()?;
    let from = EventCursor {
        next_event_id: now.next_event_id - PAGE as u64,
        ..now
    };
    Ok(runtime.read_events(&from, PAGE)?.events)
}

/// Measures three ways to the same page.
fn compare<T: PartialEq>(
    bench: &Bench,
    expected: &[T],
    ours: impl Fn() -> Result<Vec<T>>,
    sqlite: impl Fn() -> Result<Vec<T>>,
    directory: impl Fn() -> Result<Vec<T>>,
) -> Result<Vec<Samples>> {
    let read = |repeats: u32, page: &dyn Fn() -> Result<Vec<T>>| -> Result<f64> {
        if repeats > 1 {
            // The first allocation after the directory's turn puts the million strings in order that
            // were freed there: up to 0.1 s that are nobody's reading.
            page()?;
        }
        let (seconds, page) = time(repeats, page)?;
        ensure!(page == expected, "a page is not as it was written");
        Ok(seconds)
    };
    let contenders: Vec<Contender<'_>> = vec![
        Box::new(|| read(REPEATS, &ours)),
        Box::new(|| read(REPEATS, &sqlite)),
        Box::new(|| read(1, &directory)),
    ];
    interleave(bench.rounds(15, 3), contenders)
}

fn report(work: &str, samples: &[Samples], over_directory: Bound, table: &mut Table) {
    let [ours, sqlite, directory] = samples else {
        unreachable!("three were compared");
    };
    let mut push = |against, theirs: &Samples, threshold, stretch| {
        table.push(Line {
            work: work.to_owned(),
            against,
            threshold,
            stretch,
            value: ours.speed_over(theirs),
            unit: Unit::Times,
            ours: duration(ours.median()),
            theirs: duration(theirs.median()),
        });
    };
    let (threshold, stretch) = (Bound::AtLeast(1.3), Bound::AtLeast(2.0));
    push("SQLite", sqlite, threshold, stretch);
    push("directory", directory, over_directory, Bound::None);
}
