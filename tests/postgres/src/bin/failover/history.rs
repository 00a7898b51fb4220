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
    pub(crate) uncertain: usize,
    /// How many of the uncertain ones are stored.
    pub(crate) stored: usize,
    pub(crate) refused: usize,
    pub(crate) lost: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            acknowledged,
            uncertain,
            stored,
            refused,
            lost,
        } = self;
        write!(
            f,
            "{acknowledged} acknowledged, {lost} lost, {uncertain} in doubt ({stored} stored), {refused} refused"
        )
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.acknowledged += other.acknowledged;
        self.uncertain += other.uncertain;
        self.stored += other.stored;
        self.refused += other.refused;
        self.lost += other.lost;
    }
}

/// The inputs that the store has, by text: how often, and the event of the first.
type Stored = BTreeMap<String, (usize, u64)>;

/// Compares the inputs of each sender, in order, with the transcript of `worker`. `may_lose` counts lost ones instead of
/// returning the first as an error.
pub(crate) fn check(
    runtime: &Runtime,
    worker: &WorkerRef,
    senders: &[Vec<Input>],
    may_lose: bool,
) -> Result<Tally, String> {
    let (stored, order) = transcript(runtime, worker)?;
    events_are_dense(runtime)?;
    let mut tally = Tally::default();
    for input in senders.iter().flatten() {
        let found = stored.get(&input.text);
        let text = &input.text;
        if let Some((count @ 2.., _)) = found {
            return Err(format!(
                "{text:?} is stored {count} times: {:?}",
                input.answer
            ));
        }
        match (&input.answer, found) {
            (Answer::Acknowledged(event), Some((_, stored))) if stored == event => {
                tally.acknowledged += 1;
            }
            // After a loss the events of the others have other numbers.
            (Answer::Acknowledged(_), _) if may_lose => {
                tally.acknowledged += 1;
                tally.lost += 1;
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
            (Answer::Uncertain, found) => {
                tally.uncertain += 1;
                tally.stored += usize::from(found.is_some());
            }
            (Answer::Refused(_), None) => tally.refused += 1,
            (Answer::Refused(why), Some((_, event))) => {
                return Err(format!("{text:?} was refused and is event {event}: {why}"));
            }
        }
    }
    let sent: usize = senders.iter().map(Vec::len).sum();
    if tally.acknowledged - tally.lost + tally.stored != order.len() {
        return Err(format!(
            "{} inputs are stored, of {sent} that were sent: {tally}",
            order.len()
        ));
    }
    for sender in senders {
        is_in_order(sender, &stored)?;
    }
    Ok(tally)
}

/// Reads the whole transcript. An error if its sequence has a gap.
fn transcript(runtime: &Runtime, worker: &WorkerRef) -> Result<(Stored, Vec<String>), String> {
    let (mut stored, mut order) = (Stored::new(), Vec::new());
    loop {
        let query = TranscriptQuery::new(order.len(), 256);
        let page = runtime.transcript_projection(worker, query);
        let page = page.map_err(|error| format!("the transcript cannot be read: {error}"))?;
        for entry in page.items {
            order.push(entry.content.clone());
            if entry.sequence != order.len() as u64 {
                return Err(format!(
                    "entry {} has the sequence {}",
                    order.len(),
                    entry.sequence
                ));
            }
            let found = stored.entry(entry.content);
            found.or_insert((0, entry.event_id)).0 += 1;
        }
        if page.next_start.is_none() {
            return Ok((stored, order));
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

/// An error if inputs of one sender, which sends one after the other, are stored in another order.
fn is_in_order(sender: &[Input], stored: &Stored) -> Result<(), String> {
    let events = sender.iter().filter_map(|input| stored.get(&input.text));
    let events: Vec<u64> = events.map(|(_, event)| *event).collect();
    match events.is_sorted() {
        true => Ok(()),
        false => Err(format!(
            "the inputs of one sender are stored in the order {events:?}"
        )),
    }
}
