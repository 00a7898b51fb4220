use super::{Plan, Recovery, plan};
use crate::engine::redb::file::one_sync::{OneSync, OneSyncFile};
use crate::engine::redb::file::page_layout::{HEADER_BYTES, Header};
use crate::engine::redb::file::planted::Planted;
use redb::{Builder, Database, StorageBackend, TableDefinition};
use std::io;
use std::sync::{Arc, Mutex};

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");

const FLAGS: usize = 9;
const SECOND_IS_PRIMARY: u8 = 1;
const TWO_PHASE: u8 = 4;
const SLOTS: [usize; 2] = [64, 192];
const SLOT_BYTES: usize = 128;

/// A file in memory that counts its accesses.
#[derive(Clone, Debug, Default)]
struct Memory(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    syncs: usize,
    reads: usize,
}

impl Memory {
    fn of(bytes: Vec<u8>) -> Self {
        let memory = Self::default();
        memory.0.lock().unwrap().bytes = bytes;
        memory
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }
}

impl StorageBackend for Memory {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.reads += 1;
        let offset = offset as usize;
        out.copy_from_slice(&state.bytes[offset..offset + out.len()]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().bytes.resize(len as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.lock().unwrap().syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = offset as usize;
        self.0.lock().unwrap().bytes[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn commit(database: &Database, key: u64) {
    let mut transaction = database.begin_write().unwrap();
    transaction.set_two_phase_commit(true);
    let mut table = transaction.open_table(EVENTS).unwrap();
    table.insert(key, [7; 200].as_slice()).unwrap();
    drop(table);
    transaction.commit().unwrap();
}

/// A file with `rows` rows that was not closed, as the last two commits left it.
fn unclean(rows: u64) -> [Vec<u8>; 2] {
    let memory = Memory::default();
    let database = Builder::new().create_with_backend(memory.clone()).unwrap();
    let mut transaction = database.begin_write().unwrap();
    transaction.set_two_phase_commit(true);
    let mut table = transaction.open_table(EVENTS).unwrap();
    for key in 0..rows {
        table.insert(key, [7; 200].as_slice()).unwrap();
    }
    drop(table);
    transaction.commit().unwrap();
    commit(&database, rows);
    let before = memory.bytes();
    commit(&database, rows + 1);
    let images = [before, memory.bytes()];
    database.close().unwrap();
    images
}

/// What a recovery of `bytes` does: its outcome, the commits in the primary and the other slot after it, 0 for
/// the last commit of `unclean` and -1 for the one before, and how many pages it writes.
fn recovery(bytes: &[u8], commits: [u64; 2]) -> (Recovery, Option<(i64, i64)>, usize) {
    let file = Memory::of(bytes.to_vec());
    let Plan {
        outcome,
        rewrite,
        unproven,
        header,
    } = plan(&file, bytes.len() as u64, Planted::default())
        .unwrap()
        .unwrap();
    let ids = header.map(|header| {
        let header = Header::parse(&header).unwrap();
        assert!(header.is_two_phase() && header.is_unclean());
        let id = |id| commits.iter().position(|commit| *commit == id).unwrap() as i64 - 1;
        (id(header.primary().id()), id(header.secondary().id()))
    });
    let was_proven = bytes[FLAGS] & TWO_PHASE != 0;
    assert_eq!(unproven.is_some(), ids.is_some() && !was_proven);
    let is_unproven = |header: &Vec<u8>| !Header::parse(header).unwrap().is_two_phase();
    assert!(unproven.iter().all(is_unproven));
    (outcome, ids, rewrite.len())
}

/// The numbers of the commit before the last one and of the last.
fn commits(before: &[u8], after: &[u8]) -> [u64; 2] {
    [before, after].map(|bytes| Header::parse(bytes).unwrap().primary().id())
}

fn primary_slot(bytes: &[u8]) -> usize {
    SLOTS[usize::from(bytes[FLAGS] & SECOND_IS_PRIMARY != 0)]
}

fn other_slot(bytes: &[u8]) -> usize {
    SLOTS[usize::from(bytes[FLAGS] & SECOND_IS_PRIMARY == 0)]
}

fn changed(bytes: &[u8], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    change(&mut bytes);
    bytes
}

fn tear(bytes: &mut [u8], slot: usize) {
    bytes[slot + SLOT_BYTES - 1] ^= 0xFF;
}

#[test]
fn each_state_of_header_has_its_recovery() {
    let [before, after] = unclean(500);
    let last = commits(&before, &after);
    let none = (Recovery::Durable, None, 0);
    assert_eq!(recovery(&after, last), none);

    // The flag is set: the primary is trusted, and a later commit or a torn one goes.
    let torn = changed(&after, |bytes| tear(bytes, other_slot(bytes)));
    assert_eq!(recovery(&torn, last), (Recovery::Durable, Some((0, 0)), 0));
    let abandoned = changed(&before, |bytes| {
        let slot = other_slot(bytes);
        bytes[slot..slot + SLOT_BYTES].copy_from_slice(&after[slot..slot + SLOT_BYTES]);
    });
    assert_eq!(
        recovery(&abandoned, last),
        (Recovery::Durable, Some((-1, -1)), 0)
    );
    let damaged = changed(&after, |bytes| tear(bytes, primary_slot(bytes)));
    assert_eq!(recovery(&damaged, last), (Recovery::LeftToRedb, None, 0));

    // The flag is cleared: one slot is torn.
    let unproven = changed(&after, |bytes| bytes[FLAGS] &= !TWO_PHASE);
    let torn = changed(&unproven, |bytes| tear(bytes, primary_slot(bytes)));
    assert_eq!(
        recovery(&torn, last),
        (Recovery::Durable, Some((-1, -1)), 0)
    );
    let torn = changed(&unproven, |bytes| tear(bytes, other_slot(bytes)));
    assert_eq!(recovery(&torn, last), (Recovery::Durable, Some((0, 0)), 0));
    let torn = changed(&torn, |bytes| tear(bytes, primary_slot(bytes)));
    assert_eq!(recovery(&torn, last), (Recovery::LeftToRedb, None, 0));

    // Both are whole.
    let (outcome, ids, pages) = recovery(&unproven, last);
    assert_eq!(ids, Some((0, -1)));
    assert_eq!(
        outcome,
        Recovery::Completed {
            pages: pages as u64
        }
    );
    assert!((2..20).contains(&pages), "{pages}");
    // Of the header only the slot arrived, or only the flags.
    let flags_of_before = changed(&unproven, |bytes| bytes[FLAGS] ^= SECOND_IS_PRIMARY);
    assert_eq!(
        recovery(&flags_of_before, last),
        (outcome, Some((0, -1)), pages)
    );
    let equal = changed(&unproven, |bytes| {
        let (from, to) = (primary_slot(bytes), other_slot(bytes));
        bytes.copy_within(from..from + SLOT_BYTES, to);
    });
    let (outcome, ids, pages) = recovery(&equal, last);
    assert_eq!(
        (outcome, ids, pages),
        (Recovery::Completed { pages: 0 }, Some((0, 0)), 0)
    );
}

#[test]
fn lost_page_rolls_back_its_commit() {
    let [before, after] = unclean(500);
    let last = commits(&before, &after);
    let unproven = changed(&after, |bytes| bytes[FLAGS] &= !TWO_PHASE);
    let file = Memory::of(unproven.clone());
    let pages = plan(&file, unproven.len() as u64, Planted::default());
    let pages = pages.unwrap().unwrap().rewrite;
    let mut replaced = 0;
    for page in &pages {
        let range = page.offset as usize..page.offset as usize + page.bytes;
        let lost = changed(&unproven, |bytes| {
            bytes[range.clone()].copy_from_slice(&before[range.clone()]);
        });
        assert_ne!(lost, unproven);
        assert_eq!(
            recovery(&lost, last),
            (Recovery::RolledBack, Some((-1, -1)), 0)
        );
        replaced += replaced_pages(&before, &after, &lost, last);
    }
    assert!(replaced >= pages.len(), "{replaced}");
}

/// Damages each page of the commit before, and counts those that leave no whole commit in `lost`.
fn replaced_pages(before: &[u8], after: &[u8], lost: &[u8], last: [u64; 2]) -> usize {
    let pages = (4096..before.len()).step_by(4096);
    let is_kept = |at: usize| before[at..at + 4096] == after[at..at + 4096];
    let damaged = pages.filter(|at| is_kept(*at)).filter(|at| {
        let damaged = changed(lost, |bytes| bytes[*at..*at + 4096].fill(0xEE));
        let (outcome, ids, _) = recovery(&damaged, last);
        match outcome {
            Recovery::RolledBack => false,
            // Nothing is thrown away where neither commit is whole.
            Recovery::LeftToRedb => ids.is_none(),
            // Above the lost page a later commit seems to have begun, so the last one is kept with its damage.
            Recovery::Durable => ids != Some((0, -1)),
            Recovery::Completed { .. } => panic!("a page is lost"),
        }
    });
    damaged.count()
}

#[test]
fn overwritten_commit_before_proves_the_last() {
    let [before, after] = unclean(500);
    let last = commits(&before, &after);
    let unproven = changed(&after, |bytes| bytes[FLAGS] &= !TWO_PHASE);
    let mut proven = 0;
    for at in (4096..after.len()).step_by(4096) {
        // Pages that the last commit did not write, among them those that it replaced.
        if before[at..at + 4096] != after[at..at + 4096] {
            continue;
        }
        let overwritten = changed(&unproven, |bytes| bytes[at..at + 4096].fill(0xEE));
        match recovery(&overwritten, last) {
            (Recovery::Completed { .. }, Some((0, -1)), _) => {}
            (Recovery::Durable, Some((0, -1)), 0) => proven += 1,
            other => panic!("page at {at}: {other:?}"),
        }
    }
    assert!(proven >= 2, "{proven}");
}

#[test]
fn recovery_reads_only_what_changed() {
    let reads = |rows| {
        let [_, after] = unclean(rows);
        let file = Memory::of(changed(&after, |bytes| bytes[FLAGS] &= !TWO_PHASE));
        plan(&file, after.len() as u64, Planted::default()).unwrap();
        file.0.lock().unwrap().reads
    };
    let (few, many) = (reads(500), reads(50_000));
    assert!(many < few + 20, "{few} {many}");
}

#[test]
fn commit_of_one_sync_is_proven_after_it() {
    let memory = Memory::default();
    let one_sync = OneSync::default();
    let backend = OneSyncFile::new(memory.clone(), one_sync.clone(), Planted::default());
    let database = Builder::new().create_with_backend(backend).unwrap();
    commit(&database, 0);
    let syncs = || memory.0.lock().unwrap().syncs;
    let count = |write: &dyn Fn()| {
        let before = syncs();
        write();
        syncs() - before
    };
    assert_eq!(count(&|| commit(&database, 1)), 2);
    let armed = || {
        let _armed = one_sync.arm();
        commit(&database, 2);
    };
    assert_eq!(count(&armed), 1);
    assert_eq!(count(&|| commit(&database, 3)), 2, "disarmed");
    let bytes = memory.bytes();
    let header = Header::parse(&bytes[..HEADER_BYTES]).unwrap();
    assert!(header.is_two_phase() && header.secondary().id() < header.primary().id());
}
