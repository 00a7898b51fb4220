//! Printing what comes next.

use crate::failure::{Failure, Status};
use crate::output::Output;
use redb_runtime_store::Store;
use redb_runtime_store::store::Snapshot;
use std::io;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often a store that another process writes to is looked at.
const POLL: Duration = Duration::from_millis(20);

/// The most rows that are printed of one state of the store: it is not kept for a slow reader.
const ROWS_AT_A_TIME: usize = 4096;

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

/// Has `print` print one state of the store, or all that follow as well.
pub(crate) fn show(
    store: &Store,
    output: &mut Output,
    is_followed: bool,
    mut print: impl FnMut(&Snapshot, &mut Output, usize) -> Result<Next, Failure>,
) -> Result<Status, Failure> {
    if is_followed {
        follow(store, output, |snapshot, output| {
            print(snapshot, output, ROWS_AT_A_TIME)
        })?;
    } else {
        print(&store.snapshot()?, output, usize::MAX)?;
    }
    Ok(Status::Done)
}

/// Has `print` print what is new in one state of the store after another, until it says that it is
/// done, or the user interrupts.
fn follow(
    store: &Store,
    output: &mut Output,
    mut print: impl FnMut(&Snapshot, &mut Output) -> Result<Next, Failure>,
) -> Result<(), Failure> {
    let (interrupt, interrupted) = channel();
    // Who interrupts a second time is heard by then.
    ctrlc::set_handler(move || {
        let _ = interrupt.send(());
    })
    .map_err(|error| Failure::Output(io::Error::other(error)))?;
    loop {
        let next = print(&store.snapshot()?, output)?;
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
    }
}
