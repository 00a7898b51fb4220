//! The store against what a host would use instead.
//!
//! Speed is a ratio: both sides are measured in one run on one disk, in interleaved rounds, and what
//! counts is the median over the rounds. What was written is read back and compared, so that nobody
//! measures a no-op. Rows that lose are shown.

mod bare_redb;
mod child;
mod directory;
mod machine;
mod measure;
mod ours;
mod peer;
mod plain_file;
mod rows;
mod sqlite;
mod table;
mod workload;

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};
use rows::{Bench, Row};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;
use table::Table;

/// Measures the store against a directory of JSON, SQLite, bare redb and a plain file.
#[derive(Debug, Parser)]
struct Options {
    /// Fewer and shorter rounds: about three minutes.
    #[arg(long)]
    short: bool,
    /// Exits with 1 where a threshold is missed; the last line says how many, and which.
    #[arg(long)]
    check: bool,
    /// Where to measure; a directory inside cargo's target directory unless given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Only this kind of work; repeatable.
    #[arg(long)]
    only: Vec<Row>,
    /// Measures the store on PostgreSQL against SQLite, and nothing else. `tests/postgres/run` installs the server.
    #[cfg(feature = "postgres")]
    #[arg(long)]
    postgres: bool,
    #[command(subcommand)]
    job: Option<child::Job>,
}

impl Options {
    fn is_postgres(&self) -> bool {
        #[cfg(feature = "postgres")]
        return self.postgres;
        #[cfg(not(feature = "postgres"))]
        false
    }
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    if let Some(job) = &options.job {
        child::work(job)?;
        return Ok(ExitCode::SUCCESS);
    }
    let table = measure(&options)?;
    println!("{table}");
    if !options.check {
        return Ok(ExitCode::SUCCESS);
    }
    println!("{}", table.verdict());
    Ok(ExitCode::from(u8::from(!table.holds())))
}

fn measure(options: &Options) -> Result<Table> {
    let parent = match &options.dir {
        Some(dir) => dir.clone(),
        None => target_dir()?,
    };
    let dir = tempfile::Builder::new()
        .prefix("peers-")
        .tempdir_in(&parent)?;
    println!("{}\n", machine::describe(dir.path())?);
    let bench = Bench::new(dir.path(), options.short);
    let mut table = Table::default();
    if options.short {
        table.note("--short: fewer and shorter rounds; import and export of 200,000 inputs");
    }
    #[cfg(feature = "postgres")]
    if options.postgres {
        bench.run_postgres(&mut table)?;
    }
    for row in Row::value_variants() {
        if options.is_postgres() {
            break;
        }
        if options.only.is_empty() || options.only.contains(row) {
            let start = Instant::now();
            bench.run(*row, &mut table)?;
            eprintln!("{row:?}: {:.0} s", start.elapsed().as_secs_f64());
        }
    }
    Ok(table)
}

/// The directory that the program was built into: it is on a disk where the source is, and git does
/// not look at it.
fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe()?;
    let dir = program
        .ancestors()
        .nth(2)
        .context("the program's directory")?;
    Ok(dir.to_owned())
}
