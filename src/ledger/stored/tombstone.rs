//! The rows of `tombstones` and `files`, with their stored forms.
//!
//! A tombstone remains of each deleted worker, since its id is never used again. A deletion that takes several
//! commits also has a row that lists it, from its first commit to its last.

use crate::ledger::stored::additions::{self, Additions};
use crate::ledger::stored::envelope::Record;
use serde::{Deserialize, Serialize};

/// A row of `tombstones`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TombstoneRow {
    /// A worker that was deleted at this time, under (runtime id, worker id).
    Deleted { at_ms: Option<u64> },
    /// A worker that retention removed at this time, under the same key. It logged no event.
    Dropped { at_ms: Option<u64>, end: WorkerEnd },
    /// Deletions whose rows are not all removed, under ([`UNFINISHED`](crate::ledger::table_names::UNFINISHED),
    /// runtime id).
    Unfinished(Unfinished),
}

/// The state of a worker when retention removed it. It shows whether an archive has all of the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WorkerEnd {
    /// The position after its last entry.
    pub(crate) transcript_len: u64,
    /// The sequence that its next entry would have got.
    pub(crate) next_sequence: u64,
    /// The id of the last event that changed it.
    pub(crate) last_event_id: u64,
}

/// The deletions of one runtime whose rows are not all removed. Readers do not see these rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unfinished {
    /// Whether the whole runtime is deleted. It has no row then.
    pub(crate) is_whole: bool,
    /// Workers that still have entries or files. They have no rows.
    pub(crate) workers: Vec<String>,
}

impl TombstoneRow {
    /// The bytes of all texts in the row.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Deleted { .. } | Self::Dropped { .. } => 0,
            Self::Unfinished(unfinished) => unfinished.workers.iter().map(String::len).sum(),
        }
    }
}

/// A value of the `tombstones` table.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum TombstoneRecord<'v> {
    Deleted,
    Dropped {
        transcript_len: u64,
        next_sequence: u64,
        last_event_id: u64,
    },
    Unfinished {
        is_whole: bool,
        #[serde(borrow)]
        workers: Vec<&'v str>,
    },
}

impl Record for TombstoneRow {
    const VERSION: u8 = 2;
    const ADDITIONS: u32 = additions::TIME;

    type Stored<'v> = TombstoneRecord<'v>;
    type Read<'v> = Self;

    fn stored(&self) -> TombstoneRecord<'_> {
        match self {
            Self::Deleted { .. } => TombstoneRecord::Deleted,
            Self::Dropped { end, .. } => TombstoneRecord::Dropped {
                transcript_len: end.transcript_len,
                next_sequence: end.next_sequence,
                last_event_id: end.last_event_id,
            },
            Self::Unfinished(unfinished) => TombstoneRecord::Unfinished {
                is_whole: unfinished.is_whole,
                workers: unfinished.workers.iter().map(String::as_str).collect(),
            },
        }
    }

    fn additions(&self) -> Additions<'_> {
        match self {
            Self::Deleted { at_ms } | Self::Dropped { at_ms, .. } => Additions::of_time(*at_ms),
            Self::Unfinished(_) => Additions::default(),
        }
    }

    fn read<'v>(stored: Self::Stored<'v>, additions: Additions<'v>) -> Self::Read<'v> {
        let at_ms = additions.time_ms;
        match stored {
            TombstoneRecord::Deleted => Self::Deleted { at_ms },
            TombstoneRecord::Dropped {
                transcript_len,
                next_sequence,
                last_event_id,
            } => Self::Dropped {
                at_ms,
                end: WorkerEnd {
                    transcript_len,
                    next_sequence,
                    last_event_id,
                },
            },
            TombstoneRecord::Unfinished { is_whole, workers } => Self::Unfinished(Unfinished {
                is_whole,
                workers: workers.into_iter().map(str::to_owned).collect(),
            }),
        }
    }
}
