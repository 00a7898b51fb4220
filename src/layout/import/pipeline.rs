//! A pipeline of two threads: one produces records, the other consumes them in batches.

use crate::commit::within::Within;
use crate::layout::error::LayoutError;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::{panic, thread};

/// The size of a batch: so many records, or records of so many bytes.
const BATCH_RECORDS: usize = 512;
const BATCH_BYTES: usize = 256 * 1024;

/// The capacity of the queue, in batches.
const WAITING_BATCHES: usize = 4;

/// The consumer has stopped: more records are of no use.
pub(crate) struct Stopped;

/// The end of the pipeline that the producer writes to.
pub(crate) struct Outbox<T> {
    batch: Vec<T>,
    bytes: usize,
    sender: SyncSender<Vec<T>>,
}

impl<T> Outbox<T> {
    /// Adds a record of about `bytes` bytes to the batch, and sends a full batch.
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

/// Runs the producer `make` on its own thread and the consumer `take` on this one. An error of `take`
/// stops both and is returned; otherwise the result is that of `make`.
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
        let within = Within::current();
        let making = thread::Builder::new()
            .spawn_scoped(scope, move || {
                within.enter();
                let made = make(&mut outbox);
                // It fails only where the consumer has stopped, and the consumer returns the error.
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
