//! Laying uncommitted rows over a read of committed rows.

use crate::error::RuntimeError;
use crate::ledger::envelope::Record;
use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::ops::Bound;

/// Lays `layers`, the newest first, over a page of committed rows, and cuts the result to `limit`.
/// This is correct because layers add and replace rows but never remove one: the first `limit` rows of the
/// result are among the first `limit` rows of each part.
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

/// Merges uncommitted log rows into committed ones while those are passed on, as [`overlay`] does for pages.
/// It copies no text.
pub(crate) struct Merge<'r, R> {
    /// The uncommitted rows, the newest of each number.
    staged: Peekable<btree_map::IntoIter<u64, &'r R>>,
    /// How many rows may still be passed on.
    left: usize,
}

/// Receives the merged rows.
pub(crate) type Each<'e, R> =
    dyn for<'v> FnMut(u64, <R as Record>::Read<'v>) -> Result<(), RuntimeError> + 'e;

impl<'r, R: Record + 'static> Merge<'r, R>
where
    for<'v> R::Read<'v>: From<&'v R>,
{
    /// Merges the first `limit` rows from number `from` on. `layers` begin with the newest. `None` if no
    /// layer has such a row.
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

    /// Passes on the uncommitted rows that precede a committed row, then that row or its replacement.
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

    /// Passes on the uncommitted rows that follow all committed ones.
    pub(crate) fn rest(mut self, each: &mut Each<'_, R>) -> Result<(), RuntimeError> {
        while let Some((number, row)) = self.staged.next() {
            self.show(number, row.into(), each)?;
        }
        Ok(())
    }
}
