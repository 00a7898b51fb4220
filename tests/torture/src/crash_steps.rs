//! Interrupts jobs of more than one commit at every step: the old or the new state remains, and the job
//! can be run again.

use crate::campaign::count_tried;
use crate::child::{Start, patient};
use crate::cuts::{self, Job};
use crate::disk::Disk;
use crate::image::Timeline;
use crate::pages::Pages;
use crate::power_loss::{check_works, check_world};
use crate::rng::Rng;
use crate::workload::{Host, Workload, import_root, open};
use crate::world::{Context, Violation, World};
use redb::{
    Database, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition, TableHandle,
    WriteTransaction,
};
use redb_runtime_store::Store;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::layout::{ImportOptions, import};
use redb_runtime_store::store::StoreOptions;
use std::path::Path;

/// The cases that were tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Power losses on a simulated disk.
    pub simulated: usize,
    /// Those among them during a migration whose last step fails.
    pub failing: usize,
    /// Killed processes.
    pub killed: usize,
}

/// Re-imports, compacts and migrates the store of `seed`, with a power loss after every change of the
/// disk; then kills every job of [`cuts`] at each of its steps.
///
/// # Errors
///
/// The first step that leaves neither the old nor the new state.
pub fn round(seed: u64, start: Start<'_>) -> Result<Counts, Violation> {
    let mut rng = Rng::new(seed);
    let disk = Disk::default();
    let store = open(&disk).or_violation("creating a store")?;
    let workload = Workload::any(40, &mut rng)?;
    let mut host = Host::new(disk.clone(), store, None);
    host.run(&workload.ops);
    host.store().close().or_violation("closing")?;
    let sound = disk.content();
    let mut steps = cut_off(&sound, &mut rng, |store| {
        let options = ImportOptions::new().replace(true);
        match import(store, import_root(), &options) {
            Ok(_) => Ok(()),
            Err(error) => Err(RuntimeError::InvalidRequest(error.to_string())),
        }
    })?;
    steps += cut_off(&sound, &mut rng, |store| store.compact().map(drop))?;
    steps += cut_off_migration(&sound, &mut rng)?;
    steps += cut_off_migration_of_schema_1(&mut rng)?;
    let failing = cut_off_failing_migration(&sound, &mut rng)?;
    steps += failing;
    let mut counts = Counts {
        simulated: steps,
        failing,
        killed: 0,
    };
    for job in Job::ALL {
        counts.killed += cuts::every_step(job, seed, start)?;
    }
    Ok(counts)
}

const EVENTS: TableDefinition<(&str, u64), &[u8]> = TableDefinition::new("events");
const NOTES: TableDefinition<(&str, u64), u64> = TableDefinition::new("notes");
const BEGUN: TableDefinition<u64, u64> = TableDefinition::new("begun");

/// A migration step to a future schema: records every event in a table of its own. A second run fails.
///
/// # Errors
///
/// Errors of redb, and `Corrupted` if the table exists.
pub fn second_step(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    if transaction
        .list_tables()?
        .any(|table| table.name() == NOTES.name())
    {
        return Err(redb::Error::Corrupted("this step was done".to_owned()));
    }
    let events = transaction.open_table(EVENTS)?;
    let mut notes = transaction.open_table(NOTES)?;
    for row in events.iter()? {
        let (key, value) = row?;
        notes.insert(key.value(), value.value().len() as u64)?;
    }
    Ok(())
}

/// A migration step that writes and then fails.
///
/// # Errors
///
/// Always.
pub fn failing_step(transaction: &WriteTransaction) -> Result<(), redb::Error> {
    transaction.open_table(BEGUN)?.insert(1, 1)?;
    Err(redb::Error::Corrupted("this step fails".to_owned()))
}

/// Options of a later release, whose schema is one step newer.
pub fn later_release() -> StoreOptions {
    patient().later_steps(&[second_step])
}

/// Options of a release whose schema is two steps newer and whose last step fails.
pub(crate) fn failing_release() -> StoreOptions {
    patient().later_steps(&[second_step, failing_step])
}

/// Checks that the file in `image` contains the whole result of [`second_step`] if it `is_done`,
/// nothing of it otherwise, and never anything of [`failing_step`].
pub(crate) fn check_steps(image: &Pages, is_done: bool) -> Result<(), Violation> {
    let what = "reading the tables";
    let disk = Disk::with(image.clone());
    let database = Database::builder()
        .create_with_backend(disk)
        .or_violation(what)?;
    let read = database.begin_read().or_violation(what)?;
    let tables: Vec<String> = read
        .list_tables()
        .or_violation(what)?
        .map(|table| table.name().to_owned())
        .collect();
    let has = |name: &str| tables.iter().any(|table| table == name);
    if has(BEGUN.name()) || has(NOTES.name()) != is_done {
        return Err(Violation(format!(
            "its version and its tables do not belong together: {tables:?}"
        )));
    }
    if !is_done {
        return Ok(());
    }
    let events = read.open_table(EVENTS).or_violation(what)?;
    let notes = read.open_table(NOTES).or_violation(what)?;
    for row in events.iter().or_violation(what)? {
        let (key, value) = row.or_violation(what)?;
        let note = notes.get(key.value()).or_violation(what)?;
        if note.map(|note| note.value()) != Some(value.value().len() as u64) {
            return Err(Violation(format!("event {:?} is not noted", key.value())));
        }
    }
    match (events.len(), notes.len()) {
        (Ok(events), Ok(notes)) if events == notes => Ok(()),
        lengths => Err(Violation(format!("events and notes: {lengths:?}"))),
    }
}

/// Whether the store at `path` is too new for a release that opens it with `older`.
pub(crate) fn is_newer_than(older: &StoreOptions, path: &Path) -> Result<bool, Violation> {
    match older.clone().create(false).open(path) {
        Ok(_) => Ok(false),
        Err(RuntimeError::StoreSchemaTooNew { .. }) => Ok(true),
        Err(error) => Err(Violation(error.to_string())),
    }
}

/// Checks a store after an interrupted migration: it has the old version, or the new version and a complete copy of
/// the old one. A copy that exists is complete. `older` opens it as the release that wrote the store.
pub(crate) fn check_migration(
    older: &StoreOptions,
    (store, copy): (&Path, &Path),
    expected: &World,
    is_done: bool,
) -> Result<(), Violation> {
    let is_migrated = is_newer_than(older, store)?;
    if is_done && !is_migrated {
        return Err(Violation("an older release opens it".to_owned()));
    }
    let check = |path: &Path| {
        let store = older.clone().create(false).open(path);
        check_world(
            &store.or_violation("opening")?,
            std::slice::from_ref(expected),
        )
    };
    if !is_migrated {
        check(store)?;
    }
    match is_migrated || copy.exists() {
        true => check(copy),
        false => Ok(()),
    }
}

/// Starts a migration of the store in `sound` whose last step fails, and loses power after every
/// change. The release that wrote the store must be able to use each image, in which nothing is
/// migrated.
fn cut_off_failing_migration(sound: &Pages, rng: &mut Rng) -> Result<usize, Violation> {
    let world = World::of(&open(&Disk::with(sound.clone())).or_violation("opening")?);
    let world = world.or_violation("reading")?;
    let disk = Disk::with(sound.clone());
    match failing_release().open_backend(disk.clone()) {
        Err(RuntimeError::StoreCorrupt { .. }) => {}
        other => return Err(Violation(format!("a step failed: {other:?}"))),
    }
    let timeline = Timeline::new(sound.clone(), disk.log());
    for changes in 0..=timeline.len() {
        count_tried(1);
        let step = |violation| Violation(format!("after {changes} changes: {violation}"));
        let image = timeline.image(changes, rng);
        check_steps(&image, false).map_err(step)?;
        let store = open(&Disk::with(image)).or_violation("opening by the older release");
        let store = store.map_err(step)?;
        check_world(&store, std::slice::from_ref(&world)).map_err(step)?;
        check_works(&store).map_err(step)?;
    }
    Ok(timeline.len())
}

/// The store that the release of schema 1 wrote.
pub const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../fixtures/schema-1.redb");

/// Options of the release that wrote schema 1.
pub fn first_release() -> StoreOptions {
    patient().earlier_release(1)
}

/// Migrates the store of schema 1 as this release does, and loses power after every change.
///
/// # Errors
///
/// The first image that is neither of schema 1, and usable by its release, nor of schema 2.
pub fn cut_off_migration_of_schema_1(rng: &mut Rng) -> Result<usize, Violation> {
    let golden = std::fs::read(GOLDEN).or_violation("reading the store of schema 1")?;
    let golden = Pages::from_bytes(&golden);
    let old = |disk: &Disk| first_release().open_backend(disk.clone());
    let world = World::of(&old(&Disk::with(golden.clone())).or_violation("opening")?);
    let world = world.or_violation("reading")?;
    let disk = Disk::with(golden.clone());
    drop(open(&disk).or_violation("migrating")?);
    let migrated = disk.position();
    let timeline = Timeline::new(golden, disk.log());
    let mut of_each = [0, 0];
    for changes in 0..=timeline.len() {
        count_tried(1);
        let step = |violation| Violation(format!("after {changes} changes: {violation}"));
        let image = timeline.image(changes, rng);
        match old(&Disk::with(image.clone())) {
            Ok(_) if changes >= migrated => {
                return Err(step(Violation("the first release opens it".to_owned())));
            }
            Ok(store) => {
                of_each[0] += 1;
                check_world(&store, std::slice::from_ref(&world)).map_err(step)?;
                check_works(&store).map_err(step)?;
            }
            Err(RuntimeError::StoreSchemaTooNew { found: 2, .. }) => of_each[1] += 1,
            Err(error) => return Err(step(Violation(error.to_string()))),
        }
        let disk = Disk::with(image);
        let store = open(&disk).or_violation("opening").map_err(step)?;
        check_world(&store, std::slice::from_ref(&world)).map_err(step)?;
        check_works(&store).map_err(step)?;
        drop(store);
        if !matches!(
            old(&disk),
            Err(RuntimeError::StoreSchemaTooNew { found: 2, .. })
        ) {
            let message = "it is not of version 2 afterwards".to_owned();
            return Err(step(Violation(message)));
        }
    }
    match of_each {
        [0, _] | [_, 0] => Err(Violation(format!("not both versions: {of_each:?}"))),
        _ => Ok(timeline.len()),
    }
}

/// Migrates the store in `sound`, and loses power after every change.
fn cut_off_migration(sound: &Pages, rng: &mut Rng) -> Result<usize, Violation> {
    let disk = Disk::with(sound.clone());
    let store = later_release()
        .open_backend(disk.clone())
        .or_violation("migrating")?;
    let world = World::of(&store).or_violation("reading what was migrated")?;
    let migrated = disk.position();
    drop(store);
    let timeline = Timeline::new(sound.clone(), disk.log());
    for changes in 0..=timeline.len() {
        count_tried(1);
        let step = |violation| Violation(format!("after {changes} changes: {violation}"));
        let image = timeline.image(changes, rng);
        match open(&Disk::with(image.clone())) {
            Ok(_) if changes >= migrated => {
                return Err(step(Violation("an older release opens it".to_owned())));
            }
            // Nothing is migrated, so the older release can use it.
            Ok(store) => {
                check_steps(&image, false).map_err(step)?;
                check_world(&store, std::slice::from_ref(&world)).map_err(step)?;
            }
            Err(RuntimeError::StoreSchemaTooNew { found: 3, .. }) => {
                check_steps(&image, true).map_err(step)?;
            }
            Err(error) => return Err(step(Violation(error.to_string()))),
        }
        let disk = Disk::with(image);
        let store = later_release().open_backend(disk.clone());
        let store = store
            .or_violation("opening by the later release")
            .map_err(step)?;
        check_world(&store, std::slice::from_ref(&world)).map_err(step)?;
        check_works(&store).map_err(step)?;
        drop(store);
        if !matches!(
            open(&disk),
            Err(RuntimeError::StoreSchemaTooNew { found: 3, .. })
        ) {
            return Err(step(Violation(
                "it is not of version 3 afterwards".to_owned(),
            )));
        }
    }
    Ok(timeline.len())
}

/// Does `work` on the store in `sound`, and loses power after every change.
fn cut_off(
    sound: &Pages,
    rng: &mut Rng,
    work: impl Fn(&Store) -> Result<(), RuntimeError>,
) -> Result<usize, Violation> {
    let disk = Disk::with(sound.clone());
    let store = open(&disk).or_violation("opening")?;
    let old = World::of(&store).or_violation("reading")?;
    work(&store).or_violation("the work itself")?;
    let ended = disk.position();
    let new = World::of(&store).or_violation("reading")?;
    store.close().or_violation("closing")?;
    let timeline = Timeline::new(sound.clone(), disk.log());
    let possible = [old, new];
    for changes in 0..=timeline.len() {
        count_tried(1);
        let image = timeline.image(changes, rng);
        // After its end the work is acknowledged: only the new state is allowed.
        let possible = if changes >= ended {
            &possible[1..]
        } else {
            &possible[..]
        };
        let step = |violation| Violation(format!("after {changes} changes: {violation}"));
        let store = open(&Disk::with(image))
            .or_violation("opening")
            .map_err(step)?;
        check_world(&store, possible).map_err(step)?;
        check_works(&store).map_err(step)?;
        work(&store)
            .or_violation("the same work again")
            .map_err(step)?;
    }
    Ok(timeline.len())
}
