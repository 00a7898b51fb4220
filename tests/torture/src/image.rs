//! Images: the states that a disk can have after a power loss.
//!
//! All changes up to the last successful sync are on disk. Each later change may be on disk wholly,
//! partly or not at all, in any order. Growth of the file may be lost, together with the writes beyond
//! the old end.

use crate::disk::Access;
use crate::pages::Pages;
use crate::rng::Rng;

/// The changes of a disk, and its content before them.
#[derive(Debug)]
pub struct Timeline {
    log: Vec<Access>,
    /// The durable content after each sync, with the number of changes that it contains. The first is
    /// the initial content. The list ends before a failed sync.
    durable: Vec<(usize, Pages)>,
}

/// The units at whose borders a write can tear, in bytes.
const TEARS: [usize; 4] = [4096, 512, 64, 1];

/// The random choices that produce one image.
#[derive(Debug)]
struct Loss {
    /// In percent: changes that are on disk wholly, and the part of the others that are on disk partly.
    whole: usize,
    torn: usize,
    tear: usize,
    in_any_order: bool,
}

impl Loss {
    fn any(rng: &mut Rng) -> Self {
        Self {
            whole: *rng.pick(&[0, 10, 50, 90, 100]),
            torn: *rng.pick(&[0, 30, 100]),
            tear: *rng.pick(&TEARS),
            in_any_order: rng.chance(30),
        }
    }

    fn apply(&self, access: &Access, image: &mut Pages, rng: &mut Rng) {
        let whole = rng.chance(self.whole);
        match access {
            Access::Sync | Access::FailedSync => {}
            Access::SetLen(len) if whole || rng.chance(50) => image.set_len(*len),
            Access::SetLen(_) => {}
            Access::Write { offset, data } if whole => write_within(image, *offset, data),
            Access::Write { offset, data } if rng.chance(self.torn) => {
                self.tear(*offset, data, image, rng);
            }
            Access::Write { .. } => {}
        }
    }

    /// Writes a part of `data`: the front, the back, or any pieces.
    fn tear(&self, offset: u64, data: &[u8], image: &mut Pages, rng: &mut Rng) {
        let pieces = data.len().div_ceil(self.tear);
        let cut = rng.below(pieces + 1);
        let form = rng.below(3);
        for piece in 0..pieces {
            let is_there = match form {
                0 => piece < cut,
                1 => piece >= cut,
                _ => rng.chance(50),
            };
            if is_there {
                let start = piece * self.tear;
                let end = data.len().min(start + self.tear);
                write_within(image, offset + start as u64, &data[start..end]);
            }
        }
    }
}

/// Writes the part within the file: the rest needs the growth, which was lost.
fn write_within(image: &mut Pages, offset: u64, data: &[u8]) {
    let room = image.len().saturating_sub(offset).min(data.len() as u64);
    if room > 0 {
        image.write(offset, &data[..room as usize]);
    }
}

fn apply_whole(access: &Access, image: &mut Pages) {
    match access {
        Access::Write { offset, data } => image.write(*offset, data),
        Access::SetLen(len) => image.set_len(*len),
        Access::Sync | Access::FailedSync => {}
    }
}

impl Timeline {
    /// The timeline of a disk that held `start`, all durable, before the changes `log`.
    pub fn new(start: Pages, log: Vec<Access>) -> Self {
        let mut content = start.clone();
        let mut durable = vec![(0, start)];
        for (access, number) in log.iter().zip(1..) {
            apply_whole(access, &mut content);
            match access {
                Access::Sync => durable.push((number, content.clone())),
                // After a failed sync, later syncs do not make all earlier changes durable.
                Access::FailedSync => break,
                Access::Write { .. } | Access::SetLen(_) => {}
            }
        }
        Self { log, durable }
    }

    /// Each change without its bytes.
    pub(crate) fn shape(&self) -> Vec<String> {
        let shape = |access: &Access| match access {
            Access::Write { offset, data } => format!("{} bytes at {offset}", data.len()),
            other => format!("{other:?}"),
        };
        self.log.iter().map(shape).collect()
    }

    /// The number of changes.
    pub fn len(&self) -> usize {
        self.log.len()
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.log.is_empty()
    }

    /// A random state of the disk after a power loss that follows the first `changes` changes.
    pub fn image(&self, changes: usize, rng: &mut Rng) -> Pages {
        let after = self
            .durable
            .partition_point(|(number, _)| *number <= changes);
        let (from, durable) = &self.durable[after - 1];
        let mut image = durable.clone();
        let loss = Loss::any(rng);
        let mut rest: Vec<(&Access, bool)> = self.classify(*from, changes);
        if loss.in_any_order {
            let synced = rest.iter().rposition(|(_, is_durable)| *is_durable);
            rng.shuffle(&mut rest[synced.map_or(0, |last| last + 1)..]);
        }
        for (access, is_durable) in rest {
            if is_durable {
                apply_whole(access, &mut image);
            } else {
                loss.apply(access, &mut image, rng);
            }
        }
        image
    }

    /// The changes `from..to`, and whether each is durable: a successful sync follows it, and no sync
    /// failed before.
    fn classify(&self, from: usize, to: usize) -> Vec<(&Access, bool)> {
        let mut classified: Vec<(&Access, bool)> = Vec::with_capacity(to - from);
        let mut next = 0;
        for access in &self.log[from..to] {
            classified.push((access, false));
            match access {
                Access::Sync => {
                    for (_, is_durable) in &mut classified[next..] {
                        *is_durable = true;
                    }
                    next = classified.len();
                }
                Access::FailedSync => next = classified.len(),
                Access::Write { .. } | Access::SetLen(_) => {}
            }
        }
        classified
    }
}
