//! The documents of a store as an export writes them, in the form of the directory that they were imported from.

use crate::layout::error::LayoutError;
use crate::layout::format::document::{RuntimeDocument, SCHEMA_VERSION, WorkerDocument};
use crate::layout::format::json::{self, Form};
use crate::layout::format::later::{LATEST_SCHEMA_VERSION, Lacking, OF_RUNTIME, OF_WORKER};
use crate::layout::format::names;
use crate::layout::format::own_text::{self, Manner, left_out};
use crate::layout::format::problem::Problem;
use crate::layout::format::spans;
use crate::layout::read::documents::{Document, parse};
use crate::ledger::stored::kept_file::{RUNTIME_DOCUMENT, worker_document};
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::layout_form::{DocumentOrigin, LayoutForm, Spelling};
use crate::model::persisted::Stored;
use crate::store::snapshot::Snapshot;
use std::path::PathBuf;

/// How an export writes a runtime.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    /// The form of new documents and lines.
    pub(crate) form: LayoutForm,
    /// Whether everything is written in form a, whatever form it came in.
    pub(crate) is_form_a: bool,
    schema_version: u64,
}

impl Style {
    /// The style of a runtime of a store: that of its directory.
    pub(crate) fn of(snapshot: &Snapshot, id: &RuntimeId) -> Result<Self, LayoutError> {
        let form = snapshot.layout_form(id)?;
        let schema_version = match form {
            LayoutForm::H => of_text(snapshot, id)?.unwrap_or(LATEST_SCHEMA_VERSION),
            _ => SCHEMA_VERSION,
        };
        Ok(Self {
            form,
            is_form_a: false,
            schema_version,
        })
    }

    /// The style of form a, whatever form the runtime has.
    pub(crate) fn form_a() -> Self {
        Self {
            form: LayoutForm::A,
            is_form_a: true,
            schema_version: SCHEMA_VERSION,
        }
    }

    /// The name of the directory of a worker.
    pub(crate) fn worker_dir(&self, id: &str) -> String {
        names::of_worker(id, self.form.is_in_root())
    }

    /// The spelling of a line; `None` for the one that it came in.
    pub(crate) fn spelling(&self) -> Option<Spelling> {
        self.is_form_a.then(Spelling::default)
    }
}

/// The schema version of the own text of a runtime's document.
fn of_text(snapshot: &Snapshot, id: &RuntimeId) -> Result<Option<u64>, LayoutError> {
    let Some((_, text)) = snapshot.document_text(id, RUNTIME_DOCUMENT)? else {
        return Ok(None);
    };
    let version = std::str::from_utf8(&text).ok().and_then(|text| {
        let version = spans::member(text, &spans::document(text), "schema_version")?;
        text[version.value].parse().ok()
    });
    Ok(version)
}

/// The bytes of a document, and where it came from.
pub(crate) struct WrittenDocument {
    pub(crate) bytes: Vec<u8>,
    /// `None` for one that was not imported, or that the model describes completely.
    pub(crate) origin: Option<DocumentOrigin>,
}

/// A document that a store has.
pub(crate) trait StoredDocument: Document {
    /// The members that it can lack.
    const CAN_LACK: &'static [Lacking];

    fn owner(of: &Self::Of) -> &RuntimeId;
    /// The path of its own text.
    fn stored_path(of: &Self::Of) -> String;
}

impl StoredDocument for RuntimeDocument {
    const CAN_LACK: &'static [Lacking] = OF_RUNTIME;

    fn owner(of: &RuntimeId) -> &RuntimeId {
        of
    }

    fn stored_path(_: &RuntimeId) -> String {
        RUNTIME_DOCUMENT.to_owned()
    }
}

impl StoredDocument for WorkerDocument {
    const CAN_LACK: &'static [Lacking] = OF_WORKER;

    fn owner(of: &WorkerRef) -> &RuntimeId {
        &of.runtime_id
    }

    fn stored_path(of: &WorkerRef) -> String {
        worker_document(of.worker_id.as_str())
    }
}

/// The bytes of the document of `of` with the values of `document`.
pub(crate) fn written<T: StoredDocument>(
    snapshot: &Snapshot,
    style: &Style,
    of: &T::Of,
    document: &Stored<T>,
) -> Result<WrittenDocument, LayoutError> {
    let text = match style.is_form_a {
        true => None,
        false => snapshot.document_text(T::owner(of), &T::stored_path(of))?,
    };
    let (origin, own) = text.unzip();
    let written = of_text_or_new::<T>(style, of, (origin.as_ref(), own), document);
    let bytes = written.map_err(|problem| LayoutError::Unwritable {
        path: PathBuf::from(T::FILE),
        message: problem.message,
    })?;
    Ok(WrittenDocument { bytes, origin })
}

/// Whether a document of a directory has other bytes than an export would write. It has its own text or, if it has none,
/// the canonical one.
pub(crate) fn has_other_bytes<T: StoredDocument>(
    snapshot: &Snapshot,
    style: &Style,
    of: &T::Of,
    (own_text, canonical): (Option<Vec<u8>>, &[u8]),
    stored: &Stored<T>,
) -> Result<bool, LayoutError> {
    let text = snapshot.document_text(T::owner(of), &T::stored_path(of))?;
    if own_text.is_none() && text.is_none() && style.form == LayoutForm::A {
        return Ok(false);
    }
    let own_text = own_text.filter(|text| !text.is_empty());
    let here = own_text.as_deref().unwrap_or(canonical);
    Ok(here != written(snapshot, style, of, stored)?.bytes)
}

fn of_text_or_new<T: StoredDocument>(
    style: &Style,
    of: &T::Of,
    (origin, own): (Option<&DocumentOrigin>, Option<Vec<u8>>),
    document: &Stored<T>,
) -> Result<Vec<u8>, Problem> {
    let spelling = style.form.spelling();
    if let (Some(origin), Some(own)) = (origin, own.filter(|own| !own.is_empty())) {
        let scratch = &mut Vec::new();
        let (before, _) = parse::<T>(&own, of, &origin.absent, scratch)?;
        let manner = Manner {
            spelling,
            ..Manner::default()
        };
        let (before, now) = (on_one_line(&before)?, on_one_line(document)?);
        let merged = own_text::merged(json::text(&own)?, &before, &now, manner);
        return match merged {
            Some(text) => Ok(text.into_bytes()),
            None => pretty(document),
        };
    }
    if style.form == LayoutForm::A || origin.is_some() {
        return pretty(document);
    }
    let left_out = left_out(T::CAN_LACK, style.form);
    let manner = Manner {
        spelling,
        schema_version: style.schema_version,
        left_out: &left_out,
    };
    match own_text::fresh(&on_one_line(document)?, manner) {
        Some(text) => Ok(text.into_bytes()),
        None => pretty(document),
    }
}

fn pretty<T: Document>(document: &Stored<T>) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    let (value, unknown) = (&document.value, &document.unknown);
    json::write(value, unknown, Form::Document, &mut bytes)?;
    Ok(bytes)
}

fn on_one_line<T: Document>(document: &Stored<T>) -> Result<String, Problem> {
    let mut bytes = Vec::new();
    let (value, unknown) = (&document.value, &document.unknown);
    json::write(value, unknown, Form::Line, &mut bytes)?;
    Ok(json::text(&bytes)?.to_owned())
}
