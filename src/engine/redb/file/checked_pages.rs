//! Every page that is read is checked against redb's own checksums.
//!
//! redb verifies the checksums of pages ([`crate::engine::redb::file::page_layout`]) when it repairs a file, and when it
//! is asked to read all of it, but not when it reads a page. A bit that flips in a branch page makes
//! rows vanish that way, and a page in another one's place brings rows back that were replaced: no
//! checksum of a row can tell.
//!
//! So this backend, which lies between redb and the file, remembers for each page what its checksum
//! must be: of a page that it wrote, from what it wrote; of any other, from the page that refers to
//! it, which redb reads first. A page that is not what it must be reads as bytes that are no page.
//! redb gives up on that, with an error or a panic ([`crate::engine::redb::context::RedbContext::guard`]), whenever somebody
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
//! Threads read side by side. A page is hashed without a lock, and an expectation that stands is only
//! looked at: nobody waits but where something new is learned. What is learned late is no older for
//! that, because whoever reads a page keeps it from being used again. Headers alone replace each
//! other, so they are read and learned one at a time.
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

use crate::engine::redb::file::page_layout::{Geometry, Header, PAGE_BYTES, Reference, Sum, Tree};
use crate::engine::redb::file::write_gate::locks_of_file;
use redb::StorageBackend;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::ThreadId;
use xxhash_rust::xxh3::xxh3_64;

/// The pages of a file that are checked, from its beginning: 16 GiB, of which 9 bytes a page are
/// held in memory. Pages after them are let through.
const CHECKED_PAGES: usize = 4 << 20;

/// What redb gets instead of a damaged page: of no type, and with a count beyond every page.
const NO_PAGE: u8 = 0xFF;

/// How many damaged pages are named.
const NAMED_PAGES: usize = 8;

/// How many damaged reads are kept in mind for operations that may yet fail.
const NOTED_READS: usize = 256;

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
///
/// A page is read in the thread of whoever needs it, and redb gives up on it there: so what a thread
/// noted since its operation began is what its error is about. redb keeps the page in its cache, and
/// then gives up on it without a read: so an error over none is about those that the same table
/// failed on before, if any.
#[derive(Debug, Default)]
pub(crate) struct BadPages {
    /// Whether there are any: a whole file costs no more than to look here.
    any: AtomicBool,
    notes: Mutex<Notes>,
}

#[derive(Debug, Default)]
struct Notes {
    /// What threads were refused in operations that did not fail yet.
    refused: Vec<(ThreadId, u64)>,
    /// What operations failed on, by the table that they read.
    met: BTreeMap<Option<&'static str>, BTreeSet<u64>>,
}

impl Notes {
    /// Takes what the calling thread was refused.
    fn take(&mut self) -> BTreeSet<u64> {
        let me = std::thread::current().id();
        let mine = self.refused.extract_if(.., |(thread, _)| *thread == me);
        mine.map(|(_, page)| page).take(NAMED_PAGES).collect()
    }
}

impl BadPages {
    fn notes(&self) -> Option<MutexGuard<'_, Notes>> {
        let notes = || self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.load(Ordering::Relaxed).then(notes)
    }

    fn note(&self, offset: u64) {
        self.any.store(true, Ordering::Relaxed);
        if let Some(mut notes) = self.notes() {
            if notes.refused.len() == NOTED_READS {
                notes.refused.remove(0);
            }
            notes.refused.push((std::thread::current().id(), offset));
        }
    }

    /// An operation of the calling thread begins: what it was refused before is of no account to it.
    /// Returns that, for the operation that this one is a part of.
    pub(crate) fn begin(&self) -> BTreeSet<u64> {
        self.notes()
            .map(|mut notes| notes.take())
            .unwrap_or_default()
    }

    /// The operation ended that began when `before` was refused.
    pub(crate) fn end(&self, before: BTreeSet<u64>) {
        if let Some(mut notes) = self.notes().filter(|_| !before.is_empty()) {
            let me = std::thread::current().id();
            notes
                .refused
                .extend(before.into_iter().map(|page| (me, page)));
        }
    }

    /// What is damaged, for people, where an operation of the calling thread failed in `table`.
    pub(crate) fn describe(&self, table: Option<&'static str>) -> Option<String> {
        let mut notes = self.notes()?;
        let mut pages = notes.take();
        if pages.contains(&0) {
            return Some("the header has no whole commit".to_owned());
        }
        let met = notes.met.entry(table).or_default();
        match pages.is_empty() {
            true => pages.clone_from(met),
            false => met.extend(&pages),
        }
        while met.len() > NAMED_PAGES {
            met.pop_last();
        }
        let first = pages.pop_first()?;
        let mut text = format!("damaged pages of {PAGE_BYTES} bytes and more at byte {first}");
        for page in pages {
            // Writing to a string cannot fail.
            let _ = write!(text, ", {page}");
        }
        Some(text)
    }
}

/// What a page must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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

/// What `Part::kinds` has of a page, where it is not the number of its tree.
const UNKNOWN: u8 = 0;
const WRITTEN: u8 = 1;
const FIRST_TREE: u8 = 2;

/// How many pages a part has.
const PART_PAGES: usize = 1024;

/// What is known of the pages in a part of the file.
struct Part {
    sums: [u64; PART_PAGES],
    kinds: [u8; PART_PAGES],
}

impl Part {
    const UNKNOWN: Self = Self {
        sums: [0; PART_PAGES],
        kinds: [UNKNOWN; PART_PAGES],
    };
}

/// What is known, by page. Parts of which nothing is known are not there: opening a large file learns
/// of a few pages, anywhere in it.
#[derive(Default)]
struct Known {
    geometry: Option<Geometry>,
    parts: Vec<Option<Box<Part>>>,
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
        let part = self.parts.get(index / PART_PAGES)?.as_ref()?;
        let sum = part.sums[index % PART_PAGES];
        match part.kinds[index % PART_PAGES] {
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
        let (part, index) = (index / PART_PAGES, index % PART_PAGES);
        if part >= self.parts.len() {
            self.parts.resize_with(part + 1, || None);
        }
        let part = self.parts[part].get_or_insert_with(|| Box::new(Part::UNKNOWN));
        (part.kinds[index], part.sums[index]) = (kind, sum);
    }

    /// Where `page` is, if what it says of that place is not known yet and has to be.
    fn place_of_news(&self, page: Reference) -> Option<u64> {
        let offset = self.geometry?.offset(page.number);
        Self::index(offset)?;
        match self.expected(offset) {
            Some(Expected::Written(_)) => None,
            known => (known != Some(Expected::Referred(page.sum, page.tree))).then_some(offset),
        }
    }

    fn learn(&mut self, page: Reference) {
        let Some(offset) = self.place_of_news(page) else {
            return;
        };
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
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Known")
            .field("parts", &self.parts.len())
            .finish_non_exhaustive()
    }
}

/// A backend that lets only whole pages through.
#[derive(Debug)]
pub(crate) struct CheckedPages<B> {
    file: B,
    role: Role,
    known: RwLock<Known>,
    /// Held from when a header is read, or written, until it is learned.
    header: Mutex<()>,
    bad: Arc<BadPages>,
}

impl<B: StorageBackend> CheckedPages<B> {
    /// A backend over `file` that notes damaged pages in `bad`.
    pub(crate) fn new(file: B, role: Role, bad: Arc<BadPages>) -> Self {
        Self {
            file,
            role,
            known: RwLock::default(),
            header: Mutex::default(),
            bad,
        }
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn known_mut(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Learns what a page that was read says of the pages below it. Where all of that is known no
    /// reader waits for another one.
    fn learn_below(&self, tree: Tree, page: &[u8]) {
        if !tree.has_references(page) {
            return;
        }
        let mut news = Vec::new();
        let known = self.known();
        // A page that redb itself made, and that makes no sense to us, tells us nothing more.
        let _ = tree.references(page, |page| {
            if known.place_of_news(page).is_some() {
                news.push(page);
            }
        });
        drop(known);
        self.learn(news);
    }

    fn learn(&self, news: Vec<Reference>) {
        if !news.is_empty() {
            let mut known = self.known_mut();
            news.into_iter().for_each(|page| known.learn(page));
        }
    }

    /// Learns the roots that redb goes by. After commits of one phase a writer may choose another
    /// commit than the last: it does so when it verified all of it, and writes what it chose.
    fn learn_header(&self, header: Header<'_>) {
        let slot = match self.role {
            Role::OnlyWriter if header.is_two_phase() => header.primary(),
            Role::Reader => header.published(),
            _ => return,
        };
        let geometry = header.geometry();
        let is_new = self.known().geometry != geometry;
        if is_new {
            self.known_mut().geometry = geometry;
        }
        if slot.is_whole() {
            let known = self.known();
            let news = |root: &Reference| known.place_of_news(*root).is_some();
            let news = slot.roots().filter(news).collect();
            drop(known);
            self.learn(news);
        }
    }

    fn refuse(&self, offset: u64, out: &mut [u8]) {
        self.bad.note(offset);
        out.fill(NO_PAGE);
    }

    /// Reads the header, or its first bytes.
    fn read_header(&self, out: &mut [u8]) -> io::Result<()> {
        let _one_at_a_time = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.read(0, out)?;
        let Some(header) = Header::parse(out) else {
            return Ok(());
        };
        if self.role == Role::Reader && !header.published().is_whole() {
            // A power loss can have cut the header's last write. redb sees that from the flags, which
            // stay, and leaves the file to who repairs it; in any other file it misses a commit now.
            self.bad.note(0);
            Header::spoil_primary(out);
        } else {
            self.learn_header(header);
        }
        Ok(())
    }

    fn write_header(&self, data: &[u8]) -> io::Result<()> {
        let _one_at_a_time = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.file.write(0, data);
        if let Some(header) = Header::parse(data) {
            self.learn_header(header);
        }
        written
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
        let expected = self.known().expected(offset);
        match expected {
            Some(expected) if !expected.is_met_by(out) => self.refuse(offset, out),
            Some(Expected::Referred(_, tree)) => self.learn_below(tree, out),
            _ => {}
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
        if self.role == Role::Unchecked {
            return self.file.write(offset, data);
        }
        if offset == 0 {
            return self.write_header(data);
        }
        let hash = xxh3_64(data);
        let written = self.file.write(offset, data);
        match written {
            Ok(()) => self.known_mut().set(offset, WRITTEN, hash),
            // What stands there now is not known, until it is written again.
            Err(_) => self.known_mut().set(offset, UNKNOWN, 0),
        }
        written
    }

    locks_of_file!();
}

#[cfg(test)]
#[path = "checked_pages_tests.rs"]
mod tests;
