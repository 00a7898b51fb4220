//! The stores that are open in this process, by the file they are in.
//!
//! A file's locks tell processes apart, not the parts of one. So an open of a file that this
//! process has open already gives the same store, and a handle that somebody kept never blocks a
//! reopen.

use super::shared::Shared;
use std::collections::BTreeMap;
use std::fs::Metadata;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::ThreadId;

/// A file, whatever path leads to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    #[cfg(unix)]
    pub(crate) fn of(metadata: &Metadata) -> Option<Self> {
        use std::os::unix::fs::MetadataExt;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        })
    }

    /// Elsewhere files have no identity that can be had safely: stores are not shared.
    #[cfg(not(unix))]
    pub(crate) fn of(_: &Metadata) -> Option<Self> {
        None
    }
}

/// A place in the registry: which file, and whether it is open for writing.
type Place = (FileId, bool);

/// Who holds a place.
struct Entry {
    registration: u64,
    held: Held,
}

enum Held {
    /// By the thread that opens the store.
    Opening(ThreadId),
    /// By the store. Dead while it is being closed.
    Open(Weak<Shared>),
}

static PLACES: Mutex<BTreeMap<Place, Entry>> = Mutex::new(BTreeMap::new());
static CHANGED: Condvar = Condvar::new();
static NEXT_REGISTRATION: AtomicU64 = AtomicU64::new(1);

/// The map is whole after any panic: each change of it is one call.
fn lock() -> MutexGuard<'static, BTreeMap<Place, Entry>> {
    PLACES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The right to a place in the registry; given up when dropped.
#[derive(Debug)]
pub(crate) struct Registration {
    place: Place,
    number: u64,
}

impl Registration {
    /// Makes `shared`, which holds the registration `number` of `place`, known to later opens.
    pub(crate) fn publish((place, number): (Place, u64), shared: &Arc<Shared>) {
        let entry = Entry {
            registration: number,
            held: Held::Open(Arc::downgrade(shared)),
        };
        lock().insert(place, entry);
        CHANGED.notify_all();
    }

    pub(crate) fn key(&self) -> (Place, u64) {
        (self.place, self.number)
    }

    /// The file that it is for.
    pub(crate) fn file(&self) -> FileId {
        self.place.0
    }

    /// Gives the place up, so that the file can be opened again while handles are left over.
    pub(crate) fn vacate(&self) {
        let mut places = lock();
        if places
            .get(&self.place)
            .is_some_and(|entry| entry.registration == self.number)
        {
            places.remove(&self.place);
        }
        drop(places);
        CHANGED.notify_all();
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.vacate();
    }
}

/// What an open finds.
pub(crate) enum Found {
    /// This process has the store open.
    Open(Arc<Shared>),
    /// It has not, and waits for the holder of this registration to open it.
    Vacant(Registration),
    /// This very thread is opening it, further up its stack: it would wait for itself.
    Within,
}

/// Finds the store in `file`, or registers the caller to open it. Waits for an open or a close of
/// the same file that is under way. A store that is open for writing serves readers too.
pub(crate) fn find(file: FileId, writable: bool) -> Found {
    let mut places = lock();
    loop {
        let entry = places
            .get(&(file, true))
            .or_else(|| places.get(&(file, writable)));
        match entry {
            None => {
                let place = (file, writable);
                let number = NEXT_REGISTRATION.fetch_add(1, Ordering::Relaxed);
                let entry = Entry {
                    registration: number,
                    held: Held::Opening(std::thread::current().id()),
                };
                places.insert(place, entry);
                return Found::Vacant(Registration { place, number });
            }
            Some(entry) => match &entry.held {
                Held::Opening(thread) if *thread == std::thread::current().id() => {
                    return Found::Within;
                }
                Held::Opening(_) => {}
                Held::Open(shared) => {
                    if let Some(shared) = shared.upgrade() {
                        return Found::Open(shared);
                    }
                }
            },
        }
        places = CHANGED.wait(places).unwrap_or_else(PoisonError::into_inner);
    }
}
