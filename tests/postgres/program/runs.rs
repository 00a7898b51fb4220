//! Runs of the program, and stores for them.

use crate::program_run::Run;
use postgres_tests::cluster::Cluster;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::RuntimeId;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::{PostgresOptions, Runtime, Store};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A server that no test stops.
pub(crate) static SHARED: LazyLock<Cluster> = LazyLock::new(Cluster::single);

/// The small directory of the fixtures.
pub(crate) const SMALL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/small");

/// A store in a file that has rows of every kind.
pub(crate) const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/schema-2.redb");

/// A schema that no other test has.
pub(crate) fn schema() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(1);
    format!("program_{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The URL of a store, which may not exist yet, of the server at `url`.
pub(crate) fn url_of(url: &str, schema: &str) -> String {
    format!("{url}&schema={schema}")
}

/// The URL of a store of the shared server that does not exist yet.
pub(crate) fn new_url() -> String {
    url_of(&SHARED.url(), &schema())
}

/// Connects to the store of a URL.
pub(crate) fn connect(url: &str) -> Store {
    let (url, schema) = url.split_once("&schema=").unwrap();
    Store::connect(PostgresOptions::new(url).schema(schema).max_connections(4)).unwrap()
}

/// The program, which is built next to the tests.
pub(crate) fn program() -> Command {
    let test = std::env::current_exe().unwrap();
    let built = test.parent().and_then(Path::parent).unwrap();
    let program = built.join("runtime-store");
    assert!(
        program.exists(),
        "{}: no such file; tests/postgres/run builds it",
        program.display()
    );
    Command::new(program)
}

/// Runs the program with `arguments`.
pub(crate) fn run(arguments: &[&dyn AsRef<OsStr>]) -> Run {
    let mut command = program();
    for argument in arguments {
        command.arg(argument.as_ref());
    }
    Run::of(command)
}

/// The runtime `id` of a store.
pub(crate) fn runtime(store: &Store, id: &str) -> Runtime {
    let options = RuntimeOptions {
        runtime_id: RuntimeId::new(id),
        ..RuntimeOptions::default()
    };
    store.runtime(options).unwrap()
}

/// Fills a store in a file with `runtimes`, each with a worker that got `inputs` of `bytes`.
pub(crate) fn filled(path: &Path, runtimes: usize, (inputs, bytes): (usize, usize)) -> PathBuf {
    let store = Store::open(path).unwrap();
    for number in 0..runtimes {
        let runtime = runtime(&store, &format!("r{number:03}"));
        let created = runtime.create_worker(CreateWorkerRequest::default());
        let worker = created.unwrap().worker_ref;
        let text = "x".repeat(bytes);
        let said = runtime.transaction(|tx| {
            (0..inputs).try_for_each(|_| tx.send_input(&worker, WorkerInput::user(&text)).map(drop))
        });
        said.unwrap();
    }
    store.close().unwrap();
    path.to_owned()
}
