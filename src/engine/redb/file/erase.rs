//! Overwrites the bytes of a file that no row of the last commit is in.
//!
//! redb removes a row by moving the others of its page together, or by writing a new page. It clears neither the
//! bytes after the content of a page nor a page that became free, and its compaction copies pages as they are. So
//! removed text can be read from a compacted file. This pass writes zeros there.
//!
//! No crash or power loss in the middle damages the store, because redb reads none of these bytes:
//!
//! - The checksum of a page covers its content alone, and redb reads no byte after it. A torn write of a sector leaves
//!   the content as it was, because the write does not include it.
//! - A page is free if the last commit does not reach it and does not list it for the snapshots of other processes. The
//!   last commit is durable, so that no recovery returns to the commit before it.

use crate::engine::redb::file::page_layout::{HEADER_BYTES, Header, PAGE_BYTES, Reference};
use crate::engine::redb::file::page_walk::{Walk, each_replaced};
use redb::StorageBackend;
use std::io;

/// The number of free pages that are read at a time.
const CHUNK_PAGES: usize = 64;

/// Overwrites the unused bytes of all pages of the last commit in `file`, and all free pages, and syncs the file.
/// Returns `false` if a page is damaged: the pages below it look free, so no free page is overwritten.
///
/// The caller excludes commits of every process. It drops all copies of the overwritten bytes, such as the page cache of
/// redb, since a page is written from its copy later.
pub(crate) fn erase_unused(file: &impl StorageBackend) -> io::Result<bool> {
    let mut header = vec![0; HEADER_BYTES];
    file.read(0, &mut header)?;
    let is_durable = |header: Header<'_>| header.is_two_phase() || !header.is_unclean();
    let is_durable = Header::parse(&header).is_some_and(is_durable);
    let Some((walk, roots)) = Walk::of(file)?.filter(|_| is_durable) else {
        return Ok(false);
    };
    let mut pass = Pass {
        is_used: vec![false; usize::try_from(walk.len / PAGE_BYTES).unwrap_or(0)],
        walk,
        has_written: false,
    };
    pass.mark((0, PAGE_BYTES));
    let is_whole = pass.pages(roots)? && each_replaced(file, |_, place| pass.mark(place))?;
    if is_whole {
        pass.region_headers();
        pass.free_pages()?;
    }
    if pass.has_written {
        file.sync_data()?;
    }
    Ok(is_whole)
}

struct Pass<'a, B> {
    walk: Walk<'a, B>,
    /// Whether a page of 4096 bytes has to stay.
    is_used: Vec<bool>,
    has_written: bool,
}

impl<B: StorageBackend> Pass<'_, B> {
    fn mark(&mut self, (offset, bytes): (u64, u64)) {
        let pages = |bytes: u64| usize::try_from(bytes / PAGE_BYTES).unwrap_or(usize::MAX);
        let marked = self.is_used.iter_mut().skip(pages(offset));
        marked
            .take(pages(bytes))
            .for_each(|is_used| *is_used = true);
    }

    /// Marks all pages below the roots, and overwrites the bytes after their content. Returns whether all are whole.
    fn pages(&mut self, roots: Vec<Reference>) -> io::Result<bool> {
        let (mut open, mut page) = (roots, Vec::new());
        let mut is_whole = true;
        while let Some(next) = open.pop() {
            let (offset, bytes) = self.walk.geometry.place(next.number);
            self.mark((offset, bytes));
            let is_same = self.walk.read(offset, bytes, &mut page)?
                && next.tree.sum(&page) == Some(next.sum)
                && next
                    .tree
                    .references(&page, |below| open.push(below))
                    .is_some();
            match next.tree.end(&page).filter(|_| is_same) {
                Some(end) => self.overwrite(offset + end as u64, &page[end..])?,
                None => is_whole = false,
            }
        }
        Ok(is_whole)
    }

    fn region_headers(&mut self) {
        let starts = (0..).map(|before| self.walk.geometry.region_header(before));
        let headers: Vec<_> = starts.take_while(|(at, _)| *at < self.walk.len).collect();
        headers.into_iter().for_each(|place| self.mark(place));
    }

    fn free_pages(&mut self) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut next = 0;
        while let Some(free) = self.is_used[next..].iter().position(|is_used| !is_used) {
            let start = next + free;
            let run = self.is_used[start..]
                .iter()
                .take_while(|is_used| !**is_used);
            next = start + run.take(CHUNK_PAGES).count();
            let offset = start as u64 * PAGE_BYTES;
            bytes.resize((next - start) * PAGE_BYTES as usize, 0);
            self.walk.file.read(offset, &mut bytes)?;
            self.overwrite(offset, &bytes)?;
        }
        Ok(())
    }

    /// Writes zeros over `bytes` at `offset`, unless there are only zeros. A sparse file stays sparse.
    fn overwrite(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        self.has_written = true;
        self.walk.file.write(offset, &vec![0; bytes.len()])
    }
}

#[cfg(test)]
#[path = "erase_tests.rs"]
mod tests;
