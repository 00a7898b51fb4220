//! The stores that are open in this process, by the file they are in.
//!
//! A file's locks tell processes apart, not the parts of one. So an open of a file that this
//! process has open already gives the same store, and a handle that somebody kept never blocks a
//! reopen.

use crate::engine::redb::file::file_id::FileId;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;

/// A place in the registry: a file, and whether it is open for writing.
type Place = (FileId, bool);

/// The holder of a place.
struct Entry<T> {
    registration: u64,
    held: Held<T>,
}

enum Held<T> {
    /// The thread that opens the store.
    Opening(ThreadId),
    /// The store. Dead while it is being closed.
    Open(Weak<T>),
}

/// The stores of a process that are open or being opened, by file.
pub(crate) struct Registry<T> {
    places: Mutex<BTreeMap<Place, Entry<T>>>,
    changed: Condvar,
    next_registration: AtomicU64,
}

/// The right to a place in a registry; given up when dropped.
pub(crate) struct Registration<T: 'static> {
    registry: &'static Registry<T>,
    place: Place,
    number: u64,
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

    /// Gives the place up, so that the file can be opened again while handles are left over.
    pub(crate) fn vacate(&self) {
        let mut places = self.registry.lock();
        if places
            .get(&self.place)
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
        self.vacate();
    }
}

/// Names a registration.
#[derive(Clone, Copy)]
pub(crate) struct RegistrationKey {
    place: Place,
    number: u64,
}

/// The result of looking for an open store.
pub(crate) enum Found<T: 'static> {
    /// This process has the store open.
    Open(Arc<T>),
    /// This process does not have the store open, and others wait for the holder of this registration
    /// to open it.
    Vacant(Registration<T>),
    /// The calling thread is opening the store further up its stack: it would wait for itself.
    Within,
}

impl<T> Registry<T> {
    pub(crate) const fn new() -> Self {
        Self {
            places: Mutex::new(BTreeMap::new()),
            changed: Condvar::new(),
            next_registration: AtomicU64::new(1),
        }
    }

    /// The map is whole after any panic: each change of it is one call.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Place, Entry<T>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes `store`, which holds the registration `key`, known to later opens.
    pub(crate) fn publish(&self, key: RegistrationKey, store: &Arc<T>) {
        let entry = Entry {
            registration: key.number,
            held: Held::Open(Arc::downgrade(store)),
        };
        self.lock().insert(key.place, entry);
        self.changed.notify_all();
    }

    /// Finds the store in `file`, or registers the caller to open it. Waits for an open or a close of
    /// the same file that is under way. A store that is open for writing serves readers too.
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
                    });
                }
                Some(entry) => match &entry.held {
                    Held::Opening(thread) if *thread == std::thread::current().id() => {
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
