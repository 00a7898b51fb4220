//! `man`: the manual pages.

use crate::failure::{Failure, Status};
use crate::output::Output;
use crate::{Arguments, help};
use clap::{Args, CommandFactory};
use clap_mangen::Man;

/// Print a manual page
///
/// The page of the program, or of one command.
#[derive(Args)]
#[command(after_help = help::MAN)]
pub(crate) struct Manual {
    /// The command
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

impl Manual {
    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let mut program = Arguments::command();
        // Names the commands as they are called, and hands on the options that all have.
        program.build();
        let command = match &self.command {
            None => program,
            Some(name) => program.find_subcommand(name).cloned().ok_or_else(|| {
                Failure::WrongUse(format!("there is no command `{name}`: see --help"))
            })?,
        };
        let mut page = Vec::new();
        Man::new(command).render(&mut page)?;
        output.bytes(&page)?;
        Ok(Status::Done)
    }
}
