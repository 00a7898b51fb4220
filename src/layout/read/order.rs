//! Decides which records of a damaged log a salvage imports, and in which order.
//!
//! A kill leaves a log in order, so a log out of order was edited, merged from two copies or damaged in single bytes.
//! The rules, for numbers that are event ids or sequences:
//!
//! 1. The *run* is the longest sequence of records that increases in number and in position. Where several are as long,
//!    it is the one that ends with the smallest number; of several records with that number it takes the first.
//! 2. A number below the limit is a possible number of the log. One record with it stays: that of the run, or else the
//!    first one. So lines that were swapped or moved stay, in order of their numbers. The limit is the counter that
//!    assigns the next number, or the number after the run where that counter is not known.
//! 3. A number from the limit on was never assigned, as far as the directory says. Its record stays if it belongs to
//!    the run.
//! 4. All other records are left out. A record with the same bytes as the first one of its number is a repeat.
//!
//! | log (the next number is 6) | stays | left out |
//! |---|---|---|
//! | 1 3 2 4 5: lines are swapped | 1 2 3 4 5 | |
//! | 9 2 3 4 5, 1 2 9 4 5, 1 2 3 9 5: a number is too high | 2 3 4 5, 1 2 4 5, 1 2 3 5 | 9 |
//! | 1 2 3 4 9: the last number is too high | 1 2 3 4 9 | |
//! | 1 2 3 1 5: a number is too low, and taken | 1 2 3 5 | the second 1 |
//! | 1 2 2 3: a record is there twice | 1 2 3 | the second 2, as a repeat |
//! | 1 2 3 1 2 3 4 5: a log follows a copy of its beginning | 1 2 3 4 5 | the second 1 2 3 |

use std::cmp::Reverse;

/// The greatest length of a record that has a place in an [`Item`].
pub(crate) const MAX_ITEM_BYTES: usize = u32::MAX as usize;

/// The position of a record in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    pub(crate) number: u64,
    /// The offset of its first byte in the file.
    pub(crate) offset: u64,
    /// Its length, in bytes.
    pub(crate) length: u32,
    /// Its line, from 1; the greatest number for all lines from there on.
    pub(crate) line: u32,
}

/// Why a record is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Excess {
    /// It has the same bytes as the first record of its number.
    Repeat,
    /// Another record of its number stays.
    Taken,
    /// Its number is not below the limit, and the run does not have it.
    Beyond,
}

/// A record that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LeftOut {
    pub(crate) item: Item,
    pub(crate) why: Excess,
    /// The line of the record of that number that stays.
    pub(crate) other_line: Option<u32>,
}

/// The records of a log in the order in which they are imported.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Order {
    /// By number, strictly increasing.
    pub(crate) kept: Vec<Item>,
    /// By position.
    pub(crate) left_out: Vec<LeftOut>,
    /// The number of records that stay but are not part of the run.
    pub(crate) moved: usize,
    /// The first record, by position, that stays and follows a record with a greater number that stays.
    pub(crate) first_moved: Option<Item>,
}

/// Orders the records of a log by the rules of this module. `limit` is the next number; `None` where it is not known.
/// `is_same` says whether two records have the same bytes.
pub(crate) fn order<E>(
    mut items: Vec<Item>,
    limit: Option<u64>,
    mut is_same: impl FnMut(&Item, &Item) -> Result<bool, E>,
) -> Result<Order, E> {
    // Of one number the last one first: so no increasing run of offsets has two records of one number.
    items.sort_unstable_by_key(|item| (item.number, Reverse(item.offset)));
    let mut left_out = take_repeats(&mut items, &mut is_same)?;
    let run = run_of(&items);
    let limit = limit.unwrap_or_else(|| {
        let last = items.iter().zip(&run).rev().find(|(_, is_in)| **is_in);
        last.map_or(0, |(item, _)| item.number.saturating_add(1))
    });
    let mut moved = 0;
    let mut kept = 0;
    let mut start = 0;
    while start < items.len() {
        let number = items[start].number;
        let end = end_of_number(&items, start);
        let of_run = (start..end).find(|index| run[*index]);
        // Of one number the first one comes last.
        let stays = of_run.or_else(|| (number < limit).then_some(end - 1));
        let other_line = stays.map(|index| items[index].line);
        for index in (start..end).filter(|index| Some(*index) != stays) {
            left_out.push(LeftOut {
                item: items[index],
                why: match stays {
                    Some(_) => Excess::Taken,
                    None => Excess::Beyond,
                },
                other_line,
            });
        }
        if let Some(index) = stays {
            moved += usize::from(!run[index]);
            items[kept] = items[index];
            kept += 1;
        }
        start = end;
    }
    items.truncate(kept);
    left_out.sort_unstable_by_key(|left| left.item.offset);
    Ok(Order {
        first_moved: first_moved(&items, moved),
        kept: items,
        left_out,
        moved,
    })
}

/// The end of the records from `start` on with one number. `items` are sorted by number.
fn end_of_number(items: &[Item], start: usize) -> usize {
    let number = items[start].number;
    let same = items[start..]
        .iter()
        .take_while(|item| item.number == number);
    start + same.count()
}

/// Removes the records with the same bytes as the first one of their number. Compares with the first one only, so that
/// the work is linear.
fn take_repeats<E>(
    items: &mut Vec<Item>,
    is_same: &mut impl FnMut(&Item, &Item) -> Result<bool, E>,
) -> Result<Vec<LeftOut>, E> {
    let mut repeats = Vec::new();
    let mut kept = 0;
    let mut start = 0;
    while start < items.len() {
        let end = end_of_number(items, start);
        let first = items[end - 1];
        for index in start..end {
            let item = items[index];
            if index + 1 < end && is_same(&first, &item)? {
                repeats.push(LeftOut {
                    item,
                    why: Excess::Repeat,
                    other_line: Some(first.line),
                });
            } else {
                items[kept] = item;
                kept += 1;
            }
        }
        start = end;
    }
    items.truncate(kept);
    Ok(repeats)
}

/// Which of `items`, sorted by number, belong to the longest run that increases in offset too.
fn run_of(items: &[Item]) -> Vec<bool> {
    // The least offset in which a run of each length ends.
    let mut ends: Vec<u64> = Vec::new();
    // The length of the longest run that ends in each item.
    let mut lengths = Vec::with_capacity(items.len());
    for item in items {
        let length = ends.partition_point(|end| *end < item.offset);
        match ends.get_mut(length) {
            Some(end) => *end = item.offset,
            None => ends.push(item.offset),
        }
        lengths.push(length);
    }
    let mut run = vec![false; items.len()];
    let (mut wanted, mut before) = (ends.len(), u64::MAX);
    // Of the longest runs that which ends with the smallest number: a number that is too high is the likelier damage.
    let ends_one = |index: &usize| lengths[*index] + 1 == ends.len();
    let last = (0..items.len()).find(ends_one).unwrap_or(0);
    let same = |item: &&Item| item.number == items[last].number;
    let end = last + items[last..].iter().take_while(same).count();
    for (index, item) in items[..end].iter().enumerate().rev() {
        if wanted > 0 && lengths[index] + 1 == wanted && item.offset < before {
            run[index] = true;
            wanted -= 1;
            before = item.offset;
        }
    }
    run
}

/// The first item by position that follows one with a greater number. `kept` is sorted by number.
fn first_moved(kept: &[Item], moved: usize) -> Option<Item> {
    if moved == 0 {
        return None;
    }
    // An item follows a greater one exactly where a later item of this list has a smaller offset.
    let mut least = u64::MAX;
    let mut first: Option<Item> = None;
    for item in kept.iter().rev() {
        if item.offset > least && first.is_none_or(|first| item.offset < first.offset) {
            first = Some(*item);
        }
        least = least.min(item.offset);
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    /// A log: number and content of each line.
    type Log = Vec<(u64, u8)>;

    fn items(log: &[(u64, u8)]) -> Vec<Item> {
        let item = |(index, (number, _)): (usize, &(u64, u8))| Item {
            number: *number,
            offset: index as u64 * 10,
            length: 9,
            line: index as u32 + 1,
        };
        log.iter().enumerate().map(item).collect()
    }

    fn ordered(log: &[(u64, u8)], limit: Option<u64>) -> Order {
        let content = |item: &Item| log[item.line as usize - 1].1;
        let same = |a: &Item, b: &Item| Ok::<_, Infallible>(content(a) == content(b));
        let Ok(order) = order(items(log), limit, same);
        order
    }

    /// The lines that stay, in their order, and those that are left out.
    fn lines(numbers: &[u64], limit: Option<u64>) -> (Vec<u32>, Vec<u32>) {
        let log: Log = numbers.iter().copied().zip(0..).collect();
        let order = ordered(&log, limit);
        let kept = order.kept.iter().map(|item| item.line).collect();
        (
            kept,
            order.left_out.iter().map(|left| left.item.line).collect(),
        )
    }

    #[test]
    fn swapped_and_moved_lines_are_sorted() {
        for limit in [Some(6), None] {
            assert_eq!(
                lines(&[1, 3, 2, 4, 5], limit),
                (vec![1, 3, 2, 4, 5], vec![])
            );
            assert_eq!(
                lines(&[2, 1, 3, 4, 5], limit),
                (vec![2, 1, 3, 4, 5], vec![])
            );
            assert_eq!(
                lines(&[2, 3, 4, 1, 5], limit),
                (vec![4, 1, 2, 3, 5], vec![])
            );
        }
        assert_eq!(
            lines(&[4, 5, 1, 2, 3], Some(6)),
            (vec![3, 4, 5, 1, 2], vec![])
        );
        assert_eq!(
            lines(&[5, 4, 3, 2, 1], Some(6)),
            (vec![5, 4, 3, 2, 1], vec![])
        );
        let order = ordered(&[(1, 0), (4, 0), (3, 0), (2, 0), (5, 0)], Some(6));
        assert_eq!(
            (order.moved, order.first_moved.map(|item| item.line)),
            (2, Some(3))
        );
    }

    #[test]
    fn one_number_too_high_leaves_the_others() {
        for limit in [Some(6), None] {
            assert_eq!(lines(&[9, 2, 3, 4, 5], limit), (vec![2, 3, 4, 5], vec![1]));
            assert_eq!(lines(&[1, 2, 9, 4, 5], limit), (vec![1, 2, 4, 5], vec![3]));
            assert_eq!(lines(&[1, 2, 3, 9, 5], limit), (vec![1, 2, 3, 5], vec![4]));
            assert_eq!(
                lines(&[1, 2, 3, 4, 9], limit),
                (vec![1, 2, 3, 4, 5], vec![])
            );
        }
    }

    #[test]
    fn one_number_too_low_leaves_the_others() {
        for limit in [Some(6), None] {
            assert_eq!(lines(&[1, 2, 3, 1, 5], limit), (vec![1, 2, 3, 5], vec![4]));
            // Nothing contradicts it: a line that was moved looks the same.
            assert_eq!(lines(&[3, 4, 5, 1], limit), (vec![4, 1, 2, 3], vec![]));
        }
        assert_eq!(
            lines(&[1, 4, 2, 3, 4, 5], Some(6)),
            (vec![1, 3, 4, 5, 6], vec![2])
        );
    }

    #[test]
    fn repeats_are_told_from_other_records_of_a_number() {
        let order = ordered(&[(1, 0), (2, 0), (2, 0), (2, 1), (3, 0)], Some(4));
        let why: Vec<_> = order
            .left_out
            .iter()
            .map(|left| (left.item.line, left.why))
            .collect();
        assert_eq!(why, [(3, Excess::Repeat), (4, Excess::Taken)]);
        assert!(order.left_out.iter().all(|left| left.other_line == Some(2)));
        assert_eq!(order.moved, 0);
        // The repeat is in order and the first one is not: the content is the same.
        let order = ordered(&[(3, 0), (1, 0), (2, 0), (3, 0), (4, 0)], Some(5));
        assert_eq!(
            order
                .kept
                .iter()
                .map(|item| item.number)
                .collect::<Vec<_>>(),
            [1, 2, 3, 4]
        );
        assert_eq!(order.left_out.len(), 1);
        // Two records of a number outside the run: the first one stays.
        let outside = lines(&[9, 9, 1, 2, 3, 4, 5, 6], Some(10));
        assert_eq!(outside, (vec![3, 4, 5, 6, 7, 8, 1], vec![2]));
    }

    #[test]
    fn log_after_a_copy_of_its_beginning_stays_once() {
        let numbers = [1, 2, 3, 1, 2, 3, 4, 5];
        for limit in [Some(6), None] {
            assert_eq!(lines(&numbers, limit), (vec![1, 2, 3, 7, 8], vec![4, 5, 6]));
        }
    }

    #[test]
    fn nothing_beyond_the_counter_is_sorted() {
        assert_eq!(
            lines(&[7, 6, 1, 2, 3], Some(4)),
            (vec![3, 4, 5], vec![1, 2])
        );
        assert_eq!(
            lines(&[1, 2, 3, 7, 6], Some(4)),
            (vec![1, 2, 3, 5], vec![4])
        );
        let order = ordered(&[(7, 0), (1, 0), (2, 0)], Some(3));
        assert_eq!(
            (order.left_out[0].why, order.left_out[0].other_line),
            (Excess::Beyond, None)
        );
        assert_eq!(lines(&[], None), (vec![], vec![]));
    }

    /// All increasing runs, tried one by one.
    fn longest(numbers: &[u64]) -> usize {
        let runs = 0..1_u32 << numbers.len();
        let increasing = runs.filter_map(|run| {
            let picked: Vec<u64> = (0..numbers.len())
                .filter(|index| run & 1 << index != 0)
                .map(|index| numbers[index])
                .collect();
            picked.is_sorted_by(|a, b| a < b).then_some(picked.len())
        });
        increasing.max().unwrap_or(0)
    }

    #[test]
    fn any_log_is_ordered_by_the_rules() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for round in 0..4000 {
            let count = random(11);
            let log: Log = (0..count)
                .map(|_| (1 + random(9), random(2) as u8))
                .collect();
            let limit = (random(2) == 0).then(|| 1 + random(10));
            let order = ordered(&log, limit);
            let place = format!("round {round}: {log:?} {limit:?}: {order:?}");
            assert!(
                order.kept.is_sorted_by(|a, b| a.number < b.number),
                "{place}"
            );
            assert_eq!(
                order.kept.len() + order.left_out.len(),
                log.len(),
                "{place}"
            );
            let mut all: Vec<_> = order.kept.clone();
            all.extend(order.left_out.iter().map(|left| left.item));
            all.sort_unstable_by_key(|item| item.offset);
            assert_eq!(all, items(&log), "{place}");
            // The first record of each number and content.
            let mut seen = BTreeMap::new();
            for (number, content) in &log {
                seen.entry(*number).or_insert(*content);
            }
            for left in &order.left_out {
                let (number, content) = log[left.item.line as usize - 1];
                let stays = order.kept.iter().any(|item| item.number == number);
                match left.why {
                    Excess::Repeat => assert_eq!(content, seen[&number], "{place}"),
                    Excess::Taken => assert!(stays, "{place}"),
                    Excess::Beyond => assert!(!stays, "{place}"),
                }
                assert!(
                    limit.is_none_or(|limit| number >= limit) || stays,
                    "{place}"
                );
            }
            // As many records stay in place as the longest run has.
            let mut firsts = Vec::new();
            for (index, (number, content)) in log.iter().enumerate() {
                let first = log.iter().position(|(other, _)| other == number);
                if first == Some(index) || seen[number] != *content {
                    firsts.push(*number);
                }
            }
            assert_eq!(order.kept.len() - order.moved, longest(&firsts), "{place}");
            assert_eq!(order.moved > 0, order.first_moved.is_some(), "{place}");
            assert_eq!(
                order.moved == 0,
                order.kept.is_sorted_by_key(|i| i.offset),
                "{place}"
            );
        }
    }
}
