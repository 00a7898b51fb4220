//! The processes that [`stops`](crate::stops) stops: writers that acknowledge inputs, and readers that
//! check what they read.
//!
//! A process reports each answer of its store in a line. On request it stops itself at a lock call of
//! redb: a signal from outside hardly ever meets one, because the locks that others wait for are held for
//! microseconds.

use crate::answers::{Answer, Asked, LIMIT, MARGIN, Role, Spec, StopAt, now, store_path};
use crate::child::say;
use crate::kills::{RUNTIME, reply_alone, said_by, send_next};
use crate::plant::Plant;
use crate::rng::Rng;
use crate::workload::runtime;
use crate::world::{Violation, World};
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::store::{FileAccess, PlantedBug, StoreOptions};
use redb_runtime_store::{Runtime, Store};
use rustix::process::{Signal, getpid, kill_process};
use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The time in which this process was stopped or got no processor. A thread that only sleeps measures it.
#[derive(Debug, Default)]
struct Paused {
    micros: AtomicU64,
    ticks: AtomicU64,
}

const TICK: Duration = Duration::from_millis(2);

/// The longest time of a sync, in microseconds.
const LONGEST_SYNC: u64 = 2_000;

/// A tick that takes longer is a pause.
const LONGEST_TICK: u64 = 20_000;

impl Paused {
    fn watch(&self) {
        let mut last = now();
        loop {
            std::thread::sleep(TICK);
            let next = now();
            if next - last > LONGEST_TICK {
                self.micros.fetch_add(next - last, Ordering::SeqCst);
            }
            self.ticks.fetch_add(1, Ordering::SeqCst);
            last = next;
        }
    }
}

/// The start of an operation, and the pauses of the process before it.
#[derive(Clone, Copy, Debug)]
struct Began {
    at: u64,
    paused: u64,
}

/// Stops this process at one of its accesses of the store's file.
#[derive(Debug, Default)]
struct SelfStop {
    /// The number of accesses until the stop; 0 for no stop.
    left: AtomicUsize,
    /// Which accesses count.
    at: Mutex<StopAt>,
}

impl SelfStop {
    fn set(&self, at: StopAt, left: usize) {
        *self.at.lock().unwrap_or_else(PoisonError::into_inner) = at;
        self.left.store(left, Ordering::SeqCst);
    }

    fn meet(&self, access: FileAccess) {
        let at = *self.at.lock().unwrap_or_else(PoisonError::into_inner);
        if !at.counts(access) {
            return;
        }
        let order = Ordering::SeqCst;
        let left = self
            .left
            .fetch_update(order, order, |left| left.checked_sub(1));
        if left == Ok(1) {
            let _ = kill_process(getpid(), Signal::STOP);
            // Another thread may take the signal first. This one must not leave its lock call before all
            // are stopped.
            std::thread::sleep(5 * TICK);
        }
    }
}

/// This process.
struct Process {
    spec: Spec,
    path: PathBuf,
    paused: Paused,
    stop: SelfStop,
    /// Whether the parent asked it to end.
    ends: AtomicBool,
    /// Whether an error since the open may have ended the store, and whether one reported that it has
    /// ended.
    may_have_ended: AtomicBool,
    has_failed: AtomicBool,
}

/// The result of an operation.
enum Outcome<T> {
    Done(T),
    /// Nothing was done, and the store may still be open.
    Again,
    /// The store must be opened again.
    Ended,
}

/// Does the work of `spec` in `directory` until standard input ends.
pub(crate) fn child(spec: Spec, directory: &Path) -> Result<(), Violation> {
    end_with_parent();
    let process = Arc::new(Process {
        spec,
        path: store_path(directory),
        paused: Paused::default(),
        stop: SelfStop::default(),
        ends: AtomicBool::new(false),
        may_have_ended: AtomicBool::new(false),
        has_failed: AtomicBool::new(false),
    });
    process.stop.set(StopAt::Lock, spec.stop_at);
    let (watched, listening) = (Arc::clone(&process), Arc::clone(&process));
    std::thread::spawn(move || watched.paused.watch());
    std::thread::spawn(move || listening.listen());
    match spec.role {
        Role::Writer => write(&process),
        Role::Reader => read(&process),
    }
}

/// Has the system kill this process when its parent ends: a stopped process cannot end by itself.
fn end_with_parent() {
    #[cfg(target_os = "linux")]
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
}

impl Process {
    /// Reads requests to stop at an access. At their end the process has to end.
    fn listen(&self) {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if let Some((at, left)) = line.split_once(' ')
                && let (Some(at), Ok(left)) = (StopAt::named(at), left.parse())
            {
                self.stop.set(at, left);
            }
        }
        self.ends.store(true, Ordering::SeqCst);
    }

    fn ends(&self) -> bool {
        self.ends.load(Ordering::SeqCst)
    }

    fn options(self: &Arc<Self>) -> StoreOptions {
        let limit = match self.spec.plant {
            Some(Plant::LockLimitOff) => Duration::from_secs(3_600),
            _ => LIMIT,
        };
        let process = Arc::clone(self);
        let mut options = Store::options();
        if self.spec.plant == Some(Plant::MarkLost) {
            options = options.planted(PlantedBug::MarkLost);
        }
        options
            .create(false)
            .sharing(self.spec.sharing)
            .read_only(self.spec.role == Role::Reader)
            .lock_timeout(LIMIT)
            .commit_lock_timeout(limit)
            .on_access(move |access| {
                process.stop.meet(access);
                if access == FileAccess::Sync {
                    // As on a disk: other processes take most of their locks during the syncs of a commit.
                    // After the last sync the commit is acknowledged even if the header stays locked.
                    std::thread::sleep(Duration::from_micros(now() % LONGEST_SYNC));
                }
                Ok(())
            })
    }

    fn begin(&self) -> Began {
        Began {
            at: now(),
            paused: self.paused.micros.load(Ordering::SeqCst),
        }
    }

    /// The microseconds since `began`, without the time in which this process was stopped.
    fn waited(&self, began: Began) -> Result<u64, Violation> {
        let took = now() - began.at;
        if took < LONGEST_TICK {
            return Ok(took);
        }
        // After two ticks a pause that has just ended is counted.
        let ticks = || self.paused.ticks.load(Ordering::SeqCst);
        let seen = ticks();
        while ticks() < seen + 2 {
            std::thread::sleep(TICK);
        }
        let paused = self.paused.micros.load(Ordering::SeqCst) - began.paused;
        let took = took.saturating_sub(paused);
        if took > (LIMIT + MARGIN).as_micros() as u64 {
            return Err(Violation(format!("an operation took {took} µs")));
        }
        Ok(took)
    }

    /// Reports `error`, and returns its consequence.
    ///
    /// # Errors
    ///
    /// Returns an error that a stopped process must not cause.
    fn answer<T>(
        &self,
        error: &RuntimeError,
        asked: Asked,
        began: Began,
    ) -> Result<Outcome<T>, Violation> {
        let micros = self.waited(began)?;
        let is_reader = self.spec.role == Role::Reader;
        let (answer, outcome) = match error {
            RuntimeError::StoreLocked { holder, .. } => {
                self.may_have_ended.store(true, Ordering::SeqCst);
                let locked = Answer::Locked {
                    asked,
                    holder: holder.unwrap_or(0),
                    began: began.at,
                    micros,
                };
                (locked, Outcome::Again)
            }
            RuntimeError::StoreFailed { .. } => {
                self.has_failed.store(true, Ordering::SeqCst);
                (Answer::Failed, Outcome::Ended)
            }
            RuntimeError::CommitUncertain { .. } if asked == Asked::Write => {
                self.may_have_ended.store(true, Ordering::SeqCst);
                (Answer::Uncertain { micros }, Outcome::Ended)
            }
            RuntimeError::NeedsRepair { .. } if asked == Asked::Open && is_reader => {
                (Answer::NeedsRepair, Outcome::Again)
            }
            other => return Err(Violation(format!("{asked:?}: {other:?}"))),
        };
        say(&answer.line())?;
        std::thread::sleep(TICK);
        Ok(outcome)
    }

    fn take<T>(
        &self,
        result: Result<T, RuntimeError>,
        asked: Asked,
        began: Began,
    ) -> Result<Outcome<T>, Violation> {
        match result {
            Ok(done) => {
                self.waited(began)?;
                Ok(Outcome::Done(done))
            }
            Err(error) => self.answer(&error, asked, began),
        }
    }

    /// Opens the store. `None` if the open has to be repeated.
    fn open(self: &Arc<Self>) -> Result<Option<Store>, Violation> {
        let began = self.begin();
        let opened = self.options().open(&self.path);
        self.may_have_ended.store(false, Ordering::SeqCst);
        self.has_failed.store(false, Ordering::SeqCst);
        match self.take(opened, Asked::Open, began)? {
            Outcome::Done(store) => Ok(Some(store)),
            Outcome::Again | Outcome::Ended => Ok(None),
        }
    }

    /// Checks that an error ended the store before it answered `StoreFailed`. Called after all threads have
    /// reported their answers.
    fn check_reason(&self) -> Result<(), Violation> {
        let is_without = !self.may_have_ended.load(Ordering::SeqCst);
        match self.has_failed.load(Ordering::SeqCst) && is_without {
            false => Ok(()),
            true => Err(Violation(
                "StoreFailed, without an error that ended the store".to_owned(),
            )),
        }
    }
}

/// The inputs of a thread: those below `certain` are stored, those below `possible` may be.
#[derive(Clone, Copy, Debug, Default)]
struct Sent {
    certain: usize,
    possible: usize,
}

/// Sends inputs, and opens the store again after it ended.
fn write(process: &Arc<Process>) -> Result<(), Violation> {
    let mut sent: Option<BTreeMap<usize, Sent>> = None;
    while !process.ends() {
        let Some(store) = process.open()? else {
            continue;
        };
        let began = process.begin();
        let read = World::of(&store).and_then(|world| Ok((world, work_of(&store)?)));
        let Outcome::Done((world, (runtime, workers))) = process.take(read, Asked::Read, began)?
        else {
            continue;
        };
        let found = check_found(process, &world, sent.as_ref())?;
        let threads: Vec<_> = found
            .into_iter()
            .map(|(thread, certain)| {
                let (process, runtime) = (Arc::clone(process), runtime.clone());
                let workers = workers.clone();
                std::thread::spawn(move || {
                    let sent = send(&process, &runtime, &workers, thread, certain);
                    // Without this the other threads would continue.
                    (thread, sent.unwrap_or_else(|violation| give_up(&violation)))
                })
            })
            .collect();
        let joined: Result<_, _> = threads.into_iter().map(|thread| thread.join()).collect();
        sent = Some(joined.map_err(|_| Violation("a thread panicked".to_owned()))?);
        let began = process.begin();
        process.take(store.close(), Asked::Close, began)?;
        process.check_reason()?;
    }
    Ok(())
}

fn give_up(violation: &Violation) -> ! {
    eprintln!("{violation}");
    std::process::exit(1)
}

fn work_of(store: &Store) -> Result<(Runtime, Vec<WorkerRef>), RuntimeError> {
    let runtime = runtime(store, RUNTIME)?;
    let workers = runtime.list_workers()?.into_iter();
    Ok((runtime, workers.map(|worker| worker.worker_ref).collect()))
}

/// Returns the number of inputs that each thread has in the store, and checks that these are the
/// acknowledged ones, without any that was refused.
fn check_found(
    process: &Process,
    world: &World,
    sent: Option<&BTreeMap<usize, Sent>>,
) -> Result<BTreeMap<usize, usize>, Violation> {
    let Some(state) = world.0.get(RUNTIME) else {
        return Err(Violation("the runtime is missing".to_owned()));
    };
    let all = said_by(state)?;
    let mut found = BTreeMap::new();
    for thread in process.spec.threads() {
        let next = all.get(&thread).copied().unwrap_or(0);
        if let Some(sent) = sent.and_then(|sent| sent.get(&thread)) {
            let Sent { certain, possible } = *sent;
            // Of the three in a transaction, all are stored or none.
            if next != certain && next != possible {
                return Err(Violation(format!(
                    "thread {thread}: {certain} inputs were acknowledged and {} are uncertain, {next} \
                     are there",
                    possible - certain
                )));
            }
        }
        say(&Answer::Found { thread, next }.line())?;
        found.insert(thread, next);
    }
    Ok(found)
}

/// The highest number of sends of a thread before the store is closed and opened again.
const MOST_SENDS: usize = 300;

/// Sends inputs of one thread: for a while, or until the store or the process ends.
fn send(
    process: &Process,
    runtime: &Runtime,
    workers: &[WorkerRef],
    thread: usize,
    first: usize,
) -> Result<Sent, Violation> {
    let mut sent = Sent {
        certain: first,
        possible: first,
    };
    let mut rng = Rng::new(now());
    let mut events = 0;
    for _ in 0..rng.between(1, MOST_SENDS) {
        if process.ends() {
            break;
        }
        let began = process.begin();
        let (next, result) = send_next(runtime, workers, thread, sent.certain);
        if matches!(result, Err(RuntimeError::CommitUncertain { .. })) {
            sent.possible = next;
        }
        match process.take(result, Asked::Write, began)? {
            Outcome::Done(()) => {}
            Outcome::Again => continue,
            Outcome::Ended => break,
        }
        let micros = process.waited(began)?;
        events += (next - sent.certain) as u64;
        let first = std::mem::replace(&mut sent.certain, next);
        sent.possible = next;
        let answer = Answer::Acknowledged {
            thread,
            next,
            micros,
        };
        say(&answer.line())?;
        let began = process.begin();
        let reply = reply_alone(runtime, workers, thread, first);
        if let Outcome::Ended = process.take(reply, Asked::Write, began)? {
            break;
        }
        if rng.chance(20) {
            check_events(process, runtime, &mut events)?;
        }
        // Readers read a short log more often.
        std::thread::sleep(Duration::from_micros(rng.below(3_000) as u64));
    }
    Ok(sent)
}

/// Checks that a read shows the operations that were acknowledged before it. `events` is the lowest number
/// of events that the runtime can have.
fn check_events(process: &Process, runtime: &Runtime, events: &mut u64) -> Result<(), Violation> {
    let began = process.begin();
    let cursor = runtime.event_cursor_now();
    if let Outcome::Done(cursor) = process.take(cursor, Asked::Read, began)? {
        if cursor.next_event_id <= *events {
            return Err(Violation(format!(
                "{events} events were acknowledged, the next one read is {}",
                cursor.next_event_id
            )));
        }
        *events = cursor.next_event_id - 1;
    }
    Ok(())
}

/// Reads the store repeatedly, and checks each snapshot.
fn read(process: &Arc<Process>) -> Result<(), Violation> {
    let mut last = BTreeMap::new();
    while !process.ends() {
        let Some(store) = process.open()? else {
            continue;
        };
        while !process.ends() {
            let began = process.begin();
            let read = read_twice(&store, process.spec.plant);
            match process.take(read, Asked::Read, began)? {
                Outcome::Done(worlds) => {
                    check_read(&worlds, &mut last)?;
                    say(&Answer::Read.line())?;
                }
                Outcome::Again => {}
                Outcome::Ended => {
                    process.check_reason()?;
                    break;
                }
            }
        }
    }
    Ok(())
}

/// The content of a snapshot, read twice.
fn read_twice(store: &Store, plant: Option<Plant>) -> Result<[World; 2], RuntimeError> {
    let mut snapshot = store.snapshot()?;
    let first = World::at(&snapshot)?;
    std::thread::sleep(TICK);
    if plant == Some(Plant::MovingSnapshot) {
        snapshot = store.snapshot()?;
    }
    Ok([first, World::at(&snapshot)?])
}

/// Checks the content of a snapshot: both reads are equal, its inputs are in order, and none that was read
/// before is missing.
fn check_read(
    [first, second]: &[World; 2],
    last: &mut BTreeMap<usize, usize>,
) -> Result<(), Violation> {
    if let Some(difference) = second.difference(first) {
        return Err(Violation(format!("a snapshot changed: {difference}")));
    }
    let Some(state) = first.0.get(RUNTIME) else {
        return Err(Violation("the runtime is missing".to_owned()));
    };
    let found = said_by(state)?;
    for (thread, seen) in &*last {
        let next = found.get(thread).copied().unwrap_or(0);
        if next < *seen {
            return Err(Violation(format!(
                "thread {thread}: {seen} inputs were read before, {next} are read now"
            )));
        }
    }
    *last = found;
    Ok(())
}
