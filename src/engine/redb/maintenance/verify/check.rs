//! Verification of a store: the page check, the checksum of every value, and the rules across
//! tables.

use crate::commit::engine::Engine;
use crate::commit::within::Within;
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
use crate::engine::redb::maintenance::progress::{OnPart, Relayed, relay};
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
use std::rc::Rc;
use std::time::Duration;
use std::{panic, thread};

/// How long a file that is read once more waits for a lock of another process.
const LOCK_LIMIT: Duration = Duration::from_secs(30);

/// What redb holds in memory of a file that is read once more, in bytes.
const CACHE_BYTES: usize = 16 << 20;

/// Verifies the store; see [`Store::verify_with`](crate::Store::verify_with).
pub(crate) fn verify(
    store: &OpenStore,
    options: &VerifyOptions,
) -> Result<VerifyReport, RuntimeError> {
    let mut findings = Findings::new(options);
    if !options.pages {
        verify_rows(store, options, None, None, &mut findings)?;
        return Ok(findings.report);
    }
    let path = match store.engine().file_path() {
        Ok(path) => path,
        Err(reason) => {
            let message = format!("the pages were not checked: {reason}");
            findings.add(VerifyKind::PagesNotChecked, (None, None), message);
            verify_rows(store, options, None, None, &mut findings)?;
            return Ok(findings.report);
        }
    };
    let (checked, rows) = check_pages_and_rows(store, &path, options)?;
    findings.report.pages_checked = checked != PageCheck::Busy;
    findings.add_pages(&checked);
    match (checked, rows) {
        // The rows are read around the damaged pages.
        (PageCheck::Damaged(found), _) => {
            verify_rows(
                store,
                options,
                None,
                Some(Damage::new(found)),
                &mut findings,
            )?;
        }
        (_, Some(rows)) => findings.append(rows?),
        (_, None) => verify_rows(store, options, None, None, &mut findings)?,
    }
    Ok(findings.report)
}

/// Checks the pages on another thread. As soon as that thread has read all of them and they have the
/// right checksums, this thread checks the rows, while redb's own check continues.
///
/// Returns the result of the page check, and the findings in the rows if they were checked.
fn check_pages_and_rows(
    store: &OpenStore,
    path: &Path,
    options: &VerifyOptions,
) -> Result<(PageCheck, Option<Result<Findings, RuntimeError>>), RuntimeError> {
    let at = store.engine().at("verify");
    thread::scope(|scope| {
        let (on_part, relayed) = relay(&options.on_page_progress);
        let relayed = relayed.only_reads("the page progress callback of a verification");
        let within = Within::current();
        let checking = thread::Builder::new()
            .spawn_scoped(scope, || {
                within.enter();
                let on_part = on_part;
                check_pages(store, path, at, &on_part)
            })
            .map_err(|error| at.io(error))?;
        let relayed = Rc::new(relayed);
        let rows = relayed.pass_on_until_whole().then(|| {
            let mut findings = Findings::new(options);
            let checked = verify_rows(store, options, Some(&relayed), None, &mut findings);
            checked.map(|()| findings)
        });
        relayed.pass_on_all();
        let checked = checking
            .join()
            .unwrap_or_else(|panic| panic::resume_unwind(panic));
        Ok((checked?, rows))
    })
}

/// Checks the rows, and passes the reports of a page check on meanwhile.
fn verify_rows(
    store: &OpenStore,
    options: &VerifyOptions,
    relayed: Option<&Rc<Relayed>>,
    damage: Option<Damage>,
    findings: &mut Findings,
) -> Result<(), RuntimeError> {
    let engine = store.engine();
    let at = engine.at("verify");
    // redb ends a database whose file it cannot read, also for the host.
    let is_readable = !damage.as_ref().is_some_and(Damage::has_unread);
    if is_readable {
        let before = findings.report.clone();
        let checked = at.guard(|| engine.begin_read(at)).and_then(|transaction| {
            let rows = (&*transaction, relayed);
            check_rows(rows, engine, options, damage.clone(), findings)
        });
        match checked {
            Err(RuntimeError::StoreIo { .. } | RuntimeError::StoreFailed { .. }) => {}
            checked => return checked,
        }
        findings.report = before;
    }
    check_readable_rows(engine, options, damage, findings)
}

/// Checks the rows that `transaction` sees.
fn check_rows(
    (transaction, relayed): (&ReadTransaction, Option<&Rc<Relayed>>),
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
    let mut meter = options.on_progress.meter(total);
    if let Some(relayed) = relayed {
        meter.pass_on(relayed);
    }
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
    check_rows((&transaction, None), engine, options, damage, findings)?;
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
    let checked = page_check::check(path, at, on_part);
    match store.engine().abort(transaction, at.operation()) {
        // A read of the rows can have failed meanwhile, for the host's database.
        Err(RuntimeError::StoreIo { .. } | RuntimeError::StoreFailed { .. }) => checked,
        aborted => aborted.and(checked),
    }
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
