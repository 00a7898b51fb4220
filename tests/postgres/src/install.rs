//! The programs of the server, and the user that runs them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// What a run without a server prints, and nothing else.
const MISSING: &str =
    "PostgreSQL is not installed: run tests/postgres/run, which installs it and runs these tests";

/// The folder of each installed version of Debian's package.
const VERSIONS: &str = "/usr/lib/postgresql";

/// The user that the package creates. A server refuses to run as root.
const USER: &str = "postgres";

static INSTALL: LazyLock<Install> = LazyLock::new(|| {
    Install::found().unwrap_or_else(|| {
        // The process ends here: a line for each of a hundred tests would bury the reason. Past libtest's
        // capture, which would keep it.
        let _ = writeln!(std::io::stderr(), "{MISSING}");
        std::process::exit(1)
    })
});

/// An installed server.
#[derive(Debug)]
pub struct Install {
    programs: PathBuf,
    /// The user and the group that run the server, where this process runs as root.
    account: Option<(u32, u32)>,
}

impl Install {
    /// The installed server. Ends the process with one line if there is none.
    pub fn get() -> &'static Self {
        &INSTALL
    }

    fn found() -> Option<Self> {
        let programs = newest(Path::new(VERSIONS))?;
        let account = match rustix::process::geteuid().is_root() {
            true => Some(account(USER)?),
            false => None,
        };
        Some(Self { programs, account })
    }

    /// The user and the group that own the files of a server, if they are not those of this process.
    pub fn account(&self) -> Option<(u32, u32)> {
        self.account
    }

    /// A command that runs the program `name` in `directory`, unprivileged and without the environment.
    pub fn command(&self, name: &str, directory: &Path) -> Command {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(self.programs.join(name));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LC_ALL", "C.UTF-8")
            .env("HOME", directory)
            .current_dir(directory)
            // Not this process's group: ^C in a terminal must reach the tests, not the server under them.
            .process_group(0);
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }
}

/// The programs of the highest version that is complete.
fn newest(versions: &Path) -> Option<PathBuf> {
    let entries = std::fs::read_dir(versions).ok()?;
    let version = |entry: std::io::Result<std::fs::DirEntry>| {
        let name = entry.ok()?.file_name();
        let number: u32 = name.to_str()?.parse().ok()?;
        let programs = versions.join(name).join("bin");
        let is_complete = ["initdb", "pg_basebackup", "postgres", "psql"]
            .iter()
            .all(|program| programs.join(program).is_file());
        is_complete.then_some((number, programs))
    };
    let newest = entries.filter_map(version).max()?;
    Some(newest.1)
}

/// The ids of the user `name` and of its group.
fn account(name: &str) -> Option<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let is_named = fields.next()? == name;
        let (user, group) = (fields.nth(1)?, fields.next()?);
        is_named.then_some((user.parse().ok()?, group.parse().ok()?))
    })
}
