//! Events about disk errors.

use crate::support::named;
use crate::telemetry::{listen, number};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::{RuntimeError, Store};
use torture::disk::{Disk, EIO, Errors, Fault, FaultKind};

#[test]
fn failed_commit_traces_its_cause() {
    let disk = Disk::default();
    let store = Store::options().open_backend(disk.clone()).unwrap();
    let runtime = store.runtime(named("r")).unwrap();
    disk.set_fault(Some(Fault {
        kind: FaultKind::Sync,
        after: 0,
        errors: Errors::only(EIO, true),
    }));
    let (failed, listener) = listen(|| runtime.create_worker(CreateWorkerRequest::default()));
    assert!(matches!(failed, Err(RuntimeError::CommitUncertain { .. })));
    let [commit] = listener.events.as_slice() else {
        panic!("{:?}", listener.events);
    };
    assert_eq!(commit["message"], "commit failed");
    assert_eq!(commit["level"], "ERROR");
    assert_eq!(number(commit, "operations"), 1);
    assert!(commit["error"].contains("os error 5"), "{commit:?}");
}
