//! Searching: equal to a naive scan, lazy, in order, and never blind to damage.

use crate::support::{
    Place, assert_refused, bulk, entry, event, fresh, named, runtime_id, runtime_snapshot, say,
    seed, worker_ref, worker_snapshot,
};
use redb_runtime_store::catalog::CreateWorkerRequest;
use redb_runtime_store::identity::WorkerRef;
use redb_runtime_store::interaction::TranscriptRole;
use redb_runtime_store::observation::{RuntimeEvent, RuntimeEventKind};
use redb_runtime_store::search::{Search, SearchMatch, SearchRow};
use redb_runtime_store::store::Snapshot;
use redb_runtime_store::{Runtime, RuntimeError, Store};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use torture::rng::Rng;

/// Some of `items`.
fn some<T: Clone>(random: &mut Rng, items: &[T]) -> Vec<T> {
    let chosen = items.iter().filter(|_| random.chance(50));
    chosen.cloned().collect()
}

/// A text of at most `most` of few different characters, so that matches are common.
fn text(random: &mut Rng, most: usize) -> String {
    let letters = [
        'a', 'b', 'A', 'é', 'É', 'ß', 'ẞ', 'k', '\u{212a}', '\n', '7',
    ];
    (0..random.below(most + 1))
        .map(|_| *random.pick(&letters))
        .collect()
}

/// Unicode simple case folding of the letters above.
fn folded(letter: char) -> char {
    match letter {
        'A' => 'a',
        'É' => 'é',
        'ẞ' => 'ß',
        '\u{212a}' => 'k',
        letter => letter,
    }
}

/// The boundaries of characters, with the end.
fn boundaries(text: &str) -> impl Iterator<Item = usize> {
    (0..=text.len()).filter(|at| text.is_char_boundary(*at))
}

/// The matches of a literal, leftmost first.
fn literal(text: &str, wanted: &str, same: fn(char) -> char) -> Vec<Range<usize>> {
    let wanted: Vec<char> = wanted.chars().map(same).collect();
    let mut found: Vec<Range<usize>> = Vec::new();
    for start in boundaries(text) {
        let here: Vec<char> = text[start..].chars().take(wanted.len()).collect();
        let is_free = found.last().is_none_or(|last| last.end <= start);
        if is_free && here.iter().copied().map(same).eq(wanted.iter().copied()) {
            found.push(start..start + here.iter().map(|c| c.len_utf8()).sum::<usize>());
        }
    }
    found
}

/// The longest runs of letters that `is_in` accepts.
fn runs(text: &str, is_in: fn(char) -> bool) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for (start, letter) in text.char_indices().filter(|(_, letter)| is_in(*letter)) {
        let end = start + letter.len_utf8();
        match found.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => found.push(start..end),
        }
    }
    found
}

type Matches = Box<dyn Fn(&str) -> Vec<Range<usize>>>;

/// A random pattern, and the matches that a search for it must find in a text.
fn pattern(random: &mut Rng) -> (Search, Matches) {
    let text = text(random, 3);
    match random.below(8) {
        0..=2 => {
            let search = Search::literal(&text);
            (search, Box::new(move |of| literal(of, &text, |c| c)))
        }
        3 | 4 => {
            let search = Search::literal(&text).ignore_case(true);
            (search, Box::new(move |of| literal(of, &text, folded)))
        }
        5 => {
            let search = Search::regex("[ab]+");
            (search, Box::new(|of| runs(of, |c| c == 'a' || c == 'b')))
        }
        6 => {
            let search = Search::regex(r"(?m)^\p{L}");
            let first = |of: &str| -> Vec<Range<usize>> {
                let starts = boundaries(of).filter(|at| *at == 0 || of[..*at].ends_with('\n'));
                let letters = starts.filter_map(|at| Some((at, of[at..].chars().next()?)));
                letters
                    .filter(|(_, letter)| letter.is_alphabetic())
                    .map(|(at, letter)| at..at + letter.len_utf8())
                    .collect()
            };
            (search, Box::new(first))
        }
        _ => {
            let search = Search::regex("é+").ignore_case(true);
            (search, Box::new(|of| runs(of, |c| c == 'é' || c == 'É')))
        }
    }
}

const ROLES: [TranscriptRole; 3] = [
    TranscriptRole::User,
    TranscriptRole::Assistant,
    TranscriptRole::System,
];

const KINDS: [RuntimeEventKind; 6] = [
    RuntimeEventKind::RuntimeStarted,
    RuntimeEventKind::RuntimeStopped,
    RuntimeEventKind::WorkerCreated,
    RuntimeEventKind::WorkerInputAccepted,
    RuntimeEventKind::WorkerStopped,
    RuntimeEventKind::WorkerCancelled,
];

const RUNTIMES: [&str; 3] = ["a", "b", "b2"];

/// The workers of a runtime. One id begins with another one, and one is no generated id.
const WORKERS: [&str; 4] = ["w", "w1", "é", "w12"];

/// The message of an event that was logged without one.
fn standard(kind: RuntimeEventKind, worker: Option<&WorkerRef>) -> String {
    let worker = worker.map_or("", |worker| worker.worker_id.as_str());
    match kind {
        RuntimeEventKind::RuntimeStarted => "runtime started".to_owned(),
        RuntimeEventKind::WorkerCreated => format!("worker {worker} created"),
        RuntimeEventKind::WorkerInputAccepted => "worker input accepted".to_owned(),
        RuntimeEventKind::WorkerCancelled => "worker cancelled".to_owned(),
        _ => "worker stopped".to_owned(),
    }
}

/// A store with random rows: logs with gaps, entries of all roles, events of workers that do not exist.
fn random_store(random: &mut Rng) -> Store {
    let store = fresh();
    bulk(&store, |load| {
        for runtime in RUNTIMES {
            let mut names = WORKERS.to_vec();
            names.sort_unstable();
            for name in names {
                let worker = worker_ref(runtime, name);
                let entries = *random.pick(&[0, 1, 2, 40]);
                for sequence in 1..=entries {
                    let mut entry = entry(&worker, sequence, &text(random, 6));
                    entry.role = *random.pick(&ROLES);
                    load.append_transcript_entry(entry.into())?;
                }
                load.put_worker(worker_snapshot(&worker, entries + 1).into())?;
            }
            let mut id = 0;
            for _ in 0..*random.pick(&[0, 1, 60]) {
                id += 1 + random.below(2) as u64;
                let mut event = event(id, &text(random, 6));
                event.kind = *random.pick(&KINDS);
                event.worker_ref = match random.below(6) {
                    0 => None,
                    1 => Some(worker_ref(runtime, "lost")),
                    _ => Some(worker_ref(runtime, WORKERS[random.below(WORKERS.len())])),
                };
                if random.below(2) == 0 {
                    event.message = standard(event.kind, event.worker_ref.as_ref());
                }
                load.append_event(&runtime_id(runtime), event.into())?;
            }
            load.put_runtime(runtime_snapshot(runtime, id + 1).into())?;
        }
        Ok(())
    });
    store
}

/// Random limits of a search.
#[derive(Debug, Default)]
struct Limits {
    runtimes: Vec<&'static str>,
    workers: Vec<WorkerRef>,
    roles: Vec<TranscriptRole>,
    kinds: Vec<RuntimeEventKind>,
    /// Entries or events only.
    entries: Option<bool>,
}

impl Limits {
    fn new(random: &mut Rng) -> Self {
        let mut limits = Self::default();
        if random.below(3) == 0 {
            limits.runtimes = some(random, &RUNTIMES);
        }
        if random.below(3) == 0 {
            let mut all = vec![worker_ref("a", "unknown")];
            for runtime in RUNTIMES {
                all.extend(WORKERS.map(|worker| worker_ref(runtime, worker)));
            }
            limits.workers = some(random, &all);
        }
        if random.below(3) == 0 {
            limits.roles = some(random, &ROLES);
        }
        if random.below(3) == 0 {
            limits.kinds = some(random, &KINDS);
        }
        limits.entries = match random.below(4) {
            0 if limits.kinds.is_empty() => Some(true),
            1 if limits.roles.is_empty() => Some(false),
            _ => None,
        };
        limits
    }

    fn of(&self, mut search: Search) -> Search {
        for runtime in &self.runtimes {
            search = search.runtime(runtime_id(runtime));
        }
        for worker in &self.workers {
            search = search.worker(worker.clone());
        }
        for role in &self.roles {
            search = search.role(*role);
        }
        for kind in &self.kinds {
            search = search.kind(*kind);
        }
        match self.entries {
            None => search,
            Some(true) => search.entries_only(),
            Some(false) => search.events_only(),
        }
    }

    fn wants(&self, row: &SearchRow) -> bool {
        let (runtime, worker) = match row {
            SearchRow::Event { cursor, event, .. } => {
                (&cursor.runtime_id, event.worker_ref.as_ref())
            }
            SearchRow::Entry { entry, .. } => {
                (&entry.worker_ref.runtime_id, Some(&entry.worker_ref))
            }
            other => panic!("{other:?}"),
        };
        let fits = match row {
            SearchRow::Entry { entry, .. } => {
                self.entries != Some(false)
                    && (self.kinds.is_empty() || !self.roles.is_empty())
                    && (self.roles.is_empty() || self.roles.contains(&entry.role))
            }
            SearchRow::Event { event, .. } => {
                self.entries != Some(true)
                    && (self.roles.is_empty() || !self.kinds.is_empty())
                    && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            }
            other => panic!("{other:?}"),
        };
        let names = |of: &WorkerRef| self.workers.contains(of);
        fits && (self.runtimes.is_empty() || self.runtimes.contains(&runtime.as_str()))
            && (self.workers.is_empty() || worker.is_some_and(names))
    }
}

/// The place and the text of a row.
type Shown = (String, Option<String>, u64, String);

fn shown(row: &SearchRow) -> Shown {
    let text = row.text().to_owned();
    match row {
        SearchRow::Event { cursor, event, .. } => {
            assert_eq!(cursor.next_event_id, event.id);
            (cursor.runtime_id.to_string(), None, event.id, text)
        }
        SearchRow::Entry {
            position, entry, ..
        } => {
            let worker = &entry.worker_ref;
            let (runtime, worker) = (worker.runtime_id.to_string(), worker.worker_id.to_string());
            (runtime, Some(worker), *position, text)
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) fn all(snapshot: &Snapshot, search: &Search) -> Vec<SearchMatch> {
    let matches = snapshot.search(search).unwrap();
    matches.map(Result::unwrap).collect()
}

/// Every row, as other reads and a search for everything return it, in the order of a search.
fn naive(snapshot: &Snapshot) -> Vec<(Shown, SearchRow)> {
    let mut rows = Vec::new();
    let mut found = all(snapshot, &Search::literal("")).into_iter();
    let mut push = |expected: Shown| {
        let row = found.next().expect("a row is missing").row;
        assert_eq!(shown(&row), expected);
        rows.push((expected, row));
    };
    for id in snapshot.runtime_ids().unwrap() {
        for event in snapshot.events(&id, 0).unwrap() {
            let event = event.unwrap().value;
            push((id.to_string(), None, event.id, event.message));
        }
        for worker in snapshot.workers(&id).unwrap() {
            let worker = worker.unwrap().value.worker_ref;
            for (position, entry) in (0..).zip(snapshot.transcript(&worker, 0).unwrap()) {
                let content = entry.unwrap().value.content;
                let name = worker.worker_id.to_string();
                push((id.to_string(), Some(name), position, content));
            }
        }
    }
    assert_eq!(found.next().map(|row| row.row), None);
    rows
}

#[test]
fn search_finds_what_a_naive_scan_finds() {
    let mut random = Rng::new(seed());
    let mut found = 0;
    for _ in 0..12 {
        let store = random_store(&mut random);
        let snapshot = store.snapshot().unwrap();
        let rows = naive(&snapshot);
        for _ in 0..40 {
            let (search, matches) = pattern(&mut random);
            let limits = Limits::new(&mut random);
            let search = limits.of(search);
            let mut expected: Vec<(Shown, Vec<Range<usize>>)> = rows
                .iter()
                .filter(|(_, row)| limits.wants(row))
                .map(|(row, _)| (row.clone(), matches(&row.3)))
                .filter(|(_, ranges)| !ranges.is_empty())
                .collect();
            let with_ranges = |search: &Search| -> Vec<(Shown, Vec<Range<usize>>)> {
                let rows = all(&snapshot, search).into_iter();
                rows.map(|row| (shown(&row.row), row.ranges().collect()))
                    .collect()
            };
            assert_eq!(with_ranges(&search), expected, "{search:?}");
            expected.reverse();
            let search = search.newest_first(true);
            assert_eq!(with_ranges(&search), expected, "{search:?}");
            found += expected.len();
        }
    }
    assert!(found > 1000, "{found} matches");
}

#[test]
fn search_continues_behind_every_row() {
    let mut random = Rng::new(seed());
    let store = random_store(&mut random);
    let snapshot = store.snapshot().unwrap();
    for _ in 0..12 {
        let limits = Limits::new(&mut random);
        let newest_first = random.below(2) == 0;
        let search = limits.of(Search::literal("a")).newest_first(newest_first);
        let whole: Vec<SearchRow> = all(&snapshot, &search).into_iter().map(|m| m.row).collect();
        // Also behind rows that the limits leave out.
        let places = all(&snapshot, &Search::literal("").newest_first(newest_first));
        let mut next = 0;
        for place in places.iter().map(|place| &place.row) {
            next += usize::from(whole.get(next) == Some(place));
            let rest = all(&snapshot, &search.clone().after(place)).into_iter();
            let rest: Vec<SearchRow> = rest.map(|found| found.row).collect();
            assert_eq!(rest, whole[next..], "{search:?} after {place:?}");
        }
        assert_eq!(next, whole.len());
    }
}

/// Makes a worker with eight entries, and an event for each, and closes the store.
pub(crate) fn eight_entries(store: &Store) -> WorkerRef {
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap()
        .worker_ref;
    for text in 0..8 {
        say(&runtime, &worker, &format!("text {text}")).unwrap();
    }
    runtime.store().close().unwrap();
    worker
}

#[test]
fn search_is_stable_during_writes() {
    let place = Place::new();
    let worker = eight_entries(&place.open());
    let store = place.open();
    let runtime = store.runtime(named("r")).unwrap();
    for newest_first in [false, true] {
        let search = Search::regex("text|accepted").newest_first(newest_first);
        let before: Vec<SearchRow> = runtime
            .search(&search)
            .unwrap()
            .map(|found| found.unwrap().row)
            .collect();
        let mut matches = runtime.search(&search).unwrap();
        let mut seen = vec![matches.next().unwrap().unwrap().row];
        std::thread::scope(|scope| {
            for thread in 0..2 {
                let (runtime, worker) = (&runtime, &worker);
                scope.spawn(move || {
                    for text in 0..20 {
                        say(runtime, worker, &format!("text of thread {thread}, {text}")).unwrap();
                        runtime
                            .create_worker(CreateWorkerRequest::default())
                            .unwrap();
                    }
                });
            }
            seen.extend(matches.by_ref().take(5).map(|found| found.unwrap().row));
        });
        seen.extend(matches.map(|found| found.unwrap().row));
        assert_eq!(seen, before);
        let now = runtime.search(&search).unwrap().count();
        assert_eq!(now, before.len() + 80);
    }
}

#[test]
fn invalid_search_is_refused_with_its_reason() {
    let runtime = Runtime::with_options(named("r"));
    let reason = |search: Search| match runtime.search(&search) {
        Err(RuntimeError::InvalidRequest(reason)) => reason,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        reason(Search::regex("a(b")),
        "the regular expression is invalid: unclosed group"
    );
    assert_eq!(
        reason(Search::regex(r"(\w{1000}){1000}")),
        "the regular expression is invalid: its compiled form exceeds the limit of 10485760 bytes"
    );
    let long = "x".repeat(1 << 20);
    assert_eq!(
        reason(Search::literal(&long).ignore_case(true)),
        "a text of 1048576 bytes is too long for a search that ignores case"
    );
    // As it is, a literal of any length is searched for.
    assert_eq!(runtime.search(&Search::literal(long)).unwrap().count(), 0);
    let entries = Search::literal("a").entries_only();
    assert!(reason(entries.kind(RuntimeEventKind::RuntimeStarted)).contains("entries"));
    let events = Search::literal("a").events_only();
    assert!(reason(events.role(TranscriptRole::User)).contains("events"));
    assert!(reason(Search::literal("a").runtime(runtime_id("other"))).contains("runtime other"));
    let long = worker_ref("r", &"w".repeat(65 << 10));
    assert!(reason(Search::literal("a").worker(long)).contains("65536"));
}

#[test]
fn foreign_and_removed_runtimes_are_refused() {
    let runtime = Runtime::with_options(named("r"));
    let foreign = Search::literal("a").worker(worker_ref("other", "w"));
    assert_refused!(runtime.search(&foreign), RuntimeError::WrongRuntime { .. });
    let unknown = Search::literal("started").worker(worker_ref("r", "unknown"));
    assert_eq!(runtime.search(&unknown).unwrap().count(), 0);
    let started = Search::literal("started").runtime(runtime_id("r"));
    assert_eq!(runtime.search(&started).unwrap().count(), 1);
    bulk(runtime.store(), |load| {
        load.remove_runtime(&runtime_id("r")).map(|_| ())
    });
    assert_refused!(
        runtime.search(&started),
        RuntimeError::RuntimeNotFound { .. }
    );
    let snapshot = runtime.store().snapshot().unwrap();
    assert_eq!(snapshot.search(&started).unwrap().count(), 0);
}

/// A store whose rows have the times 1,000 to 8,000 ms, one second apart, and a runtime without times.
fn dated_store() -> (Place, Store) {
    let place = Place::new();
    let seconds = Arc::new(AtomicU64::new(1));
    let clock = Arc::clone(&seconds);
    let clock = move || UNIX_EPOCH + Duration::from_secs(clock.load(Ordering::Relaxed));
    let store = place.open_with(Place::options().clock(clock));
    let runtime = store.runtime(named("r")).unwrap();
    let worker = runtime.create_worker(CreateWorkerRequest::default());
    let worker = worker.unwrap().worker_ref;
    for second in 2..=8 {
        seconds.store(second, Ordering::Relaxed);
        match second % 2 {
            0 => say(&runtime, &worker, "x").map(drop).unwrap(),
            _ => runtime.append_reply(&worker, "x").map(drop).unwrap(),
        }
    }
    bulk(&store, |load| {
        let (id, worker) = (runtime_id("undated"), worker_ref("undated", "w"));
        load.append_event(&id, event(1, "x").into())?;
        load.append_transcript_entry(entry(&worker, 1, "x").into())?;
        load.put_worker(worker_snapshot(&worker, 2).into())?;
        load.put_runtime(runtime_snapshot("undated", 2).into())
    });
    (place, store)
}

#[test]
fn search_range_of_times_selects_rows() {
    let (_place, store) = dated_store();
    let snapshot = store.snapshot().unwrap();
    let at = |ms: u64| UNIX_EPOCH + Duration::from_millis(ms);
    let times = |search: &Search| -> Vec<Option<u64>> {
        let rows = all(&snapshot, search).into_iter();
        rows.map(|found| {
            let time = found.row.recorded_at()?;
            Some(time.duration_since(UNIX_EPOCH).unwrap().as_secs())
        })
        .collect()
    };
    let every = Search::literal("");
    // Two events at the beginning, one for each input, and the entries; then the rows without a time.
    let dated = [1, 1, 2, 4, 6, 8, 2, 3, 4, 5, 6, 7, 8].map(Some);
    assert_eq!(times(&every), [&dated[..], &[None; 2]].concat());
    for (since, until) in [
        (0, u64::MAX),
        (3_000, 6_000),
        (3_001, 6_001),
        (2_999, 5_999),
        (8_000, 8_001),
        (8_001, 9_000),
        (5_000, 5_000),
        (6_000, 3_000),
    ] {
        let is_in = |second: &u64| (since..until).contains(&(second * 1000));
        let expected: Vec<_> = dated
            .into_iter()
            .filter(|time| time.as_ref().is_some_and(is_in))
            .collect();
        let mut search = every.clone().since(at(since));
        if until != u64::MAX {
            search = search.until(at(until));
        }
        assert_eq!(times(&search), expected, "{since}..{until}");
        let mut reversed = times(&search.newest_first(true));
        reversed.reverse();
        assert_eq!(reversed, expected, "{since}..{until}");
    }
    // A fraction of a millisecond counts.
    let just_after = at(8_000) + Duration::from_nanos(1);
    assert_eq!(times(&every.clone().since(just_after)), []);
    let until = every
        .clone()
        .entries_only()
        .until(at(2_000) + Duration::from_nanos(1));
    assert_eq!(times(&until), [Some(2)]);
    // Any limit of time leaves out rows without one, also with a pattern.
    let x = Search::literal("x").until(SystemTime::now());
    assert_eq!(times(&x), [2, 3, 4, 5, 6, 7, 8].map(Some));
}

#[test]
fn cursor_and_position_read_the_matched_row() {
    let runtime = Runtime::with_options(named("r"));
    let worker = runtime
        .create_worker(CreateWorkerRequest::default())
        .unwrap()
        .worker_ref;
    for text in ["one", "two", "three"] {
        say(&runtime, &worker, text).unwrap();
    }
    for found in runtime.search(&Search::regex("t.o|created")).unwrap() {
        match found.unwrap().row {
            SearchRow::Event { cursor, event, .. } => {
                let batch: Vec<RuntimeEvent> = runtime.read_events(&cursor, 1).unwrap().events;
                assert_eq!(batch, [event]);
            }
            SearchRow::Entry {
                position, entry, ..
            } => {
                let snapshot = runtime.store().snapshot().unwrap();
                let first = snapshot.transcript(&worker, position).unwrap().next();
                assert_eq!(first.unwrap().unwrap().value, entry);
            }
            other => panic!("{other:?}"),
        }
    }
}
