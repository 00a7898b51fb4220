//! Reading `runtime.json` and `worker.json`.

use crate::layout::dir::source::SourceDir;
use crate::layout::findings::finding::{Finding, FindingKind};
use crate::layout::findings::line_endings::CrLf;
use crate::layout::format::document::{
    BACKEND, RuntimeDocument, SCHEMA_VERSION, Stamp, WorkerDocument,
};
use crate::layout::format::json::{self, Form, Record};
use crate::layout::format::later::{FormA, LATEST_SCHEMA_VERSION, form_of_unknown};
use crate::layout::format::locate;
use crate::layout::format::problem::Problem;
use crate::layout::read::reader::Reader;
use crate::layout::read::sink::ReadStop;
use crate::ledger::stored::kept_file::FileChunkRow;
use crate::model::attributes;
use crate::model::identity::{RuntimeId, WorkerRef};
use crate::model::layout_form::{AbsentMember, DocumentOrigin, LayoutForm};
use crate::model::persisted::Stored;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The factor by which pretty-printing can lengthen a document.
const MOST_GROWTH: u64 = 16;

impl Reader<'_> {
    /// Puts the attributes of a document before its other unknown members.
    fn take_attributes<T: Document>(
        &mut self,
        stored: &mut Stored<T>,
        path: &Path,
        bytes: &[u8],
    ) -> Result<(), ReadStop> {
        if T::HAS_ATTRIBUTES
            && let Err(message) = attributes::put_first(&mut stored.unknown)
        {
            let kind = FindingKind::UnreadableAttributes;
            let finding = Finding::new(kind, path.to_owned(), message);
            self.report(at_member(finding, bytes, "attributes"))?;
        }
        Ok(())
    }

    /// Reads the document of `of`; the error where it cannot be used and the reading continues.
    pub(crate) fn read_document<T: Document>(
        &mut self,
        dir: &SourceDir,
        of: &T::Of,
        missing: FindingKind,
    ) -> Result<Result<ReadDocument<T>, Unread>, ReadStop> {
        let Some(mut file) = self.open_file(dir, T::FILE, missing)? else {
            return Ok(Err(Unread::Missing));
        };
        let path = dir.path_of(T::FILE);
        let (length, limit) = (file.length(), self.rules.max_document_bytes);
        if length > limit {
            let message = format!("the document has {length} bytes, the limit is {limit}");
            let finding = Finding::new(FindingKind::InvalidDocument, path.clone(), message);
            self.report_part(&file, finding, (0, length))?;
            self.pass_over(dir, file, &path)?;
            return Ok(Err(Unread::Damaged(Vec::new())));
        }
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0));
        let read = file.read_to_end(&mut bytes);
        if self.tried("read", &path, read)?.is_none() {
            return Ok(Err(Unread::Damaged(Vec::new())));
        }
        self.close_file(dir, file)?;
        self.skip_mark(&path, &mut bytes)?;
        match parse::<T>(&bytes, of, &[], &mut self.scratch) {
            Ok((mut stored, origin)) if stored.value.stamp().is_supported::<T>() => {
                self.take_attributes(&mut stored, &path, &bytes)?;
                if let Some(length) = self.exported_too_long(&stored, length) {
                    let message = format!(
                        "exported the document would have {length} bytes, the limit is {limit}"
                    );
                    let finding = Finding::new(FindingKind::InvalidDocument, path, message);
                    self.report(finding.about(&bytes))?;
                    return Ok(Err(Unread::Damaged(Vec::new())));
                }
                if let Some(finding) = CrLf::of_document(&bytes).finding(path) {
                    self.report(finding)?;
                }
                self.form = self.form.max(origin.form);
                let has_own_text = self.is_written_otherwise(&stored, &bytes);
                Ok(Ok(ReadDocument {
                    stored,
                    bytes,
                    origin,
                    has_own_text,
                    rebuilt: None,
                }))
            }
            Ok((stored, _)) => {
                self.report(unsupported(path, &stored.value.stamp(), &bytes))?;
                Ok(Err(Unread::Unsupported))
            }
            Err(problem) => {
                // A document of another version is reported as unsupported, not as damaged.
                let stamp = serde_json::from_slice::<Stamp>(&bytes).ok();
                let stamp = stamp.filter(|stamp| !stamp.is_supported::<T>());
                if let Some(stamp) = stamp {
                    self.report(unsupported(path, &stamp, &bytes))?;
                    return Ok(Err(Unread::Unsupported));
                }
                self.report(invalid_document(path, &problem, &bytes))?;
                Ok(Err(Unread::Damaged(bytes)))
            }
        }
    }

    /// Removes the byte-order mark before a document, with a finding. A strict reading refuses it.
    fn skip_mark(&mut self, path: &Path, bytes: &mut Vec<u8>) -> Result<(), ReadStop> {
        if !self.rules.mends() || !bytes.starts_with(json::BYTE_ORDER_MARK) {
            return Ok(());
        }
        let message = "it begins with a byte-order mark, which is left out";
        let finding = Finding::new(FindingKind::InvalidDocument, path.to_owned(), message);
        self.report(finding.at(1, 0, json::BYTE_ORDER_MARK))?;
        bytes.drain(..json::BYTE_ORDER_MARK.len());
        Ok(())
    }

    /// Whether an export would write other bytes for the document than its file has.
    fn is_written_otherwise<T: Document>(&mut self, stored: &Stored<T>, bytes: &[u8]) -> bool {
        self.scratch.clear();
        let (value, unknown) = (&stored.value, &stored.unknown);
        let written = json::write(value, unknown, Form::Document, &mut self.scratch);
        written.is_err() || self.scratch != bytes
    }

    /// Passes the form of a document and what it lacks to the sink, with its own text if it has one.
    pub(crate) fn keep_origin(
        &mut self,
        path: &str,
        origin: DocumentOrigin,
        own_text: Option<Vec<u8>>,
    ) -> Result<(), ReadStop> {
        if own_text.is_none() && origin.absent.is_empty() {
            self.canonical.push(path.to_owned());
            return Ok(());
        }
        self.sink.file(path, 0, FileChunkRow::Origin(origin))?;
        self.keep_text(path, 1, own_text.unwrap_or_default())
    }

    /// Notes for each document without a text of its own that it was imported, if the runtime has a later form: a new
    /// document would be written in that form.
    pub(crate) fn keep_canonical(&mut self, form: LayoutForm) -> Result<(), ReadStop> {
        for path in std::mem::take(&mut self.canonical) {
            if form > LayoutForm::A {
                let origin = DocumentOrigin::default();
                self.sink.file(&path, 0, FileChunkRow::Origin(origin))?;
            }
        }
        Ok(())
    }

    /// The length that the document would have after an export, if that is over the limit. Everything
    /// that is imported must be importable again after an export.
    fn exported_too_long<T: Document>(&mut self, stored: &Stored<T>, length: u64) -> Option<u64> {
        let limit = self.rules.max_document_bytes;
        if length < limit / MOST_GROWTH {
            return None;
        }
        self.scratch.clear();
        let written = json::write(
            &stored.value,
            &stored.unknown,
            Form::Document,
            &mut self.scratch,
        );
        let length = self.scratch.len() as u64;
        (written.is_ok() && length > limit).then_some(length)
    }
}

/// A document of the layout.
pub(crate) trait Document: Record {
    /// Its file.
    const FILE: &'static str;
    /// Whether it has a member `backend`.
    const HAS_BACKEND: bool;
    /// Whether it can have attributes.
    const HAS_ATTRIBUTES: bool;

    /// The runtime or the worker that it describes. The name of its directory has the id.
    type Of;

    fn stamp(&self) -> Stamp;
    /// The text of form a of one of a later form: see [`FormA`].
    fn in_form_a(text: &str, of: &Self::Of, given: &[AbsentMember]) -> Option<FormA>;
}

/// Reads the document of `of`, of any form. Absent members get the values that `given` has for them.
pub(crate) fn parse<T: Document>(
    bytes: &[u8],
    of: &T::Of,
    given: &[AbsentMember],
    scratch: &mut Vec<u8>,
) -> Result<(Stored<T>, DocumentOrigin), Problem> {
    let strictly = json::read::<T>(bytes, Form::Document, scratch);
    let is_later = |stored: &Stored<T>| stored.value.stamp().schema_version != SCHEMA_VERSION;
    let made = match &strictly {
        Ok(stored) if !is_later(stored) => None,
        _ => json::text(bytes)
            .ok()
            .and_then(|text| T::in_form_a(text, of, given)),
    };
    let (stored, form, absent) = match made {
        None => (strictly?, LayoutForm::A, Vec::new()),
        Some(made) => match json::read::<T>(made.text.as_bytes(), Form::Document, scratch) {
            Ok(stored) => (stored, made.form, made.absent),
            Err(problem) => return Err(made.problem_in(json::text(bytes)?, problem)),
        },
    };
    let form = form.max(form_of_unknown(&stored.unknown));
    Ok((stored, DocumentOrigin { form, absent }))
}

impl Document for RuntimeDocument {
    type Of = RuntimeId;

    const FILE: &'static str = "runtime.json";
    const HAS_BACKEND: bool = true;
    const HAS_ATTRIBUTES: bool = false;

    fn stamp(&self) -> Stamp {
        Stamp {
            schema_version: self.schema_version,
            backend: Some(self.backend.clone()),
        }
    }

    fn in_form_a(text: &str, of: &RuntimeId, given: &[AbsentMember]) -> Option<FormA> {
        FormA::of_runtime(text, of, given)
    }
}

impl Document for WorkerDocument {
    type Of = WorkerRef;

    const FILE: &'static str = "worker.json";
    const HAS_BACKEND: bool = false;
    const HAS_ATTRIBUTES: bool = true;

    fn stamp(&self) -> Stamp {
        Stamp {
            schema_version: self.schema_version,
            backend: None,
        }
    }

    fn in_form_a(text: &str, of: &WorkerRef, given: &[AbsentMember]) -> Option<FormA> {
        FormA::of_worker(text, of, given)
    }
}

impl Stamp {
    pub(crate) fn is_supported<T: Document>(&self) -> bool {
        let backend = self.backend.as_deref().unwrap_or(BACKEND);
        self.schema_version == SCHEMA_VERSION && (!T::HAS_BACKEND || backend == BACKEND)
    }
}

/// A document that was read.
pub(crate) struct ReadDocument<T> {
    pub(crate) stored: Stored<T>,
    pub(crate) bytes: Vec<u8>,
    pub(crate) origin: DocumentOrigin,
    /// Whether an export would write other bytes for it.
    pub(crate) has_own_text: bool,
    /// Of a rebuilt document the members that the damaged one still had.
    pub(crate) rebuilt: Option<Vec<String>>,
}

/// Why a document was not read.
pub(crate) enum Unread {
    /// It is missing, or is no regular file.
    Missing,
    /// It is damaged; its bytes, where they can be of use.
    Damaged(Vec<u8>),
    /// It has a version or a backend that this version does not read.
    Unsupported,
}

fn unsupported(path: PathBuf, stamp: &Stamp, bytes: &[u8]) -> Finding {
    let (member, message) = match &stamp.backend {
        Some(backend) if stamp.schema_version == SCHEMA_VERSION => {
            let message = format!("backend is {backend:?}, only {BACKEND:?} is read");
            ("backend", message)
        }
        _ => {
            let found = stamp.schema_version;
            let message = format!(
                "schema_version is {found}; this version reads {SCHEMA_VERSION} to {LATEST_SCHEMA_VERSION}"
            );
            ("schema_version", message)
        }
    };
    whole(
        Finding::new(FindingKind::Unsupported, path, message),
        bytes,
        member,
    )
}

fn invalid_document(path: PathBuf, problem: &Problem, bytes: &[u8]) -> Finding {
    let message = problem.message.clone();
    let offset = problem.offset_in(bytes);
    Finding::new(FindingKind::InvalidDocument, path, message)
        .placed(offset.map(|offset| (problem.line as u64, offset as u64)))
        .about(bytes)
}

/// A finding that leaves out a whole document because of one member.
pub(crate) fn whole(finding: Finding, document: &[u8], member: &str) -> Finding {
    at_member(finding, document, member).about(document)
}

/// A finding about the value of a member of a document.
pub(crate) fn at_member(finding: Finding, document: &[u8], member: &str) -> Finding {
    match locate::member(document, member) {
        Some(value) => finding.at(value.line, value.byte, value.bytes),
        None => finding,
    }
}
