//! redb alone, in the mode of the store and with its tables, and a commit for each input.

use crate::peer::{InputPeer, Sender};
use crate::workload::{RUNTIME, Tally, worker_name};
use anyhow::{Context, Result};
use redb::{Builder, ConcurrencyMode, Database, ReadableDatabase, ReadableTable, TableDefinition};
use std::path::Path;

/// The cache that the store has by default.
pub(crate) const CACHE_BYTES: usize = 64 << 20;

const RUNTIMES: TableDefinition<&str, &[u8]> = TableDefinition::new("runtimes");
const WORKERS: TableDefinition<(&str, &str), &[u8]> = TableDefinition::new("workers");
const EVENTS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("events");
const TRANSCRIPTS: TableDefinition<(&str, &str, u64), &[u8]> = TableDefinition::new("transcripts");

pub(crate) struct BareRedb {
    database: Database,
    workers: Vec<String>,
}

impl BareRedb {
    pub(crate) fn create(path: &Path, workers: usize) -> Result<Self> {
        let mut builder = Builder::new();
        builder
            .set_cache_size(CACHE_BYTES)
            .set_concurrency_mode(ConcurrencyMode::SingleWriter);
        let database = builder.create(path)?;
        let workers: Vec<String> = (0..workers).map(worker_name).collect();
        let transaction = database.begin_write()?;
        {
            transaction.open_table(EVENTS)?;
            transaction.open_table(TRANSCRIPTS)?;
            let mut runtimes = transaction.open_table(RUNTIMES)?;
            runtimes.insert(RUNTIME, row(1, b"running").as_slice())?;
            let mut table = transaction.open_table(WORKERS)?;
            for worker in &workers {
                table.insert((RUNTIME, worker.as_str()), row(0, b"running").as_slice())?;
            }
        }
        transaction.commit()?;
        Ok(Self { database, workers })
    }
}

/// A row: a number, and what else there is.
fn row(number: u64, rest: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(8 + rest.len());
    row.extend_from_slice(&number.to_le_bytes());
    row.extend_from_slice(rest);
    row
}

fn number(row: &[u8]) -> Result<u64> {
    let bytes = row.first_chunk().context("a row without its number")?;
    Ok(u64::from_le_bytes(*bytes))
}

impl InputPeer for BareRedb {
    fn sender(&self) -> Result<Box<dyn Sender + '_>> {
        Ok(Box::new(self))
    }

    fn tally(&self) -> Result<Tally> {
        let transaction = self.database.begin_read()?;
        let mut tally = Tally::default();
        for row in transaction.open_table(TRANSCRIPTS)?.iter()? {
            let (key, value) = row?;
            let name = key.value().1;
            let worker = self.workers.iter().position(|worker| worker == name);
            let text = std::str::from_utf8(&value.value()[8..])?;
            tally.add(worker.context("an unknown worker")?, text);
        }
        Ok(tally)
    }
}

impl Sender for &BareRedb {
    fn send(&mut self, worker: usize, text: &str) -> Result<()> {
        let worker = self.workers[worker].as_str();
        let transaction = self.database.begin_write()?;
        {
            let mut runtimes = transaction.open_table(RUNTIMES)?;
            let stored = runtimes.get(RUNTIME)?.context("no runtime")?;
            let event = number(stored.value())?;
            drop(stored);
            runtimes.insert(RUNTIME, row(event + 1, b"running").as_slice())?;
            let mut workers = transaction.open_table(WORKERS)?;
            let stored = workers.get((RUNTIME, worker))?.context("no worker")?;
            let position = number(stored.value())?;
            drop(stored);
            let after = row(position + 1, b"running");
            workers.insert((RUNTIME, worker), after.as_slice())?;
            let mut events = transaction.open_table(EVENTS)?;
            events.insert((RUNTIME, event), worker.as_bytes())?;
            let mut transcripts = transaction.open_table(TRANSCRIPTS)?;
            let entry = row(event, text.as_bytes());
            transcripts.insert((RUNTIME, worker, position), entry.as_slice())?;
        }
        Ok(transaction.commit()?)
    }
}
