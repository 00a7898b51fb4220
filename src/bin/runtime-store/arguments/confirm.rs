//! The question before a verb removes something for good, and the checks around it.

use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use clap::Args;
use redb_runtime_store::RuntimeError;
use serde::Serialize;
use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::ops::ControlFlow;

/// Whether to ask, to go on without asking, or only to show the rows that would be removed.
#[derive(Args)]
pub(crate) struct ConfirmArguments {
    /// Do not ask; required where standard input or standard error is no terminal, and with --json
    #[arg(long)]
    yes: bool,
    /// Show the rows that would be changed or removed, and change nothing
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
}

/// The next step of a verb that has found the rows to remove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Show them, and ask.
    Ask,
    /// Remove them.
    Go,
    /// Show them.
    DryRun,
}

impl ConfirmArguments {
    /// The mode of the run. Refuses one that has to ask and cannot: call it before the store is opened.
    pub(crate) fn mode(&self, output: &Output) -> Result<Mode, Failure> {
        if self.yes {
            return Ok(Mode::Go);
        }
        if self.dry_run {
            return Ok(Mode::DryRun);
        }
        let why = match output.json {
            true => "with --json",
            false if !(io::stdin().is_terminal() && io::stderr().is_terminal()) => {
                "without a terminal to ask on"
            }
            false => return Ok(Mode::Ask),
        };
        Err(Failure::WrongUse(format!(
            "nothing was changed: {why} this command needs --yes; --dry-run shows the rows"
        )))
    }
}

/// The rows that a deletion removes.
pub(crate) trait Going: Serialize + PartialEq {
    /// The rows in the words of the question.
    fn in_words(&self) -> String;
}

/// Shows the rows that `find` finds: prints them in a dry run, and asks otherwise. Returns the rows that were shown, `None`
/// without a question; or how the run ends. `find` closes its store: a question can stay open for hours, and a snapshot
/// would keep the pages that a host replaces meanwhile.
pub(crate) fn shown<G: Going>(
    output: &mut Output,
    mode: Mode,
    find: impl FnOnce(&Output) -> Result<G, Failure>,
) -> Result<ControlFlow<Status, Option<G>>, Failure> {
    if mode == Mode::Go {
        return Ok(ControlFlow::Continue(None));
    }
    let going = find(output)?;
    let words = going.in_words();
    if mode == Mode::Ask {
        return Ok(match ask(output, &format!("delete {words}"))? {
            true => ControlFlow::Continue(Some(going)),
            false => ControlFlow::Break(declined(output)),
        });
    }
    match output.json {
        true => output.object(&going)?,
        false => output.summary(format!("would delete {words}"))?,
    }
    Ok(ControlFlow::Break(Status::Done))
}

/// Refuses to go on with rows that are not those that were shown.
pub(crate) fn refuse_change(is_as_shown: bool, changed: &str) -> Result<(), RuntimeError> {
    match is_as_shown {
        true => Ok(()),
        false => Err(RuntimeError::InvalidRequest(format!(
            "{changed} have changed since they were shown; nothing was changed by this command"
        ))),
    }
}

/// Refuses to ask about, or to show, the deletion of `id`, which the library would reject: it checks that only as a part of
/// the deletion itself.
pub(crate) fn refuse_running(
    is_running: bool,
    (what, id): (&str, impl Display),
    how_to_end: &str,
) -> Result<(), RuntimeError> {
    match is_running {
        false => Ok(()),
        true => Err(RuntimeError::InvalidRequest(format!(
            "{what} {id} is running: {how_to_end} it before it is deleted"
        ))),
    }
}

/// The failure of output before the question. Nobody reads the rows if the reader has closed the pipe, so nothing is
/// changed, and that is no success.
pub(crate) fn unread(failure: Failure) -> Failure {
    match failure.is_closed_pipe() {
        true => Failure::Output(io::Error::other(
            "standard output was closed before the question; nothing was changed",
        )),
        false => failure,
    }
}

/// Asks on standard error whether to do `what`, and reads the answer from the terminal. Everything but `y` and `yes` is a
/// no, also the end of the input.
pub(crate) fn ask(output: &mut Output, what: &str) -> Result<bool, Failure> {
    // What was shown comes before the question.
    output.flush().map_err(unread)?;
    let mut stderr = io::stderr();
    write!(stderr, "{}? [y/N] ", visible(what))?;
    stderr.flush()?;
    let mut answer = String::new();
    // An answer that is no UTF-8 is a no, too.
    let read = io::stdin().read_line(&mut answer).unwrap_or_default();
    if read == 0 {
        let _ = writeln!(stderr);
    }
    let answer = answer.trim().to_ascii_lowercase();
    Ok(["y", "yes"].contains(&answer.as_str()))
}

/// The end of a run whose question was answered with no.
pub(crate) fn declined(output: &Output) -> Status {
    output.remark("nothing was changed");
    Status::Failed
}
