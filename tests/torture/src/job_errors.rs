//! The disk returns errors during maintenance: the job returns a typed error and leaves the old or the
//! new state, without leftovers that it could remove. When the disk works again the same job succeeds.
//!
//! Every change of files and directories outside redb, and of redb's files before they have their final
//! name, first calls a hook of the process ([`on_change`]). So each job gets its errors in a separate
//! process.

use crate::campaign::count_tried;
use crate::child::{Start, say, scratch};
use crate::cuts::{Job, Scene};
use crate::disk::{Fault, FaultKind, Faults, Strike};
use crate::disk_errors::{Counts, at_every_step};
use crate::path_errors::kind_of;
use crate::rng::Rng;
use crate::tree;
use crate::world::{Context, Violation};
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::layout::LayoutError;
use redb_runtime_store::steps::{Change, on_change};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The jobs that succeed without a fault. A job that always fails shows nothing about the disk.
const JOBS: [Job; 9] = [
    Job::Create,
    Job::ImportNew,
    Job::ImportOver,
    Job::Export,
    Job::Replace,
    Job::Update,
    Job::Backup,
    Job::Compact,
    Job::Migrate,
];

/// The prefix of the line in which a child prints a kind of step and the number of its errors.
const GIVEN: &str = "given ";

/// The changes that jobs make.
const CHANGES: [Change; 7] = [
    Change::Create,
    Change::CreateDir,
    Change::Write,
    Change::SetLen,
    Change::Sync,
    Change::Rename,
    Change::Remove,
];

fn name_of(change: Change) -> &'static str {
    match change {
        Change::Create => "create",
        Change::CreateDir => "create a directory",
        Change::Write => "write",
        Change::SetLen => "set_len",
        Change::Sync => "sync",
        Change::Rename => "rename",
        Change::Remove => "remove",
    }
}

/// Returns an error at every change that each job makes, in children. Returns the number of errors.
///
/// # Errors
///
/// The first broken guarantee.
pub fn round(seed: u64, start: Start<'_>, counts: &mut Counts) -> Result<usize, Violation> {
    let directory = scratch()?;
    let mut all = 0;
    for job in JOBS {
        let mut child = start(&format!("errors-{}@{seed}", job.name()), directory.path());
        let output = child.output().or_violation("starting a child")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let mut of_job = 0;
        for (step, given) in said.lines().filter_map(given) {
            counts.add(step, given);
            of_job += given;
        }
        count_tried(of_job);
        if of_job == 0 || !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let what = format!("{} on a failing disk: {complaint}", job.name());
            return Err(Violation(what));
        }
        all += of_job;
    }
    Ok(all)
}

/// The kind of step and the number in a line of a child.
fn given(line: &str) -> Option<(&'static str, usize)> {
    let (count, step) = line.strip_prefix(GIVEN)?.split_once(' ')?;
    let step = CHANGES
        .map(name_of)
        .into_iter()
        .find(|known| *known == step)?;
    Some((step, count.parse().ok()?))
}

/// The job and the seed of `errors-name@seed`.
pub(crate) fn with_seed(text: &str) -> Option<(Job, u64)> {
    let (job, seed) = text.strip_prefix("errors-")?.split_once('@')?;
    let job = JOBS.into_iter().find(|one| one.name() == job)?;
    Some((job, seed.parse().ok()?))
}

/// Runs the trials of a job, as the child.
pub(crate) fn child(job: Job, seed: u64, directory: &Path) -> Result<(), Violation> {
    let mut rng = Rng::new(seed);
    let scene = Scene::new(job, seed)?;
    let faults = Arc::new(Mutex::new(Faults::default()));
    let outside = Arc::clone(&faults);
    on_change(move |change| lock(&outside).meet(FaultKind::Change, name_of(change)));
    let directory = directory.join(job.name());
    let errors = at_every_step(FaultKind::Change, &mut rng, |fault, _| {
        trial(&scene, job, fault, &faults, &directory)
    })?;
    for (step, given) in errors.given() {
        say(&format!("{GIVEN}{given} {step}"))?;
    }
    Ok(())
}

fn lock(faults: &Mutex<Faults>) -> MutexGuard<'_, Faults> {
    faults.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One run with one fault, and a run after it. Returns the step that failed.
fn trial(
    scene: &Scene,
    job: Job,
    fault: Fault,
    faults: &Arc<Mutex<Faults>>,
    directory: &Path,
) -> Result<Option<Strike>, Violation> {
    std::fs::create_dir_all(directory).or_violation("making a directory")?;
    tree::write(&scene.before, directory)?;
    let of_redb = Arc::clone(faults);
    let options = job.options().on_access(move |access| {
        kind_of(access).map_or(Ok(()), |(kind, step)| lock(&of_redb).meet(kind, step))
    });
    lock(faults).set(Some(fault));
    let done = job.run(directory, &options);
    let strike = lock(faults).first();
    lock(faults).set(None);
    let context = |one| Violation(format!("{strike:?}: {one}"));
    check(scene, job, &done, strike, directory).map_err(context)?;
    std::fs::remove_dir_all(directory).or_violation("tidying up")?;
    Ok(strike)
}

/// Checks the guarantees after the error.
fn check(
    scene: &Scene,
    job: Job,
    done: &Result<(), LayoutError>,
    strike: Option<Strike>,
    directory: &Path,
) -> Result<(), Violation> {
    match done {
        // A job succeeds if only the removal of leftovers fails.
        Ok(()) => {}
        Err(error) if strike.is_some() && is_of_disk(error) => {}
        Err(error) => return Err(Violation(format!("not an error of the disk: {error:?}"))),
    }
    let stands = done.as_ref().is_err_and(stands);
    scene.check(directory, done.is_ok() || stands)?;
    scene.check_whole_lines(directory)?;
    // Leftovers cannot be removed while the error lasts. What was replaced stays until it is certain
    // that a power loss does not bring it back.
    let is_kept = stands && job == Job::Replace;
    if !is_kept && strike.is_none_or(|strike| strike.step != "remove" && !strike.error.lasting) {
        scene.check_left_nothing(directory)?;
    }
    job.run_again(directory).or_violation("the job again")?;
    scene.check_after(directory)
}

/// Whether the error says that the result is in its place.
fn stands(error: &LayoutError) -> bool {
    matches!(
        error,
        LayoutError::DurabilityUncertain { .. }
            | LayoutError::Store(RuntimeError::DurabilityUncertain { .. })
    )
}

fn is_of_disk(error: &LayoutError) -> bool {
    stands(error)
        || matches!(
            error,
            LayoutError::Io { .. }
                | LayoutError::Store(
                    RuntimeError::StoreIo { .. }
                        | RuntimeError::StoreFailed { .. }
                        | RuntimeError::CommitUncertain { .. }
                )
        )
}
