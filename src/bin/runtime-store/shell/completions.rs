//! `completions`: prints a completion script for a shell; and what the script calls at each completion.

use crate::arguments::help;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use clap::{Args, Command};
use clap_complete::Shell;
use clap_complete::env::{CompleteEnv, Shells};

/// The variable of the environment with which the script calls the program.
const VARIABLE: &str = "RUNTIME_STORE_COMPLETE";

/// Print a completion script for a shell
///
/// The script calls this program at each completion: it completes commands, options, paths, and the ids of runtimes and
/// workers of the store on the line.
#[derive(Args)]
#[command(after_help = help::COMPLETIONS)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let mut script = Vec::new();
        let name = env!("CARGO_BIN_NAME");
        let shells = Shells::builtins();
        let shell = shells.completer(&self.shell.to_string()).ok_or_else(|| {
            Failure::WrongUse(format!("there is no completion script for {}", self.shell))
        })?;
        shell.write_registration(VARIABLE, name, name, name, &mut script)?;
        output.bytes(&script)?;
        Ok(Status::Done)
    }
}

/// Answers a completion script, and ends the process; returns if no script called.
pub(crate) fn answer(program: impl Fn() -> Command) {
    CompleteEnv::with_factory(program).var(VARIABLE).complete();
}
