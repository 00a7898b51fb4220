//! The layout of the pages of redb: its file format 3, which its `docs/design.md` describes.
//!
//! A redb file is a tree of checksums. The header has those of the roots of the last two commits, a
//! branch page those of its children, and a page of the table list those of the roots of the
//! tables. A checksum covers the content of a page, not the unused bytes after it.
//!
//! All functions read bytes that can be damaged, and return `None` if they make no sense.

use xxhash_rust::xxh3::xxh3_128;

pub(crate) const PAGE_BYTES: u64 = 4096;
pub(crate) const HEADER_BYTES: usize = 320;

const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
const FORMAT_VERSION: u8 = 3;

/// Offsets in the header: the flags, the geometry, the two commit slots.
const FLAGS: usize = 9;
const REGION_HEADER_PAGES: usize = 16;
const REGION_DATA_PAGES: usize = 20;
const FULL_REGIONS: usize = 24;
const LAST_REGION_DATA_PAGES: usize = 28;
const SLOTS: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;

const SECOND_IS_PRIMARY: u8 = 1;
const UNCLEAN: u8 = 2;
const TWO_PHASE: u8 = 4;
const UNFLUSHED: u8 = 8;

/// The most pages of a region: a page number has 20 bits for the index.
const REGION_PAGES: u64 = 1 << 20;

/// Offsets in a commit slot: whether the trees have a root, the roots, the checksum of the slot.
const SLOT_HAS_ROOT: [usize; 2] = [1, 2];
const SLOT_ROOTS: [usize; 2] = [8, 40];
const SLOT_ID: usize = 104;
const SLOT_SUM: usize = 112;

/// The types of pages, and the offsets in a page: the number of keys, then the ends of keys and
/// values.
const LEAF: u8 = 1;
const BRANCH: u8 = 2;
const COUNT: usize = 2;
const LEAF_ENDS: usize = 4;
const BRANCH_SUMS: usize = 8;

/// Offsets in an entry of the table list. Types 1 and 2 are of older file formats.
const NORMAL_TABLE: u8 = 3;
const TABLE_HAS_ROOT: usize = 9;
const TABLE_ROOT: usize = 10;
const TABLE_KEY_WIDTH: usize = 42;
const TABLE_VALUE_WIDTH: usize = 47;

/// Offsets in a reference: the number of a page, then its checksum. A branch page has all checksums
/// first, then all numbers.
const SUM_AFTER_NUMBER: usize = 8;
const SUM_BYTES: usize = 16;
const NUMBER_BYTES: usize = 8;

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(number(bytes, at)?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(number(bytes, at)?))
}

fn end_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(number(bytes, at)?))
}

/// Half of a checksum of redb. Damage is random, unlike a forgery, so 64 bits detect it, and each
/// page takes half the memory.
pub(crate) type Sum = u64;

fn half(sum: u128) -> Sum {
    sum as u64
}

/// The widths of keys and values in bytes; `None` if they vary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Widths {
    key: Option<u32>,
    value: Option<u32>,
}

/// The contents of a tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tree {
    /// The table list: the name, the root and the types of each table.
    Tables,
    /// The rows of a table.
    Rows(Widths),
}

/// A reference from one page to another, with its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The page number of redb.
    pub(crate) number: u64,
    pub(crate) sum: Sum,
    pub(crate) tree: Tree,
}

/// A reference in a page, with the range of keys below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Child<'p> {
    /// A page of the same tree. No key in it is greater than `last`; `None` if this page sets no
    /// limit.
    Page {
        page: Reference,
        last: Option<&'p [u8]>,
    },
    /// The root of a table, in the table list.
    Table { name: &'p [u8], root: Reference },
}

impl Child<'_> {
    fn reference(self) -> Reference {
        match self {
            Self::Page { page, .. } => page,
            Self::Table { root, .. } => root,
        }
    }
}

/// The positions of pages in the file. A region is a part of the file with its own allocator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    region_header_pages: u64,
    region_data_pages: u64,
}

impl Geometry {
    /// The offset of page number `page`. The header takes the page before the first region.
    pub(crate) fn offset(self, page: u64) -> u64 {
        // A page number has the index in its lowest 20 bits, the region in the next 20, and the
        // order in the highest 5. A page of order n has 4096 << n bytes, and its index counts in
        // such units.
        let order = page >> 59;
        let index = page & (0x000F_FFFF >> order);
        let region = (page >> 20) & 0x000F_FFFF;
        let region_pages = self.region_header_pages + self.region_data_pages;
        let before = region * region_pages + self.region_header_pages + (index << order);
        (1 + before) * PAGE_BYTES
    }

    /// The offset and the length of page number `page`, in bytes.
    pub(crate) fn place(self, page: u64) -> (u64, u64) {
        (self.offset(page), PAGE_BYTES << (page >> 59))
    }

    /// The offset of the region after `before` others, and the length of its header, in bytes.
    pub(crate) fn region_header(self, before: u64) -> (u64, u64) {
        let pages = self.region_header_pages + self.region_data_pages;
        (
            (1 + before * pages) * PAGE_BYTES,
            self.region_header_pages * PAGE_BYTES,
        )
    }
}

impl Geometry {
    /// Whether redb can have made it. The header has no checksum of it.
    pub(crate) fn is_valid(self) -> bool {
        self.region_header_pages <= REGION_PAGES
            && (1..=REGION_PAGES).contains(&self.region_data_pages)
    }
}

/// The header of a file.
#[derive(Clone, Copy)]
pub(crate) struct Header<'h>(&'h [u8]);

/// One of the two commit slots of a header.
#[derive(Clone, Copy)]
pub(crate) struct Slot<'h>(&'h [u8]);

impl<'h> Header<'h> {
    /// The header in `bytes`, which start with the beginning of the file.
    pub(crate) fn parse(bytes: &'h [u8]) -> Option<Self> {
        (bytes.starts_with(MAGIC) && bytes.len() >= HEADER_BYTES).then_some(Self(bytes))
    }

    pub(crate) fn geometry(self) -> Option<Geometry> {
        Some(Geometry {
            region_header_pages: u32_at(self.0, REGION_HEADER_PAGES)?.into(),
            region_data_pages: u32_at(self.0, REGION_DATA_PAGES)?.into(),
        })
    }

    /// How long the file is by its header, in bytes. The header has no checksum of that.
    pub(crate) fn file_bytes(self) -> Option<u64> {
        let geometry = self.geometry()?;
        let full = u64::from(u32_at(self.0, FULL_REGIONS)?);
        let full_pages = full * (geometry.region_header_pages + geometry.region_data_pages);
        let last_pages = match u64::from(u32_at(self.0, LAST_REGION_DATA_PAGES)?) {
            0 => 0,
            data_pages => geometry.region_header_pages + data_pages,
        };
        full_pages
            .checked_add(1 + last_pages)?
            .checked_mul(PAGE_BYTES)
    }

    fn has(self, flag: u8) -> bool {
        self.0[FLAGS] & flag != 0
    }

    /// Whether the file was not closed.
    pub(crate) fn is_unclean(self) -> bool {
        self.has(UNCLEAN)
    }

    /// Whether other processes use the commit before the last one.
    pub(crate) fn is_unflushed(self) -> bool {
        self.has(UNFLUSHED)
    }

    /// Whether the last commit is known to be durable: redb sets this flag when it commits in two phases,
    /// and [`one_sync`](crate::engine::redb::file::one_sync) clears it until the sync of a commit is done.
    pub(crate) fn is_two_phase(self) -> bool {
        self.has(TWO_PHASE)
    }

    fn slot(self, second: bool) -> Slot<'h> {
        Slot(&self.0[SLOTS[usize::from(second)]..][..SLOT_BYTES])
    }

    /// The slot of the last commit.
    pub(crate) fn primary(self) -> Slot<'h> {
        self.slot(self.has(SECOND_IS_PRIMARY))
    }

    /// The slot of the commit before the last one, or of an unfinished commit.
    pub(crate) fn secondary(self) -> Slot<'h> {
        self.slot(!self.has(SECOND_IS_PRIMARY))
    }

    /// Makes the checksum of the last commit in `header` invalid.
    pub(crate) fn spoil_primary(header: &mut [u8]) {
        let slot = SLOTS[usize::from(header[FLAGS] & SECOND_IS_PRIMARY != 0)];
        header[slot + SLOT_SUM] ^= 0xFF;
    }

    /// Sets in `header` whether the last commit is known to be durable.
    pub(crate) fn set_two_phase(header: &mut [u8], is_set: bool) {
        match is_set {
            true => header[FLAGS] |= TWO_PHASE,
            false => header[FLAGS] &= !TWO_PHASE,
        }
    }

    /// Sets in `header` that the file was not closed.
    pub(crate) fn set_unclean(header: &mut [u8]) {
        header[FLAGS] |= UNCLEAN;
    }

    /// Makes the commit in the secondary slot of `header` the last one.
    pub(crate) fn swap_primary(header: &mut [u8]) {
        header[FLAGS] ^= SECOND_IS_PRIMARY;
    }

    /// Copies the last commit in `header` over the other slot.
    pub(crate) fn copy_primary(header: &mut [u8]) {
        let second = header[FLAGS] & SECOND_IS_PRIMARY != 0;
        let (from, to) = (SLOTS[usize::from(second)], SLOTS[usize::from(!second)]);
        header.copy_within(from..from + SLOT_BYTES, to);
    }

    /// Makes of the last commit in `header` one that readers may see, as a repair does.
    pub(crate) fn publish_primary(header: &mut [u8]) {
        if let Some(flags) = header.get_mut(FLAGS) {
            *flags &= !UNFLUSHED;
        }
    }

    /// The slot that a reader may use while another process writes. redb sets the flag with the
    /// write that makes a commit the last one, and clears it after the sync; until then readers use
    /// the commit before.
    pub(crate) fn published(self) -> Slot<'h> {
        match self.has(UNFLUSHED) {
            true => self.secondary(),
            false => self.primary(),
        }
    }
}

impl Slot<'_> {
    /// Whether the slot has a known format and the right checksum.
    pub(crate) fn is_whole(self) -> bool {
        let sum = number(self.0, SLOT_SUM).map(u128::from_le_bytes);
        self.0[0] == FORMAT_VERSION && sum == Some(xxh3_128(&self.0[..SLOT_SUM]))
    }

    /// The number of the commit.
    pub(crate) fn id(self) -> u64 {
        u64_at(self.0, SLOT_ID).unwrap_or(0)
    }

    /// The roots of the two table lists: that of our tables, and that of the tables of redb itself.
    pub(crate) fn roots(self) -> impl Iterator<Item = Reference> {
        let roots = SLOT_HAS_ROOT.into_iter().zip(SLOT_ROOTS);
        roots.filter_map(move |(has_root, root)| {
            (self.0[has_root] != 0).then(|| reference(self.0, root, Tree::Tables))?
        })
    }
}

fn reference(bytes: &[u8], at: usize, tree: Tree) -> Option<Reference> {
    Some(Reference {
        number: u64_at(bytes, at)?,
        sum: u64_at(bytes, at + SUM_AFTER_NUMBER)?,
        tree,
    })
}

/// A leaf page: first the ends of keys and values, then all keys, then all values.
#[derive(Clone, Copy)]
struct Leaf<'p> {
    page: &'p [u8],
    entries: usize,
    widths: Widths,
}

impl<'p> Leaf<'p> {
    fn new(page: &'p [u8], widths: Widths) -> Option<Self> {
        let entries = u16_at(page, COUNT)?;
        Some(Self {
            page,
            entries,
            widths,
        })
    }

    /// The offset of the first key. Before it stand the ends of all keys, then those of all values,
    /// unless their width is fixed.
    fn keys_start(self) -> usize {
        let ends =
            usize::from(self.widths.key.is_none()) + usize::from(self.widths.value.is_none());
        LEAF_ENDS + 4 * self.entries * ends
    }

    fn keys_end(self) -> Option<usize> {
        match self.widths.key {
            Some(width) => fixed_end(self.keys_start(), self.entries, width),
            None => end_at(self.page, LEAF_ENDS + 4 * self.entries.checked_sub(1)?),
        }
    }

    fn value_end(self, entry: usize) -> Option<usize> {
        let key_ends = usize::from(self.widths.key.is_none()) * self.entries;
        match self.widths.value {
            Some(width) => fixed_end(self.keys_end()?, entry + 1, width),
            None => end_at(self.page, LEAF_ENDS + 4 * (key_ends + entry)),
        }
    }

    fn end(self) -> Option<usize> {
        self.value_end(self.entries.checked_sub(1)?)
    }

    fn key(self, entry: usize) -> Option<&'p [u8]> {
        let (start, width) = (self.keys_start(), self.widths.key);
        key_of(self.page, LEAF_ENDS, start, width, entry)
    }

    fn value(self, entry: usize) -> Option<&'p [u8]> {
        let start = match entry.checked_sub(1) {
            Some(before) => self.value_end(before)?,
            None => self.keys_end()?,
        };
        self.page.get(start..self.value_end(entry)?)
    }
}

fn fixed_end(start: usize, count: usize, width: u32) -> Option<usize> {
    count
        .checked_mul(usize::try_from(width).ok()?)?
        .checked_add(start)
}

/// The key number `entry` of a page. The keys begin at `start`; if their width varies, their ends
/// stand at `ends`.
fn key_of(
    page: &[u8],
    ends: usize,
    start: usize,
    width: Option<u32>,
    entry: usize,
) -> Option<&[u8]> {
    let end = |entry: usize| match width {
        Some(width) => fixed_end(start, entry + 1, width),
        None => end_at(page, ends + 4 * entry),
    };
    let begin = match entry.checked_sub(1) {
        Some(before) => end(before)?,
        None => start,
    };
    page.get(begin..end(entry)?)
}

/// The end of the content of a branch page.
fn branch_end(page: &[u8], widths: Widths) -> Option<usize> {
    let keys = u16_at(page, COUNT)?;
    let children_end = BRANCH_SUMS + (SUM_BYTES + NUMBER_BYTES) * (keys + 1);
    match widths.key {
        Some(width) => fixed_end(children_end, keys, width),
        None => end_at(page, children_end + 4 * keys.checked_sub(1)?),
    }
}

impl Tree {
    fn widths(self) -> Widths {
        match self {
            Self::Tables => Widths {
                key: None,
                value: None,
            },
            Self::Rows(widths) => widths,
        }
    }

    /// The checksum of a page of this tree; `None` if it is no valid page.
    pub(crate) fn sum(self, page: &[u8]) -> Option<Sum> {
        page.get(..self.end(page)?).map(xxh3_128).map(half)
    }

    /// The end of the content of a page of this tree. redb reads no byte after it.
    pub(crate) fn end(self, page: &[u8]) -> Option<usize> {
        match *page.first()? {
            LEAF => Leaf::new(page, self.widths())?.end(),
            BRANCH => branch_end(page, self.widths()),
            _ => None,
        }
    }

    /// Whether a page of this tree can refer to others.
    pub(crate) fn has_references(self, page: &[u8]) -> bool {
        page.first() == Some(&BRANCH) || self == Self::Tables
    }

    /// The first child of a branch page of this tree, which can be damaged. `None` for another page.
    pub(crate) fn first_child(self, page: &[u8]) -> Option<Reference> {
        if *page.first()? != BRANCH {
            return None;
        }
        let children = u16_at(page, COUNT)? + 1;
        Some(Reference {
            number: u64_at(page, BRANCH_SUMS + SUM_BYTES * children)?,
            sum: u64_at(page, BRANCH_SUMS)?,
            tree: self,
        })
    }

    /// Whether a page of the table list has a table of another type than ours and those of redb.
    pub(crate) fn has_other_tables(self, page: &[u8]) -> bool {
        if self != Self::Tables || page.first() != Some(&LEAF) {
            return false;
        }
        let Some(leaf) = Leaf::new(page, self.widths()) else {
            return true;
        };
        let kind = |entry| leaf.value(entry).and_then(|value| value.first().copied());
        (0..leaf.entries).any(|entry| kind(entry) != Some(NORMAL_TABLE))
    }

    /// Calls `learn` for each reference in a page of this tree. `None` if the page makes no sense.
    pub(crate) fn references(self, page: &[u8], mut learn: impl FnMut(Reference)) -> Option<()> {
        self.children(page, |child| learn(child.reference()))
    }

    /// Calls `learn` for each child of a page of this tree, in the order of the keys. `None` if the
    /// page makes no sense.
    pub(crate) fn children<'p>(
        self,
        page: &'p [u8],
        mut learn: impl FnMut(Child<'p>),
    ) -> Option<()> {
        match (*page.first()?, self) {
            (BRANCH, _) => {
                let keys = u16_at(page, COUNT)?;
                let children = keys + 1;
                let numbers = BRANCH_SUMS + SUM_BYTES * children;
                let ends = numbers + NUMBER_BYTES * children;
                let width = self.widths().key;
                let start = ends + 4 * usize::from(width.is_none()) * keys;
                for child in 0..children {
                    let page_of_child = Reference {
                        number: u64_at(page, numbers + NUMBER_BYTES * child)?,
                        sum: u64_at(page, BRANCH_SUMS + SUM_BYTES * child)?,
                        tree: self,
                    };
                    // A branch page has one key less than children: the last child has no upper
                    // limit here.
                    let is_last = child == keys;
                    learn(Child::Page {
                        page: page_of_child,
                        last: match is_last {
                            true => None,
                            false => Some(key_of(page, ends, start, width, child)?),
                        },
                    });
                }
            }
            (LEAF, Self::Tables) => {
                let leaf = Leaf::new(page, self.widths())?;
                for entry in 0..leaf.entries {
                    if let Some(root) = table_root(leaf.value(entry)?) {
                        let name = leaf.key(entry)?;
                        learn(Child::Table { name, root });
                    }
                }
            }
            _ => {}
        }
        Some(())
    }
}

impl Tree {
    /// Calls `each` for the keys and values of a leaf page of this tree. `None` if the page makes
    /// no sense or is no leaf.
    pub(crate) fn rows(self, page: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Option<()> {
        if *page.first()? != LEAF {
            return None;
        }
        let leaf = Leaf::new(page, self.widths())?;
        for entry in 0..leaf.entries {
            each(leaf.key(entry)?, leaf.value(entry)?);
        }
        Some(())
    }
}

/// Parses a row in one of the lists of freed pages of redb: returns the id of the commit that freed the pages, and
/// calls `each` with the number of each page. The key starts with the id; the value is the number of pages, then
/// their page numbers.
pub(crate) fn replaced_pages(key: &[u8], value: &[u8], mut each: impl FnMut(u64)) -> Option<u64> {
    let count = u16_at(value, 0)?;
    for page in 0..count {
        each(u64_at(value, 2 + NUMBER_BYTES * page)?);
    }
    u64_at(key, 0)
}

/// The root of a table, from its entry in the table list. `None` for a table without rows, or of
/// another type.
fn table_root(entry: &[u8]) -> Option<Reference> {
    if *entry.first()? != NORMAL_TABLE || *entry.get(TABLE_HAS_ROOT)? == 0 {
        return None;
    }
    let width = |at: usize| {
        let width = u32_at(entry, at + 1)?;
        Some((*entry.get(at)? != 0).then_some(width))
    };
    let tree = Tree::Rows(Widths {
        key: width(TABLE_KEY_WIDTH)?,
        value: width(TABLE_VALUE_WIDTH)?,
    });
    reference(entry, TABLE_ROOT, tree)
}
