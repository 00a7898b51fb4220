//! Child processes that work until they are killed, or stopped and continued.

use crate::answers::Spec;
use crate::world::{Context, Violation};
use crate::{cuts, job_errors, kills, stopped};
use redb_runtime_store::Store;
use redb_runtime_store::store::StoreOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// Starts a child: returns the command that calls [`run`] with this job and directory.
pub type Start<'s> = &'s (dyn Fn(&str, &Path) -> Command + Sync);

/// Does `job` in `directory`, as the child.
///
/// # Errors
///
/// If the job fails: a kill is the only fault that a child meets.
pub fn run(job: &str, directory: &Path) -> Result<(), Violation> {
    end_in(MOST_TIME);
    // A test harness may have begun a line.
    say("\nready")?;
    if let Some(job) = kills::Job::named(job) {
        return kills::child(job, directory);
    }
    if let Some((job, step)) = cuts::Job::with_step(job) {
        return cuts::child(job, step, directory);
    }
    if let Some((job, seed)) = job_errors::with_seed(job) {
        return job_errors::child(job, seed, directory);
    }
    if let Some(spec) = Spec::of(job) {
        return stopped::child(spec, directory);
    }
    Err(Violation(format!("there is no job {job:?}")))
}

/// The time limit of a child. A job takes less than a second, plus the time that it waits for locks.
pub(crate) const MOST_TIME: Duration = Duration::from_secs(300);

/// Aborts this process after `most`. Without it, a child that hangs would hang the whole campaign.
pub(crate) fn end_in(most: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(most);
        eprintln!("the child does not end");
        std::process::abort()
    });
}

/// Options for the files of children. A process that is being started briefly holds the locks of its
/// parent.
pub(crate) fn patient() -> StoreOptions {
    Store::options().lock_timeout(Duration::from_secs(60))
}

/// A directory for children: in memory if the system has one, because a kill loses no data that the
/// system has accepted.
pub(crate) fn scratch() -> Result<TempDir, Violation> {
    let memory = Path::new("/dev/shm");
    match tempfile::tempdir_in(memory) {
        Ok(directory) => Ok(directory),
        Err(_) => tempfile::tempdir().or_violation("making a directory"),
    }
}

/// Prints a line, and returns when the system has it.
pub(crate) fn say(line: &str) -> Result<(), Violation> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(format!("{line}\n").as_bytes());
    written.and_then(|()| out.flush()).or_violation("speaking")
}
