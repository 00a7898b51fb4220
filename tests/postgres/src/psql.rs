//! Statements to a server, through its own client.

use crate::install::Install;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The line after each answer of a session.
const END: &str = "--- end of answer ---";

fn psql(directory: &Path, port: u16) -> Command {
    let mut command = Install::get().command("psql", directory);
    // Not the directory of a server: a kill of the server must leave its clients.
    command
        .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only"])
        .args(["--host=127.0.0.1", "--username=postgres"])
        .arg(format!("--port={port}"))
        .env("PGCONNECT_TIMEOUT", "5")
        .env("PGSSLMODE", "disable");
    command
}

/// The rows that `statement` gives on the server at `port`, a line each, or its error.
pub fn ask(directory: &Path, port: u16, statement: &str) -> Result<String, String> {
    let mut command = psql(directory, port);
    command.args(["--set=ON_ERROR_STOP=1", "--command", statement]);
    let output = command.output().map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

/// A connection that stays open, with its transaction and its locks. It is closed when dropped.
#[derive(Debug)]
pub struct Session {
    child: Child,
    input: ChildStdin,
    output: std::io::Lines<BufReader<ChildStdout>>,
}

impl Session {
    /// Connects to the server at `port`.
    pub fn new(directory: &Path, port: u16) -> Self {
        let mut command = psql(directory, port);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("psql");
        let input = child.stdin.take().expect("its input");
        let output = child.stdout.take().expect("its output");
        Self {
            child,
            input,
            output: BufReader::new(output).lines(),
        }
    }

    /// Runs `statements` and returns their rows, a line each.
    pub fn run(&mut self, statements: &str) -> Vec<String> {
        self.begin(statements);
        self.end()
    }

    /// Sends `statements` without waiting for their answer.
    pub fn begin(&mut self, statements: &str) {
        writeln!(self.input, "{statements};\n\\echo {END}").expect("a statement to psql");
        self.input.flush().expect("a statement to psql");
    }

    /// Waits for the answer of what was begun.
    pub fn end(&mut self) -> Vec<String> {
        let lines = self.output.by_ref().map(|line| line.expect("its output"));
        lines.take_while(|line| line != END).collect()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
