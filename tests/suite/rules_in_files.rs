//! Runtimes that are opened without a store: in memory and at a path.

use crate::support::{assert_refused, named, runtime_id, scratch, worker_ref};
use redb_runtime_store::management::RuntimeBackendKind;
use redb_runtime_store::{RedbRuntimeStoreOptions, Runtime, RuntimeError, Store};

#[test]
fn in_memory_runtimes_have_unique_ids() {
    let (a, b) = (Runtime::new_memory(), Runtime::new_memory());
    assert_ne!(a.runtime_id().unwrap(), b.runtime_id().unwrap());
    assert_eq!(a.summary().unwrap().backend, RuntimeBackendKind::Memory);
    let named = Runtime::with_options(named("r"));
    assert_eq!(named.runtime_id().unwrap(), runtime_id("r"));
    assert_refused!(
        a.worker_detail(&worker_ref("r", "w")),
        RuntimeError::WrongRuntime { .. }
    );
}

#[test]
fn missing_id_means_the_only_runtime_of_the_file() {
    let (_directory, path) = scratch();
    let by_path = || Runtime::with_redb_store(RedbRuntimeStoreOptions::new(&path));
    let fresh = by_path().unwrap().runtime_id().unwrap();
    assert!(fresh.as_str().starts_with("runtime-"), "{fresh}");
    assert_eq!(by_path().unwrap().runtime_id().unwrap(), fresh);
    assert_eq!(Store::open(&path).unwrap().runtimes().unwrap().len(), 1);

    let second = RedbRuntimeStoreOptions {
        runtime_id: Some(runtime_id("second \"one\"")),
        ..RedbRuntimeStoreOptions::new(&path)
    };
    let second = Runtime::with_redb_store(second).unwrap();
    match by_path() {
        Err(RuntimeError::InvalidRequest(message)) => {
            assert!(message.contains(fresh.as_str()), "{message}");
            assert!(message.contains(r#""second \"one\"""#), "{message}");
        }
        other => panic!("wanted a list of the runtimes, got {other:?}"),
    }
    assert_eq!(second.store().runtimes().unwrap().len(), 2);
}
