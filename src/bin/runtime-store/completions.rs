//! `completions`: what a shell needs to complete our arguments.

use crate::failure::{Failure, Status};
use crate::output::Output;
use crate::{Arguments, help};
use clap::{Args, CommandFactory};
use clap_complete::Shell;

/// Print the completions for a shell
#[derive(Args)]
#[command(after_help = help::COMPLETIONS)]
pub(crate) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let mut script = Vec::new();
        clap_complete::generate(
            self.shell,
            &mut Arguments::command(),
            env!("CARGO_BIN_NAME"),
            &mut script,
        );
        output.bytes(&script)?;
        Ok(Status::Done)
    }
}
