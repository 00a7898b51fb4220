//! Lays uncommitted rows over committed ones.

use crate::error::RuntimeError;
use crate::ledger::envelope::Record;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::ops::Bound;

/// Lays `layers`, the newest first, over a page of committed rows, and cuts the result to `limit`.
/// Right because layers add and replace, but never remove: the first `limit` rows of the whole are
/// among the first `limit` of each part.
pub(crate) fn overlay<'r, K: Ord + Clone + 'r, R: Clone + 'r>(
    page: Vec<(K, R)>,
    layers: impl Iterator<Item = &'r BTreeMap<K, R>>,
    from: Bound<K>,
    limit: usize,
) -> Vec<(K, R)> {
    let mut layers = layers.peekable();
    if layers.peek().is_none() {
        return page;
    }
    let mut rows: BTreeMap<K, R> = BTreeMap::new();
    for layer in layers {
        for (key, row) in layer.range((from.clone(), Bound::Unbounded)).take(limit) {
            rows.entry(key.clone()).or_insert_with(|| row.clone());
        }
    }
    for (key, row) in page {
        rows.entry(key).or_insert(row);
    }
    rows.into_iter().take(limit).collect()
}

/// Puts staged rows between the committed ones that are shown in their order, as [`overlay`] does.
pub(crate) struct Merge<'r, R> {
    /// The staged rows, the newest of each number.
    staged: Peekable<btree_map::IntoIter<u64, &'r R>>,
    /// How many rows may still be shown.
    left: usize,
}

/// To whom rows are shown.
pub(crate) type Each<'e, R> =
    dyn for<'v> FnMut(u64, <R as Record>::Read<'v>) -> Result<(), RuntimeError> + 'e;

impl<'r, R: Record + 'static> Merge<'r, R>
where
    for<'v> R::Read<'v>: From<&'v R>,
{
    /// The first `limit` rows from number `from` on, of `layers`, the newest first, and of what will
    /// be passed in. `None` where nothing is staged.
    pub(crate) fn new(
        layers: impl Iterator<Item = &'r BTreeMap<u64, R>>,
        from: u64,
        limit: usize,
    ) -> Option<Self> {
        let mut staged = BTreeMap::new();
        for layer in layers {
            for (number, row) in layer.range(from..).take(limit) {
                staged.entry(*number).or_insert(row);
            }
        }
        (!staged.is_empty()).then(|| Self {
            staged: staged.into_iter().peekable(),
            left: limit,
        })
    }

    fn show(
        &mut self,
        number: u64,
        row: R::Read<'_>,
        each: &mut Each<'_, R>,
    ) -> Result<(), RuntimeError> {
        if self.left == 0 {
            return Ok(());
        }
        self.left -= 1;
        each(number, row)
    }

    /// Shows what is staged before a committed row, then that row or what replaces it.
    pub(crate) fn committed(
        &mut self,
        number: u64,
        row: R::Read<'_>,
        each: &mut Each<'_, R>,
    ) -> Result<(), RuntimeError> {
        while let Some((before, row)) = self.staged.next_if(|(staged, _)| *staged < number) {
            self.show(before, row.into(), each)?;
        }
        match self.staged.next_if(|(staged, _)| *staged == number) {
            Some((_, staged)) => self.show(number, staged.into(), each),
            None => self.show(number, row, each),
        }
    }

    /// Shows what is staged after all committed rows.
    pub(crate) fn rest(mut self, each: &mut Each<'_, R>) -> Result<(), RuntimeError> {
        while let Some((number, row)) = self.staged.next() {
            self.show(number, row.into(), each)?;
        }
        Ok(())
    }
}
