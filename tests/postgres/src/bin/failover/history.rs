//! What hosts were told, and whether the store agrees.

use redb_runtime_store::Runtime;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::TranscriptQuery;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::AddAssign;

/// The answer to an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is stored, with this event.
    Acknowledged(u64),
    /// Its outcome could not be settled in time.
    Uncertain,
    /// Nothing was changed.
    Refused(String),
    /// None: the host was killed.
    Missing,
}

/// An input of a host. No two have the same text.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) text: String,
    pub(crate) answer: Answer,
}

/// Counts of a round.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) acknowledged: usize,
    /// Uncertain, or without an answer.
    pub(crate) doubtful: usize,
    /// How many of these are stored.
    pub(crate) stored: usize,
    pub(crate) refused: usize,
    pub(crate) lost: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            acknowledged,
            doubtful,
            stored,
            refused,
            lost,
        } = self;
        write!(
            f,
            "{acknowledged} acknowledged, {lost} lost, {doubtful} in doubt ({stored} stored), {refused} refused"
        )
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.doubtful += other.doubtful;
        self.stored += other.stored;
        self.refused += other.refused;
        self.lost += other.lost;
    }
}

/// What a store has at the end of a round.
pub(crate) struct History {
    /// The inputs, by text: how often each is stored, and the event of the first.
    stored: BTreeMap<String, (usize, u64)>,
    /// The number of entries.
    entries: usize,
}

impl History {
    /// Reads the transcript of `worker` and the events. An error if either has a gap or a repeat.
    pub(crate) fn read(runtime: &Runtime, worker: &WorkerRef) -> Result<Self, String> {
        events_are_dense(runtime)?;
        transcript(runtime, worker)
    }

    /// The event of an input, if that is stored.
    pub(crate) fn event(&self, input: &Input) -> Option<u64> {
        self.stored.get(&input.text).map(|(_, event)| *event)
    }

    /// Compares the inputs of each sender, in order, with what is stored. `may_lose` counts lost ones instead of returning
    /// the first as an error.
    pub(crate) fn check(&self, senders: &[Vec<Input>], may_lose: bool) -> Result<Tally, String> {
        let mut tally = Tally::default();
        for input in senders.iter().flatten() {
            tally += self.check_input(input, may_lose)?;
        }
        let sent: usize = senders.iter().map(Vec::len).sum();
        if tally.acknowledged - tally.lost + tally.stored != self.entries {
            return Err(format!(
                "{} inputs are stored, of {sent} that were sent: {tally}",
                self.entries
            ));
        }
        for sender in senders {
            self.is_in_order(sender)?;
        }
        Ok(tally)
    }

    /// Compares one input.
    fn check_input(&self, input: &Input, may_lose: bool) -> Result<Tally, String> {
        let (text, found) = (&input.text, self.stored.get(&input.text));
        if let Some((count @ 2.., _)) = found {
            return Err(format!(
                "{text:?} is stored {count} times: {:?}",
                input.answer
            ));
        }
        let mut tally = Tally::default();
        match (&input.answer, found) {
            (Answer::Acknowledged(event), Some((_, stored))) if stored == event => {
                tally.acknowledged = 1;
            }
            // After a loss the events of the others have other numbers.
            (Answer::Acknowledged(_), _) if may_lose => {
                (tally.acknowledged, tally.lost) = (1, 1);
            }
            (Answer::Acknowledged(event), Some((_, stored))) => {
                return Err(format!(
                    "{text:?} was acknowledged as event {event} and is event {stored}"
                ));
            }
            (Answer::Acknowledged(event), None) => {
                return Err(format!(
                    "{text:?} was acknowledged as event {event} and is lost"
                ));
            }
            (Answer::Uncertain | Answer::Missing, found) => {
                tally.doubtful = 1;
                tally.stored = usize::from(found.is_some());
            }
            (Answer::Refused(_), None) => tally.refused = 1,
            (Answer::Refused(why), Some((_, event))) => {
                return Err(format!("{text:?} was refused and is event {event}: {why}"));
            }
        }
        Ok(tally)
    }

    /// An error if inputs of one sender, which sends one after the other, are stored in another order.
    fn is_in_order(&self, sender: &[Input]) -> Result<(), String> {
        let events: Vec<u64> = sender
            .iter()
            .filter_map(|input| self.event(input))
            .collect();
        match events.is_sorted() {
            true => Ok(()),
            false => Err(format!(
                "the inputs of one sender are stored in the order {events:?}"
            )),
        }
    }
}

/// Reads the whole transcript. An error if its sequence has a gap.
fn transcript(runtime: &Runtime, worker: &WorkerRef) -> Result<History, String> {
    let (mut stored, mut entries) = (BTreeMap::new(), 0);
    loop {
        let query = TranscriptQuery::new(entries, 256);
        let page = runtime.transcript_projection(worker, query);
        let page = page.map_err(|error| format!("the transcript cannot be read: {error}"))?;
        for entry in page.items {
            entries += 1;
            if entry.sequence != entries as u64 {
                return Err(format!(
                    "entry {entries} has the sequence {}",
                    entry.sequence
                ));
            }
            let found = stored.entry(entry.content);
            found.or_insert((0, entry.event_id)).0 += 1;
        }
        if page.next_start.is_none() {
            return Ok(History { stored, entries });
        }
    }
}

/// An error if the ids of events have a gap or a repeat.
fn events_are_dense(runtime: &Runtime) -> Result<(), String> {
    let read = |error| format!("the events cannot be read: {error}");
    let mut cursor = runtime.event_cursor_from_start().map_err(read)?;
    let mut next = 1;
    loop {
        let batch = runtime.read_events(&cursor, 256).map_err(read)?;
        for event in &batch.events {
            if event.id != next {
                return Err(format!("event {} follows event {}", event.id, next - 1));
            }
            next += 1;
        }
        cursor = batch.cursor;
        if !batch.has_more {
            break;
        }
    }
    let now = runtime.event_cursor_now().map_err(read)?.next_event_id;
    match now == next {
        true => Ok(()),
        false => Err(format!(
            "the next event is {now}, and the last is {}",
            next - 1
        )),
    }
}
