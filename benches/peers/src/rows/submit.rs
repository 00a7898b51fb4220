//! `submit` from one thread, with a bounded number of inputs that are not on disk yet.

use super::{Bench, WORKERS};
use crate::measure::{Contender, interleave};
use crate::ours::Ours;
use crate::peer::Measured;
use crate::sqlite::{Connections, Sqlite};
use crate::table::{Bound, Line, Table, Unit, rate};
use crate::workload::{Inputs, Tally};
use anyhow::{Context, Result};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::store::CommitSyncs;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const IN_FLIGHT: usize = 256;

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let dir = TempDir::new_in(&bench.dir)?;
    let ours = Ours::open(&dir.path().join("ours.redb"), WORKERS, CommitSyncs::One)?;
    let path = dir.path().join("peer.sqlite");
    let sqlite = Sqlite::create(&path, WORKERS, Connections::Shared)?;
    let ours_measured = Measured::new(&ours, &bench.inputs, WORKERS);
    let sqlite_measured = Measured::new(&sqlite, &bench.inputs, WORKERS);
    let contenders: Vec<Contender<'_>> = vec![
        Box::new(|| {
            let (seconds, sent) = round(&ours, &bench.inputs, bench.slice())?;
            ours_measured.sent(sent);
            Ok(seconds)
        }),
        Box::new(|| sqlite_measured.round(1, bench.slice())),
    ];
    let samples = interleave(bench.rounds(15, 9), contenders)?;
    ours_measured.check("the store")?;
    sqlite_measured.check("SQLite")?;
    table.push(Line {
        work: format!("submit, 1 thread, {IN_FLIGHT} in flight"),
        against: "SQLite",
        threshold: Bound::AtLeast(20.0),
        stretch: Bound::AtLeast(30.0),
        value: samples[0].speed_over(&samples[1]),
        unit: Unit::Times,
        ours: rate(samples[0].median()),
        theirs: rate(samples[1].median()),
    });
    Ok(())
}

/// The seconds that an input takes, and what was sent. An input counts once it is on disk.
fn round(ours: &Ours, inputs: &Inputs, slice: Duration) -> Result<(f64, Tally)> {
    let mut pending = VecDeque::with_capacity(IN_FLIGHT);
    let (mut sent, mut durable) = (Tally::default(), 0_u64);
    let deadline = Instant::now() + slice;
    while Instant::now() < deadline {
        let (worker, text) = (sent.inputs as usize % WORKERS, inputs.text(sent.inputs));
        let (to, input) = (ours.workers[worker].clone(), WorkerInput::user(text));
        pending.push_back(ours.runtime.submit(move |tx| tx.send_input(&to, input)));
        sent.add(worker, text);
        if pending.len() == IN_FLIGHT {
            let oldest = pending.pop_front().context("some are in flight")?;
            oldest.wait()?;
            durable += 1;
        }
    }
    for rest in pending {
        rest.wait()?;
    }
    Ok((slice.as_secs_f64() / durable as f64, sent))
}
