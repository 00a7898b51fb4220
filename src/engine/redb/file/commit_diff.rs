//! The pages that a commit of redb added to the commit before it.
//!
//! redb copies on write: a commit writes the pages that it changes to free places, and all pages above them up
//! to the roots. The other pages it shares with the commit before, with the same number and checksum. So the
//! trees of both are descended together, and whatever both refer to is left out. The pages that remain are
//! those of the change: at most 20 after one input, whatever the size of the file.
//!
//! The pages are compared by their height above the leaves, not by their depth below the root: a commit that
//! splits a root moves all old pages one level down.

use crate::engine::redb::file::page_layout::{Child, Geometry, PAGE_BYTES, Reference, Slot};
use crate::engine::redb::file::planted::{Planted, PlantedBug};
use redb::StorageBackend;
use std::collections::{BTreeMap, HashSet};
use std::io;
use xxhash_rust::xxh3::xxh3_128;

/// The height of a tree is below this: a branch page has at least two children, and a file at most 2^40 pages.
const MAX_HEIGHT: usize = 40;

/// The largest order of a page number that redb uses.
const MAX_ORDER: u64 = 20;

/// A page of a commit, as it was when it was verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AddedPage {
    pub(crate) offset: u64,
    pub(crate) bytes: usize,
    /// A checksum of all bytes of the page, also of the unused ones.
    pub(crate) hash: u128,
}

/// The pages that a newer commit added to an older one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// Each of them is whole.
    Whole(Vec<AddedPage>),
    /// One of them is not what the newer commit refers to.
    NewDamaged,
    /// A page that only the older commit has is not what that one refers to. The pages of the newer
    /// one above it are whole.
    OldDamaged,
    /// Both of the above.
    BothDamaged,
    /// There is a table whose pages are not known.
    Unknown,
}

/// Compares the commits in two slots of a header. `len` is the length of the file in bytes.
///
/// # Errors
///
/// Those of reading the file.
pub(crate) fn difference(
    file: &impl StorageBackend,
    len: u64,
    geometry: Geometry,
    (new, old): (Slot<'_>, Slot<'_>),
    planted: Planted,
) -> io::Result<Difference> {
    let mut comparison = Comparison {
        file,
        len,
        geometry,
        added: Vec::new(),
        is_new_damaged: false,
        planted,
    };
    let roots = Sides {
        new: new.roots().collect(),
        old: old.roots().collect(),
    };
    // The roots of the table lists lead to those of the tables, which lead to no other trees.
    let compared = comparison
        .trees(roots)
        .and_then(|tables| match comparison.is_new_damaged {
            true => Ok(tables),
            false => comparison.trees(tables),
        });
    match compared {
        Ok(_) if comparison.is_new_damaged => Ok(Difference::NewDamaged),
        Ok(_) => Ok(Difference::Whole(comparison.added)),
        Err(End::OldDamaged) if comparison.is_new_damaged => Ok(Difference::BothDamaged),
        Err(End::OldDamaged) => Ok(Difference::OldDamaged),
        Err(End::Unknown) => Ok(Difference::Unknown),
        Err(End::Read(error)) => Err(error),
    }
}

/// References of the newer commit and of the older one, at the same height.
#[derive(Debug, Default)]
struct Sides {
    new: Vec<Reference>,
    old: Vec<Reference>,
}

impl Sides {
    /// Without the references that both commits have.
    fn without_common(self) -> Self {
        let key = |page: &Reference| (page.number, page.sum);
        let new: HashSet<_> = self.new.iter().map(key).collect();
        let old: HashSet<_> = self.old.iter().map(key).collect();
        let only = |pages: Vec<Reference>, others: &HashSet<_>| {
            let pages = pages.into_iter();
            pages.filter(|page| !others.contains(&key(page))).collect()
        };
        Self {
            new: only(self.new, &old),
            old: only(self.old, &new),
        }
    }
}

/// Why a comparison ended early.
enum End {
    OldDamaged,
    Unknown,
    Read(io::Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

struct Comparison<'a, B> {
    file: &'a B,
    len: u64,
    geometry: Geometry,
    added: Vec<AddedPage>,
    is_new_damaged: bool,
    planted: Planted,
}

impl<B: StorageBackend> Comparison<'_, B> {
    /// Compares the trees below `roots`. Returns the roots of tables in the pages that one side has alone.
    fn trees(&mut self, roots: Sides) -> Result<Sides, End> {
        let roots = roots.without_common();
        let (mut levels, mut tables) = (BTreeMap::<usize, Sides>::new(), Sides::default());
        for root in roots.new {
            let height = self.height(root)?;
            levels.entry(height).or_default().new.push(root);
        }
        for root in roots.old {
            let height = self.height(root)?;
            levels.entry(height).or_default().old.push(root);
        }
        while let Some((height, level)) = levels.pop_last() {
            let level = level.without_common();
            let mut below = Sides::default();
            if height == 0 && self.planted.is(PlantedBug::DescentTooShort) {
                continue;
            }
            self.new_pages(level.new, &mut below.new, &mut tables.new)?;
            // All pages of the newer commit above this level are whole, so these were replaced for certain.
            for page in level.old {
                let bytes = self.read(page)?.ok_or(End::OldDamaged)?;
                children(page, &bytes, &mut below.old, &mut tables.old)?;
            }
            // Below a damaged page of the newer commit its pages are not known, and all pages of the older one
            // would seem to be replaced.
            if self.is_new_damaged {
                break;
            }
            if !(below.new.is_empty() && below.old.is_empty()) {
                // Heights are read from pages that can be damaged: one that is too low costs time only.
                let next = levels.entry(height.saturating_sub(1)).or_default();
                next.new.append(&mut below.new);
                next.old.append(&mut below.old);
            }
        }
        Ok(tables)
    }

    /// Verifies pages that only the newer commit has, up to the first that is damaged.
    fn new_pages(
        &mut self,
        pages: Vec<Reference>,
        below: &mut Vec<Reference>,
        tables: &mut Vec<Reference>,
    ) -> Result<(), End> {
        for page in pages {
            let Some(bytes) = self.read(page)? else {
                self.is_new_damaged = true;
                break;
            };
            children(page, &bytes, below, tables)?;
            self.added.push(AddedPage {
                offset: self.geometry.offset(page.number),
                bytes: bytes.len(),
                hash: xxh3_128(&bytes),
            });
            // More pages than the file has: a reference leads back up.
            if self.added.len() as u64 > self.len / PAGE_BYTES {
                return Err(End::Unknown);
            }
        }
        Ok(())
    }

    /// The number of levels below a page, which can be damaged: it only decides the order of the comparison.
    fn height(&self, mut page: Reference) -> io::Result<usize> {
        for height in 0..MAX_HEIGHT {
            let Some(bytes) = self.read_any(page)? else {
                return Ok(height);
            };
            match page.tree.first_child(&bytes) {
                Some(child) => page = child,
                None => return Ok(height),
            }
        }
        Ok(MAX_HEIGHT)
    }

    /// Reads a page. `None` if it is not the one that is referred to.
    fn read(&self, page: Reference) -> io::Result<Option<Vec<u8>>> {
        let read = self.read_any(page)?;
        Ok(read.filter(|bytes| page.tree.sum(bytes) == Some(page.sum)))
    }

    /// Reads the bytes in the place of a page. `None` if the file ends before.
    fn read_any(&self, page: Reference) -> io::Result<Option<Vec<u8>>> {
        if page.number >> 59 > MAX_ORDER {
            return Ok(None);
        }
        let (offset, bytes) = self.geometry.place(page.number);
        let fits = offset.checked_add(bytes).is_some_and(|end| end <= self.len);
        let Some(bytes) = usize::try_from(bytes).ok().filter(|_| fits) else {
            return Ok(None);
        };
        let mut page = vec![0; bytes];
        self.file.read(offset, &mut page)?;
        Ok(Some(page))
    }
}

/// Adds the references in a whole page to those of its tree and to those of tables.
fn children(
    page: Reference,
    bytes: &[u8],
    below: &mut Vec<Reference>,
    tables: &mut Vec<Reference>,
) -> Result<(), End> {
    if page.tree.has_other_tables(bytes) {
        return Err(End::Unknown);
    }
    let parsed = page.tree.children(bytes, |child| match child {
        Child::Page { page, .. } => below.push(page),
        Child::Table { root, .. } => tables.push(root),
    });
    parsed.ok_or(End::Unknown)
}
