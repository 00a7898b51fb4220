//! Work that is done in a process of its own, so that its memory can be told, or so that it can be
//! killed.

use crate::machine::memory_kib;
use crate::ours::Ours;
use crate::sqlite::{Copying, Reading};
use crate::workload::{Dataset, Inputs, PAGE};
use crate::{directory, ours, sqlite};
use anyhow::{Context, Result, bail, ensure};
use redb_runtime_store::interaction::{TranscriptEntry, WorkerInput};
use redb_runtime_store::layout::{self, ExportOptions, ImportOptions};
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::observation::RuntimeEvent;
use redb_runtime_store::store::CommitSyncs;
use redb_runtime_store::{RuntimeError, Store};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The threads that write to a store that is killed.
const HAMMERING_THREADS: usize = 8;

/// What a child measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    /// The most memory that was resident at a time.
    pub(crate) peak_kib: u64,
    /// Records, or bytes where it is about those.
    pub(crate) done: u64,
}

/// What a child does.
#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum Job {
    /// Imports a directory into a new store.
    #[command(hide = true)]
    Import { root: PathBuf, store: PathBuf },
    /// Parses the logs of a directory.
    #[command(hide = true)]
    Parse { root: PathBuf, workers: usize },
    /// Exports a store to a new directory.
    #[command(hide = true)]
    Export { store: PathBuf, root: PathBuf },
    /// Serialises the records of a data set, into memory.
    #[command(hide = true)]
    Serialise { inputs: u64, workers: usize },
    /// Writes and syncs a file.
    #[command(hide = true)]
    Write { path: PathBuf, bytes: u64 },
    /// Backs a store up.
    #[command(hide = true)]
    Backup { store: PathBuf, copy: PathBuf },
    /// Verifies a store.
    #[command(hide = true)]
    Verify { store: PathBuf },
    /// Backs a database of SQLite up, and checks the copy.
    #[command(hide = true)]
    SqliteBackup {
        database: PathBuf,
        copy: PathBuf,
        copying: Copying,
        reading: Reading,
    },
    /// Checks a database of SQLite.
    #[command(hide = true)]
    SqliteCheck { database: PathBuf, reading: Reading },
    /// Reads all events of a store in pages.
    #[command(hide = true)]
    Follow { store: PathBuf },
    /// Follows the events of a store until it is killed.
    #[command(hide = true)]
    Watch { store: PathBuf },
    /// Writes to a store until it is killed.
    #[command(hide = true)]
    Hammer {
        store: PathBuf,
        workers: usize,
        #[arg(default_value_t = HAMMERING_THREADS)]
        threads: usize,
    },
}

/// Runs a job, and prints what it measured.
pub(crate) fn work(job: &Job) -> Result<()> {
    let (seconds, done) = match job {
        Job::Import { root, store } => import(root, store)?,
        Job::Parse { root, workers } => parse(root, *workers)?,
        Job::Export { store, root } => export(store, root)?,
        Job::Serialise { inputs, workers } => serialise(&Dataset {
            inputs: *inputs,
            workers: *workers,
        })?,
        Job::Write { path, bytes } => write(path, *bytes)?,
        Job::Backup { store, copy } => backup(store, copy)?,
        Job::Verify { store } => verify(store)?,
        Job::SqliteBackup {
            database,
            copy,
            copying,
            reading,
        } => sqlite_backup(database, copy, *copying, *reading)?,
        Job::SqliteCheck { database, reading } => sqlite_check(database, *reading)?,
        Job::Follow { store } => follow(store)?,
        Job::Watch { store } => return watch_until_killed(store),
        Job::Hammer {
            store,
            workers,
            threads,
        } => return hammer(store, *workers, *threads),
    };
    let peak_kib = memory_kib("/proc/self/status", "VmHWM")?;
    println!("{seconds} {peak_kib} {done}");
    Ok(())
}

fn command(job: &str, arguments: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(job).args(arguments);
    Ok(command)
}

/// Has a child do a job.
pub(crate) fn run(job: &str, arguments: &[&str]) -> Result<Outcome> {
    let output = command(job, arguments)?.stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{job} failed: {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let fields: Vec<&str> = text.split_whitespace().collect();
    let [seconds, peak_kib, done] = fields[..] else {
        bail!("{job} printed {text:?}");
    };
    Ok(Outcome {
        seconds: seconds.parse()?,
        peak_kib: peak_kib.parse()?,
        done: done.parse()?,
    })
}

/// Also creates and closes the store, which is on disk then.
fn import(root: &Path, path: &Path) -> Result<(f64, u64)> {
    let start = Instant::now();
    let options = ImportOptions::default();
    let report = layout::import_to_path(root, path, &Store::options(), options)?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(report.findings.is_empty(), "the directory is clean");
    let records = report.runtimes.iter();
    let records = records.map(|runtime| runtime.events + runtime.transcript_entries);
    Ok((seconds, records.sum()))
}

fn parse(root: &Path, workers: usize) -> Result<(f64, u64)> {
    let start = Instant::now();
    let mut records = 0;
    directory::each_record(&directory::events_path(root), |event: RuntimeEvent| {
        std::hint::black_box(&event);
        records += 1;
    })?;
    for worker in 0..workers {
        let path = directory::transcript_path(root, worker);
        directory::each_record(&path, |entry: TranscriptEntry| {
            std::hint::black_box(&entry);
            records += 1;
        })?;
    }
    Ok((start.elapsed().as_secs_f64(), records))
}

/// What the program gives redb to read with.
const READING_CACHE_BYTES: usize = 4 << 20;

fn export(path: &Path, root: &Path) -> Result<(f64, u64)> {
    let options = Store::options().cache_bytes(READING_CACHE_BYTES);
    let store = options.read_only(true).open(path)?;
    let start = Instant::now();
    let report = layout::export(&store, root, ExportOptions::default())?;
    let seconds = start.elapsed().as_secs_f64();
    store.close()?;
    Ok((
        seconds,
        report.runtimes.iter().map(|runtime| runtime.bytes).sum(),
    ))
}

/// Serialises chunks of records into a buffer that is used again: making the records is not
/// measured, and neither is memory that is touched for the first time.
fn serialise(dataset: &Dataset) -> Result<(f64, u64)> {
    const CHUNK: u64 = 4096;
    let inputs = Inputs::new();
    let mut buffer = Vec::with_capacity(CHUNK as usize * 512);
    let (mut seconds, mut bytes) = (0.0, 0);
    for first in (1..=dataset.events()).step_by(CHUNK as usize) {
        let ids = first..=dataset.events().min(first + CHUNK - 1);
        let events: Vec<RuntimeEvent> = ids.map(|id| dataset.event(id)).collect();
        bytes += serialise_chunk(&events, &mut buffer, &mut seconds)?;
    }
    for worker in 0..dataset.workers {
        let entries = dataset.entries(worker);
        for first in (0..entries).step_by(CHUNK as usize) {
            let positions = first..entries.min(first + CHUNK);
            let chunk: Vec<TranscriptEntry> = positions
                .map(|position| dataset.entry(&inputs, worker, position))
                .collect();
            bytes += serialise_chunk(&chunk, &mut buffer, &mut seconds)?;
        }
    }
    Ok((seconds, bytes))
}

fn serialise_chunk<T: serde::Serialize>(
    records: &[T],
    buffer: &mut Vec<u8>,
    seconds: &mut f64,
) -> Result<u64> {
    let start = Instant::now();
    buffer.clear();
    for record in records {
        serde_json::to_writer(&mut *buffer, record)?;
        buffer.push(b'\n');
    }
    *seconds += start.elapsed().as_secs_f64();
    Ok(std::hint::black_box(&*buffer).len() as u64)
}

fn write(path: &Path, bytes: u64) -> Result<(f64, u64)> {
    let block = vec![b'x'; 1 << 20];
    let start = Instant::now();
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        let next = left.min(block.len() as u64);
        file.write_all(&block[..next as usize])?;
        left -= next;
    }
    file.sync_data()?;
    Ok((start.elapsed().as_secs_f64(), bytes))
}

/// The copy is read back, compared and on disk when the backup returns.
fn backup(path: &Path, copy: &Path) -> Result<(f64, u64)> {
    let store = Store::open(path)?;
    let start = Instant::now();
    let report = store.backup(copy)?;
    let seconds = start.elapsed().as_secs_f64();
    store.close()?;
    Ok((seconds, report.rows))
}

fn verify(path: &Path) -> Result<(f64, u64)> {
    let store = Store::open(path)?;
    let start = Instant::now();
    let report = store.verify()?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(report.is_clean(), "{:?}", report.findings);
    store.close()?;
    Ok((seconds, report.rows))
}

fn sqlite_backup(
    path: &Path,
    copy: &Path,
    copying: Copying,
    reading: Reading,
) -> Result<(f64, u64)> {
    let from = sqlite::connect(path)?;
    let start = Instant::now();
    sqlite::back_up(&from, copy, copying)?;
    sqlite::check(copy, reading)?;
    Ok((start.elapsed().as_secs_f64(), 0))
}

fn sqlite_check(path: &Path, reading: Reading) -> Result<(f64, u64)> {
    let start = Instant::now();
    sqlite::check(path, reading)?;
    Ok((start.elapsed().as_secs_f64(), 0))
}

fn follow(path: &Path) -> Result<(f64, u64)> {
    let runtime = ours::open(path)?;
    let start = Instant::now();
    let mut cursor = runtime.event_cursor_from_start()?;
    let mut events = 0;
    loop {
        let batch = runtime.read_events(&cursor, PAGE)?;
        events += batch.events.len() as u64;
        cursor = batch.cursor;
        if !batch.has_more {
            break;
        }
    }
    Ok((start.elapsed().as_secs_f64(), events))
}

/// Starts a child that follows the events of a store from now on, and waits until it does.
pub(crate) fn watch(path: &Path) -> Result<Child> {
    let store = path.to_str().context("a path in UTF-8")?;
    let mut child = command("watch", &[store])?.stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().context("a pipe")?;
    let line = BufReader::new(output).lines().next();
    ensure!(line.transpose()?.is_some(), "the child ended");
    Ok(child)
}

fn watch_until_killed(path: &Path) -> Result<()> {
    let store = Store::options().read_only(true).open(path)?;
    let runtime = store.runtime(RuntimeOptions {
        runtime_id: Some(crate::workload::runtime_id()),
        ..RuntimeOptions::default()
    })?;
    let mut follower = runtime.follow_events(runtime.event_cursor_now()?)?;
    println!("following");
    loop {
        match follower.next_batch(Duration::from_secs(60)) {
            Ok(_) => {}
            Err(RuntimeError::EventsPruned { .. }) => {
                follower = runtime.follow_events(runtime.event_cursor_from_start()?)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sends inputs, and prints the greatest event id that was acknowledged, again and again.
fn hammer(path: &Path, workers: usize, threads: usize) -> Result<()> {
    let runtime = Ours::open(path, workers, CommitSyncs::One)?.runtime;
    let inputs = Inputs::new();
    let acknowledged = AtomicU64::new(0);
    let send = |thread: usize| -> Result<()> {
        let worker = crate::workload::worker_ref(thread % workers);
        for n in 0.. {
            let input = WorkerInput::user(inputs.text(n));
            let ack = runtime.send_input(&worker, input)?;
            acknowledged.fetch_max(ack.event_id, Ordering::SeqCst);
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let send = &send;
            scope.spawn(move || send(thread).expect("a store on a whole disk takes inputs"));
        }
        loop {
            std::thread::sleep(Duration::from_millis(5));
            let last = acknowledged.load(Ordering::SeqCst);
            if writeln!(std::io::stdout(), "{last}").is_err() {
                // Nobody listens any more, and nobody is going to kill us.
                std::process::exit(1);
            }
        }
    })
}

/// Lets a child write to a store for `span`, and kills it. Returns the last event id that it said
/// was acknowledged.
pub(crate) fn hammer_and_kill(path: &Path, workers: usize, span: Duration) -> Result<u64> {
    let store = path.to_str().context("a path in UTF-8")?;
    let mut child = command("hammer", &[store, &workers.to_string()])?
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("a pipe")?;
    let mut lines = BufReader::new(output).lines();
    // Opening takes its time: the span begins with the first acknowledgement.
    let mut last = 0;
    while last == 0 {
        last = lines.next().context("the child ended")??.parse()?;
    }
    std::thread::sleep(span);
    child.kill()?;
    child.wait()?;
    for line in lines {
        // The kill may have cut the last line off, which then says less, or nothing.
        last = last.max(line?.parse().unwrap_or(0));
    }
    Ok(last)
}
