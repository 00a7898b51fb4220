//! The names of the tables. They are part of each value's checksum, so every engine has the same ones.

pub(crate) const META: &str = "meta";
pub(crate) const RUNTIMES: &str = "runtimes";
pub(crate) const WORKERS: &str = "workers";
pub(crate) const EVENTS: &str = "events";
pub(crate) const TRANSCRIPTS: &str = "transcripts";
pub(crate) const DIAGNOSTICS: &str = "diagnostics";
pub(crate) const IMPORTS: &str = "imports";
pub(crate) const TOMBSTONES: &str = "tombstones";
pub(crate) const FILES: &str = "files";

/// The key in `meta` of the id of the store.
pub(crate) const STORE_ID: &str = "store_id";

/// The key in `meta` of the number of the last opening for writing that recorded open work.
pub(crate) const OPENINGS: &str = "openings";

/// The key in `imports` of the record that belongs to no runtime of the store. No runtime can have this key,
/// since an id is not blank.
pub(crate) const NO_RUNTIME: &str = "";

/// The first part of the keys in `tombstones` that name runtimes with unfinished deletions. No runtime can have this
/// id, and the keys are the first of the table: one seek finds whether there are any.
pub(crate) const UNFINISHED: &str = "";

/// The table whose name has these bytes.
pub(crate) fn with_name(name: &[u8]) -> Option<&'static str> {
    let all = [
        META,
        RUNTIMES,
        WORKERS,
        EVENTS,
        TRANSCRIPTS,
        DIAGNOSTICS,
        IMPORTS,
        TOMBSTONES,
        FILES,
    ];
    all.into_iter().find(|table| table.as_bytes() == name)
}
