//! Pruning half of a long log while eight threads write and two processes follow.

use super::{Bench, LONG, WORKERS};
use crate::child;
use crate::measure::median;
use crate::ours::{self, Ours};
use crate::table::{Bound, Line, Table, Unit, duration, thousands};
use anyhow::{Context, Result, ensure};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::retention::{PruneOptions, Retention};
use redb_runtime_store::store::CommitSyncs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Processes that follow the events.
const FOLLOWERS: usize = 2;

/// The usual time of an input is the one that 99 of 100 do not exceed.
const USUAL: f64 = 0.99;

/// One run: the usual time of an input, the longest one during the prune, and the time of the prune; seconds.
struct Run {
    usual: f64,
    longest: f64,
    prune: f64,
}

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let logs = bench.logs()?;
    let runs = (0..3).map(|_| once(bench, &logs.ours));
    let runs = runs.collect::<Result<Vec<_>>>()?;
    let of = |value: fn(&Run) -> f64| median(runs.iter().map(value).collect());
    table.push(Line {
        work: format!(
            "longest input of 8 threads, 2 processes following, during a prune of half of {} events",
            thousands(LONG.inputs)
        ),
        against: "the p99 without it",
        threshold: Bound::AtMost(5.0),
        stretch: Bound::None,
        value: of(|run| run.longest / run.usual),
        unit: Unit::Times,
        ours: format!("{} of {}", duration(of(|run| run.longest)), duration(of(|run| run.prune))),
        theirs: duration(of(|run| run.usual)),
    });
    Ok(())
}

fn once(bench: &Bench, long: &Path) -> Result<Run> {
    let dir = TempDir::new_in(&bench.dir)?;
    let path = dir.path().join("pruned.redb");
    std::fs::copy(long, &path)?;
    let ours = Ours::open(&path, WORKERS, CommitSyncs::One)?;
    let mut followers = Vec::new();
    for _ in 0..FOLLOWERS {
        followers.push(child::watch(&path)?);
    }
    let span = bench.slice() * 5;
    // What is written first is not measured: the caches fill.
    write_until(bench, &ours, || sleep(bench.slice()))?;
    let (mut usual, ()) = write_until(bench, &ours, || sleep(span))?;
    let policy = Retention::new().keep_events(LONG.inputs / 2);
    let (during, (prune, removed)) = write_until(bench, &ours, || {
        let start = Instant::now();
        let report = ours.runtime.prune(&policy, PruneOptions::new())?;
        let events = report.runtimes.first().map_or(0, |one| one.events);
        Ok((start.elapsed(), events))
    })?;
    for mut follower in followers {
        ensure!(follower.try_wait()?.is_none(), "a follower has ended");
        follower.kill()?;
        follower.wait()?;
    }
    ensure!(
        removed >= LONG.inputs / 2,
        "only {removed} events were removed"
    );
    ours.runtime.store().close()?;
    ensure!(ours::open(&path)?.event_cursor_from_start()?.next_event_id > LONG.inputs / 2);
    usual.sort_unstable();
    let at = (usual.len() as f64 * USUAL) as usize;
    let usual = usual
        .get(at)
        .or(usual.last())
        .context("no input was sent")?;
    let longest = during.iter().max().context("no input was sent")?;
    Ok(Run {
        usual: usual.as_secs_f64(),
        longest: longest.as_secs_f64(),
        prune: prune.as_secs_f64(),
    })
}

fn sleep(span: Duration) -> Result<()> {
    std::thread::sleep(span);
    Ok(())
}

/// Sends inputs from all threads while `work` runs. Returns the time of each.
fn write_until<T>(
    bench: &Bench,
    ours: &Ours,
    work: impl FnOnce() -> Result<T>,
) -> Result<(Vec<Duration>, T)> {
    let is_done = AtomicBool::new(false);
    let inputs = &bench.inputs;
    let send = |thread: usize| -> Result<Vec<Duration>> {
        let mut times = Vec::new();
        while !is_done.load(Ordering::Relaxed) {
            let text = inputs.text(times.len() as u64);
            let start = Instant::now();
            let worker = &ours.workers[thread];
            ours.runtime.send_input(worker, WorkerInput::user(text))?;
            times.push(start.elapsed());
        }
        Ok(times)
    };
    std::thread::scope(|scope| {
        let send = &send;
        let threads: Vec<_> = (0..WORKERS)
            .map(|thread| scope.spawn(move || send(thread)))
            .collect();
        let worked = work();
        is_done.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for thread in threads {
            let sent = thread.join();
            times.extend(sent.map_err(|_| anyhow::anyhow!("a thread panicked"))??);
        }
        Ok((times, worked?))
    })
}
