//! Processes of their own, which are killed.

use crate::world::{Context, Violation};
use crate::{cuts, job_errors, kills};
use redb_runtime_store::Store;
use redb_runtime_store::store::StoreOptions;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// How a child is started: the command that calls [`run`] with that job and directory.
pub type Start<'s> = &'s (dyn Fn(&str, &Path) -> Command + Sync);

/// Does `job` in `directory`, as the child.
///
/// # Errors
///
/// Where the job fails: nobody disturbs it but by killing it.
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
    Err(Violation(format!("there is no job {job:?}")))
}

/// How long a child may take. They take less than a second, and as long as a lock may be waited for.
const MOST_TIME: Duration = Duration::from_secs(300);

/// Ends this process then, whatever it waits for: nobody would learn of a child that never ends.
fn end_in(most: Duration) {
    std::thread::spawn(move || {
        std::thread::sleep(most);
        eprintln!("the child does not end");
        std::process::abort()
    });
}

/// How the files of children are opened. A process that is being started holds for a moment what its
/// parent had locked.
pub(crate) fn patient() -> StoreOptions {
    Store::options().lock_timeout(Duration::from_secs(60))
}

/// A directory that children work in: in memory where the system offers it, as a kill loses nothing
/// that the system has.
pub(crate) fn scratch() -> Result<TempDir, Violation> {
    let memory = Path::new("/dev/shm");
    match tempfile::tempdir_in(memory) {
        Ok(directory) => Ok(directory),
        Err(_) => tempfile::tempdir().or_violation("making a directory"),
    }
}

/// Says a line. It is with the system when this returns.
pub(crate) fn say(line: &str) -> Result<(), Violation> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(format!("{line}\n").as_bytes());
    written.and_then(|()| out.flush()).or_violation("speaking")
}
