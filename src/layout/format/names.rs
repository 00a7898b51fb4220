//! The names of the layout. The name of the directory of an id is `id-` and the UTF-8 bytes of the id in
//! lower-case hex: an id can contain characters that a file name cannot.

use crate::model::identity::{ID_PREFIX, RuntimeId, WorkerId, bytes_of_hex, directory_name};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The longest file name, in bytes, on all common file systems.
pub(crate) const MAX_NAME_BYTES: usize = 255;

/// The directory with the runtime directories.
pub(crate) const RUNTIMES: &str = "runtimes";

/// The directory with the worker directories.
pub(crate) const WORKERS: &str = "workers";

/// The prefix of the temporary names of an export.
pub(crate) const EXPORT_PREFIX: &str = ".export.tmp-";

/// The prefix of the name of a directory that an export replaces, on systems that cannot exchange two
/// directories atomically.
pub(crate) const EXPORT_OLD_PREFIX: &str = ".export.old-";

/// The prefix of the name of the complete directory that replaces it.
pub(crate) const EXPORT_NEW_PREFIX: &str = ".export.new-";

const PREFIX: &str = ID_PREFIX;

/// An id that names a directory.
pub(crate) trait NamedId: Sized {
    /// The id; `None` if `text` is blank.
    fn from_text(text: String) -> Option<Self>;
}

impl NamedId for RuntimeId {
    fn from_text(text: String) -> Option<Self> {
        Self::new(text)
    }
}

impl NamedId for WorkerId {
    fn from_text(text: String) -> Option<Self> {
        Self::new(text)
    }
}

/// The name of the directory of `id`. It can be longer than [`MAX_NAME_BYTES`].
pub(crate) fn encode(id: &str) -> String {
    directory_name(id)
}

/// The id of the directory `name`, or the reason why the name encodes none. Only the name that [`encode`]
/// returns is accepted, so that no id has two directories.
pub(crate) fn decode<T: NamedId>(name: &[u8]) -> Result<T, String> {
    let hex = name
        .strip_prefix(PREFIX.as_bytes())
        .ok_or("the name of a directory here must be `id-` and an id in hex")?;
    if hex.len() % 2 != 0 {
        return Err("an odd number of hex digits after `id-`".into());
    }
    let Some(bytes) = bytes_of_hex(hex) else {
        return Err(match hex.iter().all(u8::is_ascii_hexdigit) {
            true => "the hex digits after `id-` must be lower-case".into(),
            false => "not only hex digits after `id-`".into(),
        });
    };
    let text = String::from_utf8(bytes).map_err(|_| "the hex digits after `id-` are not UTF-8")?;
    T::from_text(text).ok_or_else(|| "the name encodes a blank id".into())
}

/// The name of the entry of a runtime that lies in the root of its directory.
pub(crate) const IN_ROOT: &str = ".";

/// Whether the runtime directory `name` is the root.
pub(crate) fn is_in_root(name: &str) -> bool {
    name == IN_ROOT
}

/// The name of the directory of a worker. In a runtime in the root it is the id.
pub(crate) fn of_worker(id: &str, is_in_root: bool) -> String {
    match is_in_root {
        true => id.to_owned(),
        false => encode(id),
    }
}

/// The inverse of [`of_worker`], or the reason why the name is that of no worker.
pub(crate) fn worker_of(name: &[u8], is_in_root: bool) -> Result<WorkerId, String> {
    if !is_in_root {
        return decode(name);
    }
    let text = std::str::from_utf8(name).map_err(|_| "the name is not UTF-8")?;
    WorkerId::new(text).ok_or_else(|| "the name is a blank id".into())
}

/// Whether a name is that of a directory that an export was putting into the place of another one.
pub(crate) fn is_begun_replacement(name: &OsStr) -> bool {
    name.as_bytes().starts_with(EXPORT_NEW_PREFIX.as_bytes())
}

/// Whether a name is a temporary name of an export.
pub(crate) fn is_of_export(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let marks = [EXPORT_PREFIX, EXPORT_OLD_PREFIX];
    marks.iter().any(|mark| name.starts_with(mark.as_bytes()))
}

/// Whether a name is a temporary name of the directory store or of an export.
pub(crate) fn is_temporary(name: &OsStr) -> bool {
    let marks = [&b".runtime.json.tmp-"[..], b".worker.json.tmp-"];
    is_of_export(name) || marks.iter().any(|mark| name.as_bytes().starts_with(mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_names_decode_to_their_ids() {
        for id in ["r", "runtime-alpha", "ランタイム/βeta ../x", "\u{0}", " x "] {
            let name = encode(id);
            assert_eq!(decode::<RuntimeId>(name.as_bytes()).unwrap().as_str(), id);
        }
    }

    #[test]
    fn decode_accepts_only_canonical_names() {
        for (name, why) in [
            ("runtime", "must be `id-`"),
            ("id-7", "odd number"),
            ("id-7G", "not only hex"),
            ("id-4A", "lower-case"),
            ("id-ff", "not UTF-8"),
            ("id-", "blank"),
            ("id-2009", "blank"),
        ] {
            let refused = decode::<WorkerId>(name.as_bytes()).unwrap_err();
            assert!(refused.contains(why), "{name}: {refused}");
        }
    }
}
