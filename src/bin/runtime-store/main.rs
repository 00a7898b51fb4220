//! `runtime-store`: look into stores, and move them to and from directories.
//!
//! Exit codes: 0 done, 1 failed, 2 wrong use, 3 the store is locked, 4 damage or differences found.

#![forbid(unsafe_code)]

mod compare;
mod events;
mod export;
mod failure;
mod import;
mod output;
mod progress;
mod runtimes;
mod select;
mod table;
mod transcript;
mod workers;

use clap::{Parser, Subcommand};
use failure::{Failure, Status};
use output::Output;
use std::process::ExitCode;

/// Look into runtime stores, and move them to and from directories of JSON.
#[derive(Parser)]
#[command(version, about, after_help = EXIT_CODES, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Print JSON: one object a line
    #[arg(long, global = true)]
    json: bool,
    /// Print nothing but results and errors
    #[arg(long, short, global = true)]
    quiet: bool,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong use, 3 the store is locked by another process, \
4 damage or differences found.

A store is read while another process writes to it.";

#[derive(Subcommand)]
enum Verb {
    Import(import::Import),
    Export(export::Export),
    Compare(compare::Compare),
    Runtimes(runtimes::Runtimes),
    Workers(workers::Workers),
    Events(events::Events),
    Transcript(transcript::Transcript),
}

impl Verb {
    fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        match self {
            Self::Import(verb) => verb.run(output),
            Self::Export(verb) => verb.run(output),
            Self::Compare(verb) => verb.run(output),
            Self::Runtimes(verb) => verb.run(output),
            Self::Workers(verb) => verb.run(output),
            Self::Events(verb) => verb.run(output),
            Self::Transcript(verb) => verb.run(output),
        }
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut output = Output::new(arguments.json, arguments.quiet);
    let done = arguments
        .verb
        .run(&mut output)
        .and_then(|status| output.finish().map(|()| status));
    match done {
        Ok(status) => status.into(),
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            // What was printed so far comes first. A second failure would say the same.
            let _ = output.finish();
            eprintln!("runtime-store: {failure}");
            failure.status().into()
        }
    }
}
