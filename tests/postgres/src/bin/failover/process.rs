//! A host process, as the campaign sees it.

use crate::history::{Answer, Input};
use crate::host::HostArguments;
use crate::report::Report;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a host may take for an answer of the wanted kind, or to end. An operation waits at most half of it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A host process. It is killed when this is dropped.
pub(crate) struct HostProcess {
    name: String,
    child: Child,
    input: Option<ChildStdin>,
    heard: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
    is_killed: bool,
}

/// What a host has reported.
#[derive(Default)]
struct Shared {
    heard: Mutex<Heard>,
    changed: Condvar,
}

#[derive(Default)]
struct Heard {
    /// The inputs of each thread, in order.
    senders: BTreeMap<String, Vec<Input>>,
    counts: Counts,
    is_closed: bool,
    /// Whether it says nothing more.
    has_ended: bool,
    /// A line that is no report, or that does not fit those before it.
    wrong: Option<String>,
}

/// How much a host has reported.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Answers of every kind.
    pub(crate) answers: usize,
    /// Inputs that were acknowledged.
    pub(crate) acknowledged: usize,
}

impl HostProcess {
    /// Starts a host in `directory`, that of a cluster: with it the host ends, even one that is stopped.
    pub(crate) fn start(directory: &Path, arguments: &HostArguments) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(arguments.to_line()).current_dir(directory);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| format!("a host cannot be started: {error}"))?;
        let heard = Arc::<Shared>::default();
        let listener = child.stdout.take().map(|out| {
            let heard = Arc::clone(&heard);
            thread::spawn(move || heard.listen(out))
        });
        Ok(Self {
            name: arguments.name.clone(),
            input: child.stdin.take(),
            child,
            heard,
            listener,
            is_killed: false,
        })
    }

    /// Whether it was killed.
    pub(crate) fn is_killed(&self) -> bool {
        self.is_killed
    }

    /// How much it has reported so far.
    pub(crate) fn counts(&self) -> Counts {
        self.heard.lock().counts
    }

    /// Waits until it has reported enough.
    pub(crate) fn wait(
        &self,
        what: &str,
        is_enough: impl Fn(Counts) -> bool,
    ) -> Result<(), String> {
        let is_waiting = |heard: &mut Heard| !is_enough(heard.counts) && !heard.has_ended;
        let waited = self
            .heard
            .changed
            .wait_timeout_while(self.heard.lock(), PATIENCE, |heard| is_waiting(heard));
        let counts = waited.unwrap_or_else(PoisonError::into_inner).0.counts;
        match is_enough(counts) {
            true => Ok(()),
            false => Err(format!(
                "host {} has no {what} within {PATIENCE:?}, or has ended: {counts:?}",
                self.name
            )),
        }
    }

    fn signal(&self, signal: Signal) {
        // It may have ended; then it has no answer that is waited for.
        let _ = kill_process(Pid::from_child(&self.child), signal);
    }

    /// Stops it (SIGSTOP).
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// Continues it.
    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Kills it. Its last inputs have no answer.
    pub(crate) fn kill(&mut self) {
        self.is_killed = true;
        self.signal(Signal::KILL);
    }

    /// Has it send no more.
    pub(crate) fn close_input(&mut self) {
        self.input = None;
    }

    /// Ends it. Returns the inputs of each of its threads.
    pub(crate) fn end(mut self) -> Result<Vec<Vec<Input>>, String> {
        self.close_input();
        self.wait_closed()
    }

    /// Waits for its end, which comes by itself where it was asked for a number of inputs.
    pub(crate) fn wait_closed(&mut self) -> Result<Vec<Vec<Input>>, String> {
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                Ok(None) => {
                    return Err(format!("host {} has not ended for {PATIENCE:?}", self.name));
                }
                Err(error) => return Err(error.to_string()),
            }
        };
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        let mut heard = self.heard.lock();
        if let Some(wrong) = &heard.wrong {
            return Err(format!("host {} reported {wrong:?}", self.name));
        }
        let senders: Vec<Vec<Input>> = std::mem::take(&mut heard.senders).into_values().collect();
        let is_complete = senders
            .iter()
            .flatten()
            .all(|input| input.answer != Answer::Missing);
        let is_closed = heard.is_closed && status.success() && is_complete;
        match self.is_killed || is_closed {
            true => Ok(senders),
            false => Err(format!("host {} ended by itself: {status}", self.name)),
        }
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes every report until the host ends.
    fn listen(&self, out: ChildStdout) {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            let mut heard = self.lock();
            let noted = Report::parse(&line).and_then(|report| heard.note(report));
            if noted.is_none() {
                heard.wrong.get_or_insert(line);
            }
            self.changed.notify_all();
        }
        self.lock().has_ended = true;
        self.changed.notify_all();
    }
}

impl Heard {
    /// Notes a report. `None` if it does not fit those before it.
    fn note(&mut self, report: Report) -> Option<()> {
        match report {
            Report::Ready => {}
            Report::Closed => self.is_closed = true,
            Report::Sent(text) => {
                let (sender, _) = text.rsplit_once('.')?;
                let sent = self.senders.entry(sender.to_owned()).or_default();
                let answer = Answer::Missing;
                sent.push(Input { text, answer });
            }
            Report::Answered(text, answer) => {
                let (sender, _) = text.rsplit_once('.')?;
                let input = self.senders.get_mut(sender)?.last_mut()?;
                if input.text != text || input.answer != Answer::Missing {
                    return None;
                }
                self.counts.answers += 1;
                self.counts.acknowledged += usize::from(matches!(answer, Answer::Acknowledged(_)));
                input.answer = answer;
            }
        }
        Some(())
    }
}
