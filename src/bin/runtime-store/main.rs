//! `runtime-store`: look into stores, maintain them, and move them to and from directories.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong use, 3 the store is locked, 4 damage or differences found.

#![forbid(unsafe_code)]

mod backup;
mod colour;
mod compact;
mod compare;
mod completions;
mod events;
mod export;
mod failure;
mod follow;
mod help;
mod import;
mod imports;
mod man;
mod migrate;
mod output;
mod panics;
mod progress;
mod repair;
mod runtimes;
mod select;
mod stats;
mod table;
mod transcript;
mod verify;
mod workers;

use clap::{Parser, Subcommand};
use failure::{Failure, Status};
use output::Output;
use std::process::ExitCode;

/// Look into runtime stores, maintain them, and move them to and from directories of JSON.
#[derive(Parser)]
#[command(name = env!("CARGO_BIN_NAME"), version, after_help = help::PROGRAM, max_term_width = 80)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Print JSON: one object a line
    #[arg(long, global = true)]
    json: bool,
    /// Print nothing but results and errors
    #[arg(long, short, global = true)]
    quiet: bool,
}

#[derive(Subcommand)]
enum Verb {
    Import(import::Import),
    Export(export::Export),
    Compare(compare::Compare),
    Imports(imports::Imports),
    Runtimes(runtimes::Runtimes),
    Workers(workers::Workers),
    Events(events::Events),
    Transcript(transcript::Transcript),
    Stats(stats::Stats),
    Verify(verify::Verify),
    Backup(backup::Backup),
    Compact(compact::Compact),
    Migrate(migrate::Migrate),
    Completions(completions::Completions),
    Man(man::Manual),
}

impl Verb {
    fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        match self {
            Self::Import(verb) => verb.run(output),
            Self::Export(verb) => verb.run(output),
            Self::Compare(verb) => verb.run(output),
            Self::Imports(verb) => verb.run(output),
            Self::Runtimes(verb) => verb.run(output),
            Self::Workers(verb) => verb.run(output),
            Self::Events(verb) => verb.run(output),
            Self::Transcript(verb) => verb.run(output),
            Self::Stats(verb) => verb.run(output),
            Self::Verify(verb) => verb.run(output),
            Self::Backup(verb) => verb.run(output),
            Self::Compact(verb) => verb.run(output),
            Self::Migrate(verb) => verb.run(output),
            Self::Completions(verb) => verb.run(output),
            Self::Man(verb) => verb.run(output),
        }
    }
}

fn main() -> ExitCode {
    panics::silence_redb();
    let arguments = Arguments::parse();
    let mut output = Output::new(arguments.json, arguments.quiet);
    let done = panics::tell(|| arguments.verb.run(&mut output))
        .and_then(|status| output.finish().map(|()| status));
    match done {
        Ok(status) => status.into(),
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed so far comes first. A second failure would say the same.
            let _ = output.finish();
            output::failure(&failure);
            failure.status().into()
        }
    }
}
