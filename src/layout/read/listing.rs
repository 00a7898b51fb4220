//! Lists the runtime directories under a root.

use crate::layout::dir::error::is_about_content;
use crate::layout::dir::source::{EntryKind, NotOpened, SourceDir};
use crate::layout::error::LayoutError;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::format::document::{RuntimeDocument, WorkerDocument};
use crate::layout::format::locate;
use crate::layout::format::names::{
    self, IN_ROOT, RUNTIMES, WORKERS, is_begun_replacement, is_of_export, is_temporary,
};
use crate::layout::read::documents::Document;
use crate::layout::read::entries::{invalid_name, other_entry};
use crate::layout::read::kept_files::OtherEntry;
use crate::layout::read::log_record::LogRecord;
use crate::model::identity::RuntimeId;
use crate::model::observation::RuntimeEvent;
use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A runtime directory.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) id: RuntimeId,
}

/// The runtimes under a root.
pub(crate) struct Listing {
    /// The directory with the runtime directories: `runtimes`, or the root if the runtime lies there.
    pub(crate) runtimes: SourceDir,
    /// Whether the runtime in the root has no id yet.
    pub(crate) is_unnamed: bool,
    pub(crate) entries: Vec<Entry>,
    pub(crate) findings: Vec<Finding>,
    /// The files of `runtimes`, and its directories whose names are no ids.
    pub(crate) others: Vec<OtherEntry>,
}

impl Listing {
    /// Lists the runtimes under `root`. If `wanted` is not empty, lists only those.
    pub(crate) fn open(root: &Path, wanted: &[RuntimeId]) -> Result<Self, LayoutError> {
        let dir = SourceDir::open(root).map_err(LayoutError::io("open", root))?;
        let runtimes = dir.open_dir(RUNTIMES);
        let is_missing = matches!(runtimes, Err(NotOpened::Missing));
        match has_file(&dir, RuntimeDocument::FILE)? {
            true if is_missing => return Self::of_root(dir, wanted),
            true => {
                return Err(LayoutError::TwoLayouts {
                    path: root.to_owned(),
                });
            }
            false if is_missing => {
                refuse_unfinished(&dir)?;
                if has_members_in_root(&dir)? {
                    return Self::of_root(dir, wanted);
                }
            }
            false => {}
        }
        let runtimes = runtimes.map_err(|error| match error {
            NotOpened::Missing => root_above(root).unwrap_or_else(|| no_layout(root, "")),
            NotOpened::File => no_layout(root, "a file"),
            NotOpened::Other(what) => no_layout(root, what),
            NotOpened::Io(source) => LayoutError::io("open", dir.path_of(RUNTIMES))(source),
        })?;
        let mut listing = Self {
            runtimes,
            is_unnamed: false,
            entries: Vec::new(),
            findings: Vec::new(),
            others: Vec::new(),
        };
        let names = listing
            .runtimes
            .names()
            .map_err(LayoutError::io("list", listing.runtimes.path()))?;
        for name in names {
            listing.look_at(&name)?;
        }
        if !wanted.is_empty() {
            listing.keep_only(root, wanted)?;
        }
        Ok(listing)
    }

    /// The listing of a directory whose runtime lies in the root. It has the id of its document, the one that is wanted
    /// or, until the caller names it, [`NEW_ID`].
    fn of_root(dir: SourceDir, wanted: &[RuntimeId]) -> Result<Self, LayoutError> {
        if let Some(above) = root_above(dir.path()) {
            return Err(above);
        }
        let own = id_in_root(&dir);
        let id = own.clone().or_else(|| wanted.first().cloned());
        let is_other = |wanted: &&RuntimeId| id.as_ref() != Some(*wanted);
        if let Some(missing) = wanted.iter().find(is_other) {
            return Err(LayoutError::RuntimeNotInDirectory {
                path: dir.path().to_owned(),
                runtime_id: missing.clone(),
            });
        }
        let is_unnamed = id.is_none();
        let entries = id.or_else(|| RuntimeId::new(NEW_ID)).map(|id| Entry {
            name: IN_ROOT.to_owned(),
            id,
        });
        Ok(Self {
            runtimes: dir,
            is_unnamed,
            entries: entries.into_iter().collect(),
            findings: Vec::new(),
            others: Vec::new(),
        })
    }

    /// Gives the runtime in the root an id.
    pub(crate) fn name(&mut self, id: Option<RuntimeId>) {
        if let (Some(entry), Some(id)) = (self.entries.first_mut(), id) {
            entry.id = id;
            self.is_unnamed = false;
        }
    }

    fn look_at(&mut self, name: &OsStr) -> Result<(), LayoutError> {
        let path = self.runtimes.path_of(name);
        let finding = match self.runtimes.kind_of(name) {
            Err(error) if !is_about_content(&error) => {
                return Err(LayoutError::io("inspect", path)(error));
            }
            Err(error) => {
                let message = format!("cannot inspect: {error}");
                Finding::new(FindingKind::Unreadable, path, message)
            }
            Ok(kind) => match self.finding_about(name, path, kind) {
                Some(finding) => finding,
                None => return Ok(()),
            },
        };
        self.findings.push(finding);
        Ok(())
    }

    /// The finding about an entry of `runtimes`; `None` for one that is added to a list.
    fn finding_about(
        &mut self,
        name: &OsStr,
        path: PathBuf,
        kind: Option<EntryKind>,
    ) -> Option<Finding> {
        Some(match kind {
            Some(EntryKind::Directory) if !is_temporary(name) && !is_begun_replacement(name) => {
                match names::decode::<RuntimeId>(name.as_bytes()) {
                    Ok(id) => {
                        let name = names::encode(id.as_str());
                        self.entries.push(Entry { name, id });
                        return None;
                    }
                    Err(why) => {
                        let other = invalid_name(&self.runtimes, name, why);
                        self.others.push(other);
                        return None;
                    }
                }
            }
            Some(EntryKind::Directory) if is_begun_replacement(name) => {
                let message = "an export was killed while it put this directory into the place of a \
                               runtime; the next export into this root completes it";
                Finding::new(FindingKind::MissingFile, path, message)
            }
            _ => match other_entry(path, name, kind) {
                Ok(other) => {
                    self.others.push(other);
                    return None;
                }
                Err(finding) => *finding,
            },
        })
    }

    /// Keeps only the wanted runtimes. Findings about other entries do not concern them and are dropped.
    fn keep_only(&mut self, root: &Path, wanted: &[RuntimeId]) -> Result<(), LayoutError> {
        self.findings.clear();
        self.others.clear();
        let is_here = |id: &&RuntimeId| !self.entries.iter().any(|entry| entry.id == **id);
        if let Some(missing) = wanted.iter().find(is_here) {
            return Err(LayoutError::RuntimeNotInDirectory {
                path: root.to_owned(),
                runtime_id: missing.clone(),
            });
        }
        self.entries.retain(|entry| wanted.contains(&entry.id));
        Ok(())
    }

    /// The length of the files of all entries, in bytes: an estimate for progress.
    pub(crate) fn total_bytes(&self) -> u64 {
        let mut total = 0;
        for entry in &self.entries {
            if let Ok(dir) = self.runtimes.open_dir(&entry.name) {
                total += bytes_in(&dir, MAX_DEPTH);
            }
        }
        for other in &self.others {
            total += match other.is_directory {
                false => self.runtimes.length_of(&other.name).unwrap_or(0),
                true => self
                    .runtimes
                    .open_dir(&other.name)
                    .map_or(0, |dir| bytes_in(&dir, MAX_DEPTH)),
            };
        }
        total
    }
}

/// How deep an estimate looks into a tree.
const MAX_DEPTH: u32 = 32;

/// The length of the files in `dir` and `depth` levels below it, in bytes.
fn bytes_in(dir: &SourceDir, depth: u32) -> u64 {
    let Ok(names) = dir.names() else { return 0 };
    let mut bytes = 0;
    for name in names {
        bytes += match dir.kind_of(&name) {
            Ok(Some(EntryKind::File)) => dir.length_of(&name).unwrap_or(0),
            Ok(Some(EntryKind::Directory)) if depth > 0 => dir
                .open_dir(&name)
                .map_or(0, |dir| bytes_in(&dir, depth - 1)),
            _ => 0,
        };
    }
    bytes
}

/// The id of a runtime in the root, unless the store has another runtime of that id.
pub(crate) const NEW_ID: &str = "runtime";

/// The greatest length of a `runtime.json` that is searched for an id, in bytes.
const MAX_SEARCHED_BYTES: u64 = 64 << 20;

/// Whether `name` is a file in `dir`.
fn has_file(dir: &SourceDir, name: &str) -> Result<bool, LayoutError> {
    let kind = dir.kind_of(name);
    let kind = kind.map_err(LayoutError::io("inspect", dir.path_of(name)))?;
    Ok(kind == Some(EntryKind::File))
}

/// Whether a root without `runtime.json` is that of a runtime that lost this document: it has the log of events, or a
/// worker with its document. A directory `workers` alone can be anything.
fn has_members_in_root(dir: &SourceDir) -> Result<bool, LayoutError> {
    if root_above(dir.path()).is_some() {
        return Ok(false);
    }
    if has_file(dir, RuntimeEvent::FILE)? {
        return Ok(true);
    }
    let workers = match dir.open_dir(WORKERS) {
        Ok(workers) => workers,
        Err(NotOpened::Io(source)) => {
            return Err(LayoutError::io("open", dir.path_of(WORKERS))(source));
        }
        Err(_) => return Ok(false),
    };
    let names = workers.names();
    for name in names.map_err(LayoutError::io("list", workers.path()))? {
        // One that cannot be opened shows nothing; a reading of the runtime reports it.
        if let Ok(worker) = workers.open_dir(&name)
            && has_file(&worker, WorkerDocument::FILE)?
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The error for a root into which an export was killed before `runtime.json` was in its place: the members that are
/// there can be of two exports.
fn refuse_unfinished(dir: &SourceDir) -> Result<(), LayoutError> {
    let names = dir.names();
    let names = names.map_err(LayoutError::io("list", dir.path()))?;
    match names.iter().find(|name| is_of_export(name)) {
        Some(left) => Err(LayoutError::UnfinishedExport {
            path: dir.path().to_owned(),
            left: dir.path_of(left),
        }),
        None => Ok(()),
    }
}

/// The id in the document of a runtime in the root. It has one if a directory of an older form was moved there.
fn id_in_root(dir: &SourceDir) -> Option<RuntimeId> {
    let file = dir.open_file(RuntimeDocument::FILE).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_SEARCHED_BYTES).read_to_end(&mut bytes).ok()?;
    let id = locate::member(&bytes, "runtime_id")?;
    serde_json::from_slice(id.bytes).ok()
}

/// The error for a path that is `runtimes` or a runtime directory there; `None` for any other.
fn root_above(path: &Path) -> Option<LayoutError> {
    let whole = path.canonicalize().ok()?;
    let above = whole.parent()?;
    let root = match whole.file_name()? {
        name if name == RUNTIMES => above,
        name if above.ends_with(RUNTIMES) => {
            names::decode::<RuntimeId>(name.as_bytes()).ok()?;
            above.parent()?
        }
        _ => return None,
    };
    Some(LayoutError::BelowRoot {
        path: path.to_owned(),
        root: root.to_owned(),
    })
}

fn no_layout(root: &Path, found: &str) -> LayoutError {
    let found = match found {
        "" => String::new(),
        what => format!(", only {what} of that name"),
    };
    LayoutError::NoLayout {
        path: root.to_owned(),
        found,
    }
}
