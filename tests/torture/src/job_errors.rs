//! The disk refuses under maintenance: a typed error, the old or the new is there, and once the disk
//! is sound again the same job succeeds and leaves nothing over.
//!
//! What writes and syncs outside redb asks a hook of the process ([`on_change`]) first. So the errors
//! of a job are given in a process of its own.

use crate::child::{Start, say, scratch};
use crate::cuts::{Job, Scene};
use crate::disk::{EIO, ENOSPC, Fault, FaultKind, Faults};
use crate::rng::Rng;
use crate::tree;
use crate::world::{Context, Violation};
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::layout::LayoutError;
use redb_runtime_store::steps::on_change;
use redb_runtime_store::store::FileAccess;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The jobs that must succeed. One that fails by itself says nothing of the disk.
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

/// What the line begins with in which a child says how many errors it gave.
const GIVEN: &str = "given ";

/// Gives an error at every change that each job makes, in children. Returns how many were given.
///
/// # Errors
///
/// The first promise that is broken.
pub fn round(seed: u64, start: Start<'_>) -> Result<usize, Violation> {
    let directory = scratch()?;
    let mut all = 0;
    for job in JOBS {
        let mut child = start(&format!("errors-{}@{seed}", job.name()), directory.path());
        let output = child.output().or_violation("starting a child")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let given = said.lines().find_map(|line| line.strip_prefix(GIVEN));
        match given.and_then(|given| given.parse::<usize>().ok()) {
            Some(given) if given > 0 => all += given,
            _ => {
                let complaint = String::from_utf8_lossy(&output.stderr);
                let what = format!("{} on a failing disk: {complaint}", job.name());
                return Err(Violation(what));
            }
        }
    }
    Ok(all)
}

/// The job and the seed of `errors-name@seed`.
pub(crate) fn with_seed(text: &str) -> Option<(Job, u64)> {
    let (job, seed) = text.strip_prefix("errors-")?.split_once('@')?;
    let job = JOBS.into_iter().find(|one| one.name() == job)?;
    Some((job, seed.parse().ok()?))
}

/// Gives the errors, as the child.
pub(crate) fn child(job: Job, seed: u64, directory: &Path) -> Result<(), Violation> {
    let mut rng = Rng::new(seed);
    let scene = Scene::new(job, seed)?;
    let faults = Arc::new(Mutex::new(Faults::default()));
    let outside = Arc::clone(&faults);
    on_change(move || lock(&outside).meet(FaultKind::Change));
    let mut after = 0;
    loop {
        let fault = Fault {
            kind: FaultKind::Change,
            after,
            lasting: rng.chance(50),
            errno: *rng.pick(&[EIO, ENOSPC]),
        };
        let given = trial(
            &scene,
            job,
            fault,
            &faults,
            &directory.join(after.to_string()),
        );
        match given.map_err(|one| Violation(format!("{fault:?}: {one}")))? {
            true => after += 1,
            false => return say(&format!("{GIVEN}{after}")),
        }
    }
}

fn lock(faults: &Mutex<Faults>) -> MutexGuard<'_, Faults> {
    faults.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One run into one fault, and on. Whether it struck.
fn trial(
    scene: &Scene,
    job: Job,
    fault: Fault,
    faults: &Arc<Mutex<Faults>>,
    directory: &Path,
) -> Result<bool, Violation> {
    std::fs::create_dir_all(directory).or_violation("making a directory")?;
    tree::write(&scene.before, directory)?;
    let of_redb = Arc::clone(faults);
    let options = job.options().on_access(move |access| match access {
        FileAccess::Read => Ok(()),
        _ => lock(&of_redb).meet(FaultKind::Change),
    });
    lock(faults).set(Some(fault));
    let done = job.run(directory, &options);
    let struck = lock(faults).struck() > 0;
    lock(faults).set(None);
    match &done {
        // What is only tidied up may fail.
        Ok(()) => {}
        Err(error) if struck && is_of_disk(error) => {}
        Err(error) => return Err(Violation(format!("not an error of the disk: {error:?}"))),
    }
    scene.check(directory, done.is_ok())?;
    job.run_again(directory).or_violation("the job again")?;
    scene.check_after(directory)?;
    std::fs::remove_dir_all(directory).or_violation("tidying up")?;
    Ok(struck)
}

fn is_of_disk(error: &LayoutError) -> bool {
    matches!(
        error,
        LayoutError::Io { .. }
            | LayoutError::Store(
                RuntimeError::StoreIo { .. }
                    | RuntimeError::StoreFailed { .. }
                    | RuntimeError::CommitUncertain { .. }
            )
    )
}
