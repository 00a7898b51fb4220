//! The forms of the directory layout that releases of the directory store wrote, and what a store remembers of the
//! form in which a record came.

use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;

/// A form of the directory layout. Later forms are greater.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LayoutForm {
    /// 26 June 2026: the form that an export writes for a runtime that was not imported.
    #[default]
    A,
    /// 26 June 2026, 16 h: `runtime.json` has `config_bundles`.
    B,
    /// 29 June 2026: a worker's request without an intent; `worker.json` has `execution`.
    C,
    /// 11 July 2026: no transcripts.
    D,
    /// 12 July 2026: the ids of workers are numbers.
    E,
    /// 13 July 2026: one runtime without an id, in the root.
    F,
    /// 1 August 2026: no event log.
    G,
    /// 20 August 2026: schema versions 2 and 3; the ids of workers are UUIDs.
    H,
}

impl LayoutForm {
    /// All forms, from the oldest on.
    pub(crate) const ALL: [Self; 8] = [
        Self::A,
        Self::B,
        Self::C,
        Self::D,
        Self::E,
        Self::F,
        Self::G,
        Self::H,
    ];

    /// The letter of the form.
    pub fn letter(self) -> char {
        char::from(b'a' + self.number())
    }

    /// The day from which releases wrote the form.
    pub fn since(self) -> &'static str {
        match self {
            Self::A | Self::B => "26 June 2026",
            Self::C => "29 June 2026",
            Self::D => "11 July 2026",
            Self::E => "12 July 2026",
            Self::F => "13 July 2026",
            Self::G => "1 August 2026",
            Self::H => "20 August 2026",
        }
    }

    /// The place of the form in their order, from 0.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    /// The inverse of [`number`](Self::number).
    pub(crate) fn from_number(number: u64) -> Option<Self> {
        Self::ALL.get(usize::try_from(number).ok()?).copied()
    }

    /// Whether the runtime lies in the root, not in a directory of its own below `runtimes/`.
    pub(crate) fn is_in_root(self) -> bool {
        self >= Self::F
    }

    /// Whether the ids of workers are numbers.
    pub(crate) fn has_number_ids(self) -> bool {
        (Self::E..=Self::G).contains(&self)
    }

    /// The shape of the ids of new workers.
    pub(crate) fn worker_ids(self) -> WorkerIds {
        match self {
            Self::A | Self::B | Self::C | Self::D => WorkerIds::Generated,
            Self::E | Self::F | Self::G => WorkerIds::Numbers,
            Self::H => WorkerIds::Uuids,
        }
    }

    /// Whether an id that a host has chosen has the shape of those of the form.
    pub(crate) fn accepts(self, worker_id: &str) -> bool {
        match self.worker_ids() {
            WorkerIds::Generated => true,
            WorkerIds::Numbers => worker_id
                .parse::<u64>()
                .is_ok_and(|number| number.to_string() == worker_id),
            WorkerIds::Uuids => is_uuid(worker_id),
        }
    }

    /// The spelling of a line that is added to a log of this form.
    pub(crate) fn spelling(self) -> Spelling {
        Spelling {
            has_number_ids: self.has_number_ids(),
            is_without_runtime: self >= Self::F,
        }
    }
}

/// A shape of worker ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerIds {
    /// The ids that the model generates. A host can choose others.
    Generated,
    /// Numbers in decimal digits.
    Numbers,
    /// UUIDs in lower-case hex, with hyphens.
    Uuids,
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

impl fmt::Display for LayoutForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.letter())
    }
}

/// How the ids of a line are written, in the parts in which the forms differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Spelling {
    /// The ids of workers are numbers.
    pub(crate) has_number_ids: bool,
    /// References to workers have no `runtime_id`.
    pub(crate) is_without_runtime: bool,
}

impl Spelling {
    const NUMBER_IDS: u64 = 1 << 0;
    const WITHOUT_RUNTIME: u64 = 1 << 1;

    /// The stored bit set; 0 for the spelling of form a.
    pub(crate) fn bits(self) -> u64 {
        let bit = |is_set, bit| if is_set { bit } else { 0 };
        bit(self.has_number_ids, Self::NUMBER_IDS)
            | bit(self.is_without_runtime, Self::WITHOUT_RUNTIME)
    }

    /// The inverse of [`bits`](Self::bits); `None` for bits that this version does not know.
    pub(crate) fn from_bits(bits: u64) -> Option<Self> {
        let is_known = bits & !(Self::NUMBER_IDS | Self::WITHOUT_RUNTIME) == 0;
        is_known.then_some(Self {
            has_number_ids: bits & Self::NUMBER_IDS != 0,
            is_without_runtime: bits & Self::WITHOUT_RUNTIME != 0,
        })
    }
}

/// How a line was written, where that differs from what an export writes for form a. The default differs in nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineForm<'a> {
    pub(crate) spelling: Spelling,
    /// The bytes from the end of the record before to the end of the line, if an export would write others.
    pub(crate) own_text: Option<Cow<'a, str>>,
}

impl LineForm<'_> {
    /// The form of a line with this spelling that an export writes as it was.
    pub(crate) fn spelled(spelling: Spelling) -> Self {
        Self {
            spelling,
            own_text: None,
        }
    }

    /// The bytes of the text.
    pub(crate) fn text_bytes(&self) -> usize {
        self.own_text.as_ref().map_or(0, |text| text.len())
    }

    /// The same form with a text of its own.
    pub(crate) fn into_owned(self) -> LineForm<'static> {
        LineForm {
            spelling: self.spelling,
            own_text: self.own_text.map(|text| Cow::Owned(text.into_owned())),
        }
    }

    /// The same form with a borrowed text.
    pub(crate) fn borrowed(&self) -> LineForm<'_> {
        LineForm {
            spelling: self.spelling,
            own_text: self.own_text.as_deref().map(Cow::Borrowed),
        }
    }
}

/// A member that a document lacks, with the value that the import gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AbsentMember {
    /// The member: a JSON Pointer (RFC 6901) from the document.
    pub(crate) pointer: String,
    /// The JSON of the value.
    pub(crate) json: String,
}

impl DocumentOrigin {
    /// Whether the document lacks the member at `pointer`.
    pub(crate) fn lacks(&self, pointer: &str) -> bool {
        self.absent.iter().any(|member| member.pointer == pointer)
    }
}

impl AbsentMember {
    const LOG: &'static str = "log";

    /// Stands for the log of the document's directory, which does not exist.
    pub(crate) fn log() -> Self {
        Self {
            pointer: Self::LOG.to_owned(),
            json: String::new(),
        }
    }

    /// Whether it stands for a log. It is no member then.
    pub(crate) fn is_log(&self) -> bool {
        self.pointer == Self::LOG
    }
}

/// The form of the document that a worker or a runtime was imported from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DocumentOrigin {
    pub(crate) form: LayoutForm,
    /// The members that the document lacks, in the order of form a.
    pub(crate) absent: Vec<AbsentMember>,
}

/// Where the values of an imported worker come from: see
/// [`Runtime::worker_origin`](crate::Runtime::worker_origin).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerOrigin {
    /// The form of its `worker.json`.
    pub form: LayoutForm,
    /// The members that its `worker.json` lacks, as JSON Pointers (RFC 6901), such as `/request/intent`. The model
    /// has a default for them, or a value that the import derived from the logs.
    pub absent: Vec<String>,
}
