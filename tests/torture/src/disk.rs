//! A simulated disk that records every change, and fails on demand.

use crate::pages::Pages;
use redb::{BackendError, StorageBackend};
use redb_runtime_store::store::{PlantedBug, Sharing};
use std::collections::BTreeMap;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// One change of a disk.
#[derive(Clone, Debug)]
pub enum Access {
    /// `data` was written at `offset`.
    Write {
        /// The first byte.
        offset: u64,
        /// The bytes.
        data: Arc<[u8]>,
    },
    /// The length was set.
    SetLen(u64),
    /// Everything before is durable.
    Sync,
    /// A sync failed. The unsynced changes stay readable and may or may not reach the disk. No later
    /// sync writes them again, because the system considers them written.
    FailedSync,
}

/// The kind of access that a fault affects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// Writes, syncs and changes of the length.
    Change,
    /// Reads.
    Read,
    /// Syncs alone.
    Sync,
}

/// An error that the disk returns, and at which access.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The accesses that count.
    pub kind: FaultKind,
    /// The number of them that succeed first.
    pub after: usize,
    /// The errors to return.
    pub errors: Errors,
}

/// Input/output error, on Linux and elsewhere.
pub const EIO: i32 = 5;
/// No space left on device.
pub const ENOSPC: i32 = 28;

/// An error that a disk can return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskError {
    /// The error number (`errno`).
    pub errno: i32,
    /// Whether all later accesses fail too.
    pub lasting: bool,
}

/// Every error, once and permanently.
pub const ALL_ERRORS: [DiskError; 4] = [
    DiskError::new(EIO, false),
    DiskError::new(EIO, true),
    DiskError::new(ENOSPC, false),
    DiskError::new(ENOSPC, true),
];

impl DiskError {
    const fn new(errno: i32, lasting: bool) -> Self {
        Self { errno, lasting }
    }
}

/// The next error for each kind of step. Counting by kind gives every error to every kind, also to a
/// rare one.
#[derive(Clone, Debug)]
pub struct Errors {
    all: Vec<DiskError>,
    given: BTreeMap<&'static str, usize>,
}

impl Errors {
    /// Every error in turn.
    pub fn in_turn() -> Self {
        Self {
            all: ALL_ERRORS.to_vec(),
            given: BTreeMap::new(),
        }
    }

    /// Always this error.
    pub fn only(errno: i32, lasting: bool) -> Self {
        Self {
            all: vec![DiskError::new(errno, lasting)],
            given: BTreeMap::new(),
        }
    }

    fn next(&self, step: &str) -> DiskError {
        let given = self.given.get(step).copied().unwrap_or(0);
        self.all[given % self.all.len()]
    }

    /// Counts an error that was returned. Returns whether its kind of step has had every error.
    pub(crate) fn count(&mut self, strike: Strike) -> bool {
        let given = self.given.entry(strike.step).or_default();
        *given += 1;
        *given >= self.all.len()
    }

    /// The number of errors returned, by the kind of step.
    pub(crate) fn given(&self) -> &BTreeMap<&'static str, usize> {
        &self.given
    }
}

/// The first error of a fault.
#[derive(Clone, Copy, Debug)]
pub struct Strike {
    /// The kind of step.
    pub step: &'static str,
    /// The error.
    pub error: DiskError,
}

/// The error to return, and how often it was returned.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    fault: Option<Fault>,
    first: Option<Strike>,
    struck: usize,
}

impl Faults {
    /// Fails from now on as `fault` states; `None` repairs the disk.
    pub(crate) fn set(&mut self, fault: Option<Fault>) {
        *self = Self {
            fault,
            ..Self::default()
        };
    }

    /// How often the fault was returned since it was set.
    pub(crate) fn struck(&self) -> usize {
        self.struck
    }

    /// The first error since the fault was set.
    pub(crate) fn first(&self) -> Option<Strike> {
        self.first
    }

    /// Fails if the fault affects this access, a step of the kind `step`.
    pub(crate) fn meet(&mut self, kind: FaultKind, step: &'static str) -> io::Result<()> {
        let Some(fault) = self.fault.as_mut().filter(|fault| fault.kind == kind) else {
            return Ok(());
        };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        let error = match self.first {
            None => fault.errors.next(step),
            Some(first) if first.error.lasting => first.error,
            Some(_) => return Ok(()),
        };
        self.first.get_or_insert(Strike { step, error });
        self.struck += 1;
        Err(io::Error::from_raw_os_error(error.errno))
    }
}

#[derive(Clone, Debug, Default)]
struct State {
    content: Pages,
    log: Vec<Access>,
    /// Whether the file grew since the last sync that returned success.
    is_growing: bool,
    lies: bool,
    sharing: Sharing,
    saves_allocator_state: bool,
    planted: Option<PlantedBug>,
    sync_takes: Duration,
    faults: Faults,
    /// Whether syncs wait, and how many wait now.
    on_hold: bool,
    held: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Wakes syncs on hold, and threads that wait until one is.
    changed: Condvar,
}

/// A simulated disk with one file. Clones share the disk.
///
/// Locks are always granted, in every mode of sharing, because one store at a time opens a disk.
#[derive(Clone, Debug, Default)]
pub struct Disk(Arc<Shared>);

impl Disk {
    /// An empty disk whose stores are opened in this mode of sharing.
    pub fn shared(sharing: Sharing) -> Self {
        Self::shared_with(Pages::default(), sharing)
    }

    /// A disk that holds `content`, all of it durable.
    pub fn with(content: Pages) -> Self {
        Self::shared_with(content, Sharing::default())
    }

    /// A disk that holds `content`, all of it durable, whose stores are opened in this mode of sharing.
    pub fn shared_with(content: Pages, sharing: Sharing) -> Self {
        let state = State {
            content,
            sharing,
            ..State::default()
        };
        Self::of(state)
    }

    /// Another disk that holds `content`, all of it durable, whose stores are opened as those of this one.
    #[must_use]
    pub fn replaced(&self, content: Pages) -> Self {
        let state = self.state();
        let state = State {
            content,
            sharing: state.sharing,
            saves_allocator_state: state.saves_allocator_state,
            planted: state.planted,
            ..State::default()
        };
        Self::of(state)
    }

    /// A copy of this disk with its changes so far. Stores on the one do not reach the other: the copy is the
    /// disk after a kill of the process, which still writes to this one.
    #[must_use]
    pub fn forked(&self) -> Self {
        Self::of(self.state().clone())
    }

    fn of(state: State) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            changed: Condvar::new(),
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, once syncs are not on hold.
    fn state_for_sync(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        while state.on_hold && !state.is_growing {
            state.held += 1;
            self.0.changed.notify_all();
            let woken = self.0.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
            state.held -= 1;
        }
        state
    }

    /// Makes every sync of a commit wait until [`release`](Self::release). Other syncs pass: redb
    /// blocks readers while it writes and while it grows the file.
    pub fn hold(&self) {
        self.state().on_hold = true;
    }

    /// Releases the syncs that wait.
    pub fn release(&self) {
        self.state().on_hold = false;
        self.0.changed.notify_all();
    }

    /// Returns when a sync is held up, an access has failed, or after `timeout`.
    pub fn wait_until_held(&self, timeout: Duration) {
        let nobody =
            |state: &mut State| state.on_hold && state.held == 0 && state.faults.struck() == 0;
        // A poisoned lock is the panic of another thread, whose message explains the failure.
        drop(
            self.0
                .changed
                .wait_timeout_while(self.state(), timeout, nobody),
        );
    }

    /// Makes every sync from now on return success without syncing.
    pub fn lie_about_syncs(&self) {
        self.state().lies = true;
    }

    /// Makes every commit of stores on this disk save the allocator state, in files of every size.
    pub fn save_allocator_state(&self) {
        self.state().saves_allocator_state = true;
    }

    /// Whether every commit of stores on this disk saves the allocator state.
    pub(crate) fn saves_allocator_state(&self) -> bool {
        self.state().saves_allocator_state
    }

    /// Plants a bug in stores on this disk.
    pub fn plant(&self, bug: PlantedBug) {
        self.state().planted = Some(bug);
    }

    /// The bug that is planted in stores on this disk.
    pub(crate) fn planted(&self) -> Option<PlantedBug> {
        self.state().planted
    }

    /// The mode of sharing of stores on this disk.
    pub fn sharing(&self) -> Sharing {
        self.state().sharing
    }

    /// Makes every sync from now on take this long, so that threads gather behind it.
    pub fn slow_syncs(&self, sync_takes: Duration) {
        self.state().sync_takes = sync_takes;
    }

    /// Fails from now on as `fault` states; `None` repairs the disk.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state().faults.set(fault);
    }

    fn meet(&self, state: &mut State, kind: FaultKind, step: &'static str) -> io::Result<()> {
        let met = state.faults.meet(kind, step);
        if met.is_err() {
            self.0.changed.notify_all();
        }
        met
    }

    /// The first error since the fault was set.
    pub fn first_strike(&self) -> Option<Strike> {
        self.state().faults.first()
    }

    /// The number of changes.
    pub fn position(&self) -> usize {
        self.state().log.len()
    }

    /// The number of syncs that succeeded.
    pub fn syncs(&self) -> usize {
        let log = &self.state().log;
        log.iter()
            .filter(|access| matches!(access, Access::Sync))
            .count()
    }

    /// The number of changes of the length.
    pub(crate) fn resized(&self) -> usize {
        let log = &self.state().log;
        log.iter()
            .filter(|access| matches!(access, Access::SetLen(_)))
            .count()
    }

    /// All changes since the disk was created.
    pub fn log(&self) -> Vec<Access> {
        self.state().log.clone()
    }

    /// The content that reads see.
    pub fn content(&self) -> Pages {
        self.state().content.clone()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().content.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.state();
        self.meet(&mut state, FaultKind::Read, "read")?;
        if state.content.read(offset, out) {
            return Ok(());
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.state();
        self.meet(&mut state, FaultKind::Change, "set_len")?;
        // A commit cuts the file off after its sync, so that no sync belongs to that.
        state.is_growing = len > state.content.len();
        state.content.set_len(len);
        state.log.push(Access::SetLen(len));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let takes = self.state().sync_takes;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        let mut state = self.state_for_sync();
        let met = self.meet(&mut state, FaultKind::Change, "sync");
        let met = met.and_then(|()| self.meet(&mut state, FaultKind::Sync, "sync"));
        if met.is_err() {
            state.log.push(Access::FailedSync);
            return met;
        }
        state.is_growing = false;
        if !state.lies {
            state.log.push(Access::Sync);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut state = self.state();
        let met = self.meet(&mut state, FaultKind::Change, "write");
        // A failed write may have written its first half.
        let written = if met.is_ok() {
            data.len()
        } else {
            data.len() / 2
        };
        let data = &data[..written];
        state.content.write(offset, data);
        state.log.push(Access::Write {
            offset,
            data: data.into(),
        });
        met
    }

    fn try_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn try_lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(true)
    }

    fn lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn lock_shared_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn unlock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<(), BackendError> {
        Ok(())
    }

    fn query_lock_range(&self, _: Bound<u64>, _: Bound<u64>) -> Result<bool, BackendError> {
        Ok(false)
    }
}
