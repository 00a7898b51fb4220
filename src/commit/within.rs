//! Which closures and callbacks of a host the current thread runs inside, and which calls they rule out.
//!
//! The closure of a transaction runs with its store locked, and some callbacks run while other threads
//! wait for the call that makes them. A change of a store, or a wait for one, could wait for itself
//! there: directly, or through a thread that does the same with two stores in the opposite order. Such
//! calls are rejected, whichever store they are on. Reads do not wait for writers and are allowed.
//!
//! A background thread holds no lock while it calls wakers, but the operations that were submitted after
//! them wait for it. A waker may change a store, and may not wait for what a background thread does.

use crate::error::RuntimeError;
use std::cell::RefCell;

/// The closures, callbacks and the background thread that a thread runs for. A thread that works for
/// another one [enters](Self::enter) that one's.
#[derive(Clone)]
pub(crate) struct Within {
    inside: Vec<Inside>,
    /// The background thread that this one is or works for, as the address of its count of jobs.
    background: Option<usize>,
}

#[derive(Clone, Copy)]
enum Inside {
    /// The closure of an operation, in the queue at this address.
    Operation(usize),
    /// `on_repair`, while a store is being opened.
    Repair,
    /// Another callback, with this name.
    Callback(&'static str),
}

thread_local! {
    static WITHIN: RefCell<Within> = const {
        RefCell::new(Within { inside: Vec::new(), background: None })
    };
}

impl Within {
    /// What the current thread runs inside.
    pub(crate) fn current() -> Self {
        WITHIN.with_borrow(Self::clone)
    }

    /// Makes the current thread, which was started to do another one's work, run inside the same.
    pub(crate) fn enter(self) {
        WITHIN.set(self);
    }
}

/// Ends the innermost closure or callback, also after a panic.
struct Leave;

impl Drop for Leave {
    fn drop(&mut self) {
        WITHIN.with_borrow_mut(|within| within.inside.pop());
    }
}

fn run<T>(inside: Inside, work: impl FnOnce() -> T) -> T {
    WITHIN.with_borrow_mut(|within| within.inside.push(inside));
    let _leave = Leave;
    work()
}

/// Runs `closure`, of an operation in the queue at the address `queue`.
pub(crate) fn operation<T>(queue: usize, closure: impl FnOnce() -> T) -> T {
    run(Inside::Operation(queue), closure)
}

/// Runs `callback`, which other threads wait for. Errors call it `name`.
pub(crate) fn callback<T>(name: &'static str, callback: impl FnOnce() -> T) -> T {
    run(Inside::Callback(name), callback)
}

/// Runs `on_repair` of a store that is being opened, which other opens of it wait for.
pub(crate) fn repair<T>(on_repair: impl FnOnce() -> T) -> T {
    run(Inside::Repair, on_repair)
}

/// Runs `work` as if outside of all closures and callbacks: for a store that no other thread has, where
/// nothing can wait.
pub(crate) fn outside<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(Vec<Inside>);
    impl Drop for Restore {
        fn drop(&mut self) {
            WITHIN.with_borrow_mut(|within| within.inside = std::mem::take(&mut self.0));
        }
    }
    let inside = WITHIN.with_borrow_mut(|within| std::mem::take(&mut within.inside));
    let _restore = Restore(inside);
    work()
}

fn in_callback(name: &str) -> String {
    format!(
        "a store was changed or waited for inside {name}, while other threads wait for the call that \
         runs it; only read stores there"
    )
}

/// Rejects a change of the store with the queue at the address `queue`, and a wait for one, inside
/// closures and callbacks.
pub(crate) fn refuse(queue: usize) -> Result<(), RuntimeError> {
    let inside = WITHIN.with_borrow(|within| match within.inside.last()? {
        Inside::Operation(of) => {
            let is_own = |inside: &Inside| matches!(inside, Inside::Operation(of) if *of == queue);
            let own = within.inside.iter().any(is_own).then_some(queue);
            Some(Inside::Operation(own.unwrap_or(*of)))
        }
        callback => Some(*callback),
    });
    let message = match inside {
        None => return Ok(()),
        Some(Inside::Operation(of)) if of == queue => {
            "an operation on the store was called from within a transaction on it; call the \
             transaction's own methods there"
                .to_owned()
        }
        Some(Inside::Operation(_)) => {
            "a store was changed or waited for inside a transaction on another store, which may only \
             read it; do that before or after the transaction"
                .to_owned()
        }
        Some(Inside::Repair) => in_callback("`on_repair`"),
        Some(Inside::Callback(name)) => in_callback(name),
    };
    Err(RuntimeError::InvalidRequest(message))
}

/// Rejects a wait for a store that is not open yet inside closures and callbacks.
pub(crate) fn refuse_any() -> Result<(), RuntimeError> {
    refuse(0)
}

/// Rejects a wait as [`refuse`] does, and where the current thread is a background thread or works for
/// one: the wait could be for a job of that thread.
pub(crate) fn refuse_wait(queue: usize) -> Result<(), RuntimeError> {
    refuse(queue)?;
    if is_background() {
        return Err(RuntimeError::InvalidRequest(
            "a waker waited for a store on the thread that runs submitted operations, which may be \
             waiting for that thread; wait on another thread"
                .to_owned(),
        ));
    }
    Ok(())
}

/// Whether the current thread runs inside `on_repair`.
pub(crate) fn is_in_repair() -> bool {
    let is_repair = |inside: &Inside| matches!(inside, Inside::Repair);
    WITHIN.with_borrow(|within| within.inside.iter().any(is_repair))
}

/// Makes the current thread the background thread whose count of jobs is at the address `done`.
pub(crate) fn become_background(done: usize) {
    WITHIN.with_borrow_mut(|within| within.background = Some(done));
}

/// Runs `work`, which stores outcomes and calls wakers on a thread that commits for others. The rules of a background
/// thread hold for it: a wait could be for an outcome that this thread has still to store.
pub(crate) fn as_background<T>(work: impl FnOnce() -> T) -> T {
    struct Restore(Option<usize>);
    impl Drop for Restore {
        fn drop(&mut self) {
            WITHIN.with_borrow_mut(|within| within.background = self.0);
        }
    }
    let before = background();
    let _restore = Restore(before);
    // No background thread has this address.
    WITHIN.with_borrow_mut(|within| within.background = Some(before.unwrap_or_default()));
    work()
}

/// The background thread that the current thread is or works for.
pub(crate) fn background() -> Option<usize> {
    WITHIN.with_borrow(|within| within.background)
}

/// Whether the current thread is a background thread or works for one.
pub(crate) fn is_background() -> bool {
    background().is_some()
}
