//! Two sorted sequences, read in step.

use std::cmp::Ordering;
use std::iter::Peekable;

/// The items of one key.
#[derive(Debug)]
pub(crate) enum Pair<T> {
    Left(T),
    Right(T),
    Both(T, T),
}

/// Pairs the items of two sequences that increase by `key`. The first error ends both.
pub(crate) fn merged<T, K: Ord, E>(
    left: impl Iterator<Item = Result<T, E>>,
    right: impl Iterator<Item = Result<T, E>>,
    key: impl Fn(&T) -> K,
) -> impl Iterator<Item = Result<Pair<T>, E>> {
    let (mut left, mut right) = (left.peekable(), right.peekable());
    let mut has_failed = false;
    std::iter::from_fn(move || {
        if has_failed {
            return None;
        }
        let next = next_pair(&mut left, &mut right, &key).transpose()?;
        has_failed = next.is_err();
        Some(next)
    })
}

fn next_pair<T, K: Ord, E>(
    left: &mut Peekable<impl Iterator<Item = Result<T, E>>>,
    right: &mut Peekable<impl Iterator<Item = Result<T, E>>>,
    key: &impl Fn(&T) -> K,
) -> Result<Option<Pair<T>>, E> {
    let order = match (left.peek(), right.peek()) {
        (None, None) => return Ok(None),
        (Some(Err(_)), _) | (Some(_), None) => Ordering::Less,
        (_, Some(Err(_))) | (None, Some(_)) => Ordering::Greater,
        (Some(Ok(left)), Some(Ok(right))) => key(left).cmp(&key(right)),
    };
    Ok(match order {
        Ordering::Less => left.next().transpose()?.map(Pair::Left),
        Ordering::Greater => right.next().transpose()?.map(Pair::Right),
        Ordering::Equal => {
            let both = left.next().transpose()?.zip(right.next().transpose()?);
            both.map(|(left, right)| Pair::Both(left, right))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::{Pair, merged};

    #[test]
    fn items_are_paired_by_their_keys() {
        let of = |items: &'static [u8]| items.iter().copied().map(Ok::<_, ()>);
        let pairs = merged(of(&[1, 2, 5, 7]), of(&[2, 3, 7, 8]), |item| *item);
        let shown: Vec<String> = pairs.map(|pair| format!("{:?}", pair.unwrap())).collect();
        let expected = [
            "Left(1)",
            "Both(2, 2)",
            "Right(3)",
            "Left(5)",
            "Both(7, 7)",
            "Right(8)",
        ];
        assert_eq!(shown, expected);
    }

    #[test]
    fn the_first_error_ends_both() {
        let left = [Ok(1), Err("damaged"), Ok(3)].into_iter();
        let right = [Ok(1), Ok(2), Ok(3)].into_iter();
        let mut pairs = merged(left, right, |item: &u8| *item);
        assert!(matches!(pairs.next(), Some(Ok(Pair::Both(1, 1)))));
        assert!(matches!(pairs.next(), Some(Err("damaged"))));
        assert!(pairs.next().is_none());
    }
}
