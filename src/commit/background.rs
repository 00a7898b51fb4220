//! The thread that commits the batches that no other thread waits for.

use crate::commit::within;
use crate::error::RuntimeError;
use crate::fs::process::Process;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

type Job = Box<dyn FnOnce() + Send>;

/// The background thread of one store. Its first job starts it, and it ends with the store. A job holds the
/// store open until it is done.
pub(crate) struct Background {
    jobs: Mutex<Jobs>,
    done: Arc<Done>,
    process: Process,
}

impl Default for Background {
    fn default() -> Self {
        Self {
            jobs: Mutex::default(),
            done: Arc::default(),
            process: Process::current(),
        }
    }
}

impl Drop for Background {
    /// A fork leaks the sender: its locks may have been held by a thread that the fork does not have.
    fn drop(&mut self) {
        if !self.process.is_current() {
            let jobs = self.jobs.get_mut().unwrap_or_else(PoisonError::into_inner);
            std::mem::forget(jobs.thread.take());
        }
    }
}

#[derive(Default)]
struct Jobs {
    thread: Option<Sender<Job>>,
    /// How many jobs the thread was given.
    given: u64,
}

/// How many jobs are done.
#[derive(Default)]
struct Done {
    count: Mutex<u64>,
    more: Condvar,
}

impl Done {
    /// The count is whole after any panic: each change of it is one addition.
    fn lock(&self) -> MutexGuard<'_, u64> {
        self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_one(&self) {
        *self.lock() += 1;
        self.more.notify_all();
    }

    fn wait_for(&self, count: u64) {
        let mut done = self.lock();
        while *done < count {
            done = self.more.wait(done).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Runs `job`. A panic in it (of a host's subscriber of `tracing`, say) does not end the thread, whose later
/// jobs other threads wait for.
fn run_alone(job: Job) {
    let _ = catch_unwind(AssertUnwindSafe(job));
}

impl Background {
    /// Gives `job` to the thread.
    pub(crate) fn run(&self, job: Job) -> std::io::Result<()> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let thread = match jobs.thread.take() {
            Some(thread) => thread,
            None => self.start()?,
        };
        // The thread takes jobs as long as this sender exists.
        let _ = thread.send(job);
        jobs.thread = Some(thread);
        jobs.given += 1;
        Ok(())
    }

    fn start(&self) -> std::io::Result<Sender<Job>> {
        let (sender, receiver) = channel::<Job>();
        let done = Arc::clone(&self.done);
        let work = move || {
            within::become_background(Arc::as_ptr(&done).addr());
            for job in receiver {
                run_alone(job);
                done.add_one();
            }
        };
        std::thread::Builder::new()
            .name("runtime-store".to_owned())
            .spawn(work)?;
        Ok(sender)
    }

    /// Waits for the jobs that were given so far. On a background thread it is rejected if jobs other
    /// than the current one are left: that thread, or one that waits for it, would have to run them.
    pub(crate) fn finish(&self) -> Result<(), RuntimeError> {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let given = jobs.given;
        drop(jobs);
        let Some(background) = within::background() else {
            self.done.wait_for(given);
            return Ok(());
        };
        let is_own = background == Arc::as_ptr(&self.done).addr();
        match given - *self.done.lock() {
            left if left <= u64::from(is_own) => Ok(()),
            _ => Err(RuntimeError::InvalidRequest(
                "a waker closed a store that has submitted operations left to run, on the thread \
                 that runs them or on that of another store; close it on another thread"
                    .to_owned(),
            )),
        }
    }
}
