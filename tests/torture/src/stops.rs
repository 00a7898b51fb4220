//! Processes that share a store are stopped and continued during real work, and killed between.
//!
//! Writers and readers share a store, each a process of its own. One of them is stopped at any point:
//! by a signal from outside, or at one of its own lock calls, where others have to wait for it.
//! Meanwhile every other process must get its answers within the limit for a lock. Each acknowledged input
//! must be in the store at the end, once and in order, and a continued reader must read correct data.
//!
//! With [`Sharing::Exclusive`] no process waits for a stopped one: only one has the file open.

use crate::answers::{Answer, Asked, LIMIT, MARGIN, Role, Spec, StopAt, THREADS, now, store_path};
use crate::campaign::count_tried;
use crate::child::{Start, patient, scratch};
use crate::kills::{RUNTIME, check_acknowledged, prepare_workers, reap};
use crate::plant::Plant;
use crate::rng::Rng;
use crate::world::{Context, Violation, World, check_rules};
use redb_runtime_store::store::Sharing;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The number of stops, and of the events between them.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Processes that were stopped.
    pub stopped: usize,
    /// Those of them that stopped themselves at an access of the file.
    pub at_accesses: usize,
    /// Those of them that did so while they opened the store.
    pub in_opening: usize,
    /// Those of them that were continued.
    pub continued: usize,
    /// Processes that were killed, stopped or not.
    pub killed: usize,
    /// The answers that the processes reported.
    pub answers: Answers,
}

/// The answers of the store, by kind.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    /// Operations that were acknowledged.
    pub acknowledged: usize,
    /// Those of them that took at least as long as the limit for a lock: they did not get a lock after
    /// their last sync, or waited for another commit.
    pub late: usize,
    /// Snapshots that were read and are correct.
    pub read: usize,
    /// Operations whose wait for a lock reached its limit.
    pub limited: usize,
    /// Those of them whose error names the process that was stopped just then.
    pub named: usize,
    /// Those of them whose error names no process.
    pub unnamed: usize,
    /// Reads that waited for a lock until the limit.
    pub reads_limited: usize,
    /// Stores that were opened again or for the first time.
    pub opened: usize,
    /// Operations whose outcome was uncertain.
    pub uncertain: usize,
    /// The time of the longest operation, in microseconds.
    pub longest_micros: u64,
}

/// The reports of the processes of a round.
#[derive(Debug, Default)]
struct Book {
    answers: Answers,
    acknowledged: BTreeMap<usize, usize>,
    /// Every process of the round.
    pids: BTreeSet<u32>,
    /// Whether there is one writer. Then only readers are waited for, and only a stopped one for long.
    has_one_writer: bool,
    /// The processes that are stopped, and since when: until the others answered.
    held: Option<(BTreeSet<u32>, u64)>,
    violation: Option<String>,
}

type SharedBook = Arc<Mutex<Book>>;

impl Book {
    fn of(book: &SharedBook) -> MutexGuard<'_, Self> {
        book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&mut self, answer: Answer) {
        let took = |micros: u64, longest: u64| longest.max(micros);
        match answer {
            Answer::Acknowledged {
                thread,
                next,
                micros,
            } => {
                self.answers.acknowledged += 1;
                let is_late = u128::from(micros) >= LIMIT.as_micros();
                self.answers.late += usize::from(is_late);
                self.answers.longest_micros = took(micros, self.answers.longest_micros);
                self.acknowledged.insert(thread, next);
            }
            Answer::Found { thread, next } => self.note_found(thread, next),
            Answer::Read => self.answers.read += 1,
            Answer::Locked {
                asked: Asked::Write,
                holder,
                began,
                micros,
            } => {
                self.answers.limited += 1;
                self.answers.longest_micros = took(micros, self.answers.longest_micros);
                self.note_holder(holder, began, micros);
            }
            Answer::Locked {
                asked: Asked::Read, ..
            } => self.answers.reads_limited += 1,
            Answer::Uncertain { .. } => self.answers.uncertain += 1,
            Answer::Locked { .. } | Answer::Failed | Answer::NeedsRepair => {}
        }
    }

    /// A process that opened the store found as many inputs of one of its threads.
    fn note_found(&mut self, thread: usize, next: usize) {
        self.answers.opened += 1;
        let acknowledged = self.acknowledged.entry(thread).or_default();
        if next < *acknowledged {
            self.violation = Some(format!(
                "thread {thread}: {acknowledged} inputs were acknowledged, {next} are there when the \
                 store is opened again"
            ));
        }
        *acknowledged = next.max(*acknowledged);
    }

    /// A process waited for a lock until the limit, and its error names the holder.
    fn note_holder(&mut self, holder: u32, began: u64, micros: u64) {
        let is_held = |(_, since): &&(BTreeSet<u32>, u64)| began > *since;
        let held = self.held.as_ref().filter(is_held);
        let names_held = held.is_some_and(|(stopped, _)| stopped.contains(&holder));
        // A process that got no processor meanwhile may find the lock free at the end.
        let waited_all_the_time = u128::from(micros) >= LIMIT.as_micros();
        self.answers.named += usize::from(names_held);
        self.answers.unnamed += usize::from(holder == 0);
        if holder == 0 && held.is_some() && self.has_one_writer && waited_all_the_time {
            self.violation = Some("StoreLocked names no holder".to_owned());
        }
        if holder != 0 && !self.pids.contains(&holder) {
            self.violation = Some(format!("process {holder} is no process of the round"));
        }
    }
}

/// The state of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Runs,
    Stopped,
    Ended,
}

/// A process of the round.
struct Process {
    spec: Spec,
    child: Child,
    requests: Option<ChildStdin>,
    /// The number of answers that it reported.
    answers: Arc<AtomicUsize>,
    listener: Option<JoinHandle<()>>,
}

impl Process {
    fn start(spec: Spec, field: &Field<'_>) -> Result<Self, Violation> {
        let mut command = (field.start)(&spec.job(), field.directory);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let started = command.stderr(Stdio::piped()).spawn();
        let mut child = started.or_violation("starting a child")?;
        let book = Arc::clone(&field.book);
        Book::of(&book).pids.insert(child.id());
        let answers = Arc::new(AtomicUsize::new(0));
        let (out, counted) = (child.stdout.take(), Arc::clone(&answers));
        let listener = std::thread::spawn(move || {
            let lines = out.into_iter().flat_map(|out| BufReader::new(out).lines());
            for answer in lines
                .map_while(Result::ok)
                .filter_map(|line| Answer::of(&line))
            {
                Book::of(&book).note(answer);
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Ok(Self {
            spec,
            requests: child.stdin.take(),
            child,
            answers,
            listener: Some(listener),
        })
    }

    fn signal(&self, signal: Signal) -> Result<(), Violation> {
        kill_process(Pid::from_child(&self.child), signal).or_violation("signalling a child")
    }

    fn state(&self) -> Result<State, Violation> {
        let changes = WaitIdOptions::STOPPED | WaitIdOptions::EXITED;
        let options = changes | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::Pid(Pid::from_child(&self.child)), options);
        Ok(match status.or_violation("asking for a child")? {
            None => State::Runs,
            Some(status) if status.stopped() => State::Stopped,
            Some(_) => State::Ended,
        })
    }

    /// Asks it to stop itself at the access of that number from now on.
    fn stop_at(&mut self, at: StopAt, number: usize) -> Result<(), Violation> {
        let requests = self.requests.as_mut();
        let asked = requests.map_or(Ok(()), |pipe| writeln!(pipe, "{} {number}", at.name()));
        match asked {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(self.ended_by_itself()?),
            asked => asked.or_violation("asking a child to stop"),
        }
    }

    /// The complaint of a process that has ended, or is about to.
    fn ended_by_itself(&mut self) -> Result<Violation, Violation> {
        let mut complaint = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            let read = pipe.read_to_string(&mut complaint);
            read.or_violation("listening")?;
        }
        let name = self.name();
        Ok(Violation(format!("{name} ended by itself: {complaint}")))
    }

    fn answers(&self) -> usize {
        self.answers.load(Ordering::SeqCst)
    }

    fn name(&self) -> String {
        format!("{:?} {}", self.spec.role, self.spec.slot)
    }

    /// Waits for the process, which ended or was killed, and until everything that it said is noted.
    fn reap(&mut self) -> Result<(), Violation> {
        let killed = reap(&mut self.child);
        drop(self.listener.take().map(JoinHandle::join));
        killed.map(drop)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The store of a round, and the processes that share it.
struct Field<'s> {
    directory: &'s Path,
    start: Start<'s>,
    book: SharedBook,
    processes: Vec<Process>,
    rng: Rng,
    counts: Counts,
}

/// The pause between two looks of a wait.
const GLANCE: Duration = Duration::from_millis(2);

/// How a round shares its store. Rounds that follow each other try both ways.
fn sharing_of(seed: u64, plant: Option<Plant>) -> Sharing {
    // Other writers read the header of the file, so they would not go on from a commit that is lost.
    match seed.is_multiple_of(2) || plant == Some(Plant::MarkLost) {
        true => Sharing::OneWriter,
        false => Sharing::ManyWriters,
    }
}

/// Stops processes until `stops` were stopped.
///
/// # Errors
///
/// The first promise that is broken.
pub fn round(
    seed: u64,
    stops: usize,
    plant: Option<Plant>,
    start: Start<'_>,
) -> Result<Counts, Violation> {
    let directory = scratch()?;
    prepare_workers(&store_path(directory.path()))?;
    let mut field = Field {
        directory: directory.path(),
        start,
        book: SharedBook::default(),
        processes: Vec::new(),
        rng: Rng::new(seed),
        counts: Counts::default(),
    };
    field.start_all(sharing_of(seed, plant), plant)?;
    while field.counts.stopped < stops {
        let number = field.counts.stopped;
        let tried = field.stop_one();
        tried.map_err(|one| Violation(format!("stop {number}: {one}")))?;
    }
    field.end()
}

impl Field<'_> {
    fn start_all(&mut self, sharing: Sharing, plant: Option<Plant>) -> Result<(), Violation> {
        let writers = match sharing {
            Sharing::ManyWriters => self.rng.between(2, 3),
            _ => 1,
        };
        for (role, count) in [(Role::Writer, writers), (Role::Reader, 2)] {
            for slot in 0..count {
                let stop_at = 0;
                let spec = Spec {
                    role,
                    sharing,
                    slot,
                    stop_at,
                    plant,
                };
                let process = Process::start(spec, self)?;
                self.processes.push(process);
            }
        }
        let all: Vec<usize> = (0..self.processes.len()).collect();
        Book::of(&self.book).has_one_writer = writers == 1;
        self.await_answers(&all, 1)
    }

    /// Stops one process, perhaps two, holds them, and continues or kills them.
    fn stop_one(&mut self) -> Result<(), Violation> {
        std::thread::sleep(Duration::from_micros(self.rng.below(5_000) as u64));
        let (mut stopped, until_answered) = match self.counts.stopped {
            // Directed: every round has a reader that holds every commit up, and a process that ends and
            // opens the store anew.
            0 => (vec![self.stop_reader()?], true),
            1 => (vec![self.stop_in_opening()?], true),
            _ => (vec![self.stop_any()?], self.rng.chance(60)),
        };
        let second = self.rng.below(self.processes.len());
        if !stopped.contains(&second) && self.rng.chance(20) {
            self.stop_from_outside(second)?;
            stopped.push(second);
        }
        self.counts.stopped += stopped.len();
        count_tried(stopped.len());
        self.hold(&stopped, until_answered)?;
        // A new process must find the inputs that were acknowledged during the stop.
        if self.rng.chance(25) {
            self.restart_other(&stopped)?;
        }
        for process in stopped {
            if self.rng.chance(15) {
                self.restart(process, 0)?;
            } else {
                self.processes[process].signal(Signal::CONT)?;
                self.counts.continued += 1;
            }
        }
        if self.rng.chance(10) {
            let any = self.rng.below(self.processes.len());
            self.restart(any, 0)?;
        }
        // Every process works again.
        let all: Vec<usize> = (0..self.processes.len()).collect();
        self.await_answers(&all, 1)
    }

    /// Has a reader stop itself while it holds the lock on the header.
    fn stop_reader(&mut self) -> Result<usize, Violation> {
        let readers =
            (0..self.processes.len()).filter(|one| self.processes[*one].spec.role == Role::Reader);
        let reader = *self.rng.pick(&readers.collect::<Vec<_>>());
        self.stop_at(reader, StopAt::Locked)?;
        Ok(reader)
    }

    fn stop_any(&mut self) -> Result<usize, Violation> {
        let process = self.rng.below(self.processes.len());
        match self.rng.below(10) {
            0..=3 => self.stop_from_outside(process)?,
            4..=6 => self.stop_at(process, StopAt::Lock)?,
            7 => self.stop_at(process, StopAt::Locked)?,
            8 => self.stop_at(process, StopAt::Access)?,
            _ => return self.stop_in_opening(),
        }
        Ok(process)
    }

    fn stop_from_outside(&mut self, process: usize) -> Result<(), Violation> {
        self.processes[process].signal(Signal::STOP)?;
        self.await_stop(process)
    }

    /// Has a process stop itself at one of its next accesses of the file.
    fn stop_at(&mut self, process: usize, at: StopAt) -> Result<(), Violation> {
        let left = self.rng.between(1, 24);
        self.processes[process].stop_at(at, left)?;
        self.counts.at_accesses += 1;
        self.await_stop(process)
    }

    /// Kills a process, and has the one in its place stop itself while it opens the store.
    fn stop_in_opening(&mut self) -> Result<usize, Violation> {
        let process = self.rng.below(self.processes.len());
        let left = self.rng.between(1, 16);
        self.restart(process, left)?;
        self.counts.in_opening += 1;
        self.await_stop(process)?;
        Ok(process)
    }

    /// Kills a process, and starts another in its place.
    fn restart(&mut self, process: usize, stop_at: usize) -> Result<(), Violation> {
        self.processes[process].signal(Signal::KILL)?;
        self.processes[process].reap()?;
        self.counts.killed += 1;
        let spec = Spec {
            stop_at,
            ..self.processes[process].spec
        };
        self.processes[process] = Process::start(spec, self)?;
        Ok(())
    }

    /// Kills a process that is not stopped, half the time a writer, and starts another in its place.
    fn restart_other(&mut self, stopped: &[usize]) -> Result<(), Violation> {
        let only_writers = self.rng.chance(50);
        let others = (0..self.processes.len()).filter(|one| {
            let is_writer = self.processes[*one].spec.role == Role::Writer;
            !stopped.contains(one) && (is_writer || !only_writers)
        });
        let others: Vec<usize> = others.collect();
        if others.is_empty() {
            return Ok(());
        }
        let other = *self.rng.pick(&others);
        self.restart(other, 0)
    }

    /// Keeps processes stopped: until all the others answered, or for any time.
    fn hold(&mut self, stopped: &[usize], until_answered: bool) -> Result<(), Violation> {
        if !until_answered {
            let most = 3 * LIMIT.as_micros() as usize;
            std::thread::sleep(Duration::from_micros(self.rng.below(most) as u64));
            return self.check_book();
        }
        let pids = stopped.iter().map(|one| self.processes[*one].child.id());
        Book::of(&self.book).held = Some((pids.collect(), now()));
        let others = (0..self.processes.len()).filter(|one| !stopped.contains(one));
        let others: Vec<usize> = others.collect();
        let answered = self.await_answers(&others, 2 * THREADS + 1);
        Book::of(&self.book).held = None;
        answered
    }

    fn await_stop(&mut self, process: usize) -> Result<(), Violation> {
        let stopped = self.wait(|field| {
            let state = field.processes[process].state()?;
            Ok(state == State::Stopped)
        })?;
        match stopped {
            true => Ok(()),
            false => Err(Violation(format!(
                "{} has not stopped for {MARGIN:?}",
                self.processes[process].name()
            ))),
        }
    }

    /// Waits until each of `processes` has said so many more answers.
    fn await_answers(&mut self, processes: &[usize], more: usize) -> Result<(), Violation> {
        let wanted = |one: &usize| (*one, self.processes[*one].answers() + more);
        let mut wanted: Vec<(usize, usize)> = processes.iter().map(wanted).collect();
        let answered = self.wait(|field| {
            wanted.retain(|(one, wanted)| field.processes[*one].answers() < *wanted);
            Ok(wanted.is_empty())
        })?;
        match wanted.first() {
            Some((silent, _)) if !answered => Err(Violation(format!(
                "{}: no answer for {MARGIN:?}, {}",
                self.processes[*silent].name(),
                self.describe()?
            ))),
            _ => Ok(()),
        }
    }

    /// Which processes are stopped, in words.
    fn describe(&self) -> Result<String, Violation> {
        let mut words = Vec::new();
        for process in &self.processes {
            if process.state()? == State::Stopped {
                words.push(format!("while {} is stopped", process.name()));
            }
        }
        match words.is_empty() {
            true => Ok("although nothing is stopped".to_owned()),
            false => Ok(words.join(" and ")),
        }
    }

    /// Waits until `is_over`, for as long as an answer may take. False where that was not enough.
    fn wait(
        &mut self,
        mut is_over: impl FnMut(&mut Self) -> Result<bool, Violation>,
    ) -> Result<bool, Violation> {
        // Counted in glances: a machine that is too busy for them is too busy for answers.
        for _ in 0..MARGIN.as_millis() / GLANCE.as_millis() {
            self.check_book()?;
            self.check_alive()?;
            if is_over(self)? {
                return Ok(true);
            }
            std::thread::sleep(GLANCE);
        }
        Ok(false)
    }

    fn check_book(&self) -> Result<(), Violation> {
        match &Book::of(&self.book).violation {
            Some(violation) => Err(Violation(violation.clone())),
            None => Ok(()),
        }
    }

    /// No process ends before it is killed.
    fn check_alive(&mut self) -> Result<(), Violation> {
        for process in &mut self.processes {
            if process.state()? == State::Ended {
                return Err(process.ended_by_itself()?);
            }
        }
        Ok(())
    }

    /// Ends all processes, and checks that everything acknowledged is there.
    fn end(mut self) -> Result<Counts, Violation> {
        let by_killing = self.rng.chance(50);
        for process in &mut self.processes {
            process.requests = None;
            if by_killing {
                process.signal(Signal::KILL)?;
            }
        }
        for number in 0..self.processes.len() {
            self.await_end(number)?;
            self.processes[number].reap()?;
        }
        self.check_book()?;
        let store = patient()
            .open(store_path(self.directory))
            .or_violation("opening at the end")?;
        let world = World::of(&store).or_violation("reading at the end")?;
        check_rules(&store, &world)?;
        let book = Book::of(&self.book);
        let state = world.0.get(RUNTIME);
        let state = state.ok_or_else(|| Violation("the runtime is missing".to_owned()))?;
        check_acknowledged(state, &book.acknowledged)?;
        self.counts.answers = book.answers;
        drop(book);
        Ok(std::mem::take(&mut self.counts))
    }

    fn await_end(&self, number: usize) -> Result<(), Violation> {
        let process = &self.processes[number];
        for _ in 0..MARGIN.as_millis() / GLANCE.as_millis() {
            if process.state()? == State::Ended {
                return Ok(());
            }
            std::thread::sleep(GLANCE);
        }
        let name = process.name();
        Err(Violation(format!("{name} has not ended for {MARGIN:?}")))
    }
}
