//! Stored records: what a value holds, and how it is written.
//!
//! A value is `version byte · postcard body · CRC-32`. The CRC (IEEE, little-endian) is over the
//! table's name, a zero byte, the key, the version and the body, since redb does not verify
//! checksums when it reads. In the key each text is followed by the byte 0xFF, which no UTF-8 text
//! contains, and each number is eight little-endian bytes.
//!
//! postcard (wire format: <https://postcard.jamesmunns.com/wire-format>) writes fields in order and
//! variants by index, and knows nothing of names or defaults. So records are types of their own,
//! without serde attributes that change how they are written, and **fields and variants are only ever appended, under a new
//! version**. The tests pin the bytes of each.

use crate::model::catalog::WorkerStatus;
use crate::model::diagnostics::DiagnosticSeverity;
use crate::model::interaction::TranscriptRole;
use crate::model::management::RuntimeStatus;
use crate::model::observation::RuntimeEventKind;
use crate::model::persisted::UnknownMember;
use serde::{Deserialize, Serialize};

/// The bytes of the CRC at the end of a value.
const CRC_BYTES: usize = 4;

/// The largest value that is written, in bytes. redb's own limit is 3 GiB.
pub(crate) const MAX_VALUE_BYTES: usize = 1 << 30;

/// A record that a table's values hold.
pub(crate) trait Record: Serialize {
    /// The version that is written, and the only one that is read.
    const VERSION: u8 = 1;

    /// The record as it is read: the same bytes, with texts where they stand in the value where
    /// that pays.
    type Read<'v>: Deserialize<'v>;
}

/// A CRC-32 over many short pieces: they are collected, as each update of the hasher has its price.
pub(crate) struct Crc {
    hasher: crc32fast::Hasher,
    collected: [u8; 128],
    len: usize,
}

impl Crc {
    pub(crate) fn new() -> Self {
        Self {
            hasher: crc32fast::Hasher::new(),
            collected: [0; 128],
            len: 0,
        }
    }

    /// The CRC of what comes before a value in `table` under `key`.
    fn of_key(table: &str, key: &impl KeyBytes) -> Self {
        let mut crc = Self::new();
        crc.update(table.as_bytes());
        crc.update(&[0]);
        key.digest(&mut crc);
        crc
    }

    /// A CRC over what `prefix` was made of, to be continued.
    pub(crate) fn after(prefix: &CrcPrefix) -> Self {
        Self {
            hasher: prefix.0.clone(),
            collected: [0; 128],
            len: 0,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(free) = self.collected[self.len..].get_mut(..bytes.len()) {
            free.copy_from_slice(bytes);
            self.len += bytes.len();
            return;
        }
        self.hasher.update(&self.collected[..self.len]);
        self.len = 0;
        self.hasher.update(bytes);
    }

    pub(crate) fn finalize(self) -> u32 {
        self.into_prefix().0.finalize()
    }

    /// What many CRCs begin with.
    fn into_prefix(mut self) -> CrcPrefix {
        self.hasher.update(&self.collected[..self.len]);
        CrcPrefix(self.hasher)
    }
}

/// The CRC over a table's name and the part of the key that many rows share.
#[derive(Clone)]
pub(crate) struct CrcPrefix(crc32fast::Hasher);

impl CrcPrefix {
    /// The prefix of the rows of `table` whose keys begin with `key`.
    pub(crate) fn new(table: &str, key: &impl KeyBytes) -> Self {
        Crc::of_key(table, key).into_prefix()
    }
}

/// The bytes of a key that the CRC covers.
pub(crate) trait KeyBytes {
    /// Whether redb's bytes of the key end in a number; in a text otherwise.
    const ENDS_IN_NUMBER: bool;

    /// Feeds the key to `crc`.
    fn digest(&self, crc: &mut Crc);
}

impl KeyBytes for &str {
    const ENDS_IN_NUMBER: bool = false;

    fn digest(&self, crc: &mut Crc) {
        crc.update(self.as_bytes());
        crc.update(&[0xFF]);
    }
}

impl KeyBytes for u64 {
    const ENDS_IN_NUMBER: bool = true;

    fn digest(&self, crc: &mut Crc) {
        crc.update(&self.to_le_bytes());
    }
}

impl<A: KeyBytes, B: KeyBytes> KeyBytes for (A, B) {
    const ENDS_IN_NUMBER: bool = B::ENDS_IN_NUMBER;

    fn digest(&self, crc: &mut Crc) {
        self.0.digest(crc);
        self.1.digest(crc);
    }
}

impl<A: KeyBytes, B: KeyBytes, C: KeyBytes> KeyBytes for (A, B, C) {
    const ENDS_IN_NUMBER: bool = C::ENDS_IN_NUMBER;

    fn digest(&self, crc: &mut Crc) {
        self.0.digest(crc);
        self.1.digest(crc);
        self.2.digest(crc);
    }
}

fn checksum(mut key: Crc, versioned_body: &[u8]) -> [u8; CRC_BYTES] {
    key.update(versioned_body);
    key.finalize().to_le_bytes()
}

/// The value for `record` under `key` of `table`, written into `value`, which is emptied first.
/// Fails, with the reason, where the value would be larger than [`MAX_VALUE_BYTES`].
pub(crate) fn encode<R: Record>(
    table: &str,
    key: &impl KeyBytes,
    record: &R,
    value: &mut Vec<u8>,
) -> Result<(), String> {
    value.clear();
    value.push(R::VERSION);
    let buffer = std::mem::take(value);
    *value = postcard::to_extend(record, buffer).map_err(|error| error.to_string())?;
    refuse_too_large(value.len() + CRC_BYTES)?;
    let crc = checksum(Crc::of_key(table, key), value);
    value.extend_from_slice(&crc);
    Ok(())
}

/// Refuses a value of so many bytes if that is more than [`MAX_VALUE_BYTES`].
pub(crate) fn refuse_too_large(bytes: usize) -> Result<(), String> {
    if bytes > MAX_VALUE_BYTES {
        return Err(format!(
            "a value of {bytes} bytes is over the limit of {MAX_VALUE_BYTES}"
        ));
    }
    Ok(())
}

/// The record in `value`. Fails, with the reason, on a wrong CRC, another version, a body that
/// does not decode, and bytes left over after it.
pub(crate) fn decode<'v, R: Record>(
    table: &str,
    key: &impl KeyBytes,
    value: &'v [u8],
) -> Result<R::Read<'v>, String> {
    unseal::<R>(Crc::of_key(table, key), value)
}

/// [`decode`] of one of many rows: their keys begin with what is in `prefix`, this one's goes on
/// with `rest`.
pub(crate) fn decode_after<'v, R: Record>(
    prefix: &CrcPrefix,
    rest: &impl KeyBytes,
    value: &'v [u8],
) -> Result<R::Read<'v>, String> {
    let mut key = Crc::after(prefix);
    rest.digest(&mut key);
    unseal::<R>(key, value)
}

fn unseal<R: Record>(key: Crc, value: &[u8]) -> Result<R::Read<'_>, String> {
    let Some((versioned_body, crc)) = value.split_last_chunk::<CRC_BYTES>() else {
        return Err(format!("a value of {} bytes is too short", value.len()));
    };
    if checksum(key, versioned_body) != *crc {
        return Err("the checksum of the value is wrong".to_owned());
    }
    let Some((&version, body)) = versioned_body.split_first() else {
        return Err("the value is empty".to_owned());
    };
    if version != R::VERSION {
        return Err(format!("value version {version} is not known"));
    }
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Ok(record),
        Ok((_, rest)) => Err(format!("{} bytes follow the record", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// A value of the `meta` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum MetaRecord {
    Number(u32),
    Text(String),
}

impl Record for MetaRecord {
    type Read<'v> = Self;
}

/// A value of the `runtimes` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RuntimeRecord {
    pub(crate) display_name: Option<String>,
    pub(crate) status: RuntimeStatusRecord,
    pub(crate) max_transcript_projection_items: u64,
    pub(crate) max_event_batch_items: u64,
    pub(crate) next_worker_sequence: u64,
    pub(crate) next_event_id: u64,
    pub(crate) next_diagnostic_id: u64,
    pub(crate) running_workers: u64,
    pub(crate) stopped_workers: u64,
    pub(crate) cancelled_workers: u64,
    pub(crate) diagnostics: u64,
    pub(crate) unknown: Vec<UnknownRecord>,
}

impl Record for RuntimeRecord {
    type Read<'v> = Self;
}

impl RuntimeRecord {
    /// The count of all workers. A sum that overflows is damage, which no count equals.
    pub(crate) fn workers(&self) -> u64 {
        self.running_workers
            .saturating_add(self.stopped_workers)
            .saturating_add(self.cancelled_workers)
    }

    /// The count of the workers in `status`, to be kept in step with the `workers` table.
    pub(crate) fn workers_in(&mut self, status: WorkerStatus) -> &mut u64 {
        match status {
            WorkerStatus::Running => &mut self.running_workers,
            WorkerStatus::Stopped => &mut self.stopped_workers,
            WorkerStatus::Cancelled => &mut self.cancelled_workers,
        }
    }
}

/// A value of the `workers` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WorkerRecord {
    pub(crate) status: WorkerStatusRecord,
    pub(crate) request: RequestRecord,
    pub(crate) next_transcript_sequence: u64,
    pub(crate) last_event_id: u64,
    pub(crate) transcript_len: u64,
    pub(crate) unknown: Vec<UnknownRecord>,
}

impl Record for WorkerRecord {
    type Read<'v> = Self;
}

/// A value of the `events` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct EventRecord {
    pub(crate) worker_id: Option<String>,
    pub(crate) kind: EventKindRecord,
    /// `None` where it is the kind's standard message: nearly always, and a quarter of the row.
    pub(crate) message: Option<String>,
    pub(crate) unknown: Vec<UnknownRecord>,
}

impl Record for EventRecord {
    type Read<'v> = EventRow<'v>;
}

/// An [`EventRecord`] as it is read, and as it is written where its texts are borrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EventRow<'v> {
    #[serde(borrow)]
    pub(crate) worker_id: Option<&'v str>,
    pub(crate) kind: EventKindRecord,
    #[serde(borrow)]
    pub(crate) message: Option<&'v str>,
    pub(crate) unknown: Vec<UnknownRecord>,
}

impl<'v> From<&'v EventRecord> for EventRow<'v> {
    fn from(record: &'v EventRecord) -> Self {
        Self {
            worker_id: record.worker_id.as_deref(),
            kind: record.kind,
            message: record.message.as_deref(),
            unknown: record.unknown.clone(),
        }
    }
}

/// A value of the `transcripts` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TranscriptRecord {
    pub(crate) sequence: u64,
    pub(crate) role: RoleRecord,
    pub(crate) event_id: u64,
    pub(crate) content: String,
    pub(crate) unknown: Vec<UnknownRecord>,
}

impl Record for TranscriptRecord {
    type Read<'v> = TranscriptRow<'v>;
}

/// A [`TranscriptRecord`] as it is read, and as it is written where its texts are borrowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TranscriptRow<'v> {
    pub(crate) sequence: u64,
    pub(crate) role: RoleRecord,
    pub(crate) event_id: u64,
    pub(crate) content: &'v str,
    pub(crate) unknown: Vec<UnknownRecord>,
}

impl<'v> From<&'v TranscriptRecord> for TranscriptRow<'v> {
    fn from(record: &'v TranscriptRecord) -> Self {
        Self {
            sequence: record.sequence,
            role: record.role,
            event_id: record.event_id,
            content: &record.content,
            unknown: record.unknown.clone(),
        }
    }
}

/// A value of the `diagnostics` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DiagnosticRecord {
    pub(crate) severity: SeverityRecord,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) worker_id: Option<String>,
    pub(crate) unknown: Vec<UnknownRecord>,
}

impl Record for DiagnosticRecord {
    type Read<'v> = Self;
}

/// A value of the `imports` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImportRow {
    pub(crate) source: String,
    pub(crate) fingerprint: u128,
    pub(crate) imported_at_s: u64,
    pub(crate) workers: u64,
    pub(crate) events: u64,
    pub(crate) transcript_entries: u64,
    pub(crate) bytes: u64,
    pub(crate) salvaged: bool,
    pub(crate) findings: Vec<String>,
}

impl Record for ImportRow {
    type Read<'v> = Self;
}

/// A JSON member that came from outside and that this version does not know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UnknownRecord {
    pub(crate) pointer: String,
    pub(crate) name: String,
    pub(crate) json: String,
}

impl From<UnknownMember> for UnknownRecord {
    fn from(member: UnknownMember) -> Self {
        Self {
            pointer: member.pointer,
            name: member.name,
            json: member.json,
        }
    }
}

impl From<UnknownRecord> for UnknownMember {
    fn from(record: UnknownRecord) -> Self {
        Self {
            pointer: record.pointer,
            name: record.name,
            json: record.json,
        }
    }
}

/// What a worker was created with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RequestRecord {
    pub(crate) intent: IntentRecord,
    pub(crate) profile: ProfileRecord,
    pub(crate) config_bundle: Option<String>,
    /// (name, reason)
    pub(crate) requested_capabilities: Vec<(String, Option<String>)>,
    /// (name, reference)
    pub(crate) workspace_refs: Vec<(String, String)>,
    /// (name, reference)
    pub(crate) mount_refs: Vec<(String, String)>,
}

/// A worker's intent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum IntentRecord {
    Assistant {
        purpose: Option<String>,
    },
    Task {
        objective: String,
    },
    Role {
        role: String,
        purpose: Option<String>,
    },
}

/// A worker's profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ProfileRecord {
    RuntimeDefault,
    Builtin(String),
    Named(String),
}

/// Declares the stored twin of an enum without fields, with the conversions both ways.
macro_rules! plain_enum_record {
    ($(#[$doc:meta])* $record:ident, $model:ident, [$($variant:ident),+]) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub(crate) enum $record {
            $($variant),+
        }

        impl From<$model> for $record {
            fn from(value: $model) -> Self {
                match value {
                    $($model::$variant => Self::$variant),+
                }
            }
        }

        impl From<$record> for $model {
            fn from(record: $record) -> Self {
                match record {
                    $($record::$variant => Self::$variant),+
                }
            }
        }
    };
}

plain_enum_record!(
    /// A runtime's status.
    RuntimeStatusRecord,
    RuntimeStatus,
    [Running, Stopped]
);
plain_enum_record!(
    /// A worker's status.
    WorkerStatusRecord,
    WorkerStatus,
    [Running, Stopped, Cancelled]
);
plain_enum_record!(
    /// An event's kind.
    EventKindRecord,
    RuntimeEventKind,
    [
        RuntimeStarted,
        RuntimeStopped,
        WorkerCreated,
        WorkerInputAccepted,
        WorkerStopped,
        WorkerCancelled
    ]
);
plain_enum_record!(
    /// Who said a transcript entry.
    RoleRecord,
    TranscriptRole,
    [User, Assistant, System]
);
plain_enum_record!(
    /// How much a diagnostic matters.
    SeverityRecord,
    DiagnosticSeverity,
    [Info, Warning, Error]
);

fn text_bytes<'t>(texts: impl IntoIterator<Item = &'t String>) -> usize {
    texts.into_iter().map(String::len).sum()
}

fn unknown_bytes(unknown: &[UnknownRecord]) -> usize {
    text_bytes(
        unknown
            .iter()
            .flat_map(|member| [&member.pointer, &member.name, &member.json]),
    )
}

fn pair_bytes(pairs: &[(String, String)]) -> usize {
    text_bytes(pairs.iter().flat_map(|(name, reference)| [name, reference]))
}

impl RuntimeRecord {
    /// The bytes of all texts in the record.
    pub(crate) fn text_bytes(&self) -> usize {
        text_bytes(&self.display_name) + unknown_bytes(&self.unknown)
    }
}

impl WorkerRecord {
    /// The bytes of all texts in the record.
    pub(crate) fn text_bytes(&self) -> usize {
        let request = &self.request;
        let intent = match &request.intent {
            IntentRecord::Assistant { purpose } => text_bytes(purpose),
            IntentRecord::Task { objective } => objective.len(),
            IntentRecord::Role { role, purpose } => role.len() + text_bytes(purpose),
        };
        let profile = match &request.profile {
            ProfileRecord::RuntimeDefault => 0,
            ProfileRecord::Builtin(value) | ProfileRecord::Named(value) => value.len(),
        };
        let capabilities = request.requested_capabilities.iter();
        intent
            + profile
            + text_bytes(&request.config_bundle)
            + text_bytes(
                capabilities.flat_map(|(name, reason)| std::iter::once(name).chain(reason)),
            )
            + pair_bytes(&request.workspace_refs)
            + pair_bytes(&request.mount_refs)
            + unknown_bytes(&self.unknown)
    }
}

impl EventRecord {
    /// The bytes of all texts in the record.
    pub(crate) fn text_bytes(&self) -> usize {
        text_bytes(&self.worker_id) + text_bytes(&self.message) + unknown_bytes(&self.unknown)
    }
}

impl TranscriptRecord {
    /// The bytes of all texts in the record.
    pub(crate) fn text_bytes(&self) -> usize {
        self.content.len() + unknown_bytes(&self.unknown)
    }
}

impl DiagnosticRecord {
    /// The bytes of all texts in the record.
    pub(crate) fn text_bytes(&self) -> usize {
        self.code.len()
            + self.message.len()
            + text_bytes(&self.worker_id)
            + unknown_bytes(&self.unknown)
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
pub(crate) mod tests;
