//! Checks every page that redb reads against redb's own checksums.
//!
//! redb verifies the checksums of pages ([`page_layout`](crate::engine::redb::file::page_layout))
//! when it repairs or verifies a file, but not when it reads a page. A flipped bit in a branch page
//! then hides rows, and an outdated page in the place of another returns rows that were replaced.
//! The checksum of a row detects neither.
//!
//! So this backend lies between redb and the file, and records the expected checksum of each page:
//! that of the bytes if this process wrote the page, otherwise that in the page that refers to it,
//! which redb reads first. A page with another checksum is returned as bytes that are no valid
//! page. redb rejects these, with an error or a panic
//! ([`guard`](crate::engine::redb::context::RedbContext::guard)), and only operations that need the
//! page fail. After an I/O error instead redb would reject every later access to the store.
//!
//! # Which pages have an expected checksum
//!
//! Every page that redb can read has one, by induction. redb reads the header first, which has the
//! checksums of the roots. A page that was read has those of its children. The children of a page
//! that was written were written too, or belong to a page that was read before.
//!
//! - A process that writes reads the header once, when it is the only writer. Its own writes are
//!   newer than any reference to the same page, so they take precedence.
//! - A process that only reads follows the commits of another process. redb reads the header again
//!   for each transaction and drops its cache if there is a newer commit, and the writer does not
//!   reuse pages that a snapshot can reach. So the latest reference to a page is right.
//! - With several writers neither holds, and writers do not use this backend.
//!
//! Threads read in parallel. A page is hashed without a lock, and a checksum that is already known
//! is compared under the shared lock; only a new one takes the exclusive lock. A late update is not
//! outdated: a thread that reads a page holds a snapshot, so the page is not reused meanwhile. Only
//! headers replace each other, so they are read and recorded one at a time.
//!
//! # The header
//!
//! Its two commit slots have checksums, which redb verifies. Its flags have none. One flag says
//! which slot has the last commit:
//!
//! - In a file that was closed both slots have the same rows: closing is a commit of redb's own.
//! - In a file that was not closed, a flip of that bit undoes the last commit, and looks like a
//!   crash before the bit was written. The slot with the newer commit must not be preferred, even
//!   if all of its pages are valid: after a failed sync they can be readable and never reach the
//!   disk. So this bit is not checked while a store is open or after a crash.

use crate::engine::redb::file::page_layout::{Geometry, Header, PAGE_BYTES, Reference, Sum, Tree};
use crate::engine::redb::file::write_gate::locks_of_file;
use redb::StorageBackend;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::thread::ThreadId;
use xxhash_rust::xxh3::xxh3_64;

/// The number of pages that are checked, from the beginning of the file: 16 GiB. Each takes 9 bytes
/// of memory once it is known. Pages after them are not checked.
const CHECKED_PAGES: usize = 4 << 20;

/// The byte that fills a damaged page: redb reads an invalid page type, and a number of keys that
/// no page can have.
const NO_PAGE: u8 = 0xFF;

/// The largest number of damaged pages that an error names.
const NAMED_PAGES: usize = 8;

/// The largest number of damaged reads that are recorded for operations that have not failed yet.
const NOTED_READS: usize = 256;

/// How this process uses the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It is the only writer.
    OnlyWriter,
    /// It reads; another process may write.
    Reader,
    /// The caller turned page checks off.
    Unchecked,
}

/// The damaged pages that were found, for the messages of errors.
///
/// redb reads a page in the thread of the operation that needs it, and rejects it there. So the
/// pages that a thread recorded since its operation began are the cause of its error. redb also
/// caches the page, and rejects it the next time without a read. So an error without a recorded
/// page is attributed to the pages that earlier operations on the same table failed on.
#[derive(Debug, Default)]
pub(crate) struct BadPages {
    /// Whether any damaged page was found. Without one an operation only reads this flag, and takes
    /// no lock.
    any: AtomicBool,
    notes: Mutex<Notes>,
}

/// The recorded pages, by their offset in the file.
#[derive(Debug, Default)]
struct Notes {
    /// The reads that were rejected, by thread, in operations that have not failed yet.
    refused: Vec<(ThreadId, u64)>,
    /// The pages that operations failed on, by the table that they read.
    met: BTreeMap<Option<&'static str>, BTreeSet<u64>>,
}

impl Notes {
    /// Removes and returns the pages that the calling thread recorded.
    fn take(&mut self) -> BTreeSet<u64> {
        let me = std::thread::current().id();
        let mine = self.refused.extract_if(.., |(thread, _)| *thread == me);
        mine.map(|(_, page)| page).take(NAMED_PAGES).collect()
    }
}

impl BadPages {
    /// The recorded pages, unless there are none.
    fn notes(&self) -> Option<MutexGuard<'_, Notes>> {
        let notes = || self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        self.any.load(Ordering::Relaxed).then(notes)
    }

    /// Records that the calling thread read the damaged page at `offset`.
    fn note(&self, offset: u64) {
        self.any.store(true, Ordering::Relaxed);
        if let Some(mut notes) = self.notes() {
            // A thread that ends without another operation leaves its records behind, so the oldest
            // record is dropped.
            if notes.refused.len() == NOTED_READS {
                notes.refused.remove(0);
            }
            notes.refused.push((std::thread::current().id(), offset));
        }
    }

    /// Begins an operation of the calling thread: pages that the thread recorded before do not
    /// count for it. Returns those pages, for the enclosing operation.
    pub(crate) fn begin(&self) -> BTreeSet<u64> {
        self.notes()
            .map(|mut notes| notes.take())
            .unwrap_or_default()
    }

    /// Ends the operation that began with `before` recorded, and restores these pages.
    pub(crate) fn end(&self, before: BTreeSet<u64>) {
        if let Some(mut notes) = self.notes().filter(|_| !before.is_empty()) {
            let me = std::thread::current().id();
            notes
                .refused
                .extend(before.into_iter().map(|page| (me, page)));
        }
    }

    /// Describes the damaged pages that made an operation of the calling thread fail in `table`.
    pub(crate) fn describe(&self, table: Option<&'static str>) -> Option<String> {
        let mut notes = self.notes()?;
        let mut pages = notes.take();
        if pages.contains(&0) {
            return Some("the header is damaged: it has no valid last commit".to_owned());
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
        let mut text =
            format!("checksum mismatch in pages of {PAGE_BYTES} bytes or more at byte {first}");
        for page in pages {
            // Writing to a string cannot fail.
            let _ = write!(text, ", {page}");
        }
        Some(text)
    }
}

/// The expected checksum of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The hash of all bytes that this process wrote.
    Written(u64),
    /// The checksum in the page that refers to it, and the tree that defines which bytes it covers.
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

/// The values of `Part::kinds`; from `FIRST_TREE` on they are the index of a tree.
const UNKNOWN: u8 = 0;
const WRITTEN: u8 = 1;
const FIRST_TREE: u8 = 2;

/// The number of pages in a part.
const PART_PAGES: usize = 1024;

/// The expected checksums of the pages in a part of the file. Two arrays instead of one of pairs:
/// padding would make 16 bytes of 9.
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

/// The expected checksums, by page. A part is allocated when its first page is known: an open of a
/// large file reads few pages, anywhere in the file.
#[derive(Default)]
struct Known {
    geometry: Option<Geometry>,
    parts: Vec<Option<Box<Part>>>,
    /// The trees that pages belong to, without repetition. Tables with the same widths share an
    /// entry, so there are few.
    trees: Vec<Tree>,
}

impl Known {
    /// The index of the page at `offset`, if pages there are checked. A larger page is identified
    /// by its first 4096 bytes.
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

    /// The offset of `page`, if its reference says something new about it.
    fn place_of_news(&self, page: Reference) -> Option<u64> {
        let offset = self.geometry?.offset(page.number);
        Self::index(offset)?;
        match self.expected(offset) {
            // Bytes that this process wrote are newer than any reference to the page.
            Some(Expected::Written(_)) => None,
            known => (known != Some(Expected::Referred(page.sum, page.tree))).then_some(offset),
        }
    }

    /// Records the checksum in a reference.
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
            // More trees than the byte can number: the page stays unchecked.
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

/// A backend that passes on only pages with the expected checksum.
#[derive(Debug)]
pub(crate) struct CheckedPages<B> {
    file: B,
    role: Role,
    known: RwLock<Known>,
    /// Held from the read or write of a header until its roots are recorded.
    header: Mutex<()>,
    bad: Arc<BadPages>,
}

impl<B: StorageBackend> CheckedPages<B> {
    /// A backend over `file` that records damaged pages in `bad`.
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

    /// Records the checksums of the children of a page that was read. If all of them are known,
    /// readers do not wait for each other.
    fn learn_below(&self, tree: Tree, page: &[u8]) {
        if !tree.has_references(page) {
            return;
        }
        let mut news = Vec::new();
        let known = self.known();
        // The page has the right checksum, so redb wrote it like this. If it cannot be parsed, its
        // children stay unknown.
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

    /// Records the roots that redb uses. After commits of one phase a writer may fall back to the
    /// commit before the last. It verifies all pages of the one that it uses, and writes the
    /// header, which is recorded then.
    fn learn_header(&self, header: Header<'_>) {
        let slot = match self.role {
            Role::OnlyWriter if header.is_two_phase() => header.primary(),
            Role::Reader => header.published(),
            _ => return,
        };
        let geometry = header.geometry();
        // Compared under the shared lock first: the geometry never changes once it is known.
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

    /// Reads a page. Returns whether it is in the file: for a reader, one behind the end of a file that was
    /// cut off is damage of that page alone. redb would take the error of the read for one of the disk, and
    /// end the store. That is right for a writer: its file was cut off after it was opened.
    fn read_page(&self, offset: u64, out: &mut [u8]) -> io::Result<bool> {
        match self.file.read(offset, out) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && self.role == Role::Reader => {
                Ok(false)
            }
            read => read.map(|()| true),
        }
    }

    /// Records the damaged page at `offset`, and returns an invalid page in its place.
    fn refuse(&self, offset: u64, out: &mut [u8]) {
        self.bad.note(offset);
        out.fill(NO_PAGE);
    }

    /// Reads the header, or the first bytes of it.
    fn read_header(&self, out: &mut [u8]) -> io::Result<()> {
        let _one_at_a_time = self.header.lock().unwrap_or_else(PoisonError::into_inner);
        self.file.read(0, out)?;
        let Some(header) = Header::parse(out) else {
            return Ok(());
        };
        if self.role == Role::Reader && !header.published().is_whole() {
            // A power loss can have torn the last write of the header. If the flags say that the
            // file was not closed, redb asks for a repair. Otherwise the primary slot is made
            // invalid as well, so that redb reports damage and does not use a commit that may not
            // be on disk.
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
        if !self.read_page(offset, out)? {
            self.refuse(offset, out);
            return Ok(());
        }
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
            // A failed write leaves the old bytes, the new ones or a mixture.
            Err(_) => self.known_mut().set(offset, UNKNOWN, 0),
        }
        written
    }

    locks_of_file!();
}

#[cfg(test)]
#[path = "checked_pages_tests.rs"]
mod tests;
