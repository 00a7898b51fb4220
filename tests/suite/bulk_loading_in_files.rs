//! Bulk loads that fail on the disk.

use crate::support::{assert_refused, event, runtime_id, runtime_snapshot};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::store::Sharing;
use redb_runtime_store::{RuntimeError, Store};
use torture::disk::{Disk, EIO, Errors, Fault, FaultKind};

/// After a failed access to the file redb rejects every write, also after a load that is abandoned
/// before its commit.
#[test]
fn disk_error_in_bulk_load_ends_writing() {
    let mut steps = std::collections::BTreeSet::new();
    for after in 0.. {
        // In an exclusive file a load reads only when it needs more space.
        let disk = Disk::shared(Sharing::Exclusive);
        let options = Store::options().sharing(Sharing::Exclusive);
        let store = options.open_backend(disk.clone()).unwrap();
        let runtime = store.runtime(crate::support::named("other")).unwrap();
        let (kind, errors) = (FaultKind::Change, Errors::only(EIO, false));
        disk.set_fault(Some(Fault {
            kind,
            after,
            errors,
        }));
        let loaded = store.bulk_load(|load| {
            // More than the free space of a new file.
            let ids = 1..=100_u64;
            ids.clone().try_for_each(|id| {
                let event = event(id, &"long ".repeat(6_000));
                load.append_event(&runtime_id("r"), event.into())
            })?;
            load.put_runtime(runtime_snapshot("r", ids.end() + 1).into())
        });
        let Some(strike) = disk.first_strike() else {
            loaded.unwrap();
            break;
        };
        steps.insert(strike.step);
        assert!(loaded.is_err(), "{after}: {strike:?}");
        let later = runtime.create_worker(CreateWorkerRequest::default());
        assert_refused!(later, RuntimeError::StoreFailed { .. });
    }
    assert!(steps.contains("set_len"), "{steps:?}");
}
