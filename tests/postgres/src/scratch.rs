//! The directory of a cluster, which does not outlive the process that made it.

use crate::install::Install;
use rustix::process::{Pid, Signal};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What the reaper runs.
const REAPER: &str = include_str!("reaper.sh");

/// A directory, and a process that ends what runs in it and removes it when this process is gone.
///
/// A `Drop` alone would not do: a test binary never drops its statics, and a killed one drops nothing.
#[derive(Debug)]
pub struct Scratch {
    directory: PathBuf,
    reaper: Child,
}

impl Scratch {
    /// A new directory, owned by the user of the server.
    pub fn new() -> Self {
        use std::os::unix::process::CommandExt;
        let install = Install::get();
        let directory = tempfile::Builder::new()
            .prefix("postgres-tests-")
            .tempdir()
            .expect("a temporary directory");
        let directory = std::fs::canonicalize(directory.keep()).expect("the temporary directory");
        let mut reaper = Command::new("bash");
        reaper.args(["-c", REAPER, "reaper"]).arg(&directory);
        let reaper = reaper
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("bash, which removes the directory");
        // From here on the reaper removes the directory if this panics.
        let scratch = Self { directory, reaper };
        if let Some((user, group)) = install.account() {
            assert_searchable(&scratch.directory);
            std::os::unix::fs::chown(&scratch.directory, Some(user), Some(group))
                .expect("the directory as the server's user");
        }
        scratch
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.reaper.stdin.take());
        let _ = self.reaper.wait();
    }
}

/// Panics if the server's user cannot reach `directory`.
fn assert_searchable(directory: &Path) {
    for above in directory.ancestors().skip(1) {
        let metadata = std::fs::metadata(above).expect("a directory above");
        let others = metadata.permissions().mode() & 0o001;
        assert!(
            others != 0,
            "{}: the server's user cannot search it; set TMPDIR to a directory that everyone can search",
            above.display()
        );
    }
}

/// Sends `signal` to every process that works in `directory`. Returns how many there were.
pub fn signal_all(directory: &Path, signal: Signal) -> usize {
    let processes = std::fs::read_dir("/proc").expect("/proc");
    let pids = processes.filter_map(|entry| {
        let path = entry.ok()?.path();
        let at = std::fs::read_link(path.join("cwd")).ok()?;
        let pid = path.file_name()?.to_str()?.parse().ok()?;
        at.starts_with(directory)
            .then(|| Pid::from_raw(pid))
            .flatten()
    });
    let mut sent = 0;
    for pid in pids {
        // It may have ended since it was listed.
        let _ = rustix::process::kill_process(pid, signal);
        sent += 1;
    }
    sent
}
