//! Verification of a store: the page check, the checksum of every value, and the rules across
//! tables.

use crate::commit::engine::Engine;
use crate::commit::within;
use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::file_backend;
use crate::engine::redb::database::redb_engine::{OpenStore, RedbEngine};
use crate::engine::redb::database::sharing::Sharing;
use crate::engine::redb::file::checked_pages::{CheckedPages, Role};
use crate::engine::redb::file::page_walk::DamagedPage;
use crate::engine::redb::file::planted::Planted;
use crate::engine::redb::file::recovered::RecoveredFile;
use crate::engine::redb::file::shared_file::{LockWaits, SharedFile};
use crate::engine::redb::file::tolerant::{FailedReads, TolerantFile};
use crate::engine::redb::maintenance::page_check::{self, PageCheck};
use crate::engine::redb::maintenance::progress::OnPart;
use crate::engine::redb::maintenance::verify::damage::Damage;
use crate::engine::redb::maintenance::verify::options::VerifyOptions;
use crate::engine::redb::maintenance::verify::report::{Findings, VerifyKind, VerifyReport};
use crate::engine::redb::maintenance::verify::rules::Rules;
use crate::engine::redb::tables::view::View;
use crate::error::{Place, RuntimeError, with_causes};
use crate::fs::names;
use redb::{Builder, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, StorageBackend};
use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

/// How long a file that is read once more waits for a lock of another process.
const LOCK_LIMIT: Duration = Duration::from_secs(30);

/// What redb holds in memory of a file that is read once more, in bytes.
const CACHE_BYTES: usize = 16 << 20;

/// Verifies the store; see [`Store::verify_with`](crate::Store::verify_with).
pub(crate) fn verify(
    store: &OpenStore,
    options: &VerifyOptions,
) -> Result<VerifyReport, RuntimeError> {
    let engine = store.engine();
    let at = engine.at("verify");
    let mut findings = Findings::new(options);
    let damage = match options.pages {
        true => verify_pages(store, at, &mut findings, &options.on_page_progress)?,
        false => None,
    };
    // redb ends a database whose file it cannot read, also for the host.
    let is_readable = !damage.as_ref().is_some_and(Damage::has_unread);
    if is_readable {
        let before = findings.report.clone();
        let checked = at.guard(|| engine.begin_read(at)).and_then(|transaction| {
            check_rows(&transaction, engine, options, damage.clone(), &mut findings)
        });
        match checked {
            Ok(()) => return Ok(findings.report),
            Err(RuntimeError::StoreIo { .. } | RuntimeError::StoreFailed { .. }) => {}
            Err(error) => return Err(error),
        }
        findings.report = before;
    }
    check_readable_rows(engine, options, damage, &mut findings)?;
    Ok(findings.report)
}

/// Checks the rows that `transaction` sees.
fn check_rows(
    transaction: &ReadTransaction,
    engine: &RedbEngine,
    options: &VerifyOptions,
    damage: Option<Damage>,
    findings: &mut Findings,
) -> Result<(), RuntimeError> {
    let view = View {
        tables: transaction,
        at: engine.at("verify"),
    };
    // Needed only for the progress. A row count that cannot be read is reported when the counts are
    // compared.
    let total = view.total_rows().unwrap_or(0);
    let meter = options.on_progress.meter(total);
    Rules::new(view, findings, meter, engine, damage).check()
}

/// Checks the rows that can be read, if the system fails to read a part of the file. The failed reads are
/// findings.
fn check_readable_rows(
    engine: &RedbEngine,
    options: &VerifyOptions,
    damage: Option<Damage>,
    findings: &mut Findings,
) -> Result<(), RuntimeError> {
    let at = engine.at("verify");
    let failed = FailedReads::default();
    let database = match open_readable(engine, failed.clone()) {
        Ok(database) => database,
        Err(error) => {
            let message = format!("the rows were not checked: {}", with_causes(&error));
            findings.add(VerifyKind::RowsNotChecked, (None, None), message);
            return Ok(());
        }
    };
    let known = damage.clone().unwrap_or_default();
    let transaction = at.guard(|| database.begin_read().map_err(|error| at.redb(error)))?;
    check_rows(&transaction, engine, options, damage, findings)?;
    for (offset, (bytes, error)) in failed.take() {
        if !known.names(offset) {
            let message = format!("the {bytes} bytes at byte {offset} cannot be read: {error}");
            findings.add(VerifyKind::ReadFailed, (None, None), message);
        }
    }
    Ok(())
}

/// Opens the store's file once more, for reading what can be read of it.
fn open_readable(
    engine: &RedbEngine,
    failed: FailedReads,
) -> Result<ReadOnlyDatabase, RuntimeError> {
    let at = engine.at("verify");
    let path = engine.file_path();
    let path = path.map_err(|reason| at.io(io::Error::other(reason)))?;
    let file = File::open(path).map_err(|error| at.io(error))?;
    let waits = LockWaits {
        limit: LOCK_LIMIT,
        place: at.place.clone(),
        file: engine.file(),
        others_write: false,
        planted: Planted::default(),
    };
    let file = SharedFile::new(file_backend::with_locks(file, at)?, waits);
    let file = TolerantFile::new(file, failed);
    if !engine.recovered_in_memory {
        return open_checked(file, at);
    }
    match RecoveredFile::new(file).map_err(|error| at.io(error))? {
        Some(file) => open_checked(file, at),
        None => Err(at.io(io::Error::other("the header changed"))),
    }
}

fn open_checked(
    file: impl StorageBackend,
    at: RedbContext<'_>,
) -> Result<ReadOnlyDatabase, RuntimeError> {
    at.guard(|| {
        Builder::new()
            .set_cache_size(CACHE_BYTES)
            .set_concurrency_mode(Sharing::OneWriter.concurrency_mode())
            .open_read_only_with_backend(CheckedPages::new(file, Role::Reader, at.bad_pages()))
            .map_err(|error| at.redb(error))
    })
}

/// Verifies a file; see [`Store::verify_file`](crate::Store::verify_file).
pub(crate) fn verify_file(
    path: &Path,
    options: &VerifyOptions,
) -> Result<VerifyReport, RuntimeError> {
    let place = Place::file(path);
    let at = RedbContext::new("verify", &place);
    let metadata = names::metadata(at.path()).map_err(|error| at.io(error))?;
    if metadata.len() == 0 {
        return Err(at.not_a_store("it is an empty file"));
    }
    let mut findings = Findings::new(options);
    let checked = page_check::check_shared(at.path(), at, &options.on_page_progress)?;
    findings.report.pages_checked = checked != PageCheck::Busy;
    findings.add_pages(&checked);
    let message = "the rows were not checked: the store cannot be opened";
    findings.add(VerifyKind::RowsNotChecked, (None, None), message);
    Ok(findings.report)
}

/// Checks the pages. Returns the damaged ones, if there are any.
fn verify_pages(
    store: &OpenStore,
    at: RedbContext<'_>,
    findings: &mut Findings,
    on_part: &OnPart,
) -> Result<Option<Damage>, RuntimeError> {
    let path = match store.engine().file_path() {
        Ok(path) => path,
        Err(reason) => {
            let message = format!("the pages were not checked: {reason}");
            findings.add(VerifyKind::PagesNotChecked, (None, None), message);
            return Ok(None);
        }
    };
    let checked = check_pages(store, &path, at, on_part)?;
    findings.report.pages_checked = checked != PageCheck::Busy;
    findings.add_pages(&checked);
    Ok(match checked {
        PageCheck::Damaged(found) => Some(Damage::new(found)),
        _ => None,
    })
}

/// Runs the page check on the file of the store, which is at `path`.
fn check_pages(
    store: &OpenStore,
    path: &Path,
    at: RedbContext<'_>,
    on_part: &OnPart,
) -> Result<PageCheck, RuntimeError> {
    if !store.engine().is_writer(at.operation())? {
        return page_check::check_shared(path, at, on_part);
    }
    let _turn = store.take_turn(at.operation())?;
    // With several writers the open write transaction excludes the other processes. It writes
    // nothing and is aborted.
    let transaction = match at.guard(|| store.engine().begin_write(at)) {
        // The system does not read the file for the host's database. It may for another one.
        Err(RuntimeError::StoreIo { .. } | RuntimeError::StoreFailed { .. }) => {
            return page_check::check_shared(path, at, on_part);
        }
        begun => begun?,
    };
    let name = "the page progress callback of a verification";
    let checked = within::callback(name, || page_check::check(path, at, on_part));
    store.engine().abort(transaction, at.operation())?;
    checked
}

/// Rejects a store with damaged pages, as an open that verifies the file does.
pub(crate) fn refuse_damaged_pages(
    store: &OpenStore,
    at: RedbContext<'_>,
) -> Result<(), RuntimeError> {
    let Ok(path) = store.engine().file_path() else {
        return Ok(());
    };
    match check_pages(store, &path, at, &OnPart::default())? {
        PageCheck::Damaged(found) => {
            let pages = found.pages.iter().map(DamagedPage::in_words);
            let message = pages.collect::<Vec<_>>().join("; ");
            match found.is_only_unread() {
                true => Err(at.io(io::Error::other(message))),
                false => Err(at.corrupt(message)),
            }
        }
        PageCheck::Unread(error) => Err(at.io(io::Error::other(error))),
        PageCheck::Refused(message) => Err(at.corrupt(message)),
        PageCheck::Whole | PageCheck::WrongFreePages | PageCheck::Busy => Ok(()),
    }
}
