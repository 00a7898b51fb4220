//! A finished run of the program. The tests of the program with a server have runs of this type, too.

use std::process::{Command, Output};

pub(crate) struct Run {
    pub(crate) output: Output,
    command: String,
}

impl Run {
    /// Runs `command` to its end.
    pub(crate) fn of(mut command: Command) -> Self {
        Self {
            output: command.output().expect("the program runs"),
            command: format!("{command:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn expect_code(&self, code: i32) -> &Self {
        let (out, err) = (self.stdout(), self.stderr());
        let command = &self.command;
        assert_eq!(
            self.output.status.code(),
            Some(code),
            "{command}\n{out}\n{err}"
        );
        self
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }
}
