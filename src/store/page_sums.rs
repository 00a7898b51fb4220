//! Every page that is read is checked against redb's own checksums.
//!
//! redb verifies the checksums of pages ([`super::page_layout`]) when it repairs a file, and when it
//! is asked to read all of it, but not when it reads a page. A bit that flips in a branch page makes
//! rows vanish that way, and a page in another one's place brings rows back that were replaced: no
//! checksum of a row can tell.
//!
//! So this backend, which lies between redb and the file, remembers for each page what its checksum
//! must be: of a page that it wrote, from what it wrote; of any other, from the page that refers to
//! it, which redb reads first. A page that is not what it must be reads as bytes that are no page.
//! redb gives up on that, with an error or a panic ([`super::context::At::guard`]), whenever somebody
//! needs the page, and only then. An I/O error would end the store for everybody.
//!
//! # What is known of which page
//!
//! Every page that can be read is known, by induction. It begins with the header, from which redb
//! learns the roots and this backend what they must be. A page that was read told of its children. A
//! page that was written has children that were written too, or that are those of a page that was
//! read before it.
//!
//! - A process that writes reads the header once, when nobody else writes any more, and what it wrote
//!   itself it knows best: what another page says of such a page is older.
//! - A process that only reads follows another one's commits. redb reads the header anew for each
//!   transaction and forgets all pages where there is a newer one, and a page that it can see is not
//!   used again. So what was read last of a page is right.
//! - Where several processes write neither holds, and this backend is left out.
//!
//! # The header
//!
//! Its commits have checksums of their own, which redb verifies. The flags have none. One says which
//! commit is the last:
//!
//! - In a file that was closed both have the same rows: closing is a commit of redb's own.
//! - In a file that was not closed, a flip of that bit undoes the last commit, or a crash cut off the
//!   other one: nothing tells. Nor may the newer one be taken because all of it is there: after a
//!   failed sync its pages can be readable and never reach the disk. So this one bit is not checked,
//!   while a store is open and after a crash.

use super::page_layout::{Geometry, Header, PAGE_BYTES, Reference, Sum, Tree};
use redb::{BackendError, StorageBackend};
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use xxhash_rust::xxh3::xxh3_64;

/// The pages of a file that are checked, from its beginning: 16 GiB, of which 9 bytes a page are
/// held in memory. Pages after them are let through.
const CHECKED_PAGES: usize = 4 << 20;

/// What redb gets instead of a damaged page: of no type, and with a count beyond every page.
const NO_PAGE: u8 = 0xFF;

/// How many damaged pages are named.
const NAMED_PAGES: usize = 8;

/// What the process does with the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is the only one that writes.
    OnlyWriter,
    /// It reads; another one may write.
    Reader,
    /// It does not want pages checked, or there is no telling what they must be.
    Unchecked,
}

/// The pages that were found damaged, for the messages of errors.
#[derive(Debug, Default)]
pub(crate) struct BadPages(Mutex<BTreeSet<u64>>);

impl BadPages {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, offset: u64) {
        let mut pages = self.lock();
        if pages.len() < NAMED_PAGES {
            pages.insert(offset);
        }
    }

    /// What is damaged, for people.
    pub(crate) fn describe(&self) -> Option<String> {
        let pages = self.lock();
        if pages.contains(&0) {
            return Some("the header has no whole commit".to_owned());
        }
        let first = pages.first()?;
        let mut text = format!("damaged pages of {PAGE_BYTES} bytes and more at byte {first}");
        for page in pages.iter().skip(1) {
            // Writing to a string cannot fail.
            let _ = write!(text, ", {page}");
        }
        Some(text)
    }
}

/// What a page must be.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// What was written has this hash.
    Written(u64),
    /// A page that refers to it has this checksum of it.
    Referred(Sum, Tree),
}

impl Expected {
    fn is_met_by(self, page: &[u8]) -> bool {
        match self {
            Self::Written(hash) => xxh3_64(page) == hash,
            Self::Referred(sum, tree) => tree.sum(page) == Some(sum),
        }
    }
}

/// What `Known::kinds` has of a page, where it is not the number of its tree.
const UNKNOWN: u8 = 0;
const WRITTEN: u8 = 1;
const FIRST_TREE: u8 = 2;

/// What is known, by page.
#[derive(Default)]
struct Known {
    geometry: Option<Geometry>,
    sums: Vec<u64>,
    kinds: Vec<u8>,
    /// There are few that differ.
    trees: Vec<Tree>,
}

impl Known {
    fn index(offset: u64) -> Option<usize> {
        let index = usize::try_from(offset / PAGE_BYTES).ok()?;
        (index < CHECKED_PAGES).then_some(index)
    }

    fn expected(&self, offset: u64) -> Option<Expected> {
        let index = Self::index(offset)?;
        let sum = *self.sums.get(index)?;
        match *self.kinds.get(index)? {
            UNKNOWN => None,
            WRITTEN => Some(Expected::Written(sum)),
            tree => {
                let tree = self.trees.get(usize::from(tree - FIRST_TREE))?;
                Some(Expected::Referred(sum, *tree))
            }
        }
    }

    fn set(&mut self, offset: u64, kind: u8, sum: u64) {
        let Some(index) = Self::index(offset) else {
            return;
        };
        if index >= self.kinds.len() {
            self.kinds.resize(index + 1, UNKNOWN);
            self.sums.resize(index + 1, 0);
        }
        (self.kinds[index], self.sums[index]) = (kind, sum);
    }

    fn learn(&mut self, page: Reference) {
        let Some(offset) = self.geometry.map(|geometry| geometry.offset(page.number)) else {
            return;
        };
        if matches!(self.expected(offset), Some(Expected::Written(_))) {
            return;
        }
        let found = self.trees.iter().position(|tree| *tree == page.tree);
        let tree = found.unwrap_or_else(|| {
            self.trees.push(page.tree);
            self.trees.len() - 1
        });
        match u8::try_from(tree + usize::from(FIRST_TREE)) {
            Ok(kind) => self.set(offset, kind, page.sum),
            Err(_) => self.set(offset, UNKNOWN, 0),
        }
    }

    /// Learns the roots that redb goes by. After commits of one phase a writer may choose another
    /// commit than the last: it does so when it verified all of it, and writes what it chose.
    fn learn_header(&mut self, header: Header<'_>, role: Role) {
        let slot = match role {
            Role::OnlyWriter if header.is_two_phase() => header.primary(),
            Role::Reader => header.published(),
            _ => return,
        };
        self.geometry = header.geometry();
        if slot.is_whole() {
            slot.roots().for_each(|root| self.learn(root));
        }
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known")
            .field("pages", &self.kinds.len())
            .finish_non_exhaustive()
    }
}

/// A backend that lets only whole pages through.
#[derive(Debug)]
pub(crate) struct CheckedPages<B> {
    file: B,
    role: Role,
    known: Mutex<Known>,
    bad: Arc<BadPages>,
}

impl<B: StorageBackend> CheckedPages<B> {
    /// A backend over `file` that notes damaged pages in `bad`.
    pub(crate) fn new(file: B, role: Role, bad: Arc<BadPages>) -> Self {
        Self {
            file,
            role,
            known: Mutex::default(),
            bad,
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refuse(&self, offset: u64, out: &mut [u8]) {
        self.bad.note(offset);
        out.fill(NO_PAGE);
    }

    /// Reads the header, or its first bytes. Nobody learns from another one meanwhile.
    fn read_header(&self, out: &mut [u8]) -> io::Result<()> {
        let mut known = self.known();
        self.file.read(0, out)?;
        let Some(header) = Header::parse(out) else {
            return Ok(());
        };
        if self.role == Role::Reader && !header.published().is_whole() {
            self.refuse(0, out);
        } else {
            known.learn_header(header, self.role);
        }
        Ok(())
    }
}

impl<B: StorageBackend> StorageBackend for CheckedPages<B> {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.role == Role::Unchecked {
            return self.file.read(offset, out);
        }
        if offset == 0 {
            return self.read_header(out);
        }
        self.file.read(offset, out)?;
        let Some(expected) = self.known().expected(offset) else {
            return Ok(());
        };
        if !expected.is_met_by(out) {
            self.refuse(offset, out);
        } else if let Expected::Referred(_, tree) = expected {
            let mut known = self.known();
            // A page that redb itself made, and that makes no sense to us, tells us nothing.
            let _ = tree.references(out, |page| known.learn(page));
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
        match self.role {
            Role::Unchecked => {}
            _ if offset == 0 => {
                if let Some(header) = Header::parse(data) {
                    self.known().learn_header(header, self.role);
                }
            }
            _ if written.is_ok() => self.known().set(offset, WRITTEN, xxh3_64(data)),
            // What stands there now is not known, until it is written again.
            _ => self.known().set(offset, UNKNOWN, 0),
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

#[cfg(test)]
#[path = "page_sums_tests.rs"]
mod tests;
