//! `runtime-store`: inspects and maintains stores, and moves them to and from directories of JSON.
//!
//! Exit codes: 0 success, 1 failure, no match of `search` or `redact`, or a question not answered with yes, 2 wrong
//! arguments, 3 the store is locked, 4 damage or differences found.

#![forbid(unsafe_code)]

mod arguments;
mod change;
mod maintain;
mod output;
mod panics;
mod read;
mod report;
mod shell;
mod transfer;

use arguments::url::without_password;
use arguments::{help, words};
use clap::{CommandFactory, Parser, Subcommand};
use output::colour::When;
use output::failure::{Failure, Status};
use output::print::{self, Output};
use output::text::visible;
use std::ffi::OsString;
use std::process::ExitCode;

/// Inspect and maintain runtime stores, and move them to and from directories of JSON
#[derive(Parser)]
#[command(name = env!("CARGO_BIN_NAME"), version, after_help = help::PROGRAM, max_term_width = 80)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
    /// Print JSON, one object per line
    #[arg(long, global = true)]
    json: bool,
    /// Print only results and errors
    #[arg(long, short, global = true)]
    quiet: bool,
    /// When to print colours
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t = When::Auto)]
    color: When,
    /// Never pipe long output into a pager
    #[arg(long, global = true)]
    no_pager: bool,
}

#[derive(Subcommand)]
enum Verb {
    Import(transfer::import::Import),
    Export(transfer::export::Export),
    Copy(transfer::copy::Copy),
    Compare(transfer::compare::Compare),
    Imports(transfer::imports::Imports),
    Runtimes(read::runtimes::Runtimes),
    Workers(read::workers::Workers),
    Worker(read::worker::Worker),
    Events(read::events::Events),
    Transcript(read::transcript::Transcript),
    Search(read::search::Search),
    Diagnostics(read::diagnostics::Diagnostics),
    Unfinished(read::unfinished::Unfinished),
    Stats(read::stats::Stats),
    Report(report::verb::Report),
    StopWorker(change::stop_worker::StopWorker),
    StopRuntime(change::stop_runtime::StopRuntime),
    Rename(change::rename::Rename),
    SetLimits(change::set_limits::SetLimits),
    DeleteWorker(change::delete_worker::DeleteWorker),
    DeleteRuntime(change::delete_runtime::DeleteRuntime),
    SetAttributes(change::set_attributes::SetAttributes),
    Redact(change::redact::Redact),
    Prune(change::prune::Prune),
    Pin(change::pin::Pin),
    Verify(maintain::verify::Verify),
    Backup(maintain::backup::Backup),
    Compact(maintain::compact::Compact),
    Migrate(maintain::migrate::Migrate),
    Completions(shell::completions::Completions),
    Man(shell::man::Manual),
}

impl Verb {
    fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        match self {
            Self::Import(verb) => verb.run(output),
            Self::Export(verb) => verb.run(output),
            Self::Copy(verb) => verb.run(output),
            Self::Compare(verb) => verb.run(output),
            Self::Imports(verb) => verb.run(output),
            Self::Runtimes(verb) => verb.run(output),
            Self::Workers(verb) => verb.run(output),
            Self::Worker(verb) => verb.run(output),
            Self::Events(verb) => verb.run(output),
            Self::Transcript(verb) => verb.run(output),
            Self::Search(verb) => verb.run(output),
            Self::Diagnostics(verb) => verb.run(output),
            Self::Unfinished(verb) => verb.run(output),
            Self::Stats(verb) => verb.run(output),
            Self::Report(verb) => verb.run(output),
            Self::StopWorker(verb) => verb.run(output),
            Self::StopRuntime(verb) => verb.run(output),
            Self::Rename(verb) => verb.run(output),
            Self::SetLimits(verb) => verb.run(output),
            Self::DeleteWorker(verb) => verb.run(output),
            Self::DeleteRuntime(verb) => verb.run(output),
            Self::SetAttributes(verb) => verb.run(output),
            Self::Redact(verb) => verb.run(output),
            Self::Prune(verb) => verb.run(output),
            Self::Pin(verb) => verb.run(output),
            Self::Verify(verb) => verb.run(output),
            Self::Backup(verb) => verb.run(output),
            Self::Compact(verb) => verb.run(output),
            Self::Migrate(verb) => verb.run(output),
            Self::Completions(verb) => verb.run(output),
            Self::Man(verb) => verb.run(output, Arguments::command()),
        }
    }
}

impl Verb {
    /// Whether the verb prints what can be longer than a screen, and ends by itself.
    fn may_be_long(&self) -> bool {
        match self {
            Self::Events(verb) => !verb.is_followed(),
            Self::Transcript(verb) => !verb.is_followed(),
            Self::Imports(_)
            | Self::Runtimes(_)
            | Self::Workers(_)
            | Self::Worker(_)
            | Self::Search(_)
            | Self::Diagnostics(_)
            | Self::Unfinished(_)
            | Self::Stats(_) => true,
            _ => false,
        }
    }
}

/// The arguments of this process. Ends it after help, and if the arguments are wrong.
fn parse() -> Arguments {
    let given: Vec<OsString> = std::env::args_os().collect();
    if let Some(help) = words::help(&given, Arguments::command()) {
        print::help(&help);
        std::process::exit(Status::Done as i32);
    }
    Arguments::try_parse_from(&given).unwrap_or_else(|error| {
        // clap quotes a wrong argument as it is, and a script may have taken it from a foreign name, or it has a password.
        // So it gets the arguments once more, escaped.
        let escaped = given
            .iter()
            .map(|argument| without_password(&visible(argument.display())));
        let mut error = Arguments::try_parse_from(escaped).err().unwrap_or(error);
        words::suggest(&mut error);
        error.exit()
    })
}

fn main() -> ExitCode {
    panics::silence_redb();
    shell::completions::answer(|| shell::ids::complete_ids(Arguments::command()));
    let arguments = parse();
    arguments.color.decide();
    let may_page = !arguments.no_pager && arguments.verb.may_be_long();
    let mut output = Output::new(arguments.json, arguments.quiet, may_page);
    let done = panics::report_uncaught(|| arguments.verb.run(&mut output));
    // Earlier results come before the error.
    let ended = output.end();
    let failure = match (done, ended) {
        (Ok(status), Ok(())) => return status.into(),
        (Ok(_), Err(failure)) => failure,
        (Err(failure), Err(ended)) if failure.is_closed_pipe() => ended,
        (Err(failure), _) => failure,
    };
    if failure.is_closed_pipe() {
        return ExitCode::SUCCESS;
    }
    print::failure(&failure);
    failure.status().into()
}
