//! A host process: sends inputs, and reports each input before it is sent and each answer after it came.

use crate::bug::Bug;
use crate::history::Answer;
use crate::report::Report;
use clap::Args;
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::{RuntimeId, WorkerId, WorkerRef};
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::management::RuntimeOptions;
use redb_runtime_store::store::{Durability, Writers};
use redb_runtime_store::{PostgresOptions, Runtime, RuntimeError, Store};
use std::io::{Read, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a host waits for each server to accept its connection.
const CONNECT: Duration = Duration::from_secs(1);

/// How long a host may take to connect: it may be started during an outage.
const BEGINNING: Duration = Duration::from_secs(60);

/// The pause after a connection that could not be made.
const PAUSE: Duration = Duration::from_millis(50);

/// The command line of a host process. Times are in milliseconds.
#[derive(Args, Clone, Debug)]
pub(crate) struct HostArguments {
    /// The address of the database.
    #[arg(long)]
    pub(crate) url: String,
    /// The schema of the store.
    #[arg(long)]
    pub(crate) schema: String,
    /// The worker that gets the inputs.
    #[arg(long)]
    pub(crate) worker: String,
    /// The name of the host, which is in each of its inputs.
    #[arg(long)]
    pub(crate) name: String,
    /// The number of threads that send.
    #[arg(long)]
    pub(crate) threads: usize,
    /// Ends after so many acknowledged inputs.
    #[arg(long)]
    pub(crate) inputs: Option<usize>,
    /// Does not ask for a standby.
    #[arg(long)]
    pub(crate) local: bool,
    /// How long an operation waits for the lock of another host.
    #[arg(long)]
    pub(crate) lock_timeout: u64,
    /// How long an operation waits for a server that takes it.
    #[arg(long)]
    pub(crate) outage_timeout: u64,
    /// After what time the server ends a transaction that says nothing.
    #[arg(long)]
    pub(crate) idle_timeout: u64,
    /// The length of a lease. Without it any number of hosts write at the same time.
    #[arg(long)]
    pub(crate) lease: Option<u64>,
    /// The bug of the store that the host runs with.
    #[arg(long)]
    pub(crate) plant: Option<Bug>,
}

impl HostArguments {
    /// The command line.
    pub(crate) fn to_line(&self) -> Vec<String> {
        let mut line = vec!["host".to_owned()];
        let mut add = |name: &str, value: &dyn ToString| {
            line.extend([format!("--{name}"), value.to_string()]);
        };
        add("url", &self.url);
        add("schema", &self.schema);
        add("worker", &self.worker);
        add("name", &self.name);
        add("threads", &self.threads);
        add("lock-timeout", &self.lock_timeout);
        add("outage-timeout", &self.outage_timeout);
        add("idle-timeout", &self.idle_timeout);
        if let Some(inputs) = &self.inputs {
            add("inputs", inputs);
        }
        if let Some(lease) = &self.lease {
            add("lease", lease);
        }
        if let Some(bug) = self.plant {
            add("plant", &bug.name());
        }
        if self.local {
            line.push("--local".to_owned());
        }
        line
    }

    /// The same for a host with another name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    fn options(&self) -> PostgresOptions {
        let options = options(&self.url, &self.schema)
            .connect_timeout(CONNECT)
            .lock_timeout(Duration::from_millis(self.lock_timeout))
            .outage_timeout(Duration::from_millis(self.outage_timeout))
            .idle_timeout(Duration::from_millis(self.idle_timeout))
            .durability(match self.local {
                true => Durability::Local,
                false => Durability::Replicated,
            });
        let options = match self.lease {
            Some(lease) => options
                .writers(Writers::OnePerRuntime)
                .lease(Duration::from_millis(lease)),
            None => options,
        };
        match self.plant {
            Some(bug) => options.plant(bug.planted()),
            None => options,
        }
    }

    /// The runtime, for which a host tries again during an outage.
    fn connect(&self, is_over: &AtomicBool) -> Result<Runtime, RuntimeError> {
        let began = Instant::now();
        loop {
            match runtime(self.options()) {
                Err(_) if !is_over.load(Ordering::Relaxed) && began.elapsed() < BEGINNING => {
                    thread::sleep(PAUSE);
                }
                connected => return connected,
            }
        }
    }

    /// Sends inputs until `is_over`, or until enough are acknowledged.
    fn send_until(&self, runtime: &Runtime, thread: usize, is_over: &AtomicBool) {
        let worker = WorkerRef::new(runtime_id(), worker_id(&self.worker));
        let mut acknowledged = 0;
        for number in 0.. {
            let is_enough = self.inputs.is_some_and(|inputs| acknowledged >= inputs);
            if is_enough || is_over.load(Ordering::Relaxed) {
                return;
            }
            let text = format!("{}.{thread}.{number}", self.name);
            report(&Report::Sent(text.clone()));
            let answer = send(runtime, &worker, &text);
            acknowledged += usize::from(matches!(answer, Answer::Acknowledged(_)));
            report(&Report::Answered(text, answer));
        }
    }
}

/// Options for the store `schema` at `url`.
pub(crate) fn options(url: &str, schema: &str) -> PostgresOptions {
    PostgresOptions::new(url).schema(schema).max_connections(8)
}

fn runtime_id() -> RuntimeId {
    RuntimeId::new("r").expect("an id")
}

fn worker_id(id: &str) -> WorkerId {
    WorkerId::new(id).expect("an id")
}

/// The runtime of a round, on a handle of its own.
pub(crate) fn runtime(options: PostgresOptions) -> Result<Runtime, RuntimeError> {
    Store::connect(options)?.runtime(RuntimeOptions {
        runtime_id: Some(runtime_id()),
        ..RuntimeOptions::default()
    })
}

/// The runtime of a round with its only worker. Nothing disturbs the servers yet: an error is one of the campaign.
pub(crate) fn set_up(options: PostgresOptions) -> Result<WorkerRef, String> {
    let set_up = || {
        let worker = runtime(options)?.create_worker(CreateWorkerRequest::default())?;
        Ok(worker.worker_ref)
    };
    set_up().map_err(|error: RuntimeError| format!("the round could not begin: {error}"))
}

/// Sends `text`. Returns the answer.
pub(crate) fn send(runtime: &Runtime, worker: &WorkerRef, text: &str) -> Answer {
    match runtime.send_input(worker, WorkerInput::user(text)) {
        Ok(acknowledged) => Answer::Acknowledged(acknowledged.event_id),
        Err(RuntimeError::CommitUncertain { .. }) => Answer::Uncertain,
        Err(error) => Answer::Refused(error.to_string()),
    }
}

/// Prints a report. Ends the process if the campaign is gone.
fn report(report: &Report) {
    let mut out = std::io::stdout().lock();
    // In one write: a kill leaves no part of a line.
    let line = format!("{report}\n");
    if out.write_all(line.as_bytes()).is_err() || out.flush().is_err() {
        std::process::exit(1);
    }
}

/// Runs a host until its input ends.
pub(crate) fn run(arguments: &HostArguments) -> ExitCode {
    let is_over = Arc::new(AtomicBool::new(false));
    let watched = Arc::clone(&is_over);
    thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        watched.store(true, Ordering::Relaxed);
    });
    let runtime = match arguments.connect(&is_over) {
        Ok(runtime) => runtime,
        // The campaign is gone, or needs the host no more.
        Err(_) if is_over.load(Ordering::Relaxed) => return ExitCode::FAILURE,
        Err(error) => {
            eprintln!("host {} cannot connect: {error}", arguments.name);
            return ExitCode::FAILURE;
        }
    };
    report(&Report::Ready);
    thread::scope(|scope| {
        for thread in 0..arguments.threads {
            let (runtime, is_over) = (&runtime, &is_over);
            scope.spawn(move || arguments.send_until(runtime, thread, is_over));
        }
    });
    if let Err(error) = runtime.store().close() {
        eprintln!("host {} cannot close its store: {error}", arguments.name);
        return ExitCode::FAILURE;
    }
    report(&Report::Closed);
    ExitCode::SUCCESS
}
