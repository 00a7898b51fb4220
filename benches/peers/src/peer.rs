//! What every store of inputs can do, and how its speed is measured.

use crate::workload::{Inputs, Tally};
use anyhow::{Result, ensure};
use std::cell::Cell;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// A store of inputs with workers that exist already.
pub(crate) trait InputPeer: Sync {
    /// What one thread sends through: a connection of its own, where the peer has such.
    fn sender(&self) -> Result<Box<dyn Sender + '_>>;

    /// Reads everything back from the disk.
    fn tally(&self) -> Result<Tally>;
}

pub(crate) trait Sender {
    /// Gives an input to a worker. It is on disk when this returns.
    fn send(&mut self, worker: usize, text: &str) -> Result<()>;
}

/// A peer that is measured, and what was sent to it.
pub(crate) struct Measured<'a> {
    peer: &'a dyn InputPeer,
    inputs: &'a Inputs,
    workers: usize,
    sent: Cell<Tally>,
}

impl<'a> Measured<'a> {
    pub(crate) fn new(peer: &'a dyn InputPeer, inputs: &'a Inputs, workers: usize) -> Self {
        Self {
            peer,
            inputs,
            workers,
            sent: Cell::new(Tally::default()),
        }
    }

    /// The seconds that an input takes while `threads` threads send for `slice`, each to one
    /// worker. What is under way when the slice ends is finished, and not counted.
    pub(crate) fn round(&self, threads: usize, slice: Duration) -> Result<f64> {
        let barrier = Barrier::new(threads + 1);
        let (peer, inputs, workers) = (self.peer, self.inputs, self.workers);
        let send = |thread: usize| -> Result<(Tally, u64)> {
            let sender = peer.sender();
            barrier.wait();
            let mut sender = sender?;
            let deadline = Instant::now() + slice;
            let (mut sent, mut in_time) = (Tally::default(), 0);
            let worker = thread % workers;
            while Instant::now() < deadline {
                let text = inputs.text(sent.inputs + thread as u64);
                sender.send(worker, text)?;
                sent.add(worker, text);
                if Instant::now() < deadline {
                    in_time += 1;
                }
            }
            Ok((sent, in_time))
        };
        let counted = std::thread::scope(|scope| -> Result<u64> {
            let send = &send;
            let handles: Vec<_> = (0..threads)
                .map(|thread| scope.spawn(move || send(thread)))
                .collect();
            barrier.wait();
            let mut counted = 0;
            for handle in handles {
                let (sent, in_time) = handle.join().expect("a sender does not panic")?;
                self.sent(sent);
                counted += in_time;
            }
            Ok(counted)
        })?;
        ensure!(counted > 0, "no input was stored within {slice:?}");
        Ok(slice.as_secs_f64() / counted as f64)
    }

    /// Counts what was sent in another way.
    pub(crate) fn sent(&self, own: Tally) {
        let mut sent = self.sent.get();
        sent.merge(own);
        self.sent.set(sent);
    }

    /// Asserts that the peer has exactly what was sent to it.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        let (sent, stored) = (self.sent.get(), self.peer.tally()?);
        ensure!(stored == sent, "{name} has {stored:?}, was sent {sent:?}");
        Ok(())
    }
}
