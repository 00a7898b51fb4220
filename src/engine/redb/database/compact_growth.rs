//! Makes a new file grow so that it is compact once it is filled.
//!
//! redb allocates pages from the smallest free block that is large enough; blocks have powers of two
//! pages. It grows a file by doubling. A new file has 257 pages, so after each doubling it ends in a
//! block of one 257th of its pages, which redb uses before the large block in front of it. Then the
//! file cannot be cut off after its used pages when it is closed, and stays as large as it grew: up
//! to twice what it needs. A file with a power of two pages has no such block, and its doubles
//! neither.
//!
//! redb takes over the length of a closed file, and adds the pages behind its end to the free ones.

use crate::engine::redb::file::page_layout::PAGE_BYTES;
use crate::fs::steps::{Change, attempt};
use std::fs::File;
use std::io;

/// The pages of a new file: 16 MiB. A value that needs more than half of the free space would make
/// redb grow the file by another amount.
const PAGES: u64 = 4096;

/// Extends the closed and almost empty database in `file`. The system stores the new pages once they
/// are written.
pub(crate) fn prepare(file: &File) -> io::Result<()> {
    attempt(Change::SetLen)?;
    // The header has a page of its own.
    file.set_len((1 + PAGES) * PAGE_BYTES)
}
