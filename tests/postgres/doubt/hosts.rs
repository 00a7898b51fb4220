//! Hosts of a store on a server that these tests share.

use postgres_tests::cluster::Cluster;
use postgres_tests::proxy::Proxy;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::{RuntimeId, WorkerRef};
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::{PostgresOptions, Runtime, RuntimeError, Store};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server that no test stops. It looks for deadlocks later than usual, so that a test has the time to make one.
pub(crate) static SHARED: LazyLock<Cluster> =
    LazyLock::new(|| Cluster::with_settings(&["deadlock_timeout=3s"]));

/// A schema that no other test has.
pub(crate) fn schema() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("store_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Options of a store at `url`.
pub(crate) fn options(url: &str, schema: &str) -> PostgresOptions {
    PostgresOptions::new(url).schema(schema).max_connections(8)
}

/// Options of the runtime `id`.
pub(crate) fn named(id: &str) -> RuntimeOptions {
    RuntimeOptions {
        runtime_id: Some(RuntimeId::new(id).unwrap()),
        ..RuntimeOptions::default()
    }
}

/// A host with a runtime `r` and a worker, behind a proxy.
pub(crate) struct Host {
    pub(crate) runtime: Runtime,
    pub(crate) worker: WorkerRef,
    pub(crate) proxy: Proxy,
    pub(crate) schema: String,
}

impl Host {
    /// A host of the shared server.
    pub(crate) fn new(change: impl Fn(PostgresOptions) -> PostgresOptions) -> Self {
        Self::of(&SHARED, change)
    }

    /// A host of `cluster`, with options that `change` makes of the usual ones.
    pub(crate) fn of(
        cluster: &Cluster,
        change: impl Fn(PostgresOptions) -> PostgresOptions,
    ) -> Self {
        let (proxy, url) = cluster.proxied();
        let schema = schema();
        let store = Store::connect(change(options(&url, &schema))).unwrap();
        let runtime = store.runtime(named("r")).unwrap();
        let created = runtime.create_worker(CreateWorkerRequest::default());
        Self {
            worker: created.unwrap().worker_ref,
            runtime,
            proxy,
            schema,
        }
    }

    /// Another host of the same runtime, which nothing disturbs.
    pub(crate) fn other(&self, change: impl Fn(PostgresOptions) -> PostgresOptions) -> Runtime {
        let store = Store::connect(change(options(&SHARED.url(), &self.schema)));
        store.unwrap().runtime(named("r")).unwrap()
    }

    /// Sends an input.
    pub(crate) fn say(&self, text: &str) -> Result<u64, RuntimeError> {
        say(&self.runtime, &self.worker, text)
    }

    /// The inputs that the store has.
    pub(crate) fn said(&self) -> Vec<String> {
        said(&self.runtime, &self.worker)
    }
}

/// Sends an input.
pub(crate) fn say(runtime: &Runtime, worker: &WorkerRef, text: &str) -> Result<u64, RuntimeError> {
    let sent = runtime.send_input(worker, WorkerInput::user(text))?;
    Ok(sent.event_id)
}

/// The first inputs of `worker`.
pub(crate) fn said(runtime: &Runtime, worker: &WorkerRef) -> Vec<String> {
    let page = runtime.transcript_projection(worker, TranscriptQuery::new(0, 256));
    let entries = page.unwrap().items.into_iter();
    entries.map(|entry| entry.content).collect()
}

/// Everything that an error shows, with its causes.
pub(crate) fn shown(error: &RuntimeError) -> String {
    let mut shown = format!("{error:?} {error} {error:#?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        shown += &format!(" {error:?} {error}");
        cause = error.source();
    }
    shown
}

/// Asserts that a result is an error of one kind.
macro_rules! assert_refused {
    ($result:expr, $pattern:pat $(if $guard:expr)? $(,)?) => {
        match $result {
            Err($pattern) $(if $guard)? => {}
            other => panic!("wanted {}, got {other:?}", stringify!($pattern $(if $guard)?)),
        }
    };
}
pub(crate) use assert_refused;
