//! What a verification has seen of a transcript, and of the rows without an owner, in constant memory.

use crate::engine::redb::maintenance::verify::report::VerifyKind;
use crate::ledger::rows::TranscriptRow;

/// What was seen of a transcript so far.
#[derive(Default)]
pub(crate) struct TranscriptSeen {
    pub(crate) entries: u64,
    pub(crate) next_position: u64,
    pub(crate) last_sequence: Option<u64>,
    pub(crate) without_event: u64,
}

impl TranscriptSeen {
    /// Takes the next entry. Returns what is wrong with it.
    pub(crate) fn take(
        &mut self,
        position: u64,
        entry: Option<&TranscriptRow<'_>>,
        has_event: bool,
    ) -> Option<(VerifyKind, String)> {
        let expected = std::mem::replace(&mut self.next_position, position.saturating_add(1));
        self.entries += 1;
        self.without_event += u64::from(!has_event);
        let sequence = entry.map(|entry| entry.sequence);
        let last = self.last_sequence;
        self.last_sequence = last.max(sequence);
        if position != expected {
            let message = format!("the position before it is missing: {expected} is expected");
            return Some((VerifyKind::Position, message));
        }
        let sequence = sequence?;
        if sequence == 0 || last.is_some_and(|last| sequence <= last) {
            let message = format!(
                "sequence {sequence} is not greater than {}",
                last.unwrap_or(0)
            );
            return Some((VerifyKind::Sequence, message));
        }
        None
    }
}

/// Rows that name workers that are not there.
#[derive(Default)]
pub(crate) struct Strangers {
    pub(crate) rows: u64,
    pub(crate) first: Option<(u64, String)>,
}

impl Strangers {
    /// The finding's message, where there are such rows: `what` is what they are.
    pub(crate) fn message(self, what: &str) -> Option<String> {
        let (id, worker) = self.first?;
        Some(format!(
            "{} {what} name workers that are not there, the first is {id} with {worker:?}",
            self.rows
        ))
    }
}
