//! Pseudo-terminals: the program as it is at a terminal, and the keys that are typed there.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{ioctl_tiocsctty, setsid};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus, Stdio};

/// Gives a terminal another size.
pub(crate) fn resize(terminal: &File, (rows, columns): (u16, u16)) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).unwrap();
}

/// A terminal of so many rows and columns: the side of the test, and that of the program.
pub(crate) fn terminal(size: (u16, u16)) -> (File, File) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let terminal = openpt(flags).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let mut options = OpenOptions::new();
    let end = options.read(true).write(true);
    let end = end.open(OsStr::from_bytes(name.to_bytes())).unwrap();
    let terminal = File::from(terminal);
    resize(&terminal, size);
    (terminal, end)
}

/// Makes a terminal empty.
pub(crate) const NEW_SCREEN: &str = "\u{1b}c";

/// The arguments of the program in a process that gets a terminal of its own.
const ARGUMENTS: &str = "TEST_TERMINAL_ARGUMENTS";

/// Becomes the program, in a session whose terminal is standard input, if this is such a process: the keys of the terminal
/// then send signals to it. `Typing` starts it.
#[test]
fn program_gets_a_terminal_of_its_own() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else {
        return;
    };
    let arguments: Vec<String> = serde_json::from_str(&arguments).unwrap();
    setsid().unwrap();
    ioctl_tiocsctty(std::io::stdin()).unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_runtime-store"));
    // What the runner of tests has printed is not of the program.
    print!("{NEW_SCREEN}");
    std::io::stdout().flush().unwrap();
    panic!("{}", program.args(arguments).exec());
}

/// Starts the program with `end` as its terminal, and with these variables in its environment. No pager is used that they
/// do not name.
pub(crate) fn start(end: File, variables: &[(&str, &str)], arguments: &[&str]) -> Child {
    let name = "terminal::program_gets_a_terminal_of_its_own";
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        name,
        "--exact",
        "--nocapture",
        "--quiet",
        "--test-threads=1",
    ]);
    for name in ["NO_COLOR", "CLICOLOR_FORCE", "LESS", "RUNTIME_STORE_PAGER"] {
        command.env_remove(name);
    }
    command.env("TERM", "xterm").env("PAGER", "");
    command.envs(variables.iter().copied());
    command
        .env(ARGUMENTS, serde_json::to_string(arguments).unwrap())
        .stdin(Stdio::from(end.try_clone().unwrap()))
        .stdout(Stdio::from(end.try_clone().unwrap()))
        .stderr(Stdio::from(end));
    command.spawn().unwrap()
}

/// How long the program may show nothing.
const PATIENCE: Timespec = Timespec {
    tv_sec: 60,
    tv_nsec: 0,
};

/// The program at a terminal, where it is answered.
pub(crate) struct Typing {
    terminal: File,
    child: Child,
    shown: String,
}

impl Typing {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let (terminal, end) = terminal((24, 80));
        let child = start(end, &[("NO_COLOR", "1")], arguments);
        Self {
            terminal,
            child,
            shown: String::new(),
        }
    }

    /// Reads what is shown. Returns whether there is more to come.
    fn read(&mut self) -> bool {
        let mut polled = [PollFd::new(&self.terminal, PollFlags::IN)];
        if poll(&mut polled, Some(&PATIENCE)).unwrap() == 0 {
            self.child.kill().unwrap();
            panic!("nothing follows {}", self.shown);
        }
        let mut bytes = [0; 4096];
        // An error when the program has closed its side.
        let read = self.terminal.read(&mut bytes).unwrap_or_default();
        self.shown
            .push_str(&String::from_utf8_lossy(&bytes[..read]));
        read > 0
    }

    /// Waits until `text` is shown.
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !self.shown.contains(text) {
            assert!(self.read(), "{text} is not in {}", self.shown);
        }
    }

    /// Waits until `text` is shown, and then types `keys`.
    pub(crate) fn answer(&mut self, text: &str, keys: &str) {
        self.wait_for(text);
        self.terminal.write_all(keys.as_bytes()).unwrap();
    }

    /// Waits for the end of the program. Returns its status, and everything that was shown.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        while self.read() {}
        (self.child.wait().unwrap(), self.shown)
    }
}
