//! The state of a verification within one log, in constant memory.

use crate::engine::redb::maintenance::verify::report::VerifyKind;
use crate::ledger::rows::TranscriptRow;

/// The state of a walk through one transcript.
#[derive(Default)]
pub(crate) struct TranscriptSeen {
    pub(crate) entries: u64,
    pub(crate) next_position: u64,
    pub(crate) last_sequence: Option<u64>,
    pub(crate) without_event: u64,
}

impl TranscriptSeen {
    /// Takes the next entry. Returns the finding, if it breaks a rule.
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
            let message = format!(
                "position {expected} is expected here: an entry before this one is missing"
            );
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

/// Rows that name workers that do not exist.
#[derive(Default)]
pub(crate) struct UnknownWorkers {
    pub(crate) rows: u64,
    pub(crate) first: Option<(u64, String)>,
}

impl UnknownWorkers {
    /// The message of the finding, if there are such rows. `what` names their kind.
    pub(crate) fn message(self, what: &str) -> Option<String> {
        let (id, worker) = self.first?;
        Some(format!(
            "{} {what} name workers that do not exist; the first is {id}, which names {worker:?}",
            self.rows
        ))
    }
}
