//! `man`: prints the manual pages.

use crate::arguments::help;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use clap::{Args, Command};
use clap_mangen::Man;

/// Print a manual page
///
/// Prints the page of the program, or of one command, in roff.
#[derive(Args)]
#[command(after_help = help::MAN)]
pub(crate) struct Manual {
    /// The command
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

impl Manual {
    pub(crate) fn run(&self, output: &mut Output, mut program: Command) -> Result<Status, Failure> {
        // Building sets the full names of the commands and gives them the global options.
        program.build();
        let command = match &self.command {
            None => program,
            Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
                Failure::WrongUse(format!(
                    "no command `{name}`; `runtime-store --help` lists the commands"
                ))
            })?,
        };
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        output.bytes(&page)?;
        Ok(Status::Done)
    }
}
