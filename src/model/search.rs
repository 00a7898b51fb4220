//! A search over texts: its pattern, its limits, and the rows that it returns.

use super::identity::{RuntimeId, WorkerId, WorkerRef};
use super::interaction::{TranscriptEntry, TranscriptRole};
use super::observation::{EventCursor, RuntimeEvent, RuntimeEventKind};
use super::time;
use std::time::SystemTime;

/// A search over the contents of transcript entries and the messages of events: a pattern, and limits to some
/// rows. [`Snapshot::search`](crate::store::Snapshot::search) and
/// [`Runtime::search`](crate::Runtime::search) run it.
///
/// The value is data only. An expression is compiled when the search runs.
///
/// ```
/// # #[cfg(feature = "search")] {
/// use redb_runtime_store::interaction::TranscriptRole;
/// use redb_runtime_store::search::Search;
///
/// let questions = Search::literal("deploy").ignore_case(true).role(TranscriptRole::User);
/// let numbers = Search::regex(r"error \d+").events_only().newest_first(true);
/// # }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    pub(crate) pattern: SearchPattern,
    pub(crate) ignore_case: bool,
    pub(crate) newest_first: bool,
    pub(crate) after: Option<SearchPlace>,
    pub(crate) limits: SearchLimits,
}

/// The text that a search looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SearchPattern {
    Literal(String),
    Expression(String),
}

/// The place of a row in the order of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SearchPlace {
    pub(crate) runtime_id: RuntimeId,
    /// The worker of an entry; `None` for an event.
    pub(crate) worker_id: Option<WorkerId>,
    /// The id of the event, or the position of the entry.
    pub(crate) number: u64,
}

/// The rows that a search reads. An empty list limits nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SearchLimits {
    pub(crate) runtimes: Vec<RuntimeId>,
    pub(crate) workers: Vec<WorkerRef>,
    roles: Vec<TranscriptRole>,
    kinds: Vec<RuntimeEventKind>,
    only: Option<Only>,
    /// The first time, and the first one that is too late.
    since: Option<SystemTime>,
    until: Option<SystemTime>,
}

/// One of the two sorts of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    Entries,
    Events,
}

impl Search {
    /// A search for `text` as it is, byte for byte.
    pub fn literal(text: impl Into<String>) -> Self {
        Self::new(SearchPattern::Literal(text.into()))
    }

    /// A search for the matches of a regular expression, in the syntax of the crate
    /// [`regex`](https://docs.rs/regex/1/regex/#syntax).
    pub fn regex(expression: impl Into<String>) -> Self {
        Self::new(SearchPattern::Expression(expression.into()))
    }

    fn new(pattern: SearchPattern) -> Self {
        Self {
            pattern,
            ignore_case: false,
            newest_first: false,
            after: None,
            limits: SearchLimits::default(),
        }
    }

    /// Whether upper and lower case are equal, also outside ASCII: two characters are equal if their Unicode
    /// simple case foldings are. `ß` does not equal `SS`, and `I` does not equal `ı`. Off by default.
    #[must_use]
    pub fn ignore_case(mut self, ignore_case: bool) -> Self {
        self.ignore_case = ignore_case;
        self
    }

    /// Whether the search begins at the end. It then returns the same rows in the opposite order. Off by
    /// default.
    #[must_use]
    pub fn newest_first(mut self, newest_first: bool) -> Self {
        self.newest_first = newest_first;
        self
    }

    /// Begins behind this row, in the direction of the search: the last row of a page of matches continues the
    /// search later, also in another snapshot. A row that no longer exists is a place all the same.
    #[must_use]
    pub fn after(mut self, row: &SearchRow) -> Self {
        self.after = Some(match row {
            SearchRow::Event { cursor, event, .. } => SearchPlace {
                runtime_id: cursor.runtime_id.clone(),
                worker_id: None,
                number: event.id,
            },
            SearchRow::Entry {
                position, entry, ..
            } => SearchPlace {
                runtime_id: entry.worker_ref.runtime_id.clone(),
                worker_id: Some(entry.worker_ref.worker_id.clone()),
                number: *position,
            },
        });
        self
    }

    /// Limits the search to rows of this runtime. Further calls add runtimes.
    #[must_use]
    pub fn runtime(mut self, runtime_id: RuntimeId) -> Self {
        self.limits.runtimes.push(runtime_id);
        self
    }

    /// Limits the search to the transcript of this worker and the events about it. Further calls add workers.
    #[must_use]
    pub fn worker(mut self, worker_ref: WorkerRef) -> Self {
        self.limits.workers.push(worker_ref);
        self
    }

    /// Limits the search to entries with this role. Further calls add roles. An event has no role: unless the
    /// search also names kinds, it reads no events.
    #[must_use]
    pub fn role(mut self, role: TranscriptRole) -> Self {
        self.limits.roles.push(role);
        self
    }

    /// Limits the search to events of this kind. Further calls add kinds. An entry has no kind: unless the
    /// search also names roles, it reads no entries.
    #[must_use]
    pub fn kind(mut self, kind: RuntimeEventKind) -> Self {
        self.limits.kinds.push(kind);
        self
    }

    /// Limits the search to rows that were recorded at this time or later; see
    /// [`recorded_at`](crate::observation::RecordedEvent::recorded_at). A row without a time is in no range of times.
    /// A second call replaces the first.
    #[must_use]
    pub fn since(mut self, time: SystemTime) -> Self {
        self.limits.since = Some(time);
        self
    }

    /// Limits the search to rows that were recorded before this time, as [`since`](Self::since) does. A range that
    /// ends before it begins has no rows.
    #[must_use]
    pub fn until(mut self, time: SystemTime) -> Self {
        self.limits.until = Some(time);
        self
    }

    /// Limits the search to transcript entries. Replaces [`events_only`](Self::events_only).
    #[must_use]
    pub fn entries_only(mut self) -> Self {
        self.limits.only = Some(Only::Entries);
        self
    }

    /// Limits the search to events. Replaces [`entries_only`](Self::entries_only).
    #[must_use]
    pub fn events_only(mut self) -> Self {
        self.limits.only = Some(Only::Events);
        self
    }
}

impl SearchLimits {
    /// Why no row can match, if limits exclude each other.
    pub(crate) fn contradiction(&self) -> Option<&'static str> {
        match self.only {
            Some(Only::Entries) if !self.kinds.is_empty() => {
                Some("a search that is limited to entries cannot name kinds of events")
            }
            Some(Only::Events) if !self.roles.is_empty() => {
                Some("a search that is limited to events cannot name roles of entries")
            }
            _ => None,
        }
    }

    /// Sorts the lists of ids, so that they can be searched and followed in order.
    pub(crate) fn sort(&mut self) {
        self.runtimes.sort();
        self.runtimes.dedup();
        self.workers.sort();
        self.workers.dedup();
    }

    /// Whether the search reads any transcripts.
    pub(crate) fn wants_entries(&self) -> bool {
        match self.only {
            Some(only) => only == Only::Entries,
            None => self.kinds.is_empty() || !self.roles.is_empty(),
        }
    }

    /// Whether the search reads any event logs.
    pub(crate) fn wants_events(&self) -> bool {
        match self.only {
            Some(only) => only == Only::Events,
            None => self.roles.is_empty() || !self.kinds.is_empty(),
        }
    }

    /// Whether the search reads this entry of a transcript that it reads.
    pub(crate) fn wants_entry(&self, role: TranscriptRole, time_ms: Option<u64>) -> bool {
        (self.roles.is_empty() || self.roles.contains(&role)) && self.wants_time(time_ms)
    }

    /// Whether a row with this time is in the range of times, if the search has one.
    fn wants_time(&self, time_ms: Option<u64>) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        time::system_time(time_ms).is_some_and(|time| {
            self.since.is_none_or(|since| since <= time)
                && self.until.is_none_or(|until| time < until)
        })
    }

    /// Whether the search reads this event of a log that it reads. The lists are sorted.
    pub(crate) fn wants_event(
        &self,
        runtime_id: &RuntimeId,
        worker_id: Option<&str>,
        (kind, time_ms): (RuntimeEventKind, Option<u64>),
    ) -> bool {
        let names = |worker_id: &str| {
            let by_id = |worker: &WorkerRef| {
                let id = (worker.runtime_id.as_str(), worker.worker_id.as_str());
                id.cmp(&(runtime_id.as_str(), worker_id))
            };
            self.workers.binary_search_by(by_id).is_ok()
        };
        (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (self.workers.is_empty() || worker_id.is_some_and(names))
            && self.wants_time(time_ms)
    }
}

/// A row whose text matches, with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SearchRow {
    /// An event. The message is the searched text.
    #[non_exhaustive]
    Event {
        /// The place of the event: a read from here returns it first.
        cursor: EventCursor,
        /// The event.
        event: RuntimeEvent,
        /// As [`RecordedEvent::recorded_at`](crate::observation::RecordedEvent::recorded_at).
        recorded_at: Option<SystemTime>,
    },
    /// A transcript entry. The content is the searched text.
    #[non_exhaustive]
    Entry {
        /// Its position in the transcript of its worker, from 0: the `start` of a query that returns it first.
        position: u64,
        /// The entry.
        entry: TranscriptEntry,
        /// As [`RecordedEvent::recorded_at`](crate::observation::RecordedEvent::recorded_at).
        recorded_at: Option<SystemTime>,
    },
}

impl SearchRow {
    /// The time at which the row was recorded, as
    /// [`RecordedEvent::recorded_at`](crate::observation::RecordedEvent::recorded_at).
    pub fn recorded_at(&self) -> Option<SystemTime> {
        match self {
            Self::Event { recorded_at, .. } | Self::Entry { recorded_at, .. } => *recorded_at,
        }
    }

    /// The text that was searched.
    pub fn text(&self) -> &str {
        match self {
            Self::Event { event, .. } => &event.message,
            Self::Entry { entry, .. } => &entry.content,
        }
    }
}
