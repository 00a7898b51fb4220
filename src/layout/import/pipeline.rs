//! Two halves of a long stream on two threads: one makes records, the other takes them.

use crate::layout::error::LayoutError;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::{panic, thread};

/// What goes over at a time: as many records, or records of as many bytes.
const BATCH_RECORDS: usize = 512;
const BATCH_BYTES: usize = 256 * 1024;

/// How many batches wait at most.
const WAITING_BATCHES: usize = 4;

/// The taking half has stopped: there is no use in making more.
pub(crate) struct Stopped;

/// Where the making half puts what it makes.
pub(crate) struct Outbox<T> {
    batch: Vec<T>,
    bytes: usize,
    sender: SyncSender<Vec<T>>,
}

impl<T> Outbox<T> {
    /// Hands on a record of about `bytes`.
    pub(crate) fn push(&mut self, record: T, bytes: usize) -> Result<(), Stopped> {
        self.batch.push(record);
        self.bytes += bytes;
        if self.batch.len() >= BATCH_RECORDS || self.bytes >= BATCH_BYTES {
            self.send()?;
        }
        Ok(())
    }

    fn send(&mut self) -> Result<(), Stopped> {
        self.bytes = 0;
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_RECORDS));
        self.sender.send(batch).map_err(|_| Stopped)
    }
}

/// Runs `make` on a thread of its own and `take` on this one, a few batches behind. An error of
/// `take` stops both; what `make` returns is the result otherwise.
pub(crate) fn ahead<T: Send, R: Send, E: From<LayoutError>>(
    make: impl FnOnce(&mut Outbox<T>) -> R + Send,
    mut take: impl FnMut(T) -> Result<(), E>,
) -> Result<R, E> {
    thread::scope(|scope| {
        let (sender, receiver) = sync_channel(WAITING_BATCHES);
        let mut outbox = Outbox {
            batch: Vec::new(),
            bytes: 0,
            sender,
        };
        let making = thread::Builder::new()
            .spawn_scoped(scope, move || {
                let made = make(&mut outbox);
                // If nobody takes the rest, the error is on the other side.
                let _ = outbox.send();
                made
            })
            .map_err(LayoutError::io("start a thread for", "the import"))?;
        let taken = receiver.iter().flatten().try_for_each(&mut take);
        drop(receiver);
        let made = making
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        taken.map(|()| made)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        let mut seen = Vec::new();
        let made = ahead(
            |out| (0..10_000).all(|n| out.push(n, 1).is_ok()),
            |n| {
                seen.push(n);
                Ok::<_, LayoutError>(())
            },
        );
        assert!(made.unwrap());
        assert_eq!(seen, (0..10_000).collect::<Vec<_>>());
    }

    #[test]
    fn an_error_of_the_taking_half_stops_the_making_half() {
        let failed = ahead(
            |out| while out.push((), BATCH_BYTES).is_ok() {},
            |()| {
                Err(LayoutError::io("take", "x")(
                    std::io::ErrorKind::Other.into(),
                ))
            },
        );
        assert!(matches!(
            failed,
            Err(LayoutError::Io {
                operation: "take",
                ..
            })
        ));
    }
}
