//! Panics. redb panics on some damaged pages, and the library turns these panics into errors: they are
//! not printed.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::path::Path;

/// Silences the panic hook for panics in redb's code; the library that catches them reports them.
pub(crate) fn silence_redb() {
    let report = take_hook();
    set_hook(Box::new(move |panic| {
        let place = panic.location().map(|place| place.file());
        if !place.is_some_and(|file| is_of_redb(Path::new(file))) {
            report(panic);
        }
    }));
}

/// Runs `work`. If it panics, prints that it did (the hook may have been silent) and resumes the panic.
pub(crate) fn report_uncaught<T>(work: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        eprintln!("runtime-store: bug: uncaught panic");
        resume_unwind(panic)
    })
}

/// Whether a source file belongs to the crate `redb`, for example `redb-4.5.0/src/db.rs`.
fn is_of_redb(file: &Path) -> bool {
    file.iter().any(|part| {
        let version = part.to_str().and_then(|part| part.strip_prefix("redb"));
        version.is_some_and(|version| {
            let mut version = version.chars();
            matches!(
                (version.next(), version.next()),
                (None, _) | (Some('-'), Some('0'..='9'))
            )
        })
    })
}

#[cfg(test)]
mod tests {
    use super::is_of_redb;
    use std::path::Path;

    #[test]
    fn only_files_of_redb_are_silenced() {
        for (file, is_redbs) in [
            (
                "/cargo/registry/src/index.crates.io-1/redb-4.5.0/src/db.rs",
                true,
            ),
            ("vendor/redb/src/tree_store/btree.rs", true),
            (
                "/cargo/registry/src/index.crates.io-1/redb-runtime-store-0.1.0/src/lib.rs",
                false,
            ),
            ("src/bin/runtime-store/main.rs", false),
        ] {
            assert_eq!(is_of_redb(Path::new(file)), is_redbs, "{file}");
        }
    }
}
