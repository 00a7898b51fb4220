//! `--follow`: prints a log once, or keeps printing while other processes append to it.

use crate::arguments::select::StoreArgument;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use redb_runtime_store::store::{Snapshot, Stored};
use redb_runtime_store::{RuntimeError, Store};
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How often the store is polled for new rows.
const POLL: Duration = Duration::from_millis(20);

/// The most rows that are printed of one snapshot.
const ROWS_AT_A_TIME: usize = 4096;

/// How long an interrupt waits for a write to a pipe that is full.
const LAST_WRITE: Duration = Duration::from_millis(300);

/// How many polls a store's file may be missing while another file is renamed to its place.
const POLLS_WITHOUT_FILE: u32 = 50;

/// What to do after printing a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The log has more rows: print again at once.
    Now,
    /// The log has no more rows: poll again.
    Later,
    /// The limit is reached: stop.
    Nothing,
}

impl Next {
    /// The next step after `read` rows of at most `rows`, if `left` more rows may be printed.
    pub(crate) fn after(read: usize, rows: usize, left: usize, output: &Output) -> Self {
        match left {
            0 => Self::Nothing,
            _ if read == rows || output.holds_enough() => Self::Now,
            _ => Self::Later,
        }
    }
}

/// Fails if `found`, the row at the position of the last printed row, is not `last`: then the path leads to
/// another store. `name` names the row in the message.
pub(crate) fn refuse_replaced<T: PartialEq>(
    found: Option<Result<Stored<T>, RuntimeError>>,
    last: &T,
    path: &Path,
    name: String,
) -> Result<(), Failure> {
    match found.transpose()?.is_some_and(|found| found.value == *last) {
        true => Ok(()),
        false => Err(Failure::Replaced {
            path: path.to_owned(),
            last: name,
        }),
    }
}

/// A log that can be printed in parts.
pub(crate) trait Log {
    /// Prints at most `rows` rows of a snapshot, after the rows printed before.
    fn print(
        &mut self,
        snapshot: &Snapshot,
        output: &mut Output,
        rows: usize,
    ) -> Result<Next, Failure>;

    /// Ends the log after the last row of the snapshot, whatever later snapshots have.
    fn end_with(&mut self, snapshot: &Snapshot);

    /// Fails if the snapshot does not have the log, or if the last printed row is not in it.
    fn check(&self, snapshot: &Snapshot) -> Result<(), Failure>;
}

/// Prints a log up to its present end; with `is_followed`, prints new rows until interrupted.
pub(crate) fn show(
    store: Store,
    argument: &StoreArgument,
    output: &mut Output,
    is_followed: bool,
    log: &mut impl Log,
) -> Result<Status, Failure> {
    if is_followed {
        follow(store, argument, output, log)?;
    } else {
        log.end_with(&store.snapshot()?);
        while print_part(&store, output, log)? == Next::Now {}
    }
    Ok(Status::Done)
}

/// Prints at most [`ROWS_AT_A_TIME`] rows. The snapshot ends before any of them is written: a slow reader of
/// standard output must not keep old pages in the store's file, nor a lock of a process that is stopped.
fn print_part(store: &Store, output: &mut Output, log: &mut impl Log) -> Result<Next, Failure> {
    output.hold();
    let printed = {
        let snapshot = store.snapshot()?;
        log.check(&snapshot)
            .and_then(|()| log.print(&snapshot, output, ROWS_AT_A_TIME))
    };
    // Before an error: the rows that were read before it.
    output.finish()?;
    printed
}

/// Prints the new rows of one snapshot after another. Ends when the limit is reached, the user
/// interrupts, or the reader of standard output has closed it.
fn follow(
    mut store: Store,
    argument: &StoreArgument,
    output: &mut Output,
    log: &mut impl Log,
) -> Result<(), Failure> {
    let interrupted = interrupts()?;
    loop {
        let next = print_part(&store, output, log)?;
        let pause = match next {
            Next::Now => Duration::ZERO,
            Next::Later => POLL,
            Next::Nothing => return Ok(()),
        };
        match interrupted.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        if next == Next::Later && output.has_no_reader() {
            return Ok(());
        }
        if next == Next::Later && !store.is_in_place() {
            store = open_again(argument, output)?;
        }
    }
}

/// Listens for interrupts. A write to a full pipe can block forever, so the handler ends the process
/// itself after [`LAST_WRITE`].
fn interrupts() -> Result<Receiver<()>, Failure> {
    let (interrupt, interrupted) = channel();
    ctrlc::set_handler(move || {
        let _ = interrupt.send(());
        std::thread::sleep(LAST_WRITE);
        std::process::exit(Status::Done as i32);
    })
    .map_err(|error| Failure::Output(io::Error::other(error)))?;
    Ok(interrupted)
}

/// Opens the store again after its file was moved or replaced.
fn open_again(argument: &StoreArgument, output: &Output) -> Result<Store, Failure> {
    let mut polls = 0;
    loop {
        match argument.open(output) {
            Err(Failure::Store(RuntimeError::StoreMissing { .. }))
                if polls < POLLS_WITHOUT_FILE =>
            {
                polls += 1;
                std::thread::sleep(POLL);
            }
            opened => return opened,
        }
    }
}
