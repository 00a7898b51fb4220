//! What is resident while a long log is read to its end.

use super::{Bench, LONG};
use crate::bare_redb::CACHE_BYTES;
use crate::child;
use crate::table::{Bound, Line, Table, Unit, duration, thousands};
use anyhow::{Context, Result, ensure};

/// What a runtime may take besides its cache.
const ROOM_BYTES: usize = 32 << 20;

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let store = &bench.logs()?.ours;
    let outcome = child::run("follow", &[store.to_str().context("a path in UTF-8")?])?;
    ensure!(outcome.done == LONG.events(), "events are missing");
    let allowed = CACHE_BYTES + ROOM_BYTES;
    table.push(Line {
        work: format!("resident, {} events read", thousands(LONG.inputs)),
        against: "cache + 32 MiB",
        threshold: Bound::AtMost((allowed >> 20) as f64),
        stretch: Bound::None,
        value: outcome.peak_kib as f64 / 1024.0,
        unit: Unit::MiB,
        ours: format!("read in {}", duration(outcome.seconds)),
        theirs: String::new(),
    });
    Ok(())
}
