//! A proxy on loopback that loses or holds a connection at a chosen message.

use crate::frames::{Commits, Frame, Start};
use socket2::{SockFilter, SockRef};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long to wait for a fault that was planned.
const PATIENCE: Duration = Duration::from_secs(30);

/// The filter that keeps nothing of a packet: `ret #0`.
const DROP: SockFilter = SockFilter::new(6, 0, 0, 0);

/// Who sends a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The host, or the standby.
    Host,
    /// The server.
    Server,
}

/// Which messages count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// All of them, after those that begin the session.
    Any,
    /// A host's COMMIT, or a server's answer to one.
    Commit,
    /// The end of what a host asks for at once. A server that waits for the rest of a request does not take its
    /// transaction for idle.
    Request,
}

/// Before or after the message is passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The message is lost.
    Before,
    /// The message arrives.
    After,
}

/// A point in the conversation of all connections through a proxy, from the time of the plan on.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Who sends the message.
    pub from: Side,
    /// Which messages count.
    pub which: Which,
    /// The number of the message among these, from 1.
    pub nth: usize,
    /// Before or after it is passed on.
    pub when: When,
}

impl Point {
    /// A host sent COMMIT, and the server never gets it.
    pub const COMMIT_LOST: Self = Self {
        from: Side::Host,
        which: Which::Commit,
        nth: 1,
        when: When::Before,
    };

    /// The server committed, and the host never gets the answer.
    pub const ANSWER_LOST: Self = Self {
        from: Side::Server,
        which: Which::Commit,
        nth: 1,
        when: When::Before,
    };

    /// A host sent its `nth` request, and sends no more.
    pub fn after_request(nth: usize) -> Self {
        Self {
            from: Side::Host,
            which: Which::Request,
            nth,
            when: When::After,
        }
    }

    /// The `nth` message of `from`.
    pub fn message(from: Side, nth: usize, when: When) -> Self {
        let which = Which::Any;
        Self {
            from,
            which,
            nth,
            when,
        }
    }
}

/// What happens at a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection is lost.
    Cut,
    /// Every connection is lost, and none is accepted, until [`Proxy::restore`].
    Outage,
    /// Nothing is passed on, and nothing is closed, until [`Proxy::restore`].
    Hold,
    /// As if the host's machine had lost its power: the system acknowledges no packet of the connection any more, and nothing
    /// is closed. No other connection is accepted until [`Proxy::restore`].
    Vanish,
}

/// A proxy before a server. It ends when dropped, with all its connections.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The server's port on loopback.
    target: u16,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Both streams of each open connection: the host's and the server's.
    connections: BTreeMap<u64, [TcpStream; 2]>,
    accepted: u64,
    plan: Option<(Point, Fault)>,
    /// Messages that counted for the plan.
    counted: usize,
    /// Messages of each side since the last plan.
    messages: [usize; 2],
    /// The bytes of the longest message of a host, ever.
    longest: usize,
    fired: bool,
    holding: bool,
    /// Connections whose host has vanished.
    vanished: BTreeSet<u64>,
    refusing: bool,
    closed: bool,
    cancels: usize,
}

impl Proxy {
    /// A proxy before the server at the port `target` of loopback.
    pub fn new(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on loopback");
        let port = listener.local_addr().expect("its address").port();
        let shared = Arc::new(Shared {
            target,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let own = Arc::clone(&shared);
        thread::spawn(move || own.accept(&listener));
        Self { port, shared }
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The port of the server.
    pub fn target(&self) -> u16 {
        self.shared.target
    }

    /// Has `fault` happen at `point`, once.
    pub fn plan(&self, point: Point, fault: Fault) {
        let mut state = self.shared.lock();
        state.plan = Some((point, fault));
        state.counted = 0;
        state.messages = [0, 0];
        state.fired = false;
    }

    /// Whether the fault that was planned last has happened.
    pub fn has_fired(&self) -> bool {
        self.shared.lock().fired
    }

    /// Waits until the fault that was planned last has happened. Panics after half a minute.
    pub fn wait_fired(&self) {
        let began = Instant::now();
        let mut state = self.shared.lock();
        while !state.fired {
            assert!(
                began.elapsed() < PATIENCE,
                "no message met {:?}",
                state.plan
            );
            let wait = self.shared.changed.wait_timeout(state, PATIENCE);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits for `limit` until the fault that was planned last has happened. Returns whether it has.
    pub fn wait_fired_within(&self, limit: Duration) -> bool {
        let (state, changed) = (self.shared.lock(), &self.shared.changed);
        let waited = changed.wait_timeout_while(state, limit, |state| !state.fired);
        waited.unwrap_or_else(PoisonError::into_inner).0.fired
    }

    /// Messages of the host and of the server since the last plan.
    pub fn messages(&self) -> [usize; 2] {
        self.shared.lock().messages
    }

    /// The bytes of the longest message that a host has sent.
    pub fn longest(&self) -> usize {
        self.shared.lock().longest
    }

    /// Requests to cancel a statement, ever.
    pub fn cancels(&self) -> usize {
        self.shared.lock().cancels
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.shared.lock().connections.len()
    }

    /// Makes `fault` happen now.
    pub fn fail(&self, fault: Fault) {
        let mut state = self.shared.lock();
        let all: Vec<u64> = state.connections.keys().copied().collect();
        state.begin(fault, &all);
        self.shared.changed.notify_all();
    }

    /// Ends an outage or a hold. What was held is passed on. A host that has vanished stays away, and can connect again.
    pub fn restore(&self) {
        let mut state = self.shared.lock();
        (state.holding, state.refusing) = (false, false);
        self.shared.changed.notify_all();
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        let all: Vec<u64> = state.connections.keys().copied().collect();
        state.begin(Fault::Outage, &all);
        self.shared.changed.notify_all();
        drop(state);
        // The listener is waiting for a connection.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
    }
}

impl State {
    /// Makes `fault` happen to `connections`.
    fn begin(&mut self, fault: Fault, connections: &[u64]) {
        match fault {
            Fault::Hold => self.holding = true,
            Fault::Cut => {}
            Fault::Outage | Fault::Vanish => self.refusing = true,
        }
        for connection in connections {
            match fault {
                Fault::Hold => {}
                Fault::Cut | Fault::Outage => self.cut(*connection),
                Fault::Vanish => self.vanish(*connection),
            }
        }
        self.fired = true;
    }

    /// Loses a connection. The server still gets what was passed on before.
    fn cut(&self, connection: u64) {
        if let Some([host, server]) = self.connections.get(&connection) {
            let _ = host.shutdown(Shutdown::Both);
            let _ = server.shutdown(Shutdown::Write);
        }
    }

    /// Has the system drop every packet that arrives for a connection, acknowledgements included.
    fn vanish(&mut self, connection: u64) {
        self.vanished.insert(connection);
        for stream in self.connections.get(&connection).into_iter().flatten() {
            let dropped = SockRef::from(stream).attach_filter(&[DROP]);
            dropped.expect("a filter of packets");
        }
    }

    /// Counts a message of `from`. Returns what happens at it, and when.
    fn count(&mut self, from: Side, kinds: &[Which]) -> Option<(When, Fault)> {
        self.messages[from as usize] += 1;
        let (point, fault) = self.plan?;
        let counts = point.from == from && kinds.contains(&point.which);
        self.counted += usize::from(counts);
        if !counts || self.counted < point.nth {
            return None;
        }
        self.plan = None;
        Some((point.when, fault))
    }
}

/// A connection was cut.
struct Ended;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for host in listener.incoming() {
            let (closed, refusing) = {
                let state = self.lock();
                (state.closed, state.refusing)
            };
            if closed {
                return;
            }
            let Ok(host) = host else { continue };
            if refusing {
                continue;
            }
            let own = Arc::clone(self);
            // An error ends this connection, and the host sees it end.
            thread::spawn(move || own.connect(host));
        }
    }

    /// Passes on what `host` and the server say until either ends.
    fn connect(self: Arc<Self>, mut host: TcpStream) -> io::Result<()> {
        let start = loop {
            let start = Frame::read_start(&mut host)?;
            match start.start() {
                // These servers have no TLS.
                Start::Encryption => host.write_all(b"N")?,
                Start::Cancel => {
                    self.lock().cancels += 1;
                    break start;
                }
                Start::Session => break start,
            }
        };
        let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, self.target))?;
        for stream in [&host, &server] {
            stream.set_nodelay(true)?;
        }
        let number = {
            let mut state = self.lock();
            if state.refusing {
                return Ok(());
            }
            let number = state.accepted;
            state.accepted += 1;
            let both = [host.try_clone()?, server.try_clone()?];
            state.connections.insert(number, both);
            number
        };
        server.write_all(&start.bytes)?;
        let back = (server.try_clone()?, host.try_clone()?);
        let own = Arc::clone(&self);
        let answers = thread::spawn(move || own.pass(number, Side::Server, back.0, back.1));
        self.pass(number, Side::Host, host, server);
        let _ = answers.join();
        self.lock().connections.remove(&number);
        Ok(())
    }

    /// Passes on the messages of `from` until its stream ends, then ends the other.
    fn pass(&self, number: u64, from: Side, mut source: TcpStream, mut target: TcpStream) {
        let mut commits = Commits::default();
        while let Ok(Some(frame)) = Frame::read(&mut source) {
            let mut kinds = vec![Which::Any];
            let is_commit = match from {
                Side::Host => commits.has_commit(&frame),
                Side::Server => frame.is_commit_answer(),
            };
            if is_commit {
                kinds.push(Which::Commit);
            }
            if from == Side::Host {
                let mut state = self.lock();
                state.longest = state.longest.max(frame.bytes.len());
                if frame.is_end_of_request() {
                    kinds.push(Which::Request);
                }
            }
            if self
                .forward(number, from, &kinds, || target.write_all(&frame.bytes))
                .is_err()
            {
                break;
            }
        }
        match from {
            Side::Host => {
                let _ = target.shutdown(Shutdown::Write);
            }
            Side::Server => {
                let _ = target.shutdown(Shutdown::Both);
                // Read to its end: to close with unread answers would reset the connection, and the server
                // might lose the COMMIT that it has not read yet.
                let _ = io::copy(&mut source.take(u64::MAX), &mut io::sink());
            }
        }
    }

    /// Passes one message on, with what was planned for it.
    fn forward(
        &self,
        number: u64,
        from: Side,
        kinds: &[Which],
        write: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), Ended> {
        let planned = self.lock().count(from, kinds);
        if let Some((When::Before, fault)) = planned {
            self.happen(number, fault)?;
        }
        self.wait_while_held(number)?;
        write().map_err(|_| Ended)?;
        if let Some((When::After, fault)) = planned {
            self.happen(number, fault)?;
        }
        Ok(())
    }

    /// Makes a planned fault happen at a message of a connection.
    fn happen(&self, number: u64, fault: Fault) -> Result<(), Ended> {
        let mut state = self.lock();
        let lost: Vec<u64> = match fault {
            Fault::Outage => state.connections.keys().copied().collect(),
            Fault::Cut | Fault::Hold | Fault::Vanish => vec![number],
        };
        state.begin(fault, &lost);
        self.changed.notify_all();
        match fault {
            Fault::Hold | Fault::Vanish => Ok(()),
            Fault::Cut | Fault::Outage => Err(Ended),
        }
    }

    fn wait_while_held(&self, number: u64) -> Result<(), Ended> {
        let mut state = self.lock();
        while (state.holding || state.vanished.contains(&number)) && !state.closed {
            let wait = self.changed.wait(state);
            state = wait.unwrap_or_else(PoisonError::into_inner);
        }
        match state.closed {
            true => Err(Ended),
            false => Ok(()),
        }
    }
}
