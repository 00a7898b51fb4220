//! The names of the tables. They are part of each value's checksum, so every engine has the same ones.

pub(crate) const META: &str = "meta";
pub(crate) const RUNTIMES: &str = "runtimes";
pub(crate) const WORKERS: &str = "workers";
pub(crate) const EVENTS: &str = "events";
pub(crate) const TRANSCRIPTS: &str = "transcripts";
pub(crate) const DIAGNOSTICS: &str = "diagnostics";
pub(crate) const IMPORTS: &str = "imports";

/// The key in `imports` of the record that belongs to no runtime of the store. No runtime can have this key,
/// since an id is not blank.
pub(crate) const NO_RUNTIME: &str = "";

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
    ];
    all.into_iter().find(|table| table.as_bytes() == name)
}
