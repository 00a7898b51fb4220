//! Every page that is read is checked against redb's own checksums.
//!
//! redb's file is a tree of checksums: the header has those of two roots, a branch page those of
//! its children, a page of the list of tables those of the tables' roots. redb verifies them when it
//! repairs a file, and when it is asked to read all of it, but not when it reads a page. A bit that
//! flips in a branch page makes rows vanish that way, and a page in another one's place brings rows
//! back that were replaced: no checksum of a row can tell.
//!
//! So this backend, which lies between redb and the file, remembers for each page what its checksum
//! must be: of pages that redb read, from the page that refers to them; of pages that redb wrote,
//! from what it wrote. A page that is not what it must be reads as zeros. redb gives up on that,
//! with an error or a panic ([`super::context::At::guard`]), whenever somebody needs the page, and
//! only then.
//!
//! The layout of redb's pages is that of its file format 3, which `docs/design.md` of redb
//! describes. What this module does not understand it lets through.

use redb::{BackendError, StorageBackend};
use std::collections::HashMap;
use std::io;
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

const MAGIC: &[u8] = b"redb\x1A\x0A\xA9\x0D\x0A";
const FORMAT_VERSION: u8 = 3;
const PAGE_BYTES: u64 = 4096;

/// Header: where the byte of flags, the geometry and the two commit slots are.
const FLAGS: usize = 9;
const PRIMARY_IS_SECOND: u8 = 1;
const NOT_CLOSED: u8 = 2;
const NOT_SYNCED: u8 = 8;
const REGION_HEADER_PAGES: usize = 16;
const REGION_DATA_PAGES: usize = 20;
const SLOTS: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;
const HEADER_BYTES: usize = 320;

/// Commit slot: whether there are roots, the roots, the transaction's id, the slot's checksum.
const SLOT_HAS_ROOT: [usize; 2] = [1, 2];
const SLOT_ROOTS: [usize; 2] = [8, 40];
const SLOT_TRANSACTION: usize = 104;
const SLOT_SUM: usize = 112;

const LEAF: u8 = 1;
const BRANCH: u8 = 2;

/// How wide keys and values are where that is fixed, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Widths {
    key: Option<u32>,
    value: Option<u32>,
}

/// What a tree holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tree {
    /// The list of tables.
    Tables,
    /// The rows of a table.
    Rows(Widths),
}

/// What is known of a page. Kept small: there is one for each page of the file.
#[derive(Clone, Copy, Debug)]
enum Sum {
    /// The checksum that another page has of it, in two halves.
    Referred { sum: [u64; 2], tree: Tree },
    /// The hash and the length of what was written.
    Written { hash: u64, bytes: u32 },
}

/// Where pages are in the file.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    region_header_pages: u64,
    region_data_pages: u64,
}

impl Geometry {
    /// The offset of the page with redb's number `page`.
    fn offset(self, page: u64) -> Option<u64> {
        let order = page >> 59;
        let index = page & (0x000F_FFFF_u64.checked_shr(order as u32)?);
        let region = (page >> 20) & 0x000F_FFFF;
        let region_pages = self.region_header_pages + self.region_data_pages;
        let pages = region * region_pages + self.region_header_pages + (index << order);
        // The header is a page of its own before all regions.
        (pages + 1).checked_mul(PAGE_BYTES)
    }
}

#[derive(Debug, Default)]
struct Known {
    geometry: Option<Geometry>,
    pages: HashMap<u64, Sum>,
}

/// A backend that lets only whole pages through.
#[derive(Debug)]
pub(crate) struct CheckedBackend<B> {
    file: B,
    known: Mutex<Known>,
}

impl<B> CheckedBackend<B> {
    pub(crate) fn new(file: B) -> Self {
        Self {
            file,
            known: Mutex::default(),
        }
    }
}

fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(u16::from_le_bytes(number(bytes, at)?).into())
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_le_bytes(number(bytes, at)?)).ok()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(number(bytes, at)?))
}

fn sum_at(bytes: &[u8], at: usize) -> Option<[u64; 2]> {
    Some([u64_at(bytes, at)?, u64_at(bytes, at + 8)?])
}

fn sum_of(bytes: &[u8]) -> [u64; 2] {
    let sum = xxh3_128(bytes);
    [sum as u64, (sum >> 64) as u64]
}

/// A leaf page: its entries' keys and values, and where its content ends.
struct Leaf<'p> {
    page: &'p [u8],
    entries: usize,
    widths: Widths,
}

impl<'p> Leaf<'p> {
    fn new(page: &'p [u8], widths: Widths) -> Option<Self> {
        let entries = u16_at(page, 2)?;
        Some(Self {
            page,
            entries,
            widths,
        })
    }

    /// Where the keys begin: after an end for each key and each value that has no fixed width.
    fn keys_start(&self) -> usize {
        let ends = usize::from(self.widths.key.is_none()) + usize::from(self.widths.value.is_none());
        4 + 4 * self.entries * ends
    }

    fn keys_end(&self) -> Option<usize> {
        let last = self.entries.checked_sub(1)?;
        match self.widths.key {
            Some(width) => Some(self.keys_start() + self.entries * width as usize),
            None => u32_at(self.page, 4 + 4 * last),
        }
    }

    fn value_end(&self, entry: usize) -> Option<usize> {
        let key_ends = if self.widths.key.is_none() { self.entries } else { 0 };
        match self.widths.value {
            Some(width) => Some(self.keys_end()? + (entry + 1) * width as usize),
            None => u32_at(self.page, 4 + 4 * (key_ends + entry)),
        }
    }

    fn end(&self) -> Option<usize> {
        self.value_end(self.entries.checked_sub(1)?)
    }

    fn value(&self, entry: usize) -> Option<&'p [u8]> {
        let start = match entry.checked_sub(1) {
            Some(before) => self.value_end(before)?,
            None => self.keys_end()?,
        };
        self.page.get(start..self.value_end(entry)?)
    }
}

/// Where the content of a branch page ends.
fn branch_end(page: &[u8], widths: Widths) -> Option<usize> {
    let keys = u16_at(page, 2)?;
    let last = keys.checked_sub(1)?;
    let children_end = 8 + 24 * (keys + 1);
    match widths.key {
        Some(width) => Some(children_end + keys * width as usize),
        None => u32_at(page, children_end + 4 * last),
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

    /// The checksum of a page of this tree; `None` of what cannot be one.
    fn sum(self, page: &[u8]) -> Option<[u64; 2]> {
        let end = match page.first()? {
            &LEAF => Leaf::new(page, self.widths())?.end()?,
            &BRANCH => branch_end(page, self.widths())?,
            _ => return None,
        };
        page.get(..end).map(sum_of)
    }
}

/// A table's root and widths, from its entry in the list of tables. `None` for one without rows.
fn table(entry: &[u8]) -> Option<(u64, Sum)> {
    const NORMAL: u8 = 3;
    const HAS_ROOT: usize = 9;
    const ROOT: usize = 10;
    const KEY_WIDTH: usize = 42;
    const VALUE_WIDTH: usize = 47;
    if *entry.first()? != NORMAL || *entry.get(HAS_ROOT)? == 0 {
        return None;
    }
    let width = |at: usize| {
        let width = u32::from_le_bytes(number(entry, at + 1)?);
        Some((*entry.get(at)? != 0).then_some(width))
    };
    let tree = Tree::Rows(Widths {
        key: width(KEY_WIDTH)?,
        value: width(VALUE_WIDTH)?,
    });
    let sum = sum_at(entry, ROOT + 8)?;
    Some((u64_at(entry, ROOT)?, Sum::Referred { sum, tree }))
}

impl Known {
    fn learn(&mut self, page: u64, sum: Sum) {
        if let Some(offset) = self.geometry.and_then(|geometry| geometry.offset(page)) {
            self.pages.insert(offset, sum);
        }
    }

    /// Learns the pages that a page refers to, which is whole.
    fn learn_from(&mut self, page: &[u8], tree: Tree) -> Option<()> {
        let count = u16_at(page, 2)?;
        match (page.first()?, tree) {
            (&BRANCH, _) => {
                let numbers = 8 + 16 * (count + 1);
                for child in 0..=count {
                    let sum = sum_at(page, 8 + 16 * child)?;
                    let number = u64_at(page, numbers + 8 * child)?;
                    self.learn(number, Sum::Referred { sum, tree });
                }
            }
            (&LEAF, Tree::Tables) => {
                let leaf = Leaf::new(page, tree.widths())?;
                let tables = (0..leaf.entries).filter_map(|entry| table(leaf.value(entry)?));
                for (root, sum) in tables {
                    self.learn(root, sum);
                }
            }
            _ => {}
        }
        Some(())
    }

    /// Learns the roots of a header. False where the header contradicts itself.
    fn learn_header(&mut self, header: &[u8]) -> Option<bool> {
        if !header.starts_with(MAGIC) || header.len() < HEADER_BYTES {
            return Some(true);
        }
        self.geometry = Some(Geometry {
            region_header_pages: u32_at(header, REGION_HEADER_PAGES)? as u64,
            region_data_pages: u32_at(header, REGION_DATA_PAGES)? as u64,
        });
        let slots = SLOTS.map(|at| &header[at..at + SLOT_BYTES]);
        let is_whole = |slot: &[u8]| {
            slot[0] == FORMAT_VERSION && sum_at(slot, SLOT_SUM) == Some(sum_of(&slot[..SLOT_SUM]))
        };
        for slot in slots.into_iter().filter(|slot| is_whole(slot)) {
            for (has_root, root) in SLOT_HAS_ROOT.into_iter().zip(SLOT_ROOTS) {
                if slot[has_root] != 0 {
                    let (sum, tree) = (sum_at(slot, root + 8)?, Tree::Tables);
                    self.learn(u64_at(slot, root)?, Sum::Referred { sum, tree });
                }
            }
        }
        // No checksum covers the flags. In a file that was closed the last commit is the newer one,
        // and synced.
        let flags = header[FLAGS];
        let (primary, other) = match flags & PRIMARY_IS_SECOND == 0 {
            true => (slots[0], slots[1]),
            false => (slots[1], slots[0]),
        };
        let transaction = |slot: &[u8]| u64_at(slot, SLOT_TRANSACTION);
        let is_older = transaction(primary) < transaction(other) && is_whole(other);
        let is_closed = flags & NOT_CLOSED == 0;
        Some(!is_closed || !(is_older || flags & NOT_SYNCED != 0))
    }

    /// Whether `page`, which stands at `offset`, is what it must be, as far as is known.
    fn accepts(&mut self, offset: u64, page: &[u8]) -> bool {
        if offset == 0 {
            return self.learn_header(page).unwrap_or(true);
        }
        match self.pages.get(&offset) {
            None => true,
            Some(&Sum::Written { hash, bytes }) => {
                page.len() != bytes as usize || xxh3_64(page) == hash
            }
            Some(&Sum::Referred { sum, tree }) => {
                let is_right = tree.sum(page) == Some(sum);
                if is_right {
                    self.learn_from(page, tree);
                }
                is_right
            }
        }
    }
}

impl<B: StorageBackend> StorageBackend for CheckedBackend<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.accepts(offset, out) {
            out.fill(0);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let written = self.file.write(offset, data);
        let hash = xxh3_64(data);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match (&written, u32::try_from(data.len())) {
            (Ok(()), Ok(bytes)) if offset > 0 => {
                known.pages.insert(offset, Sum::Written { hash, bytes });
            }
            // What stands there now is not known.
            _ => drop(known.pages.remove(&offset)),
        }
        written
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}
