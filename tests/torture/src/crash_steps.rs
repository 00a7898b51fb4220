//! Work that is more than a commit, cut off at every step: old or new, and never stuck.

use crate::disk::Disk;
use crate::image::Timeline;
use crate::pages::Pages;
use crate::power_loss::{check_works, check_world};
use crate::rng::Rng;
use crate::workload::{Host, Workload, import_root, open};
use crate::world::{Context, Violation, World};
use redb_runtime_store::Store;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::layout::{ImportOptions, import};

/// Imports over and compacts the store of `seed`, losing power after every change of the disk on
/// the way. Returns how many steps there were.
///
/// # Errors
///
/// The first step that leaves neither the old nor the new.
pub fn round(seed: u64) -> Result<usize, Violation> {
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
    Ok(steps)
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
        let image = timeline.image(changes, rng);
        // What is done is acknowledged.
        let possible = if changes >= ended { &possible[1..] } else { &possible[..] };
        let step = |violation| Violation(format!("after {changes} changes: {violation}"));
        let store = open(&Disk::with(image)).or_violation("opening").map_err(step)?;
        check_world(&store, possible).map_err(step)?;
        check_works(&store).map_err(step)?;
        work(&store).or_violation("the same work again").map_err(step)?;
    }
    Ok(timeline.len())
}
