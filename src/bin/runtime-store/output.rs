//! What a run prints: results on standard output, remarks on standard error.

use crate::colour;
use crate::failure::Failure;
use crate::table::WIDTH;
use anstyle::Style;
use redb_runtime_store::layout::{self, Finding};
use redb_runtime_store::store::Stored;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;
use std::fmt;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

/// Where a run prints, and how.
pub(crate) struct Output {
    pub(crate) json: bool,
    quiet: bool,
    colours: bool,
    stdout: BufWriter<StdoutLock<'static>>,
    /// The record that is being printed.
    line: Vec<u8>,
    /// What is printed, where it is held back.
    held: Option<Vec<u8>>,
}

/// How much is held back before it is better written, in bytes.
const HELD_BYTES: usize = 1 << 20;

impl Output {
    pub(crate) fn new(json: bool, quiet: bool) -> Self {
        Self {
            json,
            quiet,
            colours: colour::on_stdout(),
            stdout: BufWriter::with_capacity(64 << 10, io::stdout().lock()),
            line: Vec::new(),
            held: None,
        }
    }

    /// Holds back what is printed until [`finish`](Self::finish), so that printing waits for nobody.
    pub(crate) fn hold(&mut self) {
        self.held.get_or_insert_default();
    }

    /// Whether so much is held back that it should be written.
    pub(crate) fn holds_enough(&self) -> bool {
        self.held
            .as_ref()
            .is_some_and(|held| held.len() >= HELD_BYTES)
    }

    /// Where what is printed goes.
    fn out(&mut self) -> &mut dyn Write {
        match &mut self.held {
            Some(held) => held,
            None => &mut self.stdout,
        }
    }

    /// Whether standard output is a pipe or a terminal whose other end is closed.
    pub(crate) fn is_read_by_nobody(&self) -> bool {
        let stdout = io::stdout();
        let mut polled = [PollFd::new(&stdout, PollFlags::empty())];
        // Where the system does not tell, the next write will.
        let told = poll(&mut polled, Some(&Timespec::default()));
        told.is_ok()
            && polled[0]
                .revents()
                .intersects(PollFlags::HUP | PollFlags::ERR)
    }

    /// Prints one JSON object on a line of its own.
    pub(crate) fn object(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        serde_json::to_writer(self.out(), object).map_err(io::Error::from)?;
        self.out().write_all(b"\n")?;
        Ok(())
    }

    /// Prints bytes that are whole lines.
    pub(crate) fn bytes(&mut self, lines: &[u8]) -> Result<(), Failure> {
        self.out().write_all(lines)?;
        Ok(())
    }

    /// Prints a record as the layout's logs have it.
    pub(crate) fn record<T: Serialize>(&mut self, record: &Stored<T>) -> Result<(), Failure> {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        layout::write_line(record, &mut line)?;
        self.out().write_all(&line)?;
        self.line = line;
        Ok(())
    }

    /// Prints one line.
    pub(crate) fn line(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        writeln!(self.out(), "{}", line.as_ref().trim_end())?;
        Ok(())
    }

    /// Prints one line of result for people: nothing with `--json` or `--quiet`.
    pub(crate) fn summary(&mut self, line: impl AsRef<str>) -> Result<(), Failure> {
        if self.json || self.quiet {
            return Ok(());
        }
        self.line(line)
    }

    /// Says something about the run that is no result, on standard error.
    pub(crate) fn remark(&self, remark: impl AsRef<str>) {
        if !self.quiet {
            say(format_args!("runtime-store: {}", visible(remark.as_ref())));
        }
    }

    /// `text` as standard output shows it in `style`.
    pub(crate) fn painted(&self, style: Style, text: &str) -> String {
        colour::paint(self.colours, style, text)
    }

    /// How many columns running text may take: a terminal's, within what reads well.
    pub(crate) fn text_width(&self) -> usize {
        let terminal = terminal_size::terminal_size_of(io::stdout());
        terminal.map_or(WIDTH, |(width, _)| usize::from(width.0).clamp(40, 100))
    }

    /// Whether there are people who watch: progress is shown to them only.
    pub(crate) fn shows_progress(&self) -> bool {
        !self.quiet && io::stderr().is_terminal()
    }

    /// Prints findings: on standard error, one a line, long texts cut.
    pub(crate) fn findings(&self, findings: &[Finding]) {
        if self.json || self.quiet {
            return;
        }
        for finding in findings {
            let shown = visible(&finding.to_string());
            say(format_args!("{}: {shown}", finding.severity()));
            if let Some(text) = &finding.text {
                let shown = match text.as_str() {
                    Some(text) => visible(text),
                    None => text.as_bytes().escape_ascii().to_string(),
                };
                say(format_args!("    {}", cut(&shown)));
            }
        }
    }

    /// Brings what was printed so far to who reads it.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        if let Some(held) = self.held.take() {
            self.stdout.write_all(&held)?;
        }
        self.stdout.flush()?;
        Ok(())
    }
}

/// Says why the run failed, and what to do about it, on standard error.
pub(crate) fn failure(failure: &Failure) {
    let name = colour::paint(colour::on_stderr(), colour::FAILURE, "runtime-store:");
    let mut message = failure.to_string();
    for cause in failure.causes() {
        // A message may name its cause already.
        if !message.contains(&cause) {
            message.push_str(": ");
            message.push_str(&cause);
        }
    }
    if let Some(advice) = failure.advice() {
        message.push_str("\n  ");
        message.push_str(advice);
    }
    let lines: Vec<String> = message.split('\n').map(visible).collect();
    say(format_args!("{name} {}", lines.join("\n")));
}

/// Prints a line on standard error. Where that is closed nobody is left to be told, and what the run
/// is for goes on.
fn say(line: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// The longest piece of a finding's text that a terminal gets, in characters.
const FINDING_TEXT_CHARS: usize = 160;

pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(FINDING_TEXT_CHARS) {
        Some((end, _)) => format!(
            "{}… ({} more bytes with --json)",
            &text[..end],
            text.len() - end
        ),
        None => text.to_owned(),
    }
}

/// `text` without characters that a terminal would act on: they are shown as escapes.
pub(crate) fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_invisible_mark(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Marks that change the direction of the text around them.
fn is_invisible_mark(character: char) -> bool {
    matches!(character, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// A number of bytes from the command line: `1000`, `64M`, `1GiB`.
pub(crate) fn parse_bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|character: char| character.is_ascii_alphabetic());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        _ => return Err("the unit is K, M or G: 1024, 1024^2 or 1024^3 bytes".into()),
    };
    let number: usize = digits
        .parse()
        .map_err(|_| "a number of bytes, as 64M".to_owned())?;
    match number.checked_mul(1 << shift) {
        None | Some(0) => Err("this is no length of a line".into()),
        Some(bytes) => Ok(bytes),
    }
}

/// A number of bytes for people.
pub(crate) fn bytes_for_people(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// `1 worker`, `2 workers`.
pub(crate) fn count(number: u64, singular: &str, plural: &str) -> String {
    let word = if number == 1 { singular } else { plural };
    format!("{} {word}", indicatif::HumanCount(number))
}
