//! The store of a report, apart from its rows.

use redb_runtime_store::store::VerifyReport;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The most findings of one kind of check that a report lists.
pub(crate) const MOST_FINDINGS: usize = 100;

/// The result of the check for damage.
pub(crate) struct Checked {
    pub(crate) report: VerifyReport,
    pub(crate) checked_at: SystemTime,
}

/// The file of a store.
pub(crate) struct Source {
    /// The name of the file.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    /// The size of the file; `None` if it has been moved since it was opened.
    pub(crate) bytes: Option<u64>,
    pub(crate) read_at: SystemTime,
    /// `None` if the store was not checked.
    pub(crate) checked: Option<Checked>,
}

impl Source {
    /// The store at `path`, read now.
    pub(crate) fn of(path: &Path, checked: Option<Checked>) -> Self {
        let is_file = path.exists();
        let name = path.file_name().filter(|_| is_file);
        Self {
            // A store on a server has its URL as its name.
            name: name
                .unwrap_or(path.as_os_str())
                .to_string_lossy()
                .into_owned(),
            path: path.to_owned(),
            bytes: path.metadata().ok().map(|file| file.len()),
            read_at: SystemTime::now(),
            checked,
        }
    }
}
