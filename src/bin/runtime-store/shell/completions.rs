//! `completions`: prints a completion script for a shell.

use crate::arguments::help;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use clap::{Args, Command};
use clap_complete::Shell;

/// Print a completion script for a shell
#[derive(Args)]
#[command(after_help = help::COMPLETIONS)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, output: &mut Output, mut program: Command) -> Result<Status, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut program,
            env!("CARGO_BIN_NAME"),
            &mut script,
        );
        output.bytes(&script)?;
        Ok(Status::Done)
    }
}
