//! The rows of the table, a file for each kind of work.

mod inputs;
mod maintain;
mod memory;
mod moving;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
mod prune;
mod reads;
mod reopen;
mod scale;
mod search;
mod submit;
mod summary;

use crate::table::Table;
use crate::workload::{Dataset, Inputs};
use crate::{directory, ours, sqlite};
use anyhow::Result;
use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Workers, unless a row says otherwise.
const WORKERS: usize = 8;

/// A log as long as logs get.
const LONG: Dataset = Dataset {
    inputs: 1_000_000,
    workers: 1,
};

/// A kind of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Row {
    Send,
    Submit,
    Read,
    Scale,
    Search,
    Open,
    Reopen,
    Move,
    Maintain,
    Prune,
    Summary,
    Memory,
}

/// What the rows share.
pub(crate) struct Bench {
    dir: PathBuf,
    inputs: Inputs,
    short: bool,
    logs: OnceCell<Logs>,
}

/// The long log, in the store and in two of its peers.
struct Logs {
    ours: PathBuf,
    sqlite: PathBuf,
    directory: PathBuf,
}

impl Bench {
    pub(crate) fn new(dir: &Path, short: bool) -> Self {
        Self {
            dir: dir.to_owned(),
            inputs: Inputs::new(),
            short,
            logs: OnceCell::new(),
        }
    }

    /// Measures the store on PostgreSQL.
    #[cfg(feature = "postgres")]
    pub(crate) fn run_postgres(&self, table: &mut Table) -> Result<()> {
        postgres::run(self, table)
    }

    /// Measures one kind of work.
    pub(crate) fn run(&self, row: Row, table: &mut Table) -> Result<()> {
        match row {
            Row::Send => inputs::run(self, table),
            Row::Submit => submit::run(self, table),
            Row::Read => reads::run(self, table),
            Row::Scale => scale::run(self, table),
            Row::Search => search::run(self, table),
            Row::Open => open::run(self, table),
            Row::Reopen => reopen::run(self, table),
            Row::Move => moving::run(self, table),
            Row::Maintain => maintain::run(self, table),
            Row::Prune => prune::run(self, table),
            Row::Summary => summary::run(self, table),
            Row::Memory => memory::run(self, table),
        }
    }

    fn rounds(&self, long: usize, short: usize) -> usize {
        if self.short { short } else { long }
    }

    /// How long each peer writes in a round.
    fn slice(&self) -> Duration {
        Duration::from_millis(if self.short { 120 } else { 600 })
    }

    fn logs(&self) -> Result<&Logs> {
        if let Some(logs) = self.logs.get() {
            return Ok(logs);
        }
        let logs = Logs {
            ours: self.dir.join("long.redb"),
            sqlite: self.dir.join("long.sqlite"),
            directory: self.dir.join("long"),
        };
        ours::build(&logs.ours, &LONG, &self.inputs)?;
        sqlite::build(&logs.sqlite, &LONG, &self.inputs)?;
        directory::build(&logs.directory, &LONG, &self.inputs)?;
        Ok(self.logs.get_or_init(|| logs))
    }
}
