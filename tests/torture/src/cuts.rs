//! Kills real processes after each step of their maintenance of real files: the old or the new state
//! remains, never a mixture, and the job can be run again.
//!
//! A step is a change of the file system: the creation of a file or directory, half of a write, a sync,
//! a rename, an exchange or a removal. redb's writes to the store count too. A child counts its steps
//! and stops at one of them, where it is killed. The next child stops one step later, until one child
//! finishes.
//!
//! A kill loses no data that the system has accepted. [`crash_steps`](crate::crash_steps) simulates the
//! effect of a power loss on redb's writes, and the steps of the child that finishes show whether all
//! other changes are synced in time.

use crate::campaign::count_tried;
use crate::child::{Start, patient, say, scratch};
use crate::crash_steps::{
    GOLDEN, check_migration, check_steps, failing_release, first_release, is_newer_than,
    later_release,
};
use crate::pages::Pages;
use crate::power_loss::{check_works, check_world};
use crate::rng::Rng;
use crate::tree::{self, Tree};
use crate::unsynced::Unsynced;
use crate::workload::{IMPORTED, import_root, runtime};
use crate::world::{Context, Violation, World};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::interaction::WorkerInput;
use redb_runtime_store::layout::{
    ExistingDirectory, ExportOptions, ImportOptions, LayoutError, export, import, import_to_path,
};
use redb_runtime_store::steps::{Step, on_step};
use redb_runtime_store::store::{FileAccess, StoreOptions};
use redb_runtime_store::{Runtime, Store};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Result as IoResult};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A job that is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// A store is created.
    Create,
    /// A directory is imported into a new store.
    ImportNew,
    /// A directory is imported again and replaces its runtime.
    ImportOver,
    /// A store is exported to a new directory.
    Export,
    /// An export is replaced.
    Replace,
    /// An export is updated.
    Update,
    /// A store is copied.
    Backup,
    /// A store is compacted.
    Compact,
    /// A store is migrated, as by a later release.
    Migrate,
    /// The store of schema 1 is migrated.
    MigrateSchema1,
    /// A store is migrated by a release whose last step fails.
    FailToMigrate,
}

const STORE: &str = "store.redb";
const BACKUP: &str = "backup.redb";
const COPY: &str = "store.redb.v2.bak";
const COPY_OF_SCHEMA_1: &str = "store.redb.v1.bak";
const EXPORT: &str = "deep/export";

impl Job {
    /// Every job.
    pub const ALL: [Self; 11] = [
        Self::Create,
        Self::ImportNew,
        Self::ImportOver,
        Self::Export,
        Self::Replace,
        Self::Update,
        Self::Backup,
        Self::Compact,
        Self::Migrate,
        Self::MigrateSchema1,
        Self::FailToMigrate,
    ];

    /// The job's name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Create => "cut-create",
            Self::ImportNew => "cut-import-new",
            Self::ImportOver => "cut-import-over",
            Self::Export => "cut-export",
            Self::Replace => "cut-replace",
            Self::Update => "cut-update",
            Self::Backup => "cut-backup",
            Self::Compact => "cut-compact",
            Self::Migrate => "cut-migrate",
            Self::MigrateSchema1 => "cut-migrate-schema-1",
            Self::FailToMigrate => "cut-fail-to-migrate",
        }
    }

    /// The job and the step of `name@step`.
    pub(crate) fn with_step(text: &str) -> Option<(Self, usize)> {
        let (name, step) = text.split_once('@')?;
        let job = Self::ALL.into_iter().find(|job| job.name() == name)?;
        Some((job, step.parse().ok()?))
    }

    /// Does the job in `directory`.
    pub(crate) fn run(self, directory: &Path, options: &StoreOptions) -> Result<(), LayoutError> {
        let path = directory.join(STORE);
        match self {
            Self::Create => options.open(path).map(drop)?,
            Self::ImportNew => {
                let all = ImportOptions::new();
                import_to_path(import_root(), path, options, &all).map(drop)?;
            }
            Self::ImportOver => {
                let replace = ImportOptions::new().replace(true);
                import(&options.open(path)?, import_root(), &replace).map(drop)?;
            }
            Self::Export => export_with(directory, ExistingDirectory::Refuse)?,
            Self::Replace => export_with(directory, ExistingDirectory::Replace)?,
            Self::Update => export_with(directory, ExistingDirectory::Update)?,
            Self::Backup => {
                let store = patient().open(path)?;
                store.backup(directory.join(BACKUP)).map(drop)?;
            }
            Self::Compact => options.open(path)?.compact().map(drop)?,
            Self::Migrate | Self::MigrateSchema1 => options.open(path).map(drop)?,
            Self::FailToMigrate => match options.open(path) {
                Err(RuntimeError::StoreCorrupt { .. }) => {}
                other => {
                    let what = format!("a step failed: {other:?}");
                    Err(RuntimeError::InvalidRequest(what))?;
                }
            },
        }
        Ok(())
    }

    pub(crate) fn options(self) -> StoreOptions {
        match self {
            Self::Migrate => later_release(),
            Self::FailToMigrate => failing_release(),
            _ => patient(),
        }
    }

    /// The options that open the store after the job.
    fn options_after(self) -> StoreOptions {
        match self {
            Self::Migrate => later_release(),
            _ => patient(),
        }
    }

    /// The files that earlier killed runs left.
    fn leftovers(self) -> &'static [&'static str] {
        match self {
            Self::Create => &[".store.redb.partial-Left01/store"],
            Self::ImportNew => &[".import.tmp-Left01/store"],
            Self::Backup => &[".backup.redb.partial-Left01/store"],
            Self::Migrate | Self::FailToMigrate => &[".store.redb.v2.bak.partial-Left01/store"],
            Self::MigrateSchema1 => &[".store.redb.v1.bak.partial-Left01/store"],
            Self::Replace => &["deep/export/runtimes/.export.tmp-1-0/runtime.json"],
            Self::Update => &[
                "deep/export/runtimes/.export.tmp-1-0/runtime.json",
                "deep/export/runtimes/id-6669727374/.export.tmp-1-1",
            ],
            Self::ImportOver | Self::Export | Self::Compact => &[],
        }
    }

    /// Runs the job again after an interruption, and it must succeed.
    pub(crate) fn run_again(self, directory: &Path) -> Result<(), LayoutError> {
        match self.run(directory, &self.options()) {
            // The interrupted run had published some runtime directories: these are complete and stay.
            Err(LayoutError::Exists { .. }) if self == Self::Export => {
                export_with(directory, ExistingDirectory::Update)
            }
            Err(LayoutError::Store(RuntimeError::StoreIo { path, .. }))
                if self == Self::Backup && path.ends_with(BACKUP) && path.exists() =>
            {
                Ok(())
            }
            done => done,
        }
    }

    /// The names in the directory when the job is done.
    fn leaves(self) -> BTreeSet<&'static str> {
        match self {
            Self::Create | Self::ImportNew | Self::ImportOver | Self::Compact => [STORE].into(),
            Self::Export | Self::Replace | Self::Update => [STORE, "deep"].into(),
            Self::Backup => [STORE, BACKUP].into(),
            Self::Migrate | Self::FailToMigrate => [STORE, COPY].into(),
            Self::MigrateSchema1 => [STORE, COPY_OF_SCHEMA_1].into(),
        }
    }
}

fn export_with(directory: &Path, existing: ExistingDirectory) -> Result<(), LayoutError> {
    let store = patient().open(directory.join(STORE))?;
    let options = ExportOptions::new().existing(existing);
    export(&store, directory.join(EXPORT), &options).map(drop)
}

/// Runs `job` in `directory` and prints each step. At the step of that number it waits to be killed.
pub(crate) fn child(job: Job, cut_at: usize, directory: &Path) -> Result<(), Violation> {
    let steps = Arc::new(AtomicUsize::new(0));
    let next = move |what: String| {
        let number = steps.fetch_add(1, Ordering::Relaxed) + 1;
        // If the parent is gone, the output is not needed.
        drop(say(&what));
        if number == cut_at {
            drop(say("cut"));
            loop {
                std::thread::park();
            }
        }
    };
    let of_redb = next.clone();
    on_step(move |step| next(line(&step)));
    let options = job.options().on_access(move |access| -> IoResult<()> {
        if matches!(
            access,
            FileAccess::Write | FileAccess::SetLen | FileAccess::Sync
        ) {
            of_redb(format!("redb\t{access:?} is next"));
        }
        Ok(())
    });
    job.run(directory, &options).or_violation("the job")?;
    say("done")
}

fn line(step: &Step) -> String {
    let (kind, paths) = match step {
        Step::Created(path) => ("created", vec![path]),
        Step::CreatedDir(path) => ("created dir", vec![path]),
        Step::Written(path) => ("written", vec![path]),
        Step::Synced(path) => ("synced", vec![path]),
        Step::Renamed(from, to) => ("renamed", vec![from, to]),
        Step::Exchanged(one, other) => ("exchanged", vec![one, other]),
        Step::Removed(path) => ("removed", vec![path]),
    };
    let paths = paths.into_iter().map(|path| path.to_string_lossy());
    format!("{kind}\t{}", paths.collect::<Vec<_>>().join("\t"))
}

/// The step that a line states; `None` for any other line.
fn step(line: &str) -> Option<Step> {
    let mut parts = line.split('\t');
    let kind = parts.next()?;
    let mut path = || parts.next().map(PathBuf::from);
    Some(match kind {
        "created" => Step::Created(path()?),
        "created dir" => Step::CreatedDir(path()?),
        "written" => Step::Written(path()?),
        "synced" => Step::Synced(path()?),
        "renamed" => Step::Renamed(path()?, path()?),
        "exchanged" => Step::Exchanged(path()?, path()?),
        "removed" => Step::Removed(path()?),
        _ => return None,
    })
}

/// Interrupts `job` after each of its steps. Returns the number of steps.
///
/// # Errors
///
/// The first step that leaves neither the old nor the new state, or a state in which the job fails.
pub fn every_step(job: Job, seed: u64, start: Start<'_>) -> Result<usize, Violation> {
    let scene = Scene::new(job, seed)?;
    for cut_at in 1.. {
        count_tried(1);
        let directory = scratch()?;
        let directory = directory.path();
        tree::write(&scene.before, directory)?;
        let (said, is_done) = run_cut(start(&format!("{}@{cut_at}", job.name()), directory))?;
        let last = said.last().map(String::as_str).unwrap_or_default();
        let context =
            |what| Violation(format!("{} at step {cut_at}, {last:?}: {what}", job.name()));
        scene.check(directory, is_done).map_err(context)?;
        let again = job.run_again(directory).or_violation("the job again");
        again.map_err(context)?;
        scene.check_after(directory).map_err(context)?;
        if is_done {
            check_synced(&said).map_err(context)?;
            return Ok(cut_at - 1);
        }
    }
    Ok(0)
}

/// Runs a child until it waits to be killed, or ends. Returns its output, and whether it ended.
fn run_cut(mut command: Command) -> Result<(Vec<String>, bool), Violation> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .or_violation("starting a child")?;
    let mut said = Vec::new();
    let mut is_cut = false;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let line = line.or_violation("listening")?;
            is_cut = line == "cut";
            if is_cut {
                break;
            }
            said.push(line);
        }
    }
    if is_cut {
        child.kill().or_violation("killing a child")?;
    }
    let status = child.wait().or_violation("waiting for a child")?;
    if is_cut || status.success() {
        return Ok((said, !is_cut));
    }
    let mut complaint = String::new();
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut complaint)
            .or_violation("listening")?;
    }
    Err(Violation(format!(
        "the child failed by itself: {complaint}"
    )))
}

/// Checks that a power loss after the end of a job could not undo any part of it.
fn check_synced(said: &[String]) -> Result<(), Violation> {
    let mut unsynced = Unsynced::default();
    for step in said.iter().filter_map(|line| step(line)) {
        unsynced.follow(&step)?;
    }
    unsynced.finish()
}

/// The initial state of a job, and the states that it may leave.
pub(crate) struct Scene {
    job: Job,
    /// The directory before.
    pub(crate) before: Tree,
    /// The content of the store before and after.
    old: World,
    new: World,
    /// The export before and after.
    old_export: Tree,
    new_export: Tree,
}

impl Scene {
    pub(crate) fn new(job: Job, seed: u64) -> Result<Self, Violation> {
        let mut rng = Rng::new(seed);
        let making = scratch()?;
        let directory = making.path();
        let mut scene = Self {
            job,
            before: Tree::new(),
            old: World::default(),
            new: World::default(),
            old_export: Tree::new(),
            new_export: Tree::new(),
        };
        if job == Job::MigrateSchema1 {
            let store = directory.join(STORE);
            std::fs::copy(GOLDEN, store).or_violation("copying the store of schema 1")?;
        } else if !matches!(job, Job::Create | Job::ImportNew) {
            let store = patient()
                .open(directory.join(STORE))
                .or_violation("creating")?;
            grow(&store, &mut rng)?;
            store.close().or_violation("closing")?;
            if matches!(job, Job::Replace | Job::Update) {
                export_with(directory, ExistingDirectory::Refuse).or_violation("exporting")?;
                scene.old_export = tree::read(&directory.join(EXPORT))?;
            }
            let store = patient()
                .open(directory.join(STORE))
                .or_violation("opening")?;
            grow_on(&store, &mut rng)?;
            scene.old = World::of(&store).or_violation("reading")?;
            store.close().or_violation("closing")?;
        }
        for left in job.leftovers() {
            tree::write_file(&directory.join(left), b"left by a kill")?;
        }
        scene.before = tree::read(directory)?;
        job.run(directory, &job.options()).or_violation("the job")?;
        scene.new_export = tree::read(&directory.join(EXPORT))?;
        scene.new = scene.world(directory)?;
        Ok(scene)
    }

    /// The content of the store after the job.
    fn world(&self, directory: &Path) -> Result<World, Violation> {
        let options = self.job.options_after().create(false);
        let store = options.open(directory.join(STORE)).or_violation("opening");
        World::of(&store?).or_violation("reading")
    }

    /// Checks the state after an interruption, or after the job's end.
    pub(crate) fn check(&self, directory: &Path, is_done: bool) -> Result<(), Violation> {
        let path = directory.join(STORE);
        let both = [self.old.clone(), self.new.clone()];
        let possible = if is_done { &both[1..] } else { &both[..] };
        match self.job {
            Job::Create | Job::ImportNew => check_whole_or_absent(&path, &self.new, is_done),
            Job::ImportOver | Job::Compact => {
                check_world(&patient().open(path).or_violation("opening")?, possible)
            }
            Job::Backup => check_whole_or_absent(&directory.join(BACKUP), &self.new, is_done),
            Job::Migrate => {
                let copy = directory.join(COPY);
                check_steps(&file(&path)?, is_newer_than(&patient(), &path)?)?;
                check_migration(&patient(), (&path, &copy), &self.new, is_done)
            }
            Job::MigrateSchema1 => {
                let copy = directory.join(COPY_OF_SCHEMA_1);
                check_migration(&first_release(), (&path, &copy), &self.new, is_done)
            }
            Job::FailToMigrate => {
                check_whole_or_absent(&directory.join(COPY), &self.old, is_done)?;
                check_steps(&file(&path)?, false)?;
                check_world(&patient().open(path).or_violation("opening")?, possible)
            }
            Job::Export | Job::Replace => self.check_exported(directory, is_done),
            Job::Update => self.check_updated(directory, is_done),
        }
    }

    /// Checks that a job that returned, with success or an error, left no temporary file of its own.
    /// The temporary files of the scene were left by earlier kills.
    pub(crate) fn check_left_nothing(&self, directory: &Path) -> Result<(), Violation> {
        let after = tree::read(directory)?;
        let is_temporary = |path: &&PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with('.')
        };
        let mut left = after.keys().filter(is_temporary);
        match left.find(|path| !self.before.contains_key(*path)) {
            None => Ok(()),
            Some(left) => Err(Violation(format!("{left:?} was left behind"))),
        }
    }

    /// Checks the final state, after the job was run again.
    pub(crate) fn check_after(&self, directory: &Path) -> Result<(), Violation> {
        self.check(directory, true)?;
        let after = tree::read(directory)?;
        let after = after.keys().filter(|path| path.components().count() == 1);
        let after: BTreeSet<&str> = after.filter_map(|path| path.to_str()).collect();
        if after != self.job.leaves() {
            return Err(Violation(format!("the directory has {after:?}")));
        }
        let exported = tree::read(&directory.join(EXPORT))?;
        if let Some(path) = tree::first_difference(&exported, &self.new_export) {
            return Err(Violation(format!("{path:?} is not as it must be")));
        }
        let options = self.job.options_after().create(false);
        check_works(
            &options
                .open(directory.join(STORE))
                .or_violation("opening")?,
        )
    }

    /// Every log of an export ends at the end of a line. Only a killed process may leave an incomplete
    /// line; a process that returns an error must not.
    pub(crate) fn check_whole_lines(&self, directory: &Path) -> Result<(), Violation> {
        for (path, bytes) in tree::read(&directory.join(EXPORT))? {
            let is_log = path.extension().is_some_and(|kind| kind == "jsonl");
            if is_log && bytes.is_some_and(|bytes| bytes.last().is_some_and(|last| *last != b'\n'))
            {
                return Err(Violation(format!("{path:?} ends inside a line")));
            }
        }
        Ok(())
    }

    /// Every runtime directory is the old one or the new one, byte for byte.
    fn check_exported(&self, directory: &Path, is_done: bool) -> Result<(), Violation> {
        let found = tree::read(&directory.join(EXPORT))?;
        for path in runtime_directories(&self.new_export) {
            let of = |tree| tree::below(tree, &path);
            let (found, old, new) = (of(&found), of(&self.old_export), of(&self.new_export));
            if found != new && (is_done || found != old) {
                return Err(Violation(format!("{path:?} is neither old nor new")));
            }
        }
        Ok(())
    }

    /// Every document is the old or the new one, every log is the old one plus a prefix of the new
    /// lines, and new directories are complete or absent.
    fn check_updated(&self, directory: &Path, is_done: bool) -> Result<(), Violation> {
        if is_done {
            return self.check_exported(directory, true);
        }
        let found = tree::read(&directory.join(EXPORT))?;
        for path in self.old_export.keys() {
            let of = |tree: &Tree| tree.get(path).cloned().flatten().unwrap_or_default();
            let (file, old, new) = (of(&found), of(&self.old_export), of(&self.new_export));
            let is_between = path.extension().is_some_and(|kind| kind == "jsonl")
                && file.starts_with(&old)
                && new.starts_with(&file);
            if file != old && file != new && !is_between {
                return Err(Violation(format!("{path:?} is neither old nor new")));
            }
        }
        let fresh = self.new_export.keys().filter(|path| {
            self.new_export[*path].is_none() && !self.old_export.contains_key(*path)
        });
        for path in fresh {
            let (there, new) = (
                tree::below(&found, path),
                tree::below(&self.new_export, path),
            );
            if !there.is_empty() && there != new {
                return Err(Violation(format!("{path:?} is not whole")));
            }
        }
        // Every intermediate state can be salvaged.
        let copy = Store::in_memory().or_violation("opening a store in memory")?;
        let salvage = ImportOptions::new().salvage(true);
        let imported = import(&copy, directory.join(EXPORT), &salvage);
        imported.or_violation("salvaging").map(drop)
    }
}

/// The store at `path` is absent or contains `world`; after the job it exists.
fn check_whole_or_absent(path: &Path, world: &World, is_done: bool) -> Result<(), Violation> {
    if !is_done && !path.exists() {
        return Ok(());
    }
    let store = patient().create(false).open(path);
    let store = store.or_violation("opening the file")?;
    check_world(&store, std::slice::from_ref(world))
}

/// The content of the file at `path`.
fn file(path: &Path) -> Result<Pages, Violation> {
    let bytes = std::fs::read(path).or_violation("reading the file")?;
    Ok(Pages::from_bytes(&bytes))
}

fn runtime_directories(tree: &Tree) -> Vec<PathBuf> {
    let is_runtime = |path: &&PathBuf| path.components().count() == 2;
    tree.keys().filter(is_runtime).cloned().collect()
}

/// Adds an imported runtime, and a runtime with two workers and some input.
fn grow(store: &Store, rng: &mut Rng) -> Result<(), Violation> {
    import(store, import_root(), ImportOptions::new()).or_violation("importing")?;
    let first = runtime(store, "first").or_violation("opening")?;
    for _ in 0..2 {
        send_to_new_worker(&first, rng).or_violation("working")?;
    }
    Ok(())
}

/// Adds more of everything: input to each worker, a stopped worker, a new worker, a new runtime.
fn grow_on(store: &Store, rng: &mut Rng) -> Result<(), Violation> {
    let mut grown = || {
        for id in ["first", IMPORTED] {
            let runtime = runtime(store, id)?;
            for worker in runtime.list_workers()? {
                if worker.status.is_active() {
                    let text = rng.text(700);
                    runtime.send_input(&worker.worker_ref, WorkerInput::user(text))?;
                }
            }
            send_to_new_worker(&runtime, rng)?;
        }
        let first = runtime(store, "first")?;
        let workers = first.list_workers()?;
        first.stop_worker(&workers[0].worker_ref, None)?;
        send_to_new_worker(&runtime(store, "second")?, rng)
    };
    grown().or_violation("working on")
}

fn send_to_new_worker(runtime: &Runtime, rng: &mut Rng) -> Result<(), RuntimeError> {
    let worker = runtime.create_worker(CreateWorkerRequest::default())?;
    for _ in 0..3 {
        let bytes = rng.between(1, 900);
        runtime.send_input(&worker.worker_ref, WorkerInput::user(rng.text(bytes)))?;
    }
    Ok(())
}
