//! `--tail` and `--reverse`: reads a log from its end, in parts, so that the cost is that of the rows that are read.

use crate::arguments::rows::EndArguments;
use crate::arguments::select::StoreArgument;
use crate::output::failure::{Failure, Status};
use crate::output::print::Output;
use crate::read::follow::{Log, show};
use redb_runtime_store::Store;
use redb_runtime_store::store::Snapshot;
use std::ops::{ControlFlow, Range};

/// The most numbers of one part.
const NUMBERS_AT_A_TIME: u64 = 4096;

/// The most bytes of texts that are held of one part, unless a single row has more.
const HELD_BYTES: usize = 16 << 20;

/// The fewest numbers of one part: rows that are not selected lie between the others.
const FEWEST_AT_A_TIME: u64 = 64;

/// A log whose rows have increasing numbers: ids of events, positions of entries.
pub(crate) trait Backwards: Log {
    type Row;

    /// The numbers from the first row that is left to the end.
    fn numbers(&self, snapshot: &Snapshot) -> Result<Range<u64>, Failure>;

    /// Passes the selected rows with numbers of a range to `each`, ascending, until it breaks.
    fn each_selected(
        &self,
        snapshot: &Snapshot,
        numbers: Range<u64>,
        each: &mut dyn FnMut(u64, Self::Row) -> Result<ControlFlow<()>, Failure>,
    ) -> Result<(), Failure>;

    /// Reads what a row needs only where it is printed.
    fn complete(&self, _: &Snapshot, row: Self::Row) -> Result<Self::Row, Failure> {
        Ok(row)
    }

    /// The length of the texts of a row, in bytes.
    fn text_bytes(row: &Self::Row) -> usize;

    /// Begins at the row with this number, and not where the user said.
    fn begin_at(&mut self, number: u64);

    /// Prints a selected row.
    fn row(&mut self, output: &mut Output, row: Self::Row) -> Result<(), Failure>;
}

/// The parts of `numbers` from the end, the first one for `wanted` rows.
fn parts(numbers: Range<u64>, wanted: usize) -> impl Iterator<Item = Range<u64>> {
    let mut end = numbers.end;
    let wanted = u64::try_from(wanted).unwrap_or(u64::MAX);
    let mut length = wanted.clamp(FEWEST_AT_A_TIME, NUMBERS_AT_A_TIME);
    std::iter::from_fn(move || {
        let start = end.saturating_sub(length).max(numbers.start);
        let part = start..end;
        (end, length) = (start, NUMBERS_AT_A_TIME);
        (!part.is_empty()).then_some(part)
    })
}

/// Prints a log as [`show`] does, but only its end or in the opposite order if the user said so. `limit` is the most rows.
pub(crate) fn show_end(
    store: Store,
    argument: &StoreArgument,
    output: &mut Output,
    (end, is_followed, limit): (&EndArguments, bool, Option<usize>),
    log: &mut impl Backwards,
) -> Result<Status, Failure> {
    if end.reverse {
        let most = end.tail.or(limit).unwrap_or(usize::MAX);
        return show_reversed(&store, output, log, most);
    }
    if let Some(tail) = end.tail {
        let start = start_of_tail(log, &store.snapshot()?, tail)?;
        log.begin_at(start);
    }
    show(store, argument, output, is_followed, log)
}

/// The number from which on a log has `wanted` selected rows, or that of its first row if it has fewer.
fn start_of_tail(log: &impl Backwards, snapshot: &Snapshot, wanted: usize) -> Result<u64, Failure> {
    let numbers = log.numbers(snapshot)?;
    if wanted == 0 {
        return Ok(numbers.end);
    }
    let mut left = wanted;
    for part in parts(numbers.clone(), wanted) {
        let mut found = Vec::new();
        log.each_selected(snapshot, part, &mut |number, _| {
            found.push(number);
            Ok(ControlFlow::Continue(()))
        })?;
        match found.len().checked_sub(left) {
            Some(before) => return Ok(found[before]),
            None => left -= found.len(),
        }
    }
    Ok(numbers.start)
}

/// Prints the last `most` selected rows of a log, the last one first. Each part is one snapshot, which ends before its
/// rows are written.
fn show_reversed<L: Backwards>(
    store: &Store,
    output: &mut Output,
    log: &mut L,
    most: usize,
) -> Result<Status, Failure> {
    let numbers = log.numbers(&store.snapshot()?)?;
    let mut left = most;
    for part in parts(numbers, most) {
        // The halves of a part with too many bytes, the last one on top.
        let mut open = vec![part];
        while let Some(part) = open.pop().filter(|_| left > 0) {
            let Some(rows) = rows_of(log, &store.snapshot()?, part.clone())? else {
                let middle = part.start + (part.end - part.start) / 2;
                open.extend([part.start..middle, middle..part.end]);
                continue;
            };
            for row in rows.into_iter().rev().take(left) {
                left -= 1;
                log.row(output, row)?;
            }
        }
    }
    Ok(Status::Done)
}

/// The selected rows of a part; `None` if they have more than [`HELD_BYTES`] and the part can be halved.
fn rows_of<L: Backwards>(
    log: &L,
    snapshot: &Snapshot,
    part: Range<u64>,
) -> Result<Option<Vec<L::Row>>, Failure> {
    let can_be_halved = part.end - part.start > 1;
    let (mut rows, mut bytes) = (Vec::new(), 0);
    log.each_selected(snapshot, part, &mut |_, row| {
        let row = log.complete(snapshot, row)?;
        bytes += L::text_bytes(&row);
        rows.push(row);
        Ok(match can_be_halved && bytes > HELD_BYTES {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        })
    })?;
    Ok((!can_be_halved || bytes <= HELD_BYTES).then_some(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_all_numbers_from_the_end() {
        for (numbers, wanted) in [
            (1..20_000, 5),
            (7..8, 100),
            (3..3, 1),
            (1..9000, usize::MAX),
        ] {
            let parts: Vec<_> = parts(numbers.clone(), wanted).collect();
            let mut end = numbers.end;
            for part in &parts {
                assert_eq!(part.end, end);
                end = part.start;
            }
            assert_eq!(end, numbers.start);
        }
        assert_eq!(parts(0..10_000, 20).next(), Some(9_936..10_000));
    }
}
