//! Printing what comes next.

use crate::failure::{Failure, Status};
use crate::output::Output;
use crate::select::StoreArgument;
use redb_runtime_store::store::Snapshot;
use redb_runtime_store::{RuntimeError, Store};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// How often a store that another process writes to is looked at.
const POLL: Duration = Duration::from_millis(20);

/// The most rows that are printed of one state of the store.
const ROWS_AT_A_TIME: usize = 4096;

/// How long somebody who interrupts waits for a write that nobody reads.
const LAST_WRITE: Duration = Duration::from_millis(300);

/// How long a file may be away while another one takes its place, in polls.
const POLLS_WITHOUT_FILE: u32 = 50;

/// What follows what was printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is more already.
    Now,
    /// There is nothing more yet.
    Later,
    /// Everything that was wanted is printed.
    Nothing,
}

/// A log that is printed, from where it stopped the last time.
pub(crate) trait Log {
    /// Prints no more than `rows` rows of one state of the store.
    fn print(
        &mut self,
        snapshot: &Snapshot,
        output: &mut Output,
        rows: usize,
    ) -> Result<Next, Failure>;

    /// Refuses a state in which the log is not there any more, or is another one than was printed.
    fn check(&self, snapshot: &Snapshot) -> Result<(), Failure>;
}

/// Prints one state of a log, or all that follow as well.
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
        log.print(&store.snapshot()?, output, usize::MAX)?;
    }
    Ok(Status::Done)
}

/// Prints what is new in one state of the store after another, until everything is printed, the user
/// interrupts, or nobody reads what is printed.
fn follow(
    mut store: Store,
    argument: &StoreArgument,
    output: &mut Output,
    log: &mut impl Log,
) -> Result<(), Failure> {
    let interrupted = interrupts()?;
    loop {
        // Given up before anything is written: a slow reader keeps no old state in the file.
        let next = {
            let snapshot = store.snapshot()?;
            log.check(&snapshot)?;
            output.hold();
            log.print(&snapshot, output, ROWS_AT_A_TIME)?
        };
        output.finish()?;
        let pause = match next {
            Next::Now => Duration::ZERO,
            Next::Later => POLL,
            Next::Nothing => return Ok(()),
        };
        match interrupted.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
        if next == Next::Later && output.is_read_by_nobody() {
            return Ok(());
        }
        if next == Next::Later && !store.is_in_place() {
            store = open_again(argument, output)?;
        }
    }
}

/// Hears interrupts. A write to a pipe that nobody reads never ends, so who interrupts does not wait
/// for it.
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

/// Opens the store whose file was moved away from its path, or replaced there.
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
