//! Finds the processes that hold locks on the file of a store.
//!
//! On Linux `/proc/<pid>/fdinfo/<fd>` lists the locks of each open file. It is readable for
//! processes of the same user, or for the superuser. Other systems do not list them.

use crate::engine::redb::file::file_id::FileId;
use std::ops::Bound;

/// The bytes that redb 4.5 locks (its design document, "Lock bytes"). They lie far past the end of
/// any file: first the bytes of writers, then one byte for each commit that a snapshot reads.
const WRITER_BYTES: std::ops::RangeInclusive<u64> = (1 << 62)..=SHARED_WRITER_BYTE;
/// Locked by every process that has the file open for writing: exclusively by a single writer,
/// shared by several.
pub(crate) const SHARED_WRITER_BYTE: u64 = (1 << 62) + 1;
/// Held by a process that has the file open for writing, from when it has repaired the file.
pub(crate) const CONSISTENT_BYTE: u64 = (1 << 62) + 4;
const FIRST_STATE_BYTE: u64 = (1 << 62) + 1024;

/// A byte-range lock on a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct HeldLock {
    pid: u32,
    is_exclusive: bool,
    start: u64,
    end: u64,
}

impl HeldLock {
    fn overlaps(&self, bytes: &std::ops::RangeInclusive<u64>) -> bool {
        self.start <= *bytes.end() && *bytes.start() <= self.end
    }
}

/// The process that prevents others from opening `file`, if the system lists its locks.
pub(crate) fn holder(file: FileId) -> Option<u32> {
    let me = std::process::id();
    let mut locks = locks_on(file);
    locks.retain(|lock| lock.pid != me);
    in_the_way(&locks)
}

/// The process that keeps others from locking `range` of `file`, where the system reports it.
pub(crate) fn holder_of(
    file: FileId,
    range: (Bound<u64>, Bound<u64>),
    is_shared: bool,
) -> Option<u32> {
    let me = std::process::id();
    let (Bound::Included(start), end) = range else {
        return None;
    };
    let end = match end {
        Bound::Included(end) => end,
        Bound::Excluded(end) => end.saturating_sub(1),
        Bound::Unbounded => u64::MAX,
    };
    let conflicts = |lock: &HeldLock| {
        lock.pid != me && lock.overlaps(&(start..=end)) && (lock.is_exclusive || !is_shared)
    };
    let lock = locks_on(file).into_iter().find(conflicts);
    lock.map(|lock| lock.pid)
}

/// The process among `locks` that prevents an open. Readers hold locks too, and locks of the header
/// are short. So a lock on the bytes of writers decides first.
fn in_the_way(locks: &[HeldLock]) -> Option<u32> {
    let writer = |lock: &&HeldLock| lock.overlaps(&WRITER_BYTES);
    let lock = locks
        .iter()
        .find(|lock| lock.is_exclusive && writer(lock))
        .or_else(|| locks.iter().find(writer))
        .or_else(|| locks.iter().find(|lock| lock.is_exclusive))
        .or_else(|| locks.first());
    lock.map(|lock| lock.pid)
}

/// A process with snapshots of a file: the ids of the oldest and the newest commit that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) pid: u32,
    pub(crate) oldest: u64,
    pub(crate) newest: u64,
}

/// The processes with snapshots of `file`. Empty if the system does not list locks.
pub(crate) fn readers(file: FileId) -> Vec<Reads> {
    // The system merges adjacent locks, so a process with snapshots of successive commits has one
    // lock. An exclusive lock in this range is a scan of a writer. A lock without an end belongs to
    // a reader in the exclusive mode, which locks the whole file.
    locks_on(file)
        .into_iter()
        .filter(|lock| !lock.is_exclusive && lock.start >= FIRST_STATE_BYTE && lock.end != u64::MAX)
        .map(|lock| Reads {
            pid: lock.pid,
            oldest: lock.start - FIRST_STATE_BYTE,
            newest: lock.end - FIRST_STATE_BYTE,
        })
        .collect()
}

/// Every lock on `file`. Processes that cannot be read, or end meanwhile, are left out.
#[cfg(target_os = "linux")]
fn locks_on(file: FileId) -> Vec<HeldLock> {
    let mut locks = Vec::new();
    let processes = std::fs::read_dir("/proc").into_iter().flatten();
    for process in processes.filter_map(Result::ok) {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let files = std::fs::read_dir(process.path().join("fd"));
        for open in files.into_iter().flatten().filter_map(Result::ok) {
            let info = process.path().join("fdinfo").join(open.file_name());
            let info = std::fs::read_to_string(info).unwrap_or_default();
            let held: Vec<_> = info.lines().filter_map(|line| parse(pid, line)).collect();
            // Only files with locks are asked for their identity: a file of a dead network mount never
            // answers.
            if held.is_empty() {
                continue;
            }
            let metadata = std::fs::metadata(open.path());
            if metadata.ok().and_then(|metadata| FileId::of(&metadata)) == Some(file) {
                locks.extend(held);
            }
        }
    }
    locks
}

#[cfg(not(target_os = "linux"))]
fn locks_on(_: FileId) -> Vec<HeldLock> {
    Vec::new()
}

/// The byte-range lock in a line like `lock: 1: OFDLCK ADVISORY WRITE -1 fe:00:42 0 EOF`.
#[cfg(target_os = "linux")]
fn parse(pid: u32, line: &str) -> Option<HeldLock> {
    let mut words = line.strip_prefix("lock:")?.split_whitespace().skip(1);
    // redb takes its range locks as locks of open files, and `flock` only in addition.
    if words.next()? != "OFDLCK" {
        return None;
    }
    let is_exclusive = words.nth(1)? == "WRITE";
    let start = words.nth(2)?.parse().ok()?;
    let end = match words.next()? {
        "EOF" => u64::MAX,
        end => end.parse().ok()?,
    };
    Some(HeldLock {
        pid,
        is_exclusive,
        start,
        end,
    })
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::{FIRST_STATE_BYTE, HeldLock, SHARED_WRITER_BYTE, in_the_way, parse};

    #[test]
    fn a_writer_is_in_the_way_and_not_whoever_else_has_a_lock() {
        let lock = |pid, is_exclusive, start, end| HeldLock {
            pid,
            is_exclusive,
            start,
            end,
        };
        let reads = lock(1, false, FIRST_STATE_BYTE, FIRST_STATE_BYTE);
        let header = lock(2, true, 0, 319);
        let one_of_many = lock(3, false, SHARED_WRITER_BYTE, SHARED_WRITER_BYTE);
        let writer = lock(4, true, SHARED_WRITER_BYTE - 1, SHARED_WRITER_BYTE);
        let exclusive = lock(5, true, 0, u64::MAX);
        for (locks, pid) in [
            (vec![reads, header, one_of_many, writer], Some(4)),
            (vec![reads, header, one_of_many], Some(3)),
            (vec![reads, header], Some(2)),
            (vec![reads, exclusive], Some(5)),
            (vec![reads], Some(1)),
            (vec![], None),
        ] {
            assert_eq!(in_the_way(&locks), pid, "{locks:?}");
        }
    }

    #[test]
    fn a_line_of_the_system_reads_as_the_lock_it_lists() {
        let lock = |is_exclusive, start, end| {
            Some(HeldLock {
                pid: 7,
                is_exclusive,
                start,
                end,
            })
        };
        let write = "lock:\t1: OFDLCK  ADVISORY  WRITE -1 fe:00:42 4611686018427387904 EOF";
        assert_eq!(parse(7, write), lock(true, 1 << 62, u64::MAX));
        let read = "lock:\t2: OFDLCK  ADVISORY  READ -1 fe:00:42 5 6";
        assert_eq!(parse(7, read), lock(false, 5, 6));
        for other in [
            "lock:\t1: FLOCK  ADVISORY  WRITE 7 fe:00:42 0 EOF",
            "lock:\t1: OFDLCK  ADVISORY  READ -1",
            "pos:\t0",
            "",
        ] {
            assert_eq!(parse(7, other), None, "{other}");
        }
    }
}
