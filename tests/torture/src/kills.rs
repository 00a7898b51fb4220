//! Kills real processes during real work.
//!
//! A child works on a store and prints a line for each acknowledged operation. It is killed at a random
//! time. Then every acknowledged operation must be stored, and every other one completely or not at
//! all.

use crate::campaign::count_tried;
use crate::child::{Start, patient, say};
use crate::deletion;
use crate::kill_copies;
use crate::open_work;
use crate::rng::Rng;
use crate::workload::{IMPORTED, import_root, runtime};
use crate::world::{Context, RuntimeState, Violation, WorkerState, World, check_rules};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::{TranscriptRole, WorkerInput};
use redb_runtime_store::layout::{
    ExistingDirectory, ExportOptions, FindingKind, ImportOptions, compare, export, import,
};
use redb_runtime_store::{Runtime, Store};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// The work of a child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Job {
    /// Sends input from several threads.
    Work,
    /// Creates a store.
    Create,
    /// Imports a directory again and replaces its runtime.
    Import,
    /// Updates an earlier export of a store.
    Export,
    /// Backs up a store while it is written to.
    Backup,
    /// Compacts a store.
    Compact,
    /// Migrates a store, as a later release will.
    Migrate,
    /// Deletes a worker in several commits, and its runtime.
    Delete,
    /// Prunes a store in many commits.
    Prune,
}

impl Job {
    /// Every job; the most important ones several times.
    pub const ALL: [Self; 13] = [
        Self::Work,
        Self::Work,
        Self::Work,
        Self::Create,
        Self::Work,
        Self::Import,
        Self::Export,
        Self::Work,
        Self::Backup,
        Self::Compact,
        Self::Migrate,
        Self::Delete,
        Self::Prune,
    ];

    /// The job's name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Work => "work",
            Self::Create => "create",
            Self::Import => "import",
            Self::Export => "export",
            Self::Backup => "backup",
            Self::Compact => "compact",
            Self::Migrate => "migrate",
            Self::Delete => "delete",
            Self::Prune => "prune",
        }
    }

    /// The job of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|job| job.name() == name)
    }
}

/// The runtime that children work on.
pub(crate) const RUNTIME: &str = "killed";
const WORKERS: usize = 2;
const THREADS: usize = 4;

/// The files of a job, below its directory.
struct Paths(PathBuf);

impl Paths {
    fn store(&self) -> PathBuf {
        self.0.join("store.redb")
    }

    fn export(&self) -> PathBuf {
        self.0.join("export")
    }

    fn backup(&self) -> PathBuf {
        self.0.join("backup.redb")
    }
}

/// Runs `job` in `directory`, as the child.
pub(crate) fn child(job: Job, directory: &Path) -> Result<(), Violation> {
    let paths = Paths(directory.to_owned());
    match job {
        Job::Work => work(&paths),
        Job::Create => {
            patient().open(paths.store()).or_violation("creating")?;
            say("done")
        }
        Job::Import => {
            let store = patient().open(paths.store()).or_violation("opening")?;
            let options = ImportOptions::new().replace(true);
            import(&store, import_root(), &options).or_violation("importing")?;
            say("done")
        }
        Job::Export => {
            let store = patient().open(paths.store()).or_violation("opening")?;
            update_export(&store, &paths.export())?;
            say("done")
        }
        Job::Backup => {
            let store = patient().open(paths.store()).or_violation("opening")?;
            let work = runtime(&store, RUNTIME).or_violation("opening")?;
            let next = next_inputs(&store)?.get(&0).copied().unwrap_or(0);
            let workers = workers(&work)?;
            std::thread::scope(|scope| {
                scope.spawn(|| thread_of_work(&work, &workers, 0, next));
                store.backup(paths.backup()).or_violation("copying")?;
                say("done")?;
                std::process::exit(0)
            })
        }
        Job::Compact => {
            let store = patient().open(paths.store()).or_violation("opening")?;
            store.compact().or_violation("compacting")?;
            say("done")
        }
        Job::Delete => deletion::delete(&paths.store()),
        Job::Migrate => kill_copies::migrate(&paths.store()),
        Job::Prune => kill_copies::prune(&paths.store()),
    }
}

fn update_export(store: &Store, root: &Path) -> Result<(), Violation> {
    let options = ExportOptions::new().existing(ExistingDirectory::Update);
    export(store, root, &options).or_violation("exporting")?;
    Ok(())
}

fn workers(runtime: &Runtime) -> Result<Vec<WorkerRef>, Violation> {
    let mut workers = runtime.list_workers().or_violation("listing workers")?;
    while workers.len() < WORKERS {
        let created = runtime.create_worker(CreateWorkerRequest::default());
        created.or_violation("creating a worker")?;
        workers = runtime.list_workers().or_violation("listing workers")?;
    }
    Ok(workers.into_iter().map(|one| one.worker_ref).collect())
}

fn work(paths: &Paths) -> Result<(), Violation> {
    let store = patient().open(paths.store()).or_violation("opening")?;
    let runtime = runtime(&store, RUNTIME).or_violation("opening")?;
    let next = next_inputs(&store)?;
    let workers = workers(&runtime)?;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (runtime, workers) = (&runtime, &workers);
            let next = next.get(&thread).copied().unwrap_or(0);
            scope.spawn(move || thread_of_work(runtime, workers, thread, next));
        }
    });
    Ok(())
}

/// Sends inputs until the process is killed.
fn thread_of_work(
    runtime: &Runtime,
    workers: &[WorkerRef],
    thread: usize,
    first: usize,
) -> Result<(), Violation> {
    let mut next = first;
    loop {
        // Every third input opens work before it and closes it after its reply.
        let work = next.is_multiple_of(3).then(|| format!("{thread}:{next}"));
        let worker = &workers[(thread + next) % workers.len()];
        if let Some(name) = &work {
            open_work::open(runtime, worker, name)?;
        }
        let (after, sent) = send_next(runtime, workers, thread, next);
        sent.or_violation("sending")?;
        reply_alone(runtime, workers, thread, next).or_violation("replying")?;
        if let Some(name) = &work {
            open_work::close(runtime, worker, name)?;
        }
        next = after;
        say(&format!("{thread} {next}"))?;
    }
}

/// Sends the input `next` of a thread, or submits it, or sends three in a transaction, or sends it with a reply in a
/// transaction. Returns the number of the input that comes after these, and what came of it.
pub(crate) fn send_next(
    runtime: &Runtime,
    workers: &[WorkerRef],
    thread: usize,
    next: usize,
) -> (usize, Result<(), RuntimeError>) {
    let worker = &workers[(thread + next) % workers.len()];
    let input = move |number| WorkerInput::user(format!("{thread}:{number}"));
    match next % 7 {
        0 => {
            let sent = runtime.transaction(|tx| {
                (next..next + 3).try_for_each(|one| tx.send_input(worker, input(one)).map(drop))
            });
            (next + 3, sent)
        }
        1 | 2 => {
            let to = worker.clone();
            let pending = runtime.submit(move |tx| tx.send_input(&to, input(next)).map(drop));
            (next + 1, pending.wait())
        }
        ANSWERED => {
            let sent = runtime.transaction(|tx| {
                tx.send_input(worker, input(next))?;
                tx.append_reply(worker, format!("{thread}:{next}"))
                    .map(drop)
            });
            (next + 1, sent)
        }
        _ => {
            let sent = runtime.send_input(worker, input(next)).map(drop);
            (next + 1, sent)
        }
    }
}

/// Replies to the input `sent` of a thread in an operation of its own, if it is one of those that get such a reply.
pub(crate) fn reply_alone(
    runtime: &Runtime,
    workers: &[WorkerRef],
    thread: usize,
    sent: usize,
) -> Result<(), RuntimeError> {
    if sent % 7 != ANSWERED_ALONE {
        return Ok(());
    }
    let worker = &workers[(thread + sent) % workers.len()];
    let reply = runtime.append_reply(worker, format!("{thread}:{sent}"));
    reply.map(drop)
}

fn next_inputs(store: &Store) -> Result<BTreeMap<usize, usize>, Violation> {
    let world = World::of(store).or_violation("reading")?;
    world
        .0
        .get(RUNTIME)
        .map_or(Ok(BTreeMap::new()), |state| said_by(state))
}

/// The inputs with this remainder by 7 are in one transaction with their replies.
pub(crate) const ANSWERED: usize = 3;

/// Those with this remainder get their reply after they are acknowledged.
const ANSWERED_ALONE: usize = 4;

/// Checks the replies of a worker: each repeats an input that precedes it, and the inputs that are in one transaction
/// with their reply have one.
fn check_replies(worker: &WorkerState) -> Result<(), Violation> {
    let mut answered = BTreeMap::new();
    for entry in &worker.transcript {
        let content = entry.value.content.as_str();
        if entry.value.role != TranscriptRole::Assistant {
            answered.insert(content, 0);
        } else if let Some(replies) = answered.get_mut(content) {
            *replies += 1;
        } else {
            return Err(Violation(format!(
                "a reply to {content:?}, which precedes it"
            )));
        }
    }
    for (content, replies) in answered {
        let number = content
            .split_once(':')
            .and_then(|(_, number)| number.parse::<usize>().ok());
        let least = usize::from(number.is_some_and(|number| number % 7 == ANSWERED));
        if replies < least || replies > 1 {
            return Err(Violation(format!("{replies} replies to {content:?}")));
        }
    }
    Ok(())
}

/// The number of inputs of each thread in the log. They must be in order, without gaps or repeats, and
/// transactions must be complete.
pub(crate) fn said_by(state: &RuntimeState) -> Result<BTreeMap<usize, usize>, Violation> {
    let mut inputs: Vec<(u64, &str)> = Vec::new();
    for worker in state.workers.values() {
        check_replies(worker)?;
        let entries = worker.transcript.iter().map(|entry| &entry.value);
        let entries = entries.filter(|entry| entry.role != TranscriptRole::Assistant);
        inputs.extend(entries.map(|entry| (entry.event_id, entry.content.as_str())));
    }
    inputs.sort_unstable();
    let mut next: BTreeMap<usize, usize> = BTreeMap::new();
    for (event, content) in inputs {
        let wrong = || Violation(format!("event {event} has the input {content:?}"));
        let (thread, number) = content.split_once(':').ok_or_else(wrong)?;
        let thread = thread.parse().map_err(|_| wrong())?;
        let expected = next.entry(thread).or_default();
        if number.parse() != Ok(*expected) {
            return Err(Violation(format!("{}, not number {expected}", wrong())));
        }
        *expected += 1;
    }
    for (thread, next) in &next {
        // Three inputs from a multiple of 7 on are one transaction: all of them are stored, or none.
        if matches!(next % 7, 1 | 2) {
            return Err(Violation(format!(
                "a transaction of thread {thread} ends at {next}"
            )));
        }
    }
    Ok(next)
}

/// The cases that were tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Kills of a child that was at work.
    pub landed: usize,
    /// Those among them during other work than sending input.
    pub maintenance: usize,
    /// Kills after the end of a child, which test nothing.
    pub late: usize,
}

/// The greatest number of late kills for each kill that counts. More of them mean that the work ends
/// before every kill, so the campaign would test nothing.
const MAX_LATE: usize = 20;

/// Kills one child after another, until `count` of them were killed at work.
///
/// # Errors
///
/// The first broken guarantee.
pub fn round(seed: u64, kills: usize, start: Start<'_>) -> Result<Counts, Violation> {
    let mut rng = Rng::new(seed);
    let directory = tempfile::tempdir().or_violation("making a directory")?;
    let paths = Paths(directory.path().to_owned());
    prepare(&paths)?;
    let mut before = BTreeMap::new();
    let mut counts = Counts::default();
    while counts.landed < kills {
        let kill = counts.landed + counts.late;
        let job = Job::ALL[kill % Job::ALL.len()];
        let met = kill_one(job, &paths, &mut before, &mut rng, start);
        let landed = met.map_err(|one| Violation(format!("kill {kill}, {job:?}: {one}")))?;
        counts.landed += usize::from(landed);
        count_tried(usize::from(landed));
        counts.maintenance += usize::from(landed && job != Job::Work);
        counts.late += usize::from(!landed);
        if counts.late > MAX_LATE * kills {
            return Err(Violation(format!("nothing is killed at work: {counts:?}")));
        }
    }
    Ok(counts)
}

/// A store at `path` with the runtime that is worked on.
pub(crate) fn prepare_workers(path: &Path) -> Result<(), Violation> {
    let store = patient().open(path).or_violation("creating a store")?;
    let worked = runtime(&store, RUNTIME).or_violation("creating a runtime")?;
    workers(&worked)?;
    store.close().or_violation("closing")
}

/// A store with an imported runtime, and an export of it.
fn prepare(paths: &Paths) -> Result<(), Violation> {
    let store = patient().open(paths.store()).or_violation("opening")?;
    import(&store, import_root(), ImportOptions::new()).or_violation("importing")?;
    let worked = runtime(&store, RUNTIME).or_violation("opening")?;
    workers(&worked)?;
    export(&store, paths.export(), ExportOptions::new()).or_violation("exporting")?;
    Ok(())
}

/// Kills a child that runs `job`. Returns whether it was still at work.
fn kill_one(
    job: Job,
    paths: &Paths,
    before: &mut BTreeMap<usize, usize>,
    rng: &mut Rng,
    start: Start<'_>,
) -> Result<bool, Violation> {
    if job == Job::Create {
        let fresh = tempfile::tempdir().or_violation("making a directory")?;
        let paths = Paths(fresh.path().to_owned());
        let (said, landed) = kill_after(start(job.name(), fresh.path()), rng.below(4_000))?;
        return check_created(&paths, &said).map(|()| landed);
    }
    if matches!(job, Job::Migrate | Job::Prune) {
        let fresh = tempfile::tempdir().or_violation("making a directory")?;
        let (sound, copied) = (paths.store(), Paths(fresh.path().to_owned()).store());
        std::fs::copy(&sound, &copied).or_violation("copying")?;
        let (said, landed) = kill_after(start(job.name(), fresh.path()), rng.below(12_000))?;
        let checked = match job {
            Job::Migrate => kill_copies::check_migrated(&sound, &copied, &said),
            _ => kill_copies::check_pruned(&sound, &copied, &said),
        };
        return checked.map(|()| landed);
    }
    let micros = match job {
        Job::Work => rng.below(60_000),
        _ => rng.below(20_000),
    };
    let (said, landed) = kill_after(start(job.name(), &paths.0), micros)?;
    let store = patient().open(paths.store()).or_violation("opening")?;
    let world = World::of(&store).or_violation("reading")?;
    check_rules(&store, &world)?;
    check_work(&world, &said, before)?;
    let worked = runtime(&store, RUNTIME).or_violation("opening")?;
    open_work::check(&store, &worked, &said)?;
    if job == Job::Export {
        check_exported(&store, &paths.export())?;
    }
    if job == Job::Delete {
        deletion::check(&store, &world, &said)?;
    }
    if job == Job::Backup {
        check_backup(paths, &said)?;
    }
    Ok(landed)
}

/// Starts `command` and kills it `micros` after its first line. Returns its output, and whether the
/// kill came before its end.
fn kill_after(mut command: Command, micros: usize) -> Result<(Vec<String>, bool), Violation> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .or_violation("starting a child")?;
    let (said, saying) = channel();
    let out = child.stdout.take();
    let reader = std::thread::spawn(move || {
        for line in out.into_iter().flat_map(|out| BufReader::new(out).lines()) {
            // A line without its newline was interrupted by the kill: it does not count.
            if line.is_ok_and(|line| said.send(line).is_err()) {
                break;
            }
        }
    });
    let mut lines = Vec::new();
    // The test harness that a child may run in prints lines of its own first.
    while let Ok(line) = saying.recv_timeout(Duration::from_secs(30)) {
        let is_ready = line == "ready";
        lines.push(line);
        if is_ready {
            break;
        }
    }
    std::thread::sleep(Duration::from_micros(micros as u64));
    let landed = reap(&mut child)?;
    drop(reader.join());
    lines.extend(saying.try_iter());
    Ok((lines, landed))
}

/// Kills the child. Returns false if it had ended before, which it must have done successfully.
pub(crate) fn reap(child: &mut Child) -> Result<bool, Violation> {
    child.kill().or_violation("killing a child")?;
    let status = child.wait().or_violation("waiting for a child")?;
    let landed = status.signal() == Some(Signal::KILL.as_raw());
    if landed || status.success() {
        return Ok(landed);
    }
    let mut complaint = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut complaint)
            .or_violation("listening")?;
    }
    Err(Violation(format!(
        "the child failed by itself: {complaint}"
    )))
}

fn check_created(paths: &Paths, said: &[String]) -> Result<(), Violation> {
    let path = paths.store();
    if !path.exists() && said.iter().any(|line| line == "done") {
        return Err(Violation(
            "the store was created, but it is not there".to_owned(),
        ));
    }
    if path.exists() {
        // A file that exists is complete.
        patient()
            .create(false)
            .open(&path)
            .or_violation("opening")?;
    }
    let store = patient().open(&path).or_violation("opening anew")?;
    crate::power_loss::check_works(&store)
}

/// Checks that each thread has at least the number of inputs that `acknowledged` has for it.
pub(crate) fn check_acknowledged(
    state: &RuntimeState,
    acknowledged: &BTreeMap<usize, usize>,
) -> Result<(), Violation> {
    let found = said_by(state)?;
    for (thread, acknowledged) in acknowledged {
        let there = found.get(thread).copied().unwrap_or(0);
        if there < *acknowledged {
            return Err(Violation(format!(
                "thread {thread}: {acknowledged} inputs were acknowledged, {there} are there"
            )));
        }
    }
    Ok(())
}

/// Checks that every acknowledged operation is stored.
fn check_work(
    world: &World,
    said: &[String],
    before: &mut BTreeMap<usize, usize>,
) -> Result<(), Violation> {
    let Some(state) = world.0.get(RUNTIME) else {
        return Err(Violation("the runtime is missing".to_owned()));
    };
    let found = said_by(state)?;
    for line in said {
        let mut words = line.split(' ').map(str::parse::<usize>);
        if let (Some(Ok(thread)), Some(Ok(next))) = (words.next(), words.next()) {
            let known = before.entry(thread).or_default();
            *known = next.max(*known);
        }
    }
    check_acknowledged(state, before)?;
    *before = found;
    match world.0.contains_key(IMPORTED) {
        true => Ok(()),
        false => Err(Violation("the imported runtime is missing".to_owned())),
    }
}

/// Checks that the export is complete, old or new, except for an incomplete last line of one log, which
/// a killed update may leave. The next update must complete it.
///
/// # Errors
///
/// Any other difference.
pub fn check_exported(store: &Store, root: &Path) -> Result<(), Violation> {
    let copy = Store::in_memory().or_violation("opening a store in memory")?;
    let salvage = ImportOptions::new().salvage(true);
    let report = import(&copy, root, salvage).or_violation("importing the export")?;
    let damage = report.findings.iter().filter(|one| !one.kind.is_accepted());
    let damage: Vec<_> = damage.collect();
    if damage.len() > 1 || damage.iter().any(|one| one.kind != FindingKind::CutOff) {
        return Err(Violation(format!("the export is not whole: {damage:?}")));
    }
    update_export(store, root)?;
    let compared = compare(store, root).or_violation("comparing")?;
    match compared.is_same() {
        true => Ok(()),
        false => Err(Violation(format!("store and export differ: {compared:?}"))),
    }
}

/// The copy is complete or absent, and the next backup succeeds.
fn check_backup(paths: &Paths, said: &[String]) -> Result<(), Violation> {
    let path = paths.backup();
    let is_there = path.exists();
    if !is_there && said.iter().any(|line| line == "done") {
        return Err(Violation(
            "the store was copied, but the copy is not there".to_owned(),
        ));
    }
    if is_there {
        let copy = patient().open(&path).or_violation("opening the copy")?;
        let world = World::of(&copy).or_violation("reading the copy")?;
        check_rules(&copy, &world)?;
        copy.close().or_violation("closing the copy")?;
        std::fs::remove_file(&path).or_violation("removing the copy")?;
    }
    Ok(())
}
