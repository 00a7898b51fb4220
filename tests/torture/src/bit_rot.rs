//! Silent damage: every read returns an error or the right data, and never panics.
//!
//! The store is opened as a host opens it, and some of the time with `verify_on_open`. With
//! `check_pages(false)` about one damage in twenty hides rows, or brings replaced ones back, although
//! every value has the right checksum: this is the bug to plant here.

use crate::campaign::{count_tried, tried_so_far};
use crate::child::{self, patient, say, scratch};
use crate::disk::Disk;
use crate::model::{Refusal, any_call};
use crate::pages::{PAGE_BYTES, Pages};
use crate::plant::Plant;
use crate::rng::Rng;
use crate::workload::{Workload, open, runtime};
use crate::world::{Context, RuntimeState, Violation, World, without_bytes};
use redb_runtime_store::error::RuntimeError;
use redb_runtime_store::interaction::{TranscriptQuery, WorkerInput};
use redb_runtime_store::{Runtime, Store};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;
use std::time::Duration;

/// The size of a file's header, which leads to all other bytes.
const HEADER_BYTES: usize = 320;

/// The bit that selects the last of redb's two commits. No checksum covers it, and in a file that was
/// not closed a flip of it cannot be distinguished from a commit that a crash interrupted.
const LAST_COMMIT: Damage = Damage::Bit { page: 0, bit: 72 };

/// A damage to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit of a used page flips.
    Bit {
        /// The page.
        page: u64,
        /// The bit within it.
        bit: usize,
    },
    /// The file ends early.
    Truncation(u64),
    /// The file is extended.
    Extension(u64),
    /// A page reads as zeros.
    Zeros(u64),
    /// Two pages stand in each other's place.
    Swap(u64, u64),
}

impl Damage {
    /// Any damage to `file`.
    pub fn any(file: &Pages, rng: &mut Rng) -> Self {
        let used = file.used();
        let page = *rng.pick(&used);
        match rng.below(100) {
            // The header: it leads to everything else.
            0..=9 => Self::Bit {
                page: 0,
                bit: rng.below(HEADER_BYTES * 8),
            },
            10..=79 => Self::Bit {
                page,
                bit: rng.below(PAGE_BYTES * 8),
            },
            // Not to zero bytes: on the simulated disk an empty file becomes a new store. `opening` in
            // the suite checks that an empty file is rejected.
            80..=84 => Self::Truncation(1 + rng.next() % (file.len() - 1)),
            85..=88 => Self::Extension(rng.next() % (1 << 20) + 1),
            89..=93 => Self::Zeros(page),
            _ => Self::Swap(page, *rng.pick(&used)),
        }
    }

    /// Applies the damage to `file`.
    pub fn apply(self, file: &mut Pages) {
        let at = |page: u64| page * PAGE_BYTES as u64;
        let read = |file: &Pages, page: u64| {
            let mut bytes = vec![0; PAGE_BYTES.min((file.len() - at(page)) as usize)];
            file.read(at(page), &mut bytes);
            bytes
        };
        match self {
            Self::Bit { page, bit } => {
                let mut bytes = read(file, page);
                let index = bit / 8 % bytes.len();
                bytes[index] ^= 1 << (bit % 8);
                file.write(at(page), &bytes);
            }
            Self::Truncation(len) => file.set_len(len),
            Self::Extension(bytes) => {
                let end = file.len();
                file.set_len(end + bytes);
                file.write(end, &vec![0xA5; bytes.min(64) as usize]);
            }
            Self::Zeros(page) => file.write(at(page), &vec![0; read(file, page).len()]),
            Self::Swap(one, other) => {
                let (first, second) = (read(file, one), read(file, other));
                let len = first.len().min(second.len());
                file.write(at(one), &second[..len]);
                file.write(at(other), &first[..len]);
            }
        }
    }
}

/// An undamaged store: its file and its content.
#[derive(Debug)]
pub struct Sound {
    file: Pages,
    world: World,
    is_closed: bool,
}

/// The results for damaged files.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Files that were damaged.
    pub tried: usize,
    /// Files that were rejected when they were opened.
    pub refused: usize,
    /// Files whose damage was found later.
    pub noticed: usize,
}

impl Sound {
    /// A store with the workload of `seed` and a long log.
    ///
    /// # Errors
    ///
    /// If the store cannot be created.
    pub fn of(seed: u64) -> Result<Self, Violation> {
        let what = "making a sound store";
        let mut rng = Rng::new(seed);
        let workload = Workload::any(50, &mut rng)?;
        let disk = Disk::default();
        let store = open(&disk).or_violation(what)?;
        let mut host = crate::workload::Host::new(disk.clone(), store, None);
        host.run(&workload.ops);
        let store = host.store();
        let log = runtime(store, "a long log").or_violation(what)?;
        for _ in 0..rng.between(1, 40) {
            let worker = log
                .create_worker(Default::default())
                .or_violation(what)?
                .worker_ref;
            let inputs = rng.between(0, 60);
            let sent = log.transaction(|tx| {
                (0..inputs).try_for_each(|_| {
                    tx.send_input(&worker, WorkerInput::user(rng.text(40)))
                        .map(drop)
                })
            });
            sent.or_violation(what)?;
        }
        let world = World::of(store).or_violation(what)?;
        let is_closed = rng.chance(70);
        if is_closed {
            store.close().or_violation(what)?;
        }
        Ok(Self {
            file: disk.content(),
            world,
            is_closed,
        })
    }

    /// Damages a copy of the file, opens it, reads everything and writes to it.
    ///
    /// # Errors
    ///
    /// Wrong data, or a panic.
    pub fn damage(
        &self,
        rng: &mut Rng,
        plant: Option<Plant>,
        counts: &mut Counts,
    ) -> Result<(), Violation> {
        let mut damage = Damage::any(&self.file, rng);
        while damage == LAST_COMMIT && !self.is_closed {
            damage = Damage::any(&self.file, rng);
        }
        let mut file = self.file.clone();
        damage.apply(&mut file);
        counts.tried += 1;
        count_tried(1);
        let met = catch_unwind(AssertUnwindSafe(|| self.meet(file, rng, plant)));
        let met = met.unwrap_or_else(|_| {
            let panic = crate::campaign::last_panic();
            Err(Violation(format!("a panic reached the caller: {panic}")))
        });
        match met.map_err(|violation| Violation(format!("{damage:?}: {violation}")))? {
            Met::Refused => counts.refused += 1,
            Met::Noticed => counts.noticed += 1,
            Met::Nothing => {}
        }
        Ok(())
    }

    fn meet(&self, file: Pages, rng: &mut Rng, plant: Option<Plant>) -> Result<Met, Violation> {
        // With a small cache pages are read repeatedly.
        let options = Store::options()
            .cache_bytes(1 << rng.between(12, 22))
            .verify_on_open(rng.chance(10))
            .check_pages(plant != Some(Plant::UncheckedPages));
        let store = match options.open_backend(Disk::with(file.clone())) {
            Ok(store) => store,
            Err(error) => {
                expect_damage("opening", &error)?;
                return Ok(Met::Refused);
            }
        };
        let mut reader = Reader {
            store: &store,
            noticed: false,
        };
        reader.read_all(&self.world, rng)?;
        if reader.noticed {
            check_verify_finds(&store, &file)?;
        }
        let after = reader.work(&self.world, rng)?;
        reader.read_all(&after, rng)?;
        Ok(if reader.noticed {
            Met::Noticed
        } else {
            Met::Nothing
        })
    }
}

/// Checks that `verify` finds the damage that reads found: in the rows, or in the pages of a file.
fn check_verify_finds(store: &Store, file: &Pages) -> Result<(), Violation> {
    let report = store
        .verify()
        .or_violation("verifying what cannot be read")?;
    if !report.is_clean() {
        return Ok(());
    }
    let directory = scratch()?;
    let path = directory.path().join("store.redb");
    std::fs::write(&path, file.to_bytes()).or_violation("writing the file")?;
    let Ok(store) = patient().open(&path) else {
        return Ok(());
    };
    let report = store
        .verify()
        .or_violation("verifying what cannot be read")?;
    match report.is_clean() {
        true => Err(Violation(format!("verify finds nothing: {report:?}"))),
        false => Ok(()),
    }
}

enum Met {
    Refused,
    Noticed,
    Nothing,
}

/// Whether damage may cause `error`: any error about the file, but none about its content.
fn expect_damage(what: &str, error: &RuntimeError) -> Result<(), Violation> {
    match error {
        RuntimeError::StoreCorrupt { .. }
        | RuntimeError::StoreIo { .. }
        | RuntimeError::StoreFailed { .. }
        | RuntimeError::CommitUncertain { .. }
        | RuntimeError::StoreSchemaTooNew { .. }
        | RuntimeError::NotAStore { .. } => Ok(()),
        other => Err(Violation(format!("{what}: {other:?}"))),
    }
}

struct Reader<'s> {
    store: &'s Store,
    noticed: bool,
}

impl Reader<'_> {
    /// Accepts an error of damage, or the right data.
    fn expect<T: PartialEq + Debug>(
        &mut self,
        what: &str,
        found: Result<T, RuntimeError>,
        right: &T,
    ) -> Result<(), Violation> {
        match found {
            Err(error) => {
                self.noticed = true;
                expect_damage(what, &error)
            }
            Ok(found) if found == *right => Ok(()),
            Ok(found) => Err(Violation(format!(
                "{what}: {found:?}\n  instead of {right:?}"
            ))),
        }
    }

    fn read_all(&mut self, world: &World, rng: &mut Rng) -> Result<(), Violation> {
        match World::of(self.store) {
            Err(error) => {
                self.noticed = true;
                expect_damage("reading a snapshot", &error)?;
            }
            Ok(found) => {
                if let Some(difference) = found.difference(world) {
                    return Err(Violation(format!("a snapshot: {difference}")));
                }
            }
        }
        let counts = self.store.runtimes().map(|all| {
            let counts = |one: redb_runtime_store::management::RuntimeSummary| {
                (one.runtime_id.as_str().to_owned(), one.worker_count)
            };
            all.into_iter().map(counts).collect::<Vec<_>>()
        });
        let right = world
            .0
            .iter()
            .map(|(id, state)| (id.clone(), state.workers.len()));
        self.expect("the list of runtimes", counts, &right.collect())?;
        for (id, state) in &world.0 {
            match runtime(self.store, id) {
                Ok(runtime) => self.read_runtime(&runtime, state, rng)?,
                Err(error) => {
                    self.noticed = true;
                    expect_damage("opening a runtime", &error)?;
                }
            }
        }
        Ok(())
    }

    fn read_runtime(
        &mut self,
        runtime: &Runtime,
        state: &RuntimeState,
        rng: &mut Rng,
    ) -> Result<(), Violation> {
        let own = &state.own.value;
        let status = runtime
            .summary()
            .map(|one| (one.status, one.diagnostic_count));
        self.expect("summary", status, &(own.status, own.diagnostics.len()))?;
        let diagnostics = runtime.diagnostics().map(|mut all| {
            without_bytes(&mut all);
            all
        });
        self.expect("diagnostics", diagnostics, &own.diagnostics)?;
        let listed = runtime.list_workers().map(|all| {
            let worker = |one: redb_runtime_store::catalog::WorkerSummary| {
                (
                    one.worker_id.as_str().to_owned(),
                    one.status,
                    one.transcript_len,
                )
            };
            all.into_iter().map(worker).collect::<Vec<_>>()
        });
        let right = state
            .workers
            .iter()
            .map(|(id, worker)| (id.clone(), worker.own.value.status, worker.end()));
        self.expect("the list of workers", listed, &right.collect())?;
        self.read_events(runtime, state, rng)?;
        for worker in state.workers.values() {
            let own = &worker.own.value;
            let detail = runtime.worker_detail(&own.worker_ref);
            let detail = detail.map(|one| (one.status, one.last_event_id, one.transcript_len));
            let right = (own.status, own.last_event_id, worker.end());
            self.expect("worker_detail", detail, &right)?;
            let start = rng.below(worker.transcript.len() + 1);
            let position = worker.first_position as usize + start;
            let query = TranscriptQuery::new(position, rng.between(0, 50));
            let page = runtime.transcript_projection(&own.worker_ref, query);
            let page = page.map(|page| (page.total_items, page.items));
            let entries = worker.transcript[start..].iter().take(query.limit);
            let right = entries.map(|entry| entry.value.clone()).collect();
            self.expect("a page of a transcript", page, &(worker.end(), right))?;
        }
        Ok(())
    }

    fn read_events(
        &mut self,
        runtime: &Runtime,
        state: &RuntimeState,
        rng: &mut Rng,
    ) -> Result<(), Violation> {
        for _ in 0..3 {
            let mut cursor = runtime.event_cursor_from_start().or_violation("a cursor")?;
            let from = rng.below(state.events.len() + 1);
            cursor.next_event_id = state
                .events
                .get(from)
                .map_or(state.own.value.next_event_id, |event| event.value.id);
            let limit = rng.between(1, 100);
            let batch = runtime.read_events(&cursor, limit);
            let batch = batch.map(|batch| (batch.events, batch.has_more));
            let page = state.events[from..].iter().take(limit);
            let page: Vec<_> = page.map(|event| event.value.clone()).collect();
            let has_more = from + page.len() < state.events.len();
            self.expect("a page of events", batch, &(page, has_more))?;
        }
        Ok(())
    }

    /// Makes a few calls. Returns the world after the acknowledged calls.
    fn work(&mut self, world: &World, rng: &mut Rng) -> Result<World, Violation> {
        let mut world = world.clone();
        for _ in 0..3 {
            let ids: Vec<String> = world.0.keys().cloned().collect();
            let id = rng.pick(&ids);
            let call = any_call(&world.0[id], rng);
            let mut after = world.clone();
            let expected = after.call(id, &call);
            let made = runtime(self.store, id).and_then(|one| call.make(&one));
            match (made, expected) {
                (Ok(ack), Ok(right)) if ack == right => world = after,
                (Err(error), Err(refusal)) if Refusal::of(&error) == Some(refusal) => {}
                (Err(error), _) => {
                    self.noticed = true;
                    expect_damage(&format!("{call:?}"), &error)?;
                    // After a failed write the store has to be opened again.
                    return Ok(world);
                }
                (Ok(ack), Ok(right)) => {
                    let what = format!("{call:?}: {ack:?} instead of {right:?}");
                    return Err(Violation(what));
                }
                (Ok(_), Err(_)) => return Err(Violation(format!("{call:?} was accepted"))),
            }
        }
        Ok(world)
    }
}

/// Starts a process that calls [`limited`] with these arguments.
pub type Start<'s> = &'s (dyn Fn(u64, usize, Option<Plant>) -> Command + Sync);

/// The address space of a process that reads damaged files, in bytes. The files have a few MB.
const MEMORY_BYTES: u64 = 1 << 30;

/// The time of such a process for each file. Two hundred files take six seconds without optimisation.
const TIME_PER_FILE: Duration = Duration::from_secs(1);

/// The prefix of the line in which a process of [`limited`] prints the number of cases up to a
/// violation.
const TRIED: &str = "broken after ";

/// The prefix of the line in which a process of [`limited`] prints its counts.
const COUNTED: &str = "counted ";

/// Damages the store of `seed` in `count` ways, in a separate process.
///
/// # Errors
///
/// As [`round`]; and if the process ends in any other way, as it does when a damage makes it exceed its
/// limits of memory or time.
pub fn limited_round(
    seed: u64,
    count: usize,
    plant: Option<Plant>,
    start: Start<'_>,
) -> Result<Counts, Violation> {
    let output = start(seed, count, plant).output();
    let output = output.or_violation("starting a process")?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() {
        let counted = said.lines().find_map(|line| line.strip_prefix(COUNTED));
        let numbers = counted.unwrap_or_default().split(' ').map(str::parse);
        return match numbers.collect::<Result<Vec<_>, _>>().as_deref() {
            Ok(&[tried, refused, noticed]) => Ok(Counts {
                tried,
                refused,
                noticed,
            }),
            _ => Err(Violation(format!("the process says no counts: {said}"))),
        };
    }
    let tried = said.lines().find_map(|line| line.strip_prefix(TRIED));
    count_tried(tried.and_then(|tried| tried.parse().ok()).unwrap_or(0));
    Err(Violation(format!(
        "{}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    )))
}

/// Limits the memory and the time of this process to the needs of a round, runs one and prints its
/// counts.
///
/// # Errors
///
/// As [`round`].
pub fn limited(seed: u64, count: usize, plant: Option<Plant>) -> Result<(), Violation> {
    let limit = |most| Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    setrlimit(Resource::As, limit(MEMORY_BYTES)).or_violation("limiting the memory")?;
    let files = u32::try_from(count).unwrap_or(u32::MAX);
    child::end_in(child::MOST_TIME.saturating_add(TIME_PER_FILE.saturating_mul(files)));
    crate::campaign::silence_rounds();
    let done = round(seed, count, plant);
    if done.is_err() {
        say(&format!("\n{TRIED}{}", tried_so_far()))?;
    }
    let done = done?;
    let (tried, refused, noticed) = (done.tried, done.refused, done.noticed);
    // A test harness may have begun a line.
    say(&format!("\n{COUNTED}{tried} {refused} {noticed}"))
}

/// Damages the store of `seed` in `count` ways.
///
/// # Errors
///
/// The first damage that leads to wrong data.
pub fn round(seed: u64, count: usize, plant: Option<Plant>) -> Result<Counts, Violation> {
    let sound = Sound::of(seed)?;
    let mut rng = Rng::new(seed).part(2);
    let mut counts = Counts::default();
    for _ in 0..count {
        sound.damage(&mut rng, plant, &mut counts)?;
    }
    Ok(counts)
}
