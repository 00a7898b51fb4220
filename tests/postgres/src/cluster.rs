//! A primary, with or without its synchronous standby.

use crate::proxy::Proxy;
use crate::scratch::Scratch;
use crate::server::{Server, free_port};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The names of the servers. The first two are the primary and the standby; after a fail-over they change roles. The third is
/// the standby of a primary whose predecessor lives on.
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Which standbys a commit waits for: whichever of the servers is the standby.
const SYNCHRONOUS: &str = "FIRST 1 (a, b, c)";

/// How long a new standby may take to follow.
const PATIENCE: Duration = Duration::from_secs(60);

/// A private server, or two. Everything is gone when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    // In this order: the servers end before their directory goes.
    primary: Server,
    standby: Option<Standby>,
    /// The port of each server, also of one that was killed: the address that hosts have of it.
    ports: Vec<u16>,
    /// Which of [`NAMES`] is the primary.
    leader: usize,
    /// Which of them is the standby, or the next one.
    follower: usize,
    scratch: Scratch,
}

/// A standby with what stands between it and the primary.
#[derive(Debug)]
struct Standby {
    server: Server,
    link: Proxy,
}

impl Cluster {
    /// A server alone.
    pub fn single() -> Self {
        Self::with_settings(&[])
    }

    /// A server alone that was started with `settings` (`name=value`).
    pub fn with_settings(settings: &[&str]) -> Self {
        let scratch = Scratch::new();
        let primary = Server::init(scratch.directory(), NAMES[0], settings);
        Self {
            ports: vec![primary.port()],
            primary,
            standby: None,
            leader: 0,
            follower: 1,
            scratch,
        }
    }

    /// A primary with a standby that every commit waits for.
    pub fn replicated() -> Self {
        let cluster = Self::asynchronous();
        cluster.set_synchronous(true);
        cluster
    }

    /// A primary with a standby that no commit waits for.
    pub fn asynchronous() -> Self {
        let mut cluster = Self::single();
        cluster.ports.push(free_port());
        cluster.rejoin();
        cluster
    }

    /// Whether commits wait for the standby.
    pub fn set_synchronous(&self, synchronous: bool) {
        let names = if synchronous { SYNCHRONOUS } else { "" };
        self.primary.set("synchronous_standby_names", names);
        // It takes effect there when that server is the primary.
        if let Some(standby) = &self.standby {
            standby.server.set("synchronous_standby_names", names);
        }
        if synchronous {
            self.await_state("sync");
        }
    }

    /// Waits until the primary sees its standby in `state`.
    fn await_state(&self, state: &str) {
        let began = Instant::now();
        loop {
            let seen = "SELECT sync_state FROM pg_stat_replication WHERE state = 'streaming'";
            let seen = self.primary.ask(seen);
            if seen.lines().any(|line| line == state) {
                return;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "the standby is {seen:?}, not {state}"
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// The primary.
    pub fn primary(&self) -> &Server {
        &self.primary
    }

    /// The primary, to stop or to start it.
    pub fn primary_mut(&mut self) -> &mut Server {
        &mut self.primary
    }

    /// The standby. Panics if there is none.
    pub fn standby(&self) -> &Server {
        &self.standby.as_ref().expect("a standby").server
    }

    /// What stands between the standby and the primary. Panics if there is no standby.
    pub fn link(&self) -> &Proxy {
        &self.standby.as_ref().expect("a standby").link
    }

    /// The address of the database that hosts connect to: every server, of which one is the primary.
    pub fn url(&self) -> String {
        url(&self.ports)
    }

    /// A proxy before the primary, and the address of the database through it.
    pub fn proxied(&self) -> (Proxy, String) {
        let proxy = Proxy::new(self.primary.port());
        let url = url(&[proxy.port()]);
        (proxy, url)
    }

    /// A proxy before the place of each server, and the address of the database through them. They stay when a server is
    /// replaced: the new one has the port of the old.
    pub fn proxies(&self) -> (Vec<Proxy>, String) {
        let proxies: Vec<_> = self.ports.iter().copied().map(Proxy::new).collect();
        let ports: Vec<_> = proxies.iter().map(Proxy::port).collect();
        let url = url(&ports);
        (proxies, url)
    }

    /// The directory of the servers' directories. A process that works in here ends with the cluster, however that ends.
    pub fn directory(&self) -> &Path {
        self.scratch.directory()
    }

    /// Kills the primary and makes the standby the primary. What the link still held is lost, as on a network
    /// that the primary took down with it.
    pub fn fail_over(&mut self) {
        self.primary.kill();
        self.promote();
    }

    /// Makes the standby the primary while the old one, which is returned, lives on: the network between them is lost.
    pub fn split(&mut self) -> Server {
        let old = self.promote();
        self.follower = NAMES.len() - 1;
        self.ports.push(free_port());
        old
    }

    /// Makes the standby the primary, and returns the old one.
    fn promote(&mut self) -> Server {
        let Standby { mut server, link } = self.standby.take().expect("a standby");
        drop(link);
        server.promote();
        std::mem::swap(&mut self.leader, &mut self.follower);
        std::mem::replace(&mut self.primary, server)
    }

    /// Makes a new standby, in the place of the server that was killed, or a third one after a split.
    pub fn rejoin(&mut self) {
        let link = Proxy::new(self.primary.port());
        let server = Server::standby(
            self.scratch.directory(),
            NAMES[self.follower],
            self.ports[self.follower],
            link.port(),
        );
        self.standby = Some(Standby { server, link });
        let synchronous = self.primary.ask("SHOW synchronous_standby_names");
        let state = if synchronous.is_empty() {
            "async"
        } else {
            "sync"
        };
        self.await_state(state);
    }
}

/// The address of the database `postgres` on the servers at `ports` of loopback. Without TLS, which these have not.
pub fn url(ports: &[u16]) -> String {
    let hosts: Vec<_> = ports
        .iter()
        .map(|port| format!("127.0.0.1:{port}"))
        .collect();
    let writable = if ports.len() > 1 {
        "&target_session_attrs=read-write"
    } else {
        ""
    };
    format!(
        "postgres://postgres@{}/postgres?sslmode=disable{writable}",
        hosts.join(",")
    )
}
