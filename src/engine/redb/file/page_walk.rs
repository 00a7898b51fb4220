//! Finds every damaged page of a file by its checksum, and the freed pages that snapshots still
//! hold.
//!
//! The check of redb reports that a file is damaged, but not where. This walk goes down from the
//! roots of the last commit, page by page. It does not follow the references of a damaged page.

use crate::engine::redb::file::page_layout::{
    Child, Geometry, HEADER_BYTES, Header, PAGE_BYTES, Reference, Tree, replaced_pages,
};
use crate::engine::redb::file::planted::Planted;
use crate::engine::redb::file::unclean::{self, Plan};
use crate::ledger::table_names;
use redb::StorageBackend;
use std::collections::BTreeMap;
use std::io;

/// The largest number of damaged pages that are listed; the rest is counted.
const LISTED_PAGES: usize = 16_384;

/// A page whose checksum does not match, or that the system fails to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DamagedPage {
    /// The offset and the length of the page, in bytes.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    /// The table of the page; `None` for a page of the table list or of redb's own tables.
    pub(crate) table: Option<&'static str>,
    /// The keys of its rows are greater than `after`, and at most `last`; `None` means no limit.
    pub(crate) after: Option<Vec<u8>>,
    pub(crate) last: Option<Vec<u8>>,
    /// Why the system did not read it. It may be whole.
    pub(crate) error: Option<String>,
}

impl DamagedPage {
    /// The page in words, for messages.
    pub(crate) fn in_words(&self) -> String {
        let (bytes, offset) = (self.bytes, self.offset);
        match &self.error {
            Some(error) => {
                format!("the page of {bytes} bytes at byte {offset} cannot be read: {error}")
            }
            None => format!("the page of {bytes} bytes at byte {offset} is damaged"),
        }
    }
}

/// The damaged pages of a file, those of a table in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DamagedPages {
    pub(crate) pages: Vec<DamagedPage>,
    /// The number of damaged pages that are not listed.
    pub(crate) more: u64,
}

impl DamagedPages {
    /// Whether the system failed to read each of these pages, so that none is known to be damaged.
    pub(crate) fn is_only_unread(&self) -> bool {
        self.more == 0 && self.pages.iter().all(|page| page.error.is_some())
    }
}

/// A page that the walk has to visit.
struct Visit {
    page: Reference,
    table: Option<&'static str>,
    after: Option<Vec<u8>>,
    last: Option<Vec<u8>>,
}

/// The damaged pages of the last commit in `file`; `None` if the header itself is damaged.
pub(crate) fn damaged_pages(file: &impl StorageBackend) -> io::Result<Option<DamagedPages>> {
    let Some((mut walk, roots)) = Walk::of(file)? else {
        return Ok(None);
    };
    for root in roots {
        walk.tree(root);
    }
    Ok(Some(walk.found))
}

/// The number of subtrees from which on a second thread takes a half of them.
const SHARED_SUBTREES: usize = 64;

/// Whether every page of the last commit in `file` can be read and has its checksum. Two threads
/// share a large file. If they cannot, or if a page is damaged, this is `false`, and the caller asks
/// for more.
pub(crate) fn is_whole(file: &impl StorageBackend) -> bool {
    let Ok(Some((walk, mut open))) = Walk::of(file) else {
        return false;
    };
    let (mut page, mut next) = (Vec::new(), 0);
    // Level by level, until there is enough to share.
    while next < open.len() && open.len() - next < SHARED_SUBTREES {
        if !walk.is_whole(open[next], &mut page, &mut open) {
            return false;
        }
        next += 1;
    }
    let mut own = open.split_off(next);
    if own.is_empty() {
        return true;
    }
    let other = own.split_off(own.len() / 2);
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new();
        let Ok(other) = builder.spawn_scoped(scope, || walk.are_whole(other)) else {
            return false;
        };
        let own = walk.are_whole(own);
        other.join().is_ok_and(|other| other && own)
    })
}

/// The tables of redb that list freed pages which cannot be reused yet, because a snapshot may read
/// them.
const REPLACED: [&[u8]; 2] = [b"data_pages_unreachable", b"system_pages_unreachable"];

/// The size in bytes of the freed pages that cannot be reused yet, by the commit that freed them.
/// `None` if they cannot be read, for example because another process commits at the same time.
pub(crate) fn replaced_bytes(file: &impl StorageBackend) -> io::Result<Option<BTreeMap<u64, u64>>> {
    let mut replaced = BTreeMap::new();
    let walked = each_replaced(file, |commit, (_, bytes)| {
        *replaced.entry(commit).or_default() += bytes;
    })?;
    Ok(walked.then_some(replaced))
}

/// Calls `each` for the freed pages that cannot be reused yet, with the commit that freed them, their offset and
/// their length. Returns `false` if they cannot be read.
pub(crate) fn each_replaced(
    file: &impl StorageBackend,
    mut each: impl FnMut(u64, (u64, u64)),
) -> io::Result<bool> {
    let Some((walk, mut open)) = Walk::of(file)? else {
        return Ok(false);
    };
    let mut page = Vec::new();
    while let Some(next) = open.pop() {
        let (offset, bytes) = walk.geometry.place(next.number);
        let is_whole =
            walk.read(offset, bytes, &mut page)? && next.tree.sum(&page) == Some(next.sum);
        if !is_whole {
            return Ok(false);
        }
        let below = next.tree.children(&page, |child| match child {
            Child::Page { page, .. } => open.push(page),
            Child::Table { name, root } if REPLACED.contains(&name) => open.push(root),
            Child::Table { .. } => {}
        });
        if below.is_none() {
            return Ok(false);
        }
        if next.tree != Tree::Tables {
            let mut pages = Vec::new();
            // A branch page has no rows: that is no error here.
            let _ = next.tree.rows(&page, |key, value| {
                pages.clear();
                if let Some(commit) = replaced_pages(key, value, |number| pages.push(number)) {
                    let places = pages.iter().map(|number| walk.geometry.place(*number));
                    places.for_each(|place| each(commit, place));
                }
            });
        }
    }
    Ok(true)
}

/// How many bytes follow the end of the file by its header, if they are no whole pages: redb refuses to write
/// to such a file. `None` where there are none.
pub(crate) fn bytes_after_end(file: &impl StorageBackend) -> io::Result<Option<u64>> {
    let len = file.len()?;
    let mut bytes = vec![0; HEADER_BYTES];
    if len < HEADER_BYTES as u64 || len.is_multiple_of(PAGE_BYTES) {
        return Ok(None);
    }
    file.read(0, &mut bytes)?;
    let end = Header::parse(&bytes).and_then(Header::file_bytes);
    Ok(end.and_then(|end| len.checked_sub(end)))
}

/// A walk over the pages of the last commit in a file.
pub(crate) struct Walk<'a, B> {
    pub(crate) file: &'a B,
    pub(crate) len: u64,
    pub(crate) geometry: Geometry,
    found: DamagedPages,
}

impl<'a, B: StorageBackend> Walk<'a, B> {
    /// A walk over the last commit, and the roots to start from; `None` if the header is damaged.
    pub(crate) fn of(file: &'a B) -> io::Result<Option<(Self, Vec<Reference>)>> {
        let len = file.len()?;
        let mut bytes = vec![0; HEADER_BYTES];
        if len < HEADER_BYTES as u64 {
            return Ok(None);
        }
        file.read(0, &mut bytes)?;
        // A page that cannot be read leaves the last commit open. The walk finds that page.
        if let Ok(Some(Plan {
            header: Some(header),
            ..
        })) = unclean::plan(file, len, Planted::default())
        {
            bytes = header;
        }
        let Some(header) = Header::parse(&bytes).filter(|header| header.primary().is_whole())
        else {
            return Ok(None);
        };
        let Some(geometry) = header.geometry() else {
            return Ok(None);
        };
        let walk = Walk {
            file,
            len,
            geometry,
            found: DamagedPages::default(),
        };
        Ok(Some((walk, header.primary().roots().collect())))
    }

    /// Walks the tree below `root`, in the order of the keys. The stack holds the children of one
    /// page on each level.
    fn tree(&mut self, root: Reference) {
        let mut open = vec![Visit {
            page: root,
            table: None,
            after: None,
            last: None,
        }];
        let mut page = Vec::new();
        while let Some(visit) = open.pop() {
            let (offset, bytes) = self.geometry.place(visit.page.number);
            let tree = visit.page.tree;
            let read = self.read(offset, bytes, &mut page);
            let is_whole = |page: &[u8]| tree.sum(page) == Some(visit.page.sum);
            if read.as_ref().is_ok_and(|is_there| *is_there) && is_whole(&page) {
                let first = open.len();
                below(&visit, &page, &mut open);
                // The stack returns the last page first.
                open[first..].reverse();
            } else if self.found.pages.len() < LISTED_PAGES {
                self.found.pages.push(DamagedPage {
                    offset,
                    bytes,
                    table: visit.table,
                    after: visit.after,
                    last: visit.last,
                    error: read.err().map(|error| error.to_string()),
                });
            } else {
                self.found.more += 1;
            }
        }
    }

    /// Whether all pages of the trees below `open` are whole. Ends at the first that is not.
    fn are_whole(&self, mut open: Vec<Reference>) -> bool {
        let mut page = Vec::new();
        while let Some(next) = open.pop() {
            if !self.is_whole(next, &mut page, &mut open) {
                return false;
            }
        }
        true
    }

    /// Whether a page is whole. Adds the pages that it refers to to `open`.
    fn is_whole(&self, next: Reference, page: &mut Vec<u8>, open: &mut Vec<Reference>) -> bool {
        let (offset, bytes) = self.geometry.place(next.number);
        self.read(offset, bytes, page)
            .is_ok_and(|is_there| is_there)
            && next.tree.sum(page) == Some(next.sum)
            && (!next.tree.has_references(page)
                || next
                    .tree
                    .references(page, |below| open.push(below))
                    .is_some())
    }

    /// Reads a page. Returns `false` if it lies past the end of the file.
    pub(crate) fn read(&self, offset: u64, bytes: u64, page: &mut Vec<u8>) -> io::Result<bool> {
        let fits = offset.checked_add(bytes).is_some_and(|end| end <= self.len);
        let Some(bytes) = usize::try_from(bytes).ok().filter(|_| fits) else {
            return Ok(false);
        };
        page.clear();
        page.resize(bytes, 0);
        self.file.read(offset, page)?;
        Ok(true)
    }
}

/// Pushes the children of an undamaged page onto `open`, in the order of the keys.
fn below(visit: &Visit, page: &[u8], open: &mut Vec<Visit>) {
    let mut after = visit.after.clone();
    // The page has the right checksum, so redb wrote it like this. If it cannot be parsed, nothing
    // is known of its children.
    let _ = visit.page.tree.children(page, |child| {
        open.push(match child {
            // The keys of the table list and of the tables of redb are not keys of our rows.
            Child::Page { page, .. } if visit.table.is_none() => Visit {
                page,
                table: None,
                after: None,
                last: None,
            },
            Child::Page { page, last } => {
                let last = last.map(<[u8]>::to_vec).or_else(|| visit.last.clone());
                Visit {
                    page,
                    table: visit.table,
                    after: std::mem::replace(&mut after, last.clone()),
                    last,
                }
            }
            Child::Table { name, root } => Visit {
                page: root,
                table: table_names::with_name(name),
                after: None,
                last: None,
            },
        });
    });
}
