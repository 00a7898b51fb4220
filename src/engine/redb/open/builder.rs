//! The settings of redb that the options of a store ask for.

use crate::commit::within;
use crate::engine::redb::context::RedbContext;
use crate::engine::redb::file::checked_pages::{CheckedPages, Role};
use crate::engine::redb::open::options::StoreOptions;
use redb::{Builder, StorageBackend};

/// A builder of redb with the cache, the sharing and the callbacks of `options`.
pub(crate) fn builder(options: &StoreOptions) -> Builder {
    let mut builder = Builder::new();
    builder
        .set_cache_size(options.cache_bytes)
        .set_concurrency_mode(options.sharing.concurrency_mode())
        .set_check_integrity_on_open(options.verify_on_open && !options.read_only);
    if let Some(on_repair) = options.on_repair.clone() {
        builder.set_repair_callback(move |session| {
            if within::repair(|| on_repair(session.progress())).is_break() {
                session.abort();
            }
        });
    }
    builder
}

/// A backend over `file` that checks pages in the given role, unless `options` turn the check off.
pub(crate) fn checked<B: StorageBackend>(
    file: B,
    role: Role,
    at: RedbContext<'_>,
    options: &StoreOptions,
) -> CheckedPages<B> {
    let role = match options.check_pages {
        true => role,
        false => Role::Unchecked,
    };
    CheckedPages::new(file, role, at.bad_pages())
}

/// The options to open a database again that was just closed: it needs no repair, and it was verified when it was
/// first opened, if at all.
pub(crate) fn for_reopening(options: &StoreOptions) -> StoreOptions {
    let mut options = options.clone();
    options.verify_on_open = false;
    options.on_repair = None;
    options
}
