//! [`Output`]: results on standard output, remarks and errors on standard error.

use crate::output::colour;
use crate::output::failure::Failure;
use crate::output::pager::{Screen, Sink};
use crate::output::text::{WIDTH, cut, visible, visible_json};
use anstyle::Style;
use redb_runtime_store::layout::{self, Finding};
use redb_runtime_store::store::Stored;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::SystemTime;

/// The standard output of a run, and the options that shape it.
pub(crate) struct Output {
    pub(crate) json: bool,
    quiet: bool,
    colours: bool,
    /// Whether standard output is a terminal, which acts on some characters of JSON.
    is_terminal: bool,
    stdout: BufWriter<Sink>,
    /// Buffer for the line of a record, reused.
    line: Vec<u8>,
    /// Output that is held back until [`finish`](Self::finish).
    held: Option<Vec<u8>>,
}

/// Held back output is written once it has this size, in bytes.
const HELD_BYTES: usize = 1 << 20;

impl Output {
    /// With `may_page` and on a terminal, output that is longer than the screen goes to a pager.
    pub(crate) fn new(json: bool, quiet: bool, may_page: bool) -> Self {
        let screen = if may_page { screen() } else { None };
        Self {
            json,
            quiet,
            colours: colour::on_stdout(),
            is_terminal: io::stdout().is_terminal(),
            stdout: BufWriter::with_capacity(64 << 10, Sink::new(screen)),
            line: Vec::new(),
            held: None,
        }
    }

    /// Holds back output until [`finish`](Self::finish), so that printing never blocks on a full pipe.
    pub(crate) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Whether the held back output has reached [`HELD_BYTES`].
    pub(crate) fn holds_enough(&self) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.len() >= HELD_BYTES)
    }

    /// The writer: the held back output, or standard output.
    pub(crate) fn out(&mut self) -> &mut dyn Write {
        match &mut self.held {
            Some(held) => held,
            None => &mut self.stdout,
        }
    }

    /// Whether standard output is a pipe or a terminal whose other end is closed.
    pub(crate) fn has_no_reader(&self) -> bool {
        let stdout = io::stdout();
        let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
        // If polling fails, the next write finds out.
        let poll_result = poll(&mut polled, Some(&Timespec::default()));
        poll_result.is_ok()
            && polled[0]
                .revents()
                .intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// Prints one JSON object as a line.
    pub(crate) fn object(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        serde_json::to_writer(&mut line, object).map_err(io::Error::from)?;
        line.push(b'\n');
        self.json_line(line)
    }

    /// Prints a line of JSON, and keeps the buffer. On a terminal its hidden characters are escaped; a pipe
    /// or a file gets every byte as it is.
    fn json_line(&mut self, line: Vec<u8>) -> Result<(), Failure> {
        match std::str::from_utf8(&line) {
            Ok(text) if self.is_terminal => {
                let shown = visible_json(text.trim_end());
                writeln!(self.out(), "{shown}")?;
            }
            _ => self.out().write_all(&line)?,
        }
        self.line = line;
        Ok(())
    }

    /// Prints bytes that end with a newline.
    pub(crate) fn bytes(&mut self, lines: &[u8]) -> Result<(), Failure> {
        self.out().write_all(lines)?;
        Ok(())
    }

    /// Prints a record as a line of the directory's logs, with its time as last member if it is given.
    pub(crate) fn record<T: Serialize>(
        &mut self,
        record: &Stored<T>,
        recorded_at: Option<SystemTime>,
    ) -> Result<(), Failure> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        layout::write_recorded_line(record, recorded_at, &mut line)?;
        self.json_line(line)
    }

    /// Prints a record as [`record`](Self::record) does, with more members after its own.
    pub(crate) fn record_with<T: Serialize>(
        &mut self,
        record: &Stored<T>,
        members: &[(&str, &str)],
    ) -> Result<(), Failure> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        layout::write_line(record, &mut line)?;
        // The brace of the record and the newline after it.
        line.truncate(line.len().saturating_sub(2));
        for (name, text) in members {
            write!(line, ",\"{name}\":")?;
            serde_json::to_writer(&mut line, text).map_err(io::Error::from)?;
        }
        line.extend_from_slice(b"}\n");
        self.json_line(line)
    }

    /// Prints one line, escaped: it may contain names and texts from outside.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        self.line_after("", line)
    }

    /// Prints one line that begins with `painted`, which is text of this program in colours.
    pub(crate) fn line_after(
        &mut self,
        painted: &str,
        line: impl AsRef<str>,
    ) -> Result<(), Failure> {
        let line = format!("{painted}{}", visible(line.as_ref().trim_end()));
        writeln!(self.out(), "{}", line.trim_end())?;
        Ok(())
    }

    /// Prints one line for people; nothing with `--json` or `--quiet`.
    pub(crate) fn summary(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        if self.json || self.quiet {
            return Ok(());
        }
        self.line(line)
    }

    /// Prints a remark about the run on standard error; nothing with `--quiet`.
    pub(crate) fn remark(&self, remark: impl AsRef<str>) {
        if !self.quiet {
            write_remark(format_args!("runtime-store: {}", visible(remark.as_ref())));
        }
    }

    /// `text` in `style`, if standard output gets colours.
    pub(crate) fn painted(&self, style: Style, text: &str) -> String {
        colour::paint(self.colours, style, text)
    }

    /// Width of running text: that of the terminal, from 40 to 100 columns.
    pub(crate) fn text_width(&self) -> usize {
        let terminal = terminal_size::terminal_size_of(io::stdout());
        terminal.map_or(WIDTH, |(width, _)| usize::from(width.0).clamp(40, 100))
    }

    /// Width of tables, in columns: the width of the terminal, at least 40; `None` if standard output is no terminal.
    pub(crate) fn table_width(&self) -> Option<usize> {
        // Asked for each row: a pipe must not cost a call to the system.
        if !self.is_terminal {
            return None;
        }
        let terminal = terminal_size::terminal_size_of(io::stdout());
        terminal.map(|(width, _)| usize::from(width.0).max(40))
    }

    /// Whether progress is shown: standard error is a terminal, and `--quiet` was not given.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Prints findings on standard error, one per line, with long texts cut.
    pub(crate) fn findings(&self, findings: &[Finding]) {
        if self.json || self.quiet {
            return;
        }
        for finding in findings {
            let shown = visible(finding);
            write_remark(format_args!("{}: {shown}", finding.severity()));
            if let Some(text) = &finding.text {
                let shown = match text.as_str() {
                    Some(text) => visible(text),
                    None => text.as_bytes().escape_ascii().to_string(),
                };
                write_remark(format_args!("    {}", cut(&shown)));
            }
        }
    }

    /// Writes buffered output, before something else is written to the terminal.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.stdout.flush()?;
        Ok(())
    }

    /// Writes held back and buffered output.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        if let Some(held) = self.held.take() {
            self.stdout.write_all(&held)?;
        }
        self.stdout.flush()?;
        Ok(())
    }

    /// Ends the output: writes the rest, and waits until the user has left the pager.
    pub(crate) fn end(&mut self) -> Result<(), Failure> {
        let finished = self.finish();
        // A pager that cannot be run says more than the pipe that it closed.
        self.stdout.get_mut().end()?;
        finished
    }
}

/// The size of the terminal; `None` if standard output is none, or one that cannot move its cursor.
fn screen() -> Option<Screen> {
    if !io::stdout().is_terminal() || std::env::var_os("TERM").is_some_and(|name| name == "dumb") {
        return None;
    }
    let (columns, rows) = terminal_size::terminal_size_of(io::stdout())?;
    let (columns, rows) = (usize::from(columns.0), usize::from(rows.0));
    (columns > 0 && rows > 0).then_some(Screen { columns, rows })
}

/// Prints the help of a command. An error of standard output changes nothing: the run ends with it.
pub(crate) fn help(text: &str) {
    let _ = io::stdout().write_all(text.as_bytes());
}

/// Prints an error with its causes and the advice on standard error.
pub(crate) fn failure(failure: &Failure) {
    let name = colour::paint(colour::on_stderr(), colour::FAILURE, "runtime-store:");
    let mut lines = failure.lines();
    if let Some(advice) = failure.advice() {
        lines.extend(advice.lines().map(|line| format!("  {line}")));
    }
    let lines: Vec<String> = lines.iter().map(visible).collect();
    write_remark(format_args!("{name} {}", lines.join("\n")));
}

/// Prints a line on standard error. If standard error is closed, the run continues without it.
fn write_remark(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
