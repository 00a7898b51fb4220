//! Images: the states that a disk can have after a power loss.
//!
//! All changes up to the last successful sync are on disk. Each later change may be on disk wholly,
//! partly or not at all, in any order. Growth of the file may be lost, together with the writes beyond
//! the old end.

use crate::disk::Access;
use crate::pages::{PAGE_BYTES, Pages};
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

/// The bytes of redb's header, and the place of its flags, and of its two commit slots.
const HEADER_BYTES: usize = 320;
const FLAGS: usize = 9;
const SLOTS: [usize; 2] = [64, 192];

/// The part of the header's writes that is on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HeaderLoss {
    Whole,
    /// Only the last write, whole.
    LastWhole,
    /// Only the flags of the last write.
    LastFlags,
    /// All except the flags.
    AllButFlags,
    /// Any of: the bytes before the flags, the flags, the geometry, either slot.
    Fields,
    /// The same of the last write alone.
    LastFields,
    /// Any pieces of a few bytes.
    Pieces,
    Lost,
}

const HEADER_LOSSES: [HeaderLoss; 8] = [
    HeaderLoss::Whole,
    HeaderLoss::LastWhole,
    HeaderLoss::LastFlags,
    HeaderLoss::AllButFlags,
    HeaderLoss::Fields,
    HeaderLoss::LastFields,
    HeaderLoss::Pieces,
    HeaderLoss::Lost,
];

impl HeaderLoss {
    /// Applies a write of the header.
    fn apply(self, data: &[u8], is_last: bool, image: &mut Pages, rng: &mut Rng) {
        let is_only_of_last = matches!(self, Self::LastWhole | Self::LastFlags | Self::LastFields);
        if is_only_of_last && !is_last {
            return;
        }
        let mut write = |from: usize, to: usize| {
            let to = to.min(data.len());
            if from < to {
                write_within(image, from as u64, &data[from..to]);
            }
        };
        match self {
            Self::Whole | Self::LastWhole => write(0, HEADER_BYTES),
            Self::LastFlags => write(FLAGS, FLAGS + 1),
            Self::AllButFlags => {
                write(0, FLAGS);
                write(FLAGS + 1, HEADER_BYTES);
            }
            Self::Fields | Self::LastFields => {
                let borders = [0, FLAGS, FLAGS + 1, SLOTS[0], SLOTS[1], HEADER_BYTES];
                for border in borders.windows(2) {
                    if rng.chance(50) {
                        write(border[0], border[1]);
                    }
                }
            }
            Self::Pieces => {
                let piece = *rng.pick(&[1, 8, 64, 128]);
                for from in (0..HEADER_BYTES).step_by(piece) {
                    if rng.chance(50) {
                        write(from, from + piece);
                    }
                }
            }
            Self::Lost => {}
        }
    }
}

/// The part of the other writes that is on disk.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PageLoss {
    /// All pages except one of them.
    One,
    /// In percent: the pages that are on disk.
    Share(usize),
}

const PAGE_LOSSES: [PageLoss; 8] = [
    PageLoss::One,
    PageLoss::One,
    PageLoss::One,
    PageLoss::Share(0),
    PageLoss::Share(10),
    PageLoss::Share(50),
    PageLoss::Share(90),
    PageLoss::Share(100),
];

/// The rules by which the header and the other pages are lost. An image takes one of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Losses {
    pub(crate) headers: &'static [HeaderLoss],
    pub(crate) pages: &'static [PageLoss],
}

/// As on a disk whose sectors never tear: a write of the header is on the disk or not.
pub(crate) const WHOLE_HEADERS: Losses = Losses {
    headers: &[HeaderLoss::Whole, HeaderLoss::LastWhole, HeaderLoss::Lost],
    pages: &PAGE_LOSSES,
};

/// Every rule.
pub(crate) const ANY_LOSSES: Losses = Losses {
    headers: &HEADER_LOSSES,
    pages: &PAGE_LOSSES,
};

/// The pages of 4 KiB in a write at `offset`, which can begin within one.
fn pages_of(offset: u64, data: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let first = (PAGE_BYTES as u64 - offset % PAGE_BYTES as u64) as usize;
    let (first, rest) = data.split_at(first.min(data.len()));
    let pages = std::iter::once(first).chain(rest.chunks(PAGE_BYTES));
    pages.scan(offset, |at, page| {
        let offset = *at;
        *at += page.len() as u64;
        Some((offset, page))
    })
}

/// A write: its part in the header, and the rest with its offset.
fn split_header(offset: u64, data: &[u8]) -> (&[u8], u64, &[u8]) {
    let header = match offset {
        0 => data.len().min(HEADER_BYTES),
        _ => 0,
    };
    let (header, rest) = data.split_at(header);
    (header, offset + header.len() as u64, rest)
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

    /// A state of the disk after a power loss that follows the first `changes` changes, as bad as can be for
    /// a store that trusts its header: the writes of the header, and those of other pages, are lost by
    /// different rules.
    pub(crate) fn worst(&self, changes: usize, losses: Losses, rng: &mut Rng) -> Pages {
        let after = self
            .durable
            .partition_point(|(number, _)| *number <= changes);
        let (from, durable) = &self.durable[after - 1];
        let mut image = durable.clone();
        let rest = self.classify(*from, changes);
        let (mut headers, mut pages) = (0, 0);
        for (access, is_durable) in &rest {
            if let (Access::Write { offset, data }, false) = (access, is_durable) {
                let (header, offset, data) = split_header(*offset, data);
                headers += usize::from(!header.is_empty());
                pages += pages_of(offset, data).count();
            }
        }
        let (header_loss, page_loss) = (*rng.pick(losses.headers), *rng.pick(losses.pages));
        let lost_page = rng.below(pages.max(1));
        // A page that is not on disk as a whole can be there in part.
        let torn = *rng.pick(&[0, 50]);
        let loss = Loss {
            whole: 0,
            torn: 100,
            tear: *rng.pick(&[512, 64, 8]),
            in_any_order: false,
        };
        (headers, pages) = (headers, 0);
        for (access, is_durable) in rest {
            let (offset, data) = match access {
                _ if is_durable => {
                    apply_whole(access, &mut image);
                    continue;
                }
                Access::Write { offset, data } => (*offset, data),
                Access::SetLen(len) => {
                    if rng.chance(70) {
                        image.set_len(*len);
                    }
                    continue;
                }
                Access::Sync | Access::FailedSync => continue,
            };
            let (header, offset, data) = split_header(offset, data);
            if !header.is_empty() {
                headers -= 1;
                header_loss.apply(header, headers == 0, &mut image, rng);
            }
            for (offset, page) in pages_of(offset, data) {
                let is_there = match page_loss {
                    PageLoss::One => pages != lost_page,
                    PageLoss::Share(percent) => rng.chance(percent),
                };
                pages += 1;
                if is_there {
                    write_within(&mut image, offset, page);
                } else if rng.chance(torn) {
                    loss.tear(offset, page, &mut image, rng);
                }
            }
        }
        image
    }

    /// The changes before which the header was written, from the first `from` changes on.
    pub fn after_headers(&self, from: usize) -> Vec<usize> {
        let is_header = |at: &usize| matches!(self.log[*at], Access::Write { offset: 0, .. });
        let headers = (from..self.log.len()).filter(is_header);
        headers.map(|at| at + 1).collect()
    }

    /// The changes `from..to`, and whether each is durable: a successful sync follows it, and no sync failed
    /// between. A change of the length is durable even so: it is in the journal of the file system, not in
    /// the page cache, and a file system whose journal fails syncs nothing any more.
    fn classify(&self, from: usize, to: usize) -> Vec<(&Access, bool)> {
        let mut classified: Vec<(&Access, bool)> = Vec::with_capacity(to - from);
        let (mut next, mut lengths) = (0, Vec::new());
        for access in &self.log[from..to] {
            if matches!(access, Access::SetLen(_)) {
                lengths.push(classified.len());
            }
            classified.push((access, false));
            match access {
                Access::Sync => {
                    for (_, is_durable) in &mut classified[next..] {
                        *is_durable = true;
                    }
                    for at in lengths.drain(..) {
                        classified[at].1 = true;
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
