//! The disk returns errors to a store that was opened by its path, while the host has old handles: the
//! handles reject operations, the path can be opened again, and no acknowledged operation is lost.

use crate::child::scratch;
use crate::disk::{Fault, FaultKind, Faults, Strike};
use crate::disk_errors::{Counts, at_every_step, possible_worlds};
use crate::power_loss::{check_works, check_world};
use crate::rng::Rng;
use crate::workload::{Host, Medium, Outcome, SHARINGS, Workload, is_failure, runtime};
use crate::world::{Context, Violation, World};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::store::{FileAccess, Sharing, Snapshot};
use redb_runtime_store::{Runtime, Store};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How many operations a round has at most.
const MAX_OPS: usize = 8;

/// A store's path, on a disk that fails on demand.
#[derive(Clone, Debug)]
struct RealFile {
    path: PathBuf,
    sharing: Sharing,
    faults: Arc<Mutex<Faults>>,
}

impl RealFile {
    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Medium for RealFile {
    fn open(&self, cache_bytes: usize) -> Result<Store, RuntimeError> {
        let file = self.clone();
        Store::options()
            .cache_bytes(cache_bytes)
            .sharing(self.sharing)
            // A process that is being started briefly holds the locks of this one.
            .lock_timeout(Duration::from_secs(60))
            .on_access(move |access| {
                kind_of(access).map_or(Ok(()), |(kind, step)| file.faults().meet(kind, step))
            })
            .open(&self.path)
    }
}

/// The kind of fault that affects an access of redb to a store's file, and its kind of step. Locks get
/// no errors.
pub(crate) fn kind_of(access: FileAccess) -> Option<(FaultKind, &'static str)> {
    Some(match access {
        FileAccess::Read => (FaultKind::Read, "read"),
        FileAccess::Write => (FaultKind::Change, "write"),
        FileAccess::SetLen => (FaultKind::Change, "set_len"),
        FileAccess::Sync => (FaultKind::Change, "sync"),
        FileAccess::Lock | FileAccess::Locked => return None,
    })
}

/// Returns an error at every change that the workload of `seed` makes to the file, and at some of the
/// reads, in every mode of sharing. Returns the number of errors.
///
/// # Errors
///
/// The first promise that is broken.
pub fn round(seed: u64, counts: &mut Counts) -> Result<usize, Violation> {
    let mut all = 0;
    let mut rng = Rng::new(seed).part(2);
    let ops = rng.between(4, MAX_OPS);
    let workload = Workload::any(ops, &mut rng)?;
    for (sharing, name) in SHARINGS {
        for kind in [FaultKind::Change, FaultKind::Read] {
            let context = |one| Violation(format!("by its path, {name}: {one}"));
            let trial = |fault, _: &mut Rng| trial(&workload, sharing, fault);
            let errors = at_every_step(kind, &mut rng, trial).map_err(context)?;
            let given = counts.add_given(&errors);
            counts.add(name, given);
            all += given;
        }
    }
    Ok(all)
}

/// One run into one fault, and on. Where it struck.
fn trial(workload: &Workload, sharing: Sharing, fault: Fault) -> Result<Option<Strike>, Violation> {
    // Without a cache every read comes to the disk.
    let cache_bytes = match fault.kind {
        FaultKind::Change | FaultKind::Sync => 1 << 20,
        FaultKind::Read => 0,
    };
    let directory = scratch()?;
    let file = RealFile {
        path: directory.path().join("store.redb"),
        sharing,
        faults: Arc::default(),
    };
    let store = file.open(cache_bytes).or_violation("creating a store")?;
    let mut host = Host::new(file.clone(), store, None).with_cache(cache_bytes);
    // The first operation creates the runtime of the old handles.
    let mut outcomes = host.run(&workload.ops[..1]);
    let kept = Kept::of(host.store())?;
    file.faults().set(Some(fault));
    outcomes.extend(host.run(&workload.ops[1..]));
    let Some(strike) = file.faults().first() else {
        return Ok(None);
    };
    let has_failed = outcomes.iter().any(is_failure);
    check_on(&file, &kept, host, &outcomes, workload, has_failed)
        .map_err(|one| Violation(format!("{strike:?}: {one}")))?;
    Ok(Some(strike))
}

/// Checks everything that must hold from the error on.
fn check_on(
    file: &RealFile,
    kept: &Kept,
    host: Host<RealFile>,
    outcomes: &[Outcome],
    workload: &Workload,
    has_failed: bool,
) -> Result<(), Violation> {
    let possible = possible_worlds(workload, outcomes)?;
    if has_failed {
        kept.check_refuse()?;
    }
    // An attempt to open the store on the failing disk loses nothing.
    match file.open(1 << 20) {
        Ok(_) | Err(RuntimeError::StoreIo { .. }) => {}
        Err(error) => return Err(Violation(format!("opening on a failing disk: {error:?}"))),
    }
    file.faults().set(None);
    let store = file
        .open(1 << 20)
        .or_violation("opening with old handles")?;
    if has_failed {
        kept.check_refuse()?;
    }
    check_world(&store, possible).map_err(|one| Violation(format!("after reopening: {one}")))?;
    check_works(&store)?;
    if has_failed {
        kept.check_refuse()?;
    }
    drop(host);
    let world = World::of(&store).or_violation("reading")?;
    store.close().or_violation("closing")?;
    let store = file.open(1 << 20).or_violation("opening once more")?;
    check_world(&store, std::slice::from_ref(&world))
}

/// The old handles of a host, of a store that failed.
struct Kept {
    store: Store,
    runtime: Runtime,
    snapshot: Snapshot,
}

impl Kept {
    fn of(store: &Store) -> Result<Self, Violation> {
        Ok(Self {
            store: store.clone(),
            runtime: runtime(store, "first").or_violation("opening a runtime")?,
            snapshot: store.snapshot().or_violation("taking a snapshot")?,
        })
    }

    /// The handles of a failed or closed store reject operations, whatever was opened meanwhile.
    fn check_refuse(&self) -> Result<(), Violation> {
        let request = CreateWorkerRequest::default();
        let answers = [
            ("a write", self.runtime.create_worker(request).map(drop)),
            ("a write", self.store.bulk_load(|_| Ok(()))),
            ("a submission", self.submit()),
        ];
        for (what, answer) in answers {
            match answer {
                Err(RuntimeError::StoreFailed { .. } | RuntimeError::StoreClosed { .. }) => {}
                other => return Err(Violation(format!("{what} by an old handle: {other:?}"))),
            }
        }
        // A read of an old snapshot returns the same data or an error.
        match self.snapshot.runtime_ids() {
            Ok(ids) if ids.len() == 1 => Ok(()),
            Ok(ids) => Err(Violation(format!("an old snapshot lists {ids:?}"))),
            Err(_) => Ok(()),
        }
    }

    fn submit(&self) -> Result<(), RuntimeError> {
        let submitted = self
            .runtime
            .submit(|tx| tx.create_worker(CreateWorkerRequest::default()).map(drop));
        submitted.wait()
    }
}
