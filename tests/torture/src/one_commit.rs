//! Power losses in one commit, for tests of commits that are special.

use crate::disk::Disk;
use crate::image::{ANY_LOSSES, Timeline, WHOLE_HEADERS};
use crate::pages::Pages;
use crate::power_loss::{check_works, found_world};
use crate::rng::Rng;
use crate::world::{Context, Violation, World};
use redb_runtime_store::Store;
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::store::Sharing;

/// Opens the store on a disk.
pub type Open<'o> = &'o dyn Fn(&Disk) -> Result<Store, RuntimeError>;

/// A step of a host.
pub type Step<'s> = &'s dyn Fn(&Store) -> Result<(), RuntimeError>;

/// A power loss in one commit: the image, and what it may contain.
#[derive(Debug)]
pub struct Lost {
    /// The disk.
    pub disk: Disk,
    /// The content before the commit, or after it, or either.
    pub possible: Vec<World>,
}

/// Opens a store with `open`, runs `prepare` and then `commit`, and loses power in the latter, `images` times.
/// With `whole_headers` a write of the header is on the disk or not, as on a disk whose sectors never tear.
///
/// # Errors
///
/// If a step fails, or the store cannot be read.
pub fn images_of_commit(
    sharing: Sharing,
    open: Open<'_>,
    (prepare, commit): (Step<'_>, Step<'_>),
    (images, whole_headers): (usize, bool),
    rng: &mut Rng,
) -> Result<Vec<Lost>, Violation> {
    let disk = Disk::shared(sharing);
    let store = open(&disk).or_violation("creating a store")?;
    prepare(&store).or_violation("preparing")?;
    let before = World::of(&store).or_violation("reading")?;
    let begun = disk.position();
    commit(&store).or_violation("committing")?;
    let ended = disk.position();
    let after = World::of(&store).or_violation("reading")?;
    let timeline = Timeline::new(Pages::default(), disk.log());
    let headers = timeline.after_headers(begun);
    let losses = match whole_headers {
        true => WHOLE_HEADERS,
        false => ANY_LOSSES,
    };
    let images = (0..images).map(|_| {
        let changes = match rng.chance(60) && !headers.is_empty() {
            true => *rng.pick(&headers),
            false => rng.between(begun, timeline.len()),
        };
        let image = timeline.worst(changes, losses, rng);
        let possible = match changes {
            _ if changes >= ended => vec![after.clone()],
            _ if changes > begun => vec![before.clone(), after.clone()],
            _ => vec![before.clone()],
        };
        Lost {
            disk: disk.replaced(image),
            possible,
        }
    });
    Ok(images.collect())
}

/// Opens the store of a power loss with `open`. It must have one of the possible contents, and work.
///
/// # Errors
///
/// The broken guarantee.
pub fn check(lost: &Lost, open: Open<'_>) -> Result<(), Violation> {
    let store = open(&lost.disk).or_violation("opening")?;
    found_world(&store, &lost.possible)?;
    check_works(&store)
}
