//! The process that opened a store. Its id distinguishes it from its forks.
//!
//! A child of `fork` has a copy of every handle of its parent, and of the parent's locks: byte-range
//! locks belong to the open file description, which both share, so no lock keeps the two apart. Each
//! mutex is copied too, as it was: another thread of the parent may have held it, and no thread of the
//! child unlocks it. So a store compares process ids before it takes any lock, and a child that drops a
//! handle leaks its parts instead of running their destructors.
//!
//! Process ids are reused. A descendant that gets the id of an ancestor that has exited, and still
//! has that ancestor's handles, is not recognised.

use std::ops::Deref;
use std::sync::Arc;

/// A process, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    /// The calling process.
    pub(crate) fn current() -> Self {
        Self(std::process::id())
    }

    /// Whether this is the calling process.
    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }
}

/// A value whose destructor runs only in the process that made the value. A fork leaks its copy.
#[derive(Debug)]
pub(crate) struct Owned<T> {
    value: Arc<T>,
    process: Process,
}

impl<T> Owned<T> {
    /// `value`, which belongs to `process`.
    pub(crate) fn new(value: T, process: Process) -> Self {
        Self {
            value: Arc::new(value),
            process,
        }
    }

    /// The value; `None` in a fork, where it is leaked.
    pub(crate) fn into_inner(self) -> Option<T> {
        let value = Arc::clone(&self.value);
        drop(self);
        Arc::into_inner(value)
    }
}

impl<T> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.process.is_current() {
            // One more reference that is never given up.
            std::mem::forget(Arc::clone(&self.value));
        }
    }
}
