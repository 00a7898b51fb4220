//! Import and export, and the file that an import makes.

use super::{Bench, WORKERS};
use crate::child::{self, Outcome};
use crate::directory;
use crate::measure::{Contender, Samples, interleave};
use crate::table::{Bound, Line, Table, Unit, duration, thousands};
use crate::workload::Dataset;
use anyhow::{Context, Result, ensure};
use redb_runtime_store::Store;
use std::cell::Cell;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Where everything is, and the names of it for children.
struct Places {
    dataset: Dataset,
    root: String,
    store: String,
    exported: String,
    plain: String,
}

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let dir = TempDir::new_in(&bench.dir)?;
    let path = |name: &str| -> Result<String> {
        let path = dir.path().join(name);
        Ok(path.to_str().context("a path in UTF-8")?.to_owned())
    };
    let places = Places {
        dataset: Dataset {
            inputs: if bench.short { 200_000 } else { 1_000_000 },
            workers: WORKERS,
        },
        root: path("directory")?,
        store: path("imported.redb")?,
        exported: path("exported")?,
        plain: path("plain")?,
    };
    directory::build(Path::new(&places.root), &places.dataset, &bench.inputs)?;
    import(bench, &places, table)?;
    size(&places, table)?;
    export(bench, &places, table)
}

/// Has a child do a job that handles as much as it should, and notes the most memory it took.
fn timed(job: &str, arguments: &[&str], done: u64, peak_kib: &Cell<u64>) -> Result<f64> {
    let outcome: Outcome = child::run(job, arguments)?;
    ensure!(
        outcome.done == done,
        "{job} did {}, not {done}",
        outcome.done
    );
    peak_kib.set(peak_kib.get().max(outcome.peak_kib));
    Ok(outcome.seconds)
}

fn import(bench: &Bench, places: &Places, table: &mut Table) -> Result<()> {
    let (root, store) = (places.root.as_str(), places.store.as_str());
    let workers = WORKERS.to_string();
    let records = places.dataset.events() + places.dataset.inputs;
    let bytes = directory::bytes(Path::new(root))?;
    let (peak_kib, other) = (Cell::new(0), Cell::new(0));
    let contenders: Vec<Contender<'_>> = vec![
        Box::new(|| {
            remove(Path::new(store))?;
            timed("import", &[root, store], records, &peak_kib)
        }),
        Box::new(|| timed("parse", &[root, &workers], records, &other)),
        Box::new(|| write(places, bytes)),
    ];
    let samples = interleave(bench.rounds(5, 3), contenders)?;
    let work = format!("import {0} + {0}", thousands(places.dataset.inputs));
    report(&work, "parsing the JSON", (0.8, 1.0), &samples, table);
    memory(&work, peak_kib.get(), 100.0, table);
    Ok(())
}

fn export(bench: &Bench, places: &Places, table: &mut Table) -> Result<()> {
    let (store, exported) = (places.store.as_str(), places.exported.as_str());
    let dataset = &places.dataset;
    let counts = [dataset.inputs.to_string(), dataset.workers.to_string()];
    let logs = child::run("serialise", &[&counts[0], &counts[1]])?.done;
    // With the documents, which nobody serialises a million of.
    let bytes = directory::bytes(Path::new(&places.root))?;
    let (peak_kib, other) = (Cell::new(0), Cell::new(0));
    let contenders: Vec<Contender<'_>> = vec![
        Box::new(|| {
            remove(Path::new(exported))?;
            timed("export", &[store, exported], bytes, &peak_kib)
        }),
        Box::new(|| timed("serialise", &[&counts[0], &counts[1]], logs, &other)),
        Box::new(|| write(places, bytes)),
    ];
    let samples = interleave(bench.rounds(5, 3), contenders)?;
    let exported = directory::bytes(Path::new(exported))?;
    ensure!(
        exported == bytes,
        "the export has {exported} bytes, not {bytes}"
    );
    let work = format!("export {0} + {0}", thousands(dataset.inputs));
    report(&work, "serialising to memory", (0.5, 0.8), &samples, table);
    memory(&work, peak_kib.get(), 40.0, table);
    Ok(())
}

fn write(places: &Places, bytes: u64) -> Result<f64> {
    let arguments = [places.plain.as_str(), &bytes.to_string()];
    let seconds = timed("write", &arguments, bytes, &Cell::new(0))?;
    remove(Path::new(&places.plain))?;
    Ok(seconds)
}

/// Removes what an earlier round left.
fn remove(path: &Path) -> Result<()> {
    if path.is_dir() {
        fs::remove_dir_all(path)?;
    } else if path.exists() {
        fs::remove_file(path)?;
    }
    Ok(())
}

fn report(
    work: &str,
    against: &'static str,
    (threshold, stretch): (f64, f64),
    samples: &[Samples],
    table: &mut Table,
) {
    let [ours, memory, plain] = samples else {
        unreachable!("three were measured");
    };
    let mut line = Line {
        work: work.to_owned(),
        against,
        threshold: Bound::AtLeast(threshold),
        stretch: Bound::AtLeast(stretch),
        value: ours.speed_over(memory),
        unit: Unit::Times,
        ours: duration(ours.median()),
        theirs: duration(memory.median()),
    };
    table.push(line.clone());
    line.against = "writing and syncing as many bytes";
    line.threshold = Bound::None;
    line.stretch = Bound::None;
    line.value = ours.speed_over(plain);
    line.theirs = duration(plain.median());
    table.push(line);
}

fn memory(work: &str, peak_kib: u64, most_mib: f64, table: &mut Table) {
    table.push(Line {
        work: work.to_owned(),
        against: "peak resident size",
        threshold: Bound::AtMost(most_mib),
        stretch: Bound::None,
        value: peak_kib as f64 / 1024.0,
        unit: Unit::MiB,
        ours: String::new(),
        theirs: String::new(),
    });
}

/// The file that the last import left, before and after it is compacted.
fn size(places: &Places, table: &mut Table) -> Result<()> {
    let store = Path::new(&places.store);
    let imported = fs::metadata(store)?.len();
    let open = Store::open(store)?;
    open.compact()?;
    open.close()?;
    let compacted = fs::metadata(store)?.len();
    let directory = directory::bytes(Path::new(&places.root))?;
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20));
    let mut line = Line {
        work: "file right after import into a new file".to_owned(),
        against: "bytes of the directory",
        threshold: Bound::AtMost(1.0),
        stretch: Bound::AtMost(0.7),
        value: imported as f64 / directory as f64,
        unit: Unit::Times,
        ours: mib(imported),
        theirs: mib(directory),
    };
    table.push(line.clone());
    line.work = "file after import and compact".to_owned();
    line.threshold = Bound::AtMost(0.7);
    line.stretch = Bound::AtMost(0.5);
    line.value = compacted as f64 / directory as f64;
    line.ours = mib(compacted);
    table.push(line);
    Ok(())
}
