//! One server: its data, its port and its processes.

use crate::install::Install;
use crate::psql;
use crate::scratch::signal_all;
use rustix::process::Signal;
use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What every server runs with. `fsync` stays on: acknowledged must mean on disk here too.
const SETTINGS: &str = "
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 32MB
wal_level = replica
max_wal_senders = 8
max_replication_slots = 8
hot_standby = on
# In its directory: a killed server would leave its segments in /dev/shm.
dynamic_shared_memory_type = mmap
autovacuum_naptime = 5s
log_line_prefix = '%m [%p] %a '
";

/// How long a server may take to start, to stop or to become the primary.
const PATIENCE: Duration = Duration::from_secs(60);

/// A port of loopback that nothing listens on, and that no other process with these tests gets. Below those that the
/// system gives to outgoing connections, so that none of these takes it before the server does, or while the server is
/// down.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    static RESERVED: Mutex<Vec<UnixListener>> = Mutex::new(Vec::new());
    let first = 12_000 + (std::process::id() % 150) as u16 * 100;
    for _ in 0..1_000 {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 5_000;
        let Some(reserved) = reserve(port) else {
            continue;
        };
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            let mut all = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
            all.push(reserved);
            return port;
        }
    }
    panic!("no free port on loopback");
}

/// Takes `port` for this process, by a name that the system gives to one at a time and takes back at its end.
fn reserve(port: u16) -> Option<UnixListener> {
    let name = format!("redb-runtime-store tests/postgres port {port}");
    let address = SocketAddr::from_abstract_name(name).ok()?;
    UnixListener::bind_addr(&address).ok()
}

/// A server that runs, or that was stopped or killed. Its processes end when it is dropped.
#[derive(Debug)]
pub struct Server {
    /// The directory of the cluster.
    scratch: PathBuf,
    /// The directory of its data, in which its processes work.
    data: PathBuf,
    port: u16,
    settings: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// Makes a server without content in `scratch` and starts it with `settings` (`name=value`).
    pub fn init(scratch: &Path, name: &str, settings: &[&str]) -> Self {
        let server = Self::at(scratch, name, free_port(), settings);
        let mut initdb = Install::get().command("initdb", scratch);
        initdb
            .arg("--pgdata")
            .arg(&server.data)
            .args(["--username=postgres", "--auth=trust", "--encoding=UTF8"])
            .args(["--locale=C.UTF-8", "--data-checksums", "--no-sync"])
            // Small files: a new server and a copy of it are written in a moment.
            .arg("--wal-segsize=1");
        run(&mut initdb, "initdb");
        append(&server.data.join("postgresql.conf"), SETTINGS);
        server.started()
    }

    /// Makes a standby of the server at `port_of_primary`, which may be a proxy's, and starts it on `port`.
    /// `name` is its name as a synchronous standby and that of its replication slot.
    pub fn standby(scratch: &Path, name: &str, port: u16, port_of_primary: u16) -> Self {
        let server = Self::at(scratch, name, port, &[]);
        // The data of a server that was killed.
        let _ = std::fs::remove_dir_all(&server.data);
        let connection = |name: &str| {
            format!(
                "host=127.0.0.1 port={port_of_primary} user=postgres application_name={name} \
                 sslmode=disable gssencmode=disable"
            )
        };
        let mut backup = Install::get().command("pg_basebackup", scratch);
        backup
            .arg("--pgdata")
            .arg(&server.data)
            // Under another name than the standby's: the primary would take the copy for a synchronous standby.
            .arg(format!("--dbname={}", connection("copy")))
            .args(["--wal-method=stream", "--checkpoint=fast", "--no-sync"])
            .args(["--create-slot", "--slot"])
            .arg(name);
        run(&mut backup, "pg_basebackup");
        let primary = format!(
            "primary_conninfo = '{}'\nprimary_slot_name = '{name}'\nfsync = off\n",
            connection(name)
        );
        append(&server.data.join("postgresql.auto.conf"), &primary);
        append(&server.data.join("standby.signal"), "");
        let server = server.started();
        // It was off while the server started, which would first sync every file of the copy, for seconds. From here
        // on it holds for whatever the primary sends.
        server.set("fsync", "on");
        server
    }

    fn at(scratch: &Path, name: &str, port: u16, settings: &[&str]) -> Self {
        Self {
            scratch: scratch.to_owned(),
            data: scratch.join(name),
            port,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            process: None,
        }
    }

    fn started(mut self) -> Self {
        self.start();
        self
    }

    /// Starts the server, and returns when it accepts connections.
    pub fn start(&mut self) {
        let log = self.scratch.join("log");
        let log = File::options().append(true).create(true).open(log);
        let log = log.expect("the server's log");
        let mut postgres = Install::get().command("postgres", &self.scratch);
        postgres.arg("-D").arg(&self.data);
        postgres.arg(format!("--port={}", self.port));
        postgres.arg(format!(
            "--unix_socket_directories={}",
            self.scratch.display()
        ));
        for setting in &self.settings {
            postgres.arg(format!("--{setting}"));
        }
        let process = postgres
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("the server's log"))
            .stderr(log)
            .spawn();
        self.process = Some(process.expect("the server"));
        self.wait_until("start", |server| {
            server.status() == Some("ready".to_owned())
        });
    }

    /// The last line of the file that says what the server does.
    fn status(&self) -> Option<String> {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        Some(file.lines().nth(7)?.trim().to_owned())
    }

    /// Waits until `is_done`. Panics with the server's log if it ended, or when it took too long.
    fn wait_until(&mut self, what: &str, is_done: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_done(self) {
            let ended = self.process.as_mut().map(|process| process.try_wait());
            let ended = matches!(ended, Some(Ok(Some(_))) | None);
            if ended || began.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(self.scratch.join("log")).unwrap_or_default();
                panic!("the server on port {} did not {what}:\n{log}", self.port);
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The rows that `statement` gives, a line each, or its error.
    pub fn try_ask(&self, statement: &str) -> Result<String, String> {
        psql::ask(&self.scratch, self.port, statement)
    }

    /// The rows that `statement` gives, a line each.
    pub fn ask(&self, statement: &str) -> String {
        self.try_ask(statement)
            .unwrap_or_else(|error| panic!("{statement}: {error}"))
    }

    /// A connection that stays open.
    pub fn session(&self) -> psql::Session {
        psql::Session::new(&self.scratch, self.port)
    }

    /// Sets `name` to `value` for good, without a restart.
    pub fn set(&self, name: &str, value: &str) {
        self.ask(&format!("ALTER SYSTEM SET {name} = '{value}'"));
        self.reload();
        assert_eq!(self.ask(&format!("SHOW {name}")), value, "{name}");
    }

    /// Writes a file into the directory of the data, which only the server's user may read. Returns its path.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::{OpenOptionsExt, chown};
        let path = self.data.join(name);
        let mut options = File::options();
        let file = options.write(true).create(true).truncate(true).mode(0o600);
        let written = file.open(&path).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            match Install::get().account() {
                Some((user, group)) => chown(&path, Some(user), Some(group)),
                None => Ok(()),
            }
        });
        written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Has the server read its configuration again.
    pub fn reload(&self) {
        const READ_AT: &str = "SELECT pg_conf_load_time()";
        let before = self.ask(READ_AT);
        self.ask("SELECT pg_reload_conf()");
        // The postmaster reads it later than it answers.
        let began = Instant::now();
        while self.ask(READ_AT) == before {
            assert!(began.elapsed() < PATIENCE, "the server did not reload");
            sleep(Duration::from_millis(10));
        }
    }

    /// Kills every process of the server at once: what `kill -9` or a power cut of its machine is to its hosts.
    pub fn kill(&mut self) {
        // The postmaster could start another child while the list is read.
        if let Some(process) = &mut self.process {
            let _ = process.kill();
        }
        while signal_all(&self.data, Signal::KILL) > 0 {
            sleep(Duration::from_millis(2));
        }
        if let Some(mut process) = self.process.take() {
            let _ = process.wait();
        }
        self.remove_segment();
    }

    /// Removes the segment of shared memory by which a server finds out that another one has its data. A killed server leaves
    /// it, and the system keeps it.
    fn remove_segment(&self) {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid"));
        let file = file.unwrap_or_default();
        let segment = file
            .lines()
            .nth(6)
            .and_then(|keys| keys.split_whitespace().nth(1));
        if let Some(segment) = segment {
            // A server that comes back has removed it already.
            let mut ipcrm = std::process::Command::new("ipcrm");
            let _ = ipcrm.args(["-m", segment]).stderr(Stdio::null()).status();
        }
    }

    /// Stops every process (SIGSTOP): the server neither answers nor closes a connection.
    pub fn pause(&self) {
        signal_all(&self.data, Signal::STOP);
    }

    /// Continues every process that was stopped.
    pub fn resume(&self) {
        signal_all(&self.data, Signal::CONT);
    }

    /// Makes a standby the primary.
    pub fn promote(&mut self) {
        assert_eq!(self.ask("SELECT pg_promote(true, 60)"), "t", "pg_promote");
        self.wait_until("become the primary", |server| {
            server.try_ask("SELECT pg_is_in_recovery()") == Ok("f".to_owned())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Adds `text` to the end of a file of a server.
fn append(path: &Path, text: &str) {
    let file = File::options().append(true).create(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// Runs a program to its end. Panics with what it printed if it fails.
fn run(command: &mut std::process::Command, name: &str) {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{name}: {error}"));
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {printed}");
}
