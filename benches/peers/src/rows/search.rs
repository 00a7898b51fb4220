//! Searching a long transcript, against ripgrep's library over the exported lines.

use super::{Bench, LONG};
use crate::measure::{Contender, interleave, time};
use crate::table::{Bound, Line, Table, Unit, duration, thousands};
use crate::{directory, ours};
use anyhow::{Result, ensure};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};
use grep_searcher::{Searcher, SearcherBuilder, Sink, SinkMatch};
use redb_runtime_store::Runtime;
use redb_runtime_store::search::Search;
use std::path::Path;

/// In no text, though its letters are in every text.
const ABSENT: &str = "why it deadlocked";

/// The same as an expression without a literal beginning or end.
const ABSENT_EXPRESSION: &str = r"[a-z]+ (it|why) deadlocked\s[a-z]+";

/// In some texts, without a character that JSON escapes.
const PRESENT: &str = "deploy staging before";

/// One search, for both sides.
struct Pattern {
    work: &'static str,
    ours: Search,
    theirs: RegexMatcher,
    threshold: Bound,
    stretch: Bound,
}

pub(super) fn run(bench: &Bench, table: &mut Table) -> Result<()> {
    let logs = bench.logs()?;
    let runtime = ours::open(&logs.ours)?;
    let lines = directory::transcript_path(&logs.directory, 0);
    let present = matcher(|builder| builder.build_literals(&[PRESENT]))?;
    let found = count(&runtime, &Search::literal(PRESENT))?;
    ensure!(found > 0, "the texts have no {PRESENT:?}");
    ensure!(found == grep(&lines, &present)?, "other matches than grep");
    for pattern in patterns()? {
        let contenders: Vec<Contender<'_>> = vec![
            Box::new(|| timed(|| count(&runtime, &pattern.ours))),
            Box::new(|| timed(|| grep(&lines, &pattern.theirs))),
        ];
        let samples = interleave(bench.rounds(9, 2), contenders)?;
        let (ours, theirs) = (&samples[0], &samples[1]);
        table.push(Line {
            work: format!("{} {} entries", pattern.work, thousands(LONG.inputs)),
            against: "ripgrep's library",
            threshold: pattern.threshold,
            stretch: pattern.stretch,
            value: ours.speed_over(theirs),
            unit: Unit::Times,
            ours: duration(ours.median()),
            theirs: duration(theirs.median()),
        });
    }
    Ok(runtime.store().close()?)
}

fn patterns() -> Result<[Pattern; 3]> {
    Ok([
        Pattern {
            work: "literal in",
            ours: Search::literal(ABSENT),
            theirs: matcher(|builder| builder.build_literals(&[ABSENT]))?,
            threshold: Bound::AtLeast(0.3),
            stretch: Bound::AtLeast(1.0),
        },
        Pattern {
            work: "literal, ignoring case, in",
            ours: Search::literal(ABSENT).ignore_case(true),
            theirs: matcher(|builder| builder.case_insensitive(true).build_literals(&[ABSENT]))?,
            threshold: Bound::None,
            stretch: Bound::None,
        },
        Pattern {
            work: "expression in",
            ours: Search::regex(ABSENT_EXPRESSION),
            theirs: matcher(|builder| builder.build(ABSENT_EXPRESSION))?,
            threshold: Bound::None,
            stretch: Bound::None,
        },
    ])
}

fn matcher(
    build: impl FnOnce(&mut RegexMatcherBuilder) -> Result<RegexMatcher, grep_regex::Error>,
) -> Result<RegexMatcher> {
    let mut builder = RegexMatcherBuilder::new();
    // As ripgrep does: its library is faster if no match can span lines.
    Ok(build(builder.line_terminator(Some(b'\n')))?)
}

/// Seconds for a search without a match.
fn timed(search: impl Fn() -> Result<u64>) -> Result<f64> {
    let (seconds, found) = time(1, search)?;
    ensure!(found == 0, "{found} matches of a text that is in none");
    Ok(seconds)
}

/// The number of entries with a match in the store.
fn count(runtime: &Runtime, search: &Search) -> Result<u64> {
    let mut found = 0;
    for entry in runtime.search(&search.clone().entries_only())? {
        entry?;
        found += 1;
    }
    Ok(found)
}

/// The number of lines with a match. The file is read in one thread, and not mapped: that needs `unsafe`.
fn grep(path: &Path, matcher: &RegexMatcher) -> Result<u64> {
    let mut found = Found(0);
    let mut searcher = SearcherBuilder::new().line_number(false).build();
    searcher.search_path(matcher, path, &mut found)?;
    Ok(found.0)
}

/// Counts the lines with a match.
struct Found(u64);

impl Sink for Found {
    type Error = std::io::Error;

    fn matched(&mut self, _: &Searcher, _: &SinkMatch<'_>) -> Result<bool, Self::Error> {
        self.0 += 1;
        Ok(true)
    }
}
