//! The content of a disk, in pages that copies share until one of them writes.

use std::sync::Arc;

/// The bytes of a page, the unit in which a file system writes.
pub const PAGE_BYTES: usize = 4096;

type Page = [u8; PAGE_BYTES];

/// The content of a file. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Pages {
    pages: Vec<Arc<Page>>,
    len: u64,
}

/// The part of page `index` that `offset..offset + len` covers, and where in the range it begins.
fn part(index: u64, offset: u64, len: usize) -> (std::ops::Range<usize>, usize) {
    let page_start = index * PAGE_BYTES as u64;
    let start = offset.max(page_start);
    let end = (offset + len as u64).min(page_start + PAGE_BYTES as u64);
    let in_page = (start - page_start) as usize..(end - page_start) as usize;
    (in_page, (start - offset) as usize)
}

fn covered(offset: u64, len: usize) -> std::ops::Range<u64> {
    offset / PAGE_BYTES as u64..(offset + len as u64).div_ceil(PAGE_BYTES as u64)
}

impl Pages {
    /// A file with these bytes.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut pages = Self::default();
        pages.write(0, bytes);
        pages
    }

    /// All bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len as usize];
        self.read(0, &mut bytes);
        bytes
    }

    /// The length of the file, in bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the file has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Reads `out.len()` bytes from `offset`; returns false if the file ends before.
    pub fn read(&self, offset: u64, out: &mut [u8]) -> bool {
        if offset + out.len() as u64 > self.len {
            return false;
        }
        for index in covered(offset, out.len()) {
            let (in_page, at) = part(index, offset, out.len());
            let bytes = in_page.len();
            out[at..at + bytes].copy_from_slice(&self.pages[index as usize][in_page]);
        }
        true
    }

    /// Writes `data` at `offset`; the file grows if it ends before.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        if offset + data.len() as u64 > self.len {
            self.set_len(offset + data.len() as u64);
        }
        for index in covered(offset, data.len()) {
            let (in_page, at) = part(index, offset, data.len());
            let bytes = in_page.len();
            let page = Arc::make_mut(&mut self.pages[index as usize]);
            page[in_page].copy_from_slice(&data[at..at + bytes]);
        }
    }

    /// Sets the length. New bytes are zeros.
    pub fn set_len(&mut self, len: u64) {
        let in_last = (len % PAGE_BYTES as u64) as usize;
        if len < self.len && in_last > 0 {
            let last = Arc::make_mut(&mut self.pages[(len / PAGE_BYTES as u64) as usize]);
            last[in_last..].fill(0);
        }
        let count = len.div_ceil(PAGE_BYTES as u64) as usize;
        if count > self.pages.len() {
            self.pages.resize(count, Arc::new([0; PAGE_BYTES]));
        } else {
            self.pages.truncate(count);
        }
        self.len = len;
    }

    /// The numbers of the pages that are not all zeros.
    pub fn used(&self) -> Vec<u64> {
        let is_used = |page: &Arc<Page>| page.iter().any(|byte| *byte != 0);
        let numbered = self.pages.iter().zip(0_u64..);
        let used = numbered.filter(|(page, _)| is_used(page));
        used.map(|(_, number)| number).collect()
    }
}
