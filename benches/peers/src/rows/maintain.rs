//! Backup and verification of a long log.

use super::{Bench, LONG};
use crate::child;
use crate::measure::{Contender, Samples, interleave};
use crate::table::{Bound, Line, Table, Unit, duration, thousands};
use anyhow::{Context, Result};
use std::cell::Cell;
use std::fs;
use std::path::Path;

/// How SQLite can read a database that it checks.
const READINGS: [&[&str]; 2] = [&["mapped"], &["cached"]];

/// How it can copy a database, and read the copy.
const COPIES: [&[&str]; 4] = [
    &["pages", "mapped"],
    &["pages", "cached"],
    &["rows", "mapped"],
    &["rows", "cached"],
];

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let logs = bench.logs()?;
    let (ours, sqlite) = (text(&logs.ours)?, text(&logs.sqlite)?);
    let copy = bench.dir.join("copy");
    let copy = text(&copy)?;
    let peak_kib = Cell::new(0);
    let theirs = |settings: &'static [&'static str]| {
        let arguments = [&[sqlite, copy], settings].concat();
        copied("sqlite-backup", &arguments, &Cell::new(0))
    };
    let best = fastest(&COPIES, theirs)?;
    let contenders: Vec<Contender<'_>> = vec![
        Box::new(|| copied("backup", &[ours, copy], &peak_kib)),
        Box::new(|| theirs(best)),
    ];
    let samples = interleave(bench.rounds(7, 2), contenders)?;
    let work = format!("backup of {0} + {0}, read back", thousands(LONG.inputs));
    let against = "SQLite's backup with integrity_check of the copy";
    report((&work, against), 0.5, &samples, best, table);
    memory(&work, &peak_kib, table);

    peak_kib.set(0);
    let theirs = |settings: &'static [&'static str]| {
        let arguments = [&[sqlite], settings].concat();
        done("sqlite-check", &arguments, &Cell::new(0))
    };
    let best = fastest(&READINGS, theirs)?;
    let contenders: Vec<Contender<'_>> = vec![
        Box::new(|| done("verify", &[ours], &peak_kib)),
        Box::new(|| theirs(best)),
    ];
    let samples = interleave(bench.rounds(7, 2), contenders)?;
    let work = format!("verify {0} + {0}", thousands(LONG.inputs));
    report(
        (&work, "SQLite's integrity_check"),
        0.4,
        &samples,
        best,
        table,
    );
    memory(&work, &peak_kib, table);
    Ok(())
}

/// The settings with which SQLite took the least time, of one run each.
fn fastest(
    settings: &[&'static [&'static str]],
    mut run: impl FnMut(&'static [&'static str]) -> Result<f64>,
) -> Result<&'static [&'static str]> {
    let mut best: Option<(f64, &'static [&'static str])> = None;
    for one in settings {
        let seconds = run(one)?;
        if best.is_none_or(|(least, _)| seconds < least) {
            best = Some((seconds, one));
        }
    }
    Ok(best.context("SQLite has settings")?.1)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Has a child do a job; notes the most memory that it took.
fn done(job: &str, arguments: &[&str], peak_kib: &Cell<u64>) -> Result<f64> {
    let outcome = child::run(job, arguments)?;
    peak_kib.set(peak_kib.get().max(outcome.peak_kib));
    Ok(outcome.seconds)
}

/// Has a child make a copy, whose path is the second argument, and removes it.
fn copied(job: &str, arguments: &[&str], peak_kib: &Cell<u64>) -> Result<f64> {
    let seconds = done(job, arguments, peak_kib)?;
    fs::remove_file(arguments[1])?;
    Ok(seconds)
}

/// Reports `work` against SQLite with `settings`.
fn report(
    (work, against): (&str, &'static str),
    threshold: f64,
    samples: &[Samples],
    settings: &[&str],
    table: &mut Table,
) {
    let [ours, sqlite] = samples else {
        unreachable!("two were measured");
    };
    table.push(Line {
        work: work.to_owned(),
        against,
        threshold: Bound::AtLeast(threshold),
        stretch: Bound::AtLeast(1.0),
        value: ours.speed_over(sqlite),
        unit: Unit::Times,
        ours: duration(ours.median()),
        theirs: format!("{} ({})", duration(sqlite.median()), settings.join(", ")),
    });
}

/// Nothing was asked for here; the documentation promises constant memory.
fn memory(work: &str, peak_kib: &Cell<u64>, table: &mut Table) {
    table.push(Line {
        work: work.to_owned(),
        against: "peak resident size",
        threshold: Bound::None,
        stretch: Bound::None,
        value: peak_kib.get() as f64 / 1024.0,
        unit: Unit::MiB,
        ours: String::new(),
        theirs: String::new(),
    });
}
