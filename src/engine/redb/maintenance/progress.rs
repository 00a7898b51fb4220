//! Progress of maintenance: callbacks and counting.

use crate::commit::within;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The progress of a long operation on a store, in rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RowProgress {
    /// The number of rows that are done.
    pub done: u64,
    /// The number of all rows.
    pub total: u64,
}

/// The number of rows between two reports.
const STRIDE: u64 = 4096;

/// A callback for progress in rows, called on the thread that works.
#[derive(Clone, Default)]
pub(crate) struct OnProgress(Option<Arc<dyn Fn(RowProgress) + Send + Sync>>);

impl OnProgress {
    pub(crate) fn new(on_progress: impl Fn(RowProgress) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(on_progress)))
    }

    /// Reports the second half of a job whose first half had as many rows.
    #[cfg(feature = "postgres")]
    pub(crate) fn second_half(&self) -> Self {
        let Some(whole) = self.0.clone() else {
            return Self::default();
        };
        Self::new(move |half| {
            let (done, total) = (half.total / 2 + half.done / 2, half.total);
            whole(RowProgress { done, total });
        })
    }

    /// A meter for `total` rows. It reports 0 at once.
    pub(crate) fn meter(&self, total: u64) -> Meter {
        let meter = Meter {
            on_progress: self.clone(),
            progress: RowProgress { done: 0, total },
            relayed: None,
        };
        meter.report();
        meter
    }
}

impl fmt::Debug for OnProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnProgress")
            .field(&self.0.is_some())
            .finish()
    }
}

/// A callback for progress from 0 to 1, called on the thread that works.
#[derive(Clone, Default)]
pub(crate) struct OnPart {
    on_part: Option<Arc<dyn Fn(f64) + Send + Sync>>,
    /// The relay that gets the reports of this thread.
    relay: Option<Sender<PageReport>>,
}

impl OnPart {
    pub(crate) fn new(on_part: impl Fn(f64) + Send + Sync + 'static) -> Self {
        Self {
            on_part: Some(Arc::new(on_part)),
            relay: None,
        }
    }

    /// Reports that the given part is done.
    pub(crate) fn report(&self, part: f64) {
        if let Some(on_part) = &self.on_part {
            on_part(part);
        }
        self.send(PageReport::Part(part));
    }

    /// Reports that every page was read and has the right checksum.
    pub(crate) fn all_whole(&self) {
        self.send(PageReport::AllWhole);
    }

    fn send(&self, report: PageReport) {
        if let Some(relay) = &self.relay {
            // An error means that the receiver is gone: the operation has failed.
            let _ = relay.send(report);
        }
    }
}

/// A report of a page check to another thread.
#[derive(Clone, Copy, Debug)]
enum PageReport {
    Part(f64),
    /// Every page was read and has the right checksum. The check may go on.
    AllWhole,
}

impl fmt::Debug for OnPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OnPart")
            .field(&self.on_part.is_some())
            .finish()
    }
}

/// A callback for another thread to report to, and the receiver that passes its reports on to
/// `on_part`, on the thread that owns it. The thread that reports never waits.
pub(crate) fn relay(on_part: &OnPart) -> (OnPart, Relayed) {
    let (sender, receiver) = channel();
    let to = OnPart {
        on_part: None,
        relay: Some(sender),
    };
    let relayed = Relayed {
        receiver,
        on_part: on_part.clone(),
        name: None,
    };
    (to, relayed)
}

/// The reports of a page check on another thread.
#[derive(Debug)]
pub(crate) struct Relayed {
    receiver: Receiver<PageReport>,
    on_part: OnPart,
    /// The name of a callback that must not change a store.
    name: Option<&'static str>,
}

impl Relayed {
    /// Rejects changes of a store in the callback, which errors call `name`.
    pub(crate) fn only_reads(mut self, name: &'static str) -> Self {
        self.name = Some(name);
        self
    }

    fn report(&self, report: PageReport) {
        let PageReport::Part(part) = report else {
            return;
        };
        match self.name {
            Some(name) => within::callback(name, || self.on_part.report(part)),
            None => self.on_part.report(part),
        }
    }

    /// Passes on the reports so far.
    fn pass_on(&self) {
        self.receiver.try_iter().for_each(|part| self.report(part));
    }

    /// Passes on reports until all pages are known to be whole. Returns `false` if the check ends
    /// without that.
    pub(crate) fn pass_on_until_whole(&self) -> bool {
        self.receiver.iter().any(|report| {
            self.report(report);
            matches!(report, PageReport::AllWhole)
        })
    }

    /// Passes on reports until the other thread makes no more.
    pub(crate) fn pass_on_all(&self) {
        self.receiver.iter().for_each(|part| self.report(part));
    }
}

/// Counts rows, and reports the count at intervals.
#[derive(Debug)]
pub(crate) struct Meter {
    on_progress: OnProgress,
    progress: RowProgress,
    /// The reports of another thread, passed on at the same intervals.
    relayed: Option<Rc<Relayed>>,
}

impl Meter {
    /// Counts one row.
    pub(crate) fn step(&mut self) {
        self.progress.done += 1;
        if self.progress.done.is_multiple_of(STRIDE) {
            self.report();
        }
    }

    /// Counts all rows at once.
    #[cfg(feature = "postgres")]
    pub(crate) fn finish(&mut self) {
        self.progress.done = self.progress.total;
        self.report();
    }

    /// The number of rows that were counted.
    pub(crate) fn done(&self) -> u64 {
        self.progress.done
    }

    /// Passes the reports of another thread on, too, from now on.
    pub(crate) fn pass_on(&mut self, relayed: &Rc<Relayed>) {
        self.relayed = Some(Rc::clone(relayed));
    }

    fn report(&self) {
        if let Some(relayed) = &self.relayed {
            relayed.pass_on();
        }
        if let Some(on_progress) = &self.on_progress.0 {
            on_progress(self.progress);
        }
    }
}
