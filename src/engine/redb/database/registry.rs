//! The registry of open stores: one store for each file and process.
//!
//! A second open of a file in the same process would conflict with the locks of the first one. So
//! an open of a file that this process already has open returns the same store, and a forgotten
//! handle never blocks a second open.

use crate::commit::within;
use crate::engine::redb::file::file_id::FileId;
use crate::fs::process::Process;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;

/// A key of the registry: a file, and whether it is open for writing.
type Place = (FileId, bool);

/// The registration that holds a place, and its store.
struct Entry<T> {
    registration: u64,
    held: Held<T>,
}

/// The state of a registered store.
enum Held<T> {
    /// The given thread is opening the store.
    Opening(ThreadId),
    /// The store is open. The reference is weak, so that the registry does not keep the store open;
    /// it is dead while the store is being closed.
    Open(Weak<T>),
}

/// How many processes, each a fork of the one before, can open stores.
const GENERATIONS: usize = 16;

/// The registries of a process and of those that it was forked from, each with its own stores.
///
/// A fork has a copy of its parent's registry, whose lock another thread may have held, and whose stores
/// are the parent's. So each process claims a registry of its own, without a lock.
pub(crate) struct Registries<T> {
    generations: [Generation<T>; GENERATIONS],
}

struct Generation<T> {
    /// The id of the process that claimed the registry, or zero.
    process: AtomicU32,
    registry: Registry<T>,
}

impl<T> Registries<T> {
    pub(crate) const fn new() -> Self {
        Self {
            generations: [const {
                Generation {
                    process: AtomicU32::new(0),
                    registry: Registry::new(),
                }
            }; GENERATIONS],
        }
    }

    /// The registry of the calling process; `None` if its ancestors claimed all.
    pub(crate) fn current(&self) -> Option<&Registry<T>> {
        let me = std::process::id();
        let mine = self.generations.iter().find(|generation| {
            let claimed =
                generation
                    .process
                    .compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire);
            claimed.map_or_else(|owner| owner == me, |_| true)
        });
        mine.map(|generation| &generation.registry)
    }
}

/// The stores of a process that are open or being opened, by file.
pub(crate) struct Registry<T> {
    places: Mutex<BTreeMap<Place, Entry<T>>>,
    changed: Condvar,
    next_registration: AtomicU64,
}

/// The right to a place in a registry. Dropping it frees the place.
pub(crate) struct Registration<T: 'static> {
    registry: &'static Registry<T>,
    place: Place,
    number: u64,
    process: Process,
}

impl<T> Registration<T> {
    /// The key under which the store that will hold this registration is [published](Registry::publish).
    pub(crate) fn key(&self) -> RegistrationKey {
        RegistrationKey {
            place: self.place,
            number: self.number,
        }
    }

    /// The file that the registration is for.
    pub(crate) fn file(&self) -> FileId {
        self.place.0
    }

    /// Frees the place, so that the file can be opened again while handles of this store still
    /// exist.
    pub(crate) fn vacate(&self) {
        let mut places = self.registry.lock();
        if places
            .get(&self.place)
            // A later open may already hold the place, under another number.
            .is_some_and(|entry| entry.registration == self.number)
        {
            places.remove(&self.place);
        }
        drop(places);
        self.registry.changed.notify_all();
    }
}

impl<T> Drop for Registration<T> {
    fn drop(&mut self) {
        // A fork has no part in its parent's registry.
        if self.process.is_current() {
            self.vacate();
        }
    }
}

/// Identifies a registration.
#[derive(Clone, Copy)]
pub(crate) struct RegistrationKey {
    place: Place,
    number: u64,
}

/// The result of [`Registry::find`].
pub(crate) enum Found<T: 'static> {
    /// This process has the store open.
    Open(Arc<T>),
    /// This process does not have the store open. Other opens of the file wait until the holder of
    /// this registration publishes a store or drops it.
    Vacant(Registration<T>),
    /// The calling thread would wait for itself: it is opening the store already, further up its stack.
    /// Or it could: it runs `on_repair` of another store, and another thread is opening this one.
    Within,
}

impl<T> Registry<T> {
    /// An empty registry.
    pub(crate) const fn new() -> Self {
        Self {
            places: Mutex::new(BTreeMap::new()),
            changed: Condvar::new(),
            next_registration: AtomicU64::new(1),
        }
    }

    /// Locks the map. A poisoned lock is ignored: each change of the map is one call, so a panic
    /// never leaves it half changed.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Entry<T>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Publishes `store`, which holds the registration `key`: later opens of its file get it.
    pub(crate) fn publish(&self, key: RegistrationKey, store: &Arc<T>) {
        let entry = Entry {
            registration: key.number,
            held: Held::Open(Arc::downgrade(store)),
        };
        self.lock().insert(key.place, entry);
        self.changed.notify_all();
    }

    /// Finds the open store in `file`, or registers the caller to open it. Waits while another
    /// thread opens or closes the file. A store that is open for writing is also returned for
    /// reading.
    pub(crate) fn find(&'static self, file: FileId, writable: bool) -> Found<T> {
        let mut places = self.lock();
        loop {
            let entry = places
                .get(&(file, true))
                .or_else(|| places.get(&(file, writable)));
            match entry {
                None => {
                    let place = (file, writable);
                    let number = self.next_registration.fetch_add(1, Ordering::Relaxed);
                    let entry = Entry {
                        registration: number,
                        held: Held::Opening(std::thread::current().id()),
                    };
                    places.insert(place, entry);
                    return Found::Vacant(Registration {
                        registry: self,
                        place,
                        number,
                        process: Process::current(),
                    });
                }
                Some(entry) => match &entry.held {
                    Held::Opening(thread)
                        if *thread == std::thread::current().id() || within::is_in_repair() =>
                    {
                        return Found::Within;
                    }
                    Held::Opening(_) => {}
                    Held::Open(store) => {
                        if let Some(store) = store.upgrade() {
                            return Found::Open(store);
                        }
                    }
                },
            }
            places = self
                .changed
                .wait(places)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}
