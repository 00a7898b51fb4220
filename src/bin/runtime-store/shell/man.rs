//! `man`: prints the manual pages.

use crate::arguments::help;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use clap::{Args, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use std::io::{self, Write};

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
        render(command, &mut page)?;
        output.bytes(&page)?;
        Ok(Status::Done)
    }
}

/// Writes the page of a command, with the sections that readers of manual pages expect.
fn render(command: Command, page: &mut dyn Write) -> io::Result<()> {
    let end = command.get_after_help().map(ToString::to_string);
    let has_commands = command.has_subcommands();
    let man = Man::new(command);
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if has_commands {
        man.render_subcommands_section(page)?;
    }
    let end = end.unwrap_or_default();
    let (notes, examples) = match end.split_once(help::EXAMPLES) {
        Some((notes, examples)) => (notes, examples),
        None => (end.as_str(), ""),
    };
    let mut roff = Roff::new();
    let notes = notes.trim().split("\n\n");
    let notes: Vec<&str> = notes
        .filter(|note| !note.is_empty() && !note.starts_with(help::EXIT_CODES))
        .collect();
    if !notes.is_empty() {
        roff.control("SH", ["NOTES"]);
        for note in notes {
            roff.control("PP", []).text([roman(note)]);
        }
    }
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in help::EXIT_STATUS {
        roff.control("TP", [])
            .text([roman(code)])
            .text([roman(meaning)]);
    }
    if !examples.is_empty() {
        // Each line is one command: they must not be filled.
        roff.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in examples.trim_end().lines() {
            roff.text([roman(line)]);
        }
        roff.control("fi", []);
    }
    roff.to_writer(page)
}
