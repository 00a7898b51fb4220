//! Verification of a store: the page check, the checksum of every value, and the rules across
//! tables.

use crate::commit::engine::Engine;
use crate::commit::within;
use crate::engine::redb::context::RedbContext;
use crate::engine::redb::database::redb_engine::OpenStore;
use crate::engine::redb::file::page_walk::DamagedPage;
use crate::engine::redb::maintenance::page_check::{self, PageCheck};
use crate::engine::redb::maintenance::progress::OnPart;
use crate::engine::redb::maintenance::verify::damage::Damage;
use crate::engine::redb::maintenance::verify::options::VerifyOptions;
use crate::engine::redb::maintenance::verify::report::{Findings, VerifyKind, VerifyReport};
use crate::engine::redb::maintenance::verify::rules::Rules;
use crate::engine::redb::tables::view::View;
use crate::error::{Place, RuntimeError};
use crate::fs::names;
use std::path::Path;

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
    let transaction = at.guard(|| engine.begin_read(at))?;
    let view = View {
        tables: &*transaction,
        at,
    };
    // Needed only for the progress. A row count that cannot be read is reported when the counts are
    // compared.
    let total = view.total_rows().unwrap_or(0);
    let meter = options.on_progress.meter(total);
    Rules::new(view, &mut findings, meter, engine, damage).check()?;
    Ok(findings.report)
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
    let transaction = at.guard(|| store.engine().begin_write(at))?;
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
            Err(at.corrupt(pages.collect::<Vec<_>>().join("; ")))
        }
        PageCheck::Refused(message) => Err(at.corrupt(message)),
        PageCheck::Whole | PageCheck::WrongFreePages | PageCheck::Busy => Ok(()),
    }
}
