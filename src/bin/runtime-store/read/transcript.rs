//! `transcript`: prints the transcript of a worker.

use crate::arguments::help;
use crate::arguments::rows::{EndArguments, TextArguments, role};
use crate::arguments::select::{RuntimeArgument, StoreArgument, parse_worker_id, worker_of};
use crate::output::colour;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::output::text::visible;
use crate::output::text::wrapped;
use crate::read::backwards::{Backwards, show_end};
use crate::read::follow::{Log, Next, refuse_replaced};
use crate::read::times::{TimeArguments, Times};
use clap::Args;
use redb_runtime_store::RuntimeError;
use redb_runtime_store::identity::{WorkerId, WorkerRef};
use redb_runtime_store::interaction::{RecordedEntry, TranscriptEntry, TranscriptRole};
use redb_runtime_store::store::{Snapshot, Stored};
use std::ops::{ControlFlow, Range};
use std::path::PathBuf;
use std::time::SystemTime;

/// Print the transcript of a worker
#[derive(Args)]
#[command(after_help = help::TRANSCRIPT)]
pub(crate) struct Transcript {
    #[command(flatten)]
    store: StoreArgument,
    /// The worker: its id, the beginning of its id, or its number
    #[arg(value_name = "WORKER", value_parser = parse_worker_id)]
    worker: WorkerId,
    #[command(flatten)]
    runtime: RuntimeArgument,
    /// Start at this position; 0 is the first entry that is left
    #[arg(long, value_name = "N", default_value_t = 0, id = "from_start")]
    start: u64,
    /// Print at most this many entries
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Print only entries with this role; repeatable
    #[arg(long, value_parser = role())]
    role: Vec<TranscriptRole>,
    #[command(flatten)]
    text: TextArguments,
    #[command(flatten)]
    end: EndArguments,
    #[command(flatten)]
    times: TimeArguments,
    /// Keep printing new entries until interrupted
    #[arg(long)]
    follow: bool,
}

impl Transcript {
    /// Whether the verb goes on until it is interrupted.
    pub(crate) fn is_followed(&self) -> bool {
        self.follow
    }

    pub(crate) fn run(&self, output: &mut Output) -> Result<Status, Failure> {
        let (store, runtime_id) = self.runtime.open(&self.store, output)?;
        let snapshot = store.snapshot()?;
        let worker = worker_of(&snapshot, &runtime_id, &self.worker)?;
        refuse_unknown(&snapshot, &worker)?;
        drop(snapshot);
        let mut printer = Printer {
            transcript: self,
            worker,
            position: self.start,
            is_begun: false,
            until: None,
            left: self.limit.unwrap_or(usize::MAX),
            last: None,
            times: self.times.read()?,
            day: None,
            path: store.path().to_owned(),
        };
        let how = (&self.end, self.follow, self.limit);
        show_end(store, &self.store, output, how, &mut printer)
    }
}

fn refuse_unknown(snapshot: &Snapshot, worker: &WorkerRef) -> Result<(), Failure> {
    match snapshot.worker(worker)? {
        Some(_) => Ok(()),
        None => Err(Failure::Store(RuntimeError::WorkerNotFound {
            runtime_id: worker.runtime_id.clone(),
            worker_id: worker.worker_id.clone(),
        })),
    }
}

/// Prints a transcript; each call continues after the last printed entry.
struct Printer<'a> {
    transcript: &'a Transcript,
    worker: WorkerRef,
    /// The position of the next entry; 0 before the first one is that of the first entry that is left.
    position: u64,
    /// Whether a snapshot was printed.
    is_begun: bool,
    /// The position at which the transcript ends, if it does.
    until: Option<u64>,
    /// How many entries may still be printed.
    left: usize,
    /// The last entry that was read, printed or not.
    last: Option<TranscriptEntry>,
    times: Times,
    /// The day of the last printed entry that has a time.
    day: Option<String>,
    path: PathBuf,
}

impl Log for Printer<'_> {
    /// Reads at most `rows` entries.
    fn print(
        &mut self,
        snapshot: &Snapshot,
        output: &mut Output,
        rows: usize,
    ) -> Result<Next, Failure> {
        // From here on an entry that is pruned before it was printed is an error, see `check`.
        if !self.is_begun {
            self.is_begun = true;
            self.position = self.position.max(snapshot.first_position(&self.worker)?);
        }
        let entries = snapshot.recorded_transcript(&self.worker, self.position)?;
        let mut looked_at = 0;
        for entry in entries.take(rows) {
            if self.left == 0 || output.holds_enough() {
                break;
            }
            let (entry, recorded_at) = dated(entry?);
            if self.until.is_some_and(|until| self.position >= until) {
                break;
            }
            looked_at += 1;
            self.position += 1;
            if self.selects(&entry.value, recorded_at) {
                self.left -= 1;
                self.one(output, &entry, recorded_at)?;
            }
            self.last = Some(entry.value);
        }
        Ok(Next::after(looked_at, rows, self.left, output))
    }

    fn end_with(&mut self, snapshot: &Snapshot) {
        // Damage is reported after the rows before it.
        self.until = snapshot.transcript_len(&self.worker).ok();
    }

    fn check(&self, snapshot: &Snapshot) -> Result<(), Failure> {
        refuse_unknown(snapshot, &self.worker)?;
        let first = snapshot.first_position(&self.worker)?;
        if first > self.position && (self.is_begun || self.position > 0) {
            return Err(Failure::Store(RuntimeError::EventsPruned {
                requested: self.position,
                first,
            }));
        }
        let position = self.position.saturating_sub(1);
        let Some(last) = self.last.as_ref().filter(|_| position >= first) else {
            return Ok(());
        };
        let found = snapshot.transcript(&self.worker, position)?.next();
        refuse_replaced(found, last, &self.path, format!("entry {}", last.sequence))
    }
}

impl Backwards for Printer<'_> {
    type Row = (Stored<TranscriptEntry>, Option<SystemTime>);

    fn numbers(&self, snapshot: &Snapshot) -> Result<Range<u64>, Failure> {
        let first = snapshot.first_position(&self.worker)?;
        Ok(first..snapshot.transcript_len(&self.worker)?)
    }

    fn each_selected(
        &self,
        snapshot: &Snapshot,
        numbers: Range<u64>,
        each: &mut dyn FnMut(u64, Self::Row) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure> {
        let entries = snapshot.recorded_transcript(&self.worker, numbers.start)?;
        for (position, entry) in numbers.zip(entries) {
            let (entry, recorded_at) = dated(entry?);
            if self.selects(&entry.value, recorded_at)
                && each(position, (entry, recorded_at))?.is_break()
            {
                break;
            }
        }
        Ok(())
    }

    fn text_bytes((entry, _): &Self::Row) -> usize {
        entry.value.content.len()
    }

    fn begin_at(&mut self, number: u64) {
        self.position = number;
    }

    fn row(&mut self, output: &mut Output, (entry, time): Self::Row) -> Result<(), Failure> {
        self.one(output, &entry, time)
    }
}

/// An entry and its time.
fn dated(entry: Stored<RecordedEntry>) -> (Stored<TranscriptEntry>, Option<SystemTime>) {
    let recorded_at = entry.value.recorded_at;
    (entry.map(|recorded| recorded.entry), recorded_at)
}

impl Printer<'_> {
    fn selects(&self, entry: &TranscriptEntry, recorded_at: Option<SystemTime>) -> bool {
        let wanted = self.transcript;
        (wanted.role.is_empty() || wanted.role.contains(&entry.role))
            && wanted.text.select(&entry.content)
            && self.times.select(recorded_at)
    }

    fn one(
        &mut self,
        output: &mut Output,
        entry: &Stored<TranscriptEntry>,
        recorded_at: Option<SystemTime>,
    ) -> Result<(), Failure> {
        if output.json {
            return output.record(entry, recorded_at.filter(|_| self.times.are_shown));
        }
        // Undated entries precede the dated ones of a worker; they look as they do without times.
        if !self.times.are_shown || recorded_at.is_none() {
            return print(output, "", &entry.value);
        }
        let day = self.times.day(recorded_at);
        if let Some(day) = day.filter(|day| self.day.as_ref() != Some(day)) {
            let heading = output.painted(colour::HEADING, &format!("{:>7} {day}", ""));
            output.line_after(&heading, "")?;
            self.day = Some(day);
        }
        let time = format!("{:<8} ", self.times.time_of_day(recorded_at));
        print(output, &time, &entry.value)
    }
}

/// Prints an entry: its sequence, its time, its role, and the wrapped text in a column of its own.
fn print(output: &mut Output, time: &str, entry: &TranscriptEntry) -> Result<(), Failure> {
    let (role, style) = match entry.role {
        TranscriptRole::User => ("user      ", colour::USER),
        TranscriptRole::Assistant => ("assistant ", colour::ASSISTANT),
        TranscriptRole::System => ("system    ", colour::SYSTEM),
    };
    let sequence = format!("{:>7} {time}", entry.sequence);
    let indent = " ".repeat(sequence.len() + role.len() + " ".len());
    let width = output.text_width().saturating_sub(indent.len());
    let mut before = format!("{sequence}{} ", output.painted(style, role));
    for paragraph in entry.content.split('\n') {
        let shown = visible(paragraph.replace('\t', "    "));
        for line in wrapped(&shown, width) {
            output.line_after(&before, line)?;
            indent.clone_into(&mut before);
        }
    }
    Ok(())
}
