//! Laying uncommitted rows over a read of committed rows.

use crate::error::RuntimeError;
use crate::ledger::removals::ALL;
use crate::ledger::stored::envelope::Record;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::iter::Peekable;
use std::ops::Bound;

/// The uncommitted rows of one change set: those that it writes, and the keys of those that it removes from the
/// layers below.
pub(crate) struct Layer<'r, K, R> {
    pub(crate) rows: &'r BTreeMap<K, R>,
    pub(crate) removed: &'r BTreeSet<K>,
}

/// Lays `layers`, the newest first, over committed rows, and returns the first `limit` rows. `committed` returns
/// up to `limit` committed rows from a key on, and is called again while the layers remove rows of a full page.
pub(crate) fn overlay<K: Ord + Clone, R: Clone>(
    layers: &[Layer<'_, K, R>],
    from: Bound<K>,
    limit: usize,
    mut committed: impl FnMut(Bound<&K>) -> Result<Vec<(K, R)>, RuntimeError>,
) -> Result<Vec<(K, R)>, RuntimeError> {
    let is_removed = |layers: &[Layer<'_, K, R>], key: &K| {
        layers.iter().any(|layer| layer.removed.contains(key))
    };
    if layers
        .iter()
        .all(|layer| layer.rows.is_empty() && layer.removed.is_empty())
    {
        return committed(from.as_ref());
    }
    let mut rows: BTreeMap<K, R> = BTreeMap::new();
    for (depth, layer) in layers.iter().enumerate() {
        let staged = layer.rows.range((from.clone(), Bound::Unbounded));
        let visible = staged.filter(|(key, _)| !is_removed(&layers[..depth], key));
        for (key, row) in visible.take(limit) {
            rows.entry(key.clone()).or_insert_with(|| row.clone());
        }
    }
    let (mut from, mut found) = (from, 0);
    loop {
        let page = committed(from.as_ref())?;
        let is_full = page.len() >= limit;
        let last = page.last().map(|(key, _)| key.clone());
        for (key, row) in page {
            if !is_removed(layers, &key) {
                found += 1;
                rows.entry(key).or_insert(row);
            }
        }
        match last {
            Some(last) if is_full && found < limit => from = Bound::Excluded(last),
            _ => return Ok(rows.into_iter().take(limit).collect()),
        }
    }
}

/// The number from which on the rows below a layer are visible, if they are from `from` on above it, and it removes those
/// below `floor`. `None` if none is.
pub(crate) fn below(from: Option<u64>, floor: u64) -> Option<u64> {
    from.filter(|_| floor != ALL).map(|from| from.max(floor))
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
    /// Merges the first `limit` rows from number `from` on. `layers` begin with the newest, each with the number below
    /// which it removes rows of the layers below. Returns also the number from which on committed rows are visible;
    /// `None` if none is.
    pub(crate) fn new(
        layers: impl Iterator<Item = (Option<&'r BTreeMap<u64, R>>, u64)>,
        from: u64,
        limit: usize,
    ) -> (Self, Option<u64>) {
        let mut staged = BTreeMap::new();
        let mut visible = Some(from);
        for (layer, floor) in layers {
            let (Some(layer), Some(from)) = (layer, visible) else {
                visible = below(visible, floor);
                continue;
            };
            for (number, row) in layer.range(from..).take(limit) {
                staged.entry(*number).or_insert(row);
            }
            visible = below(visible, floor);
        }
        let merge = Self {
            staged: staged.into_iter().peekable(),
            left: limit,
        };
        (merge, visible)
    }

    /// Whether no layer has a row to merge.
    pub(crate) fn is_empty(&mut self) -> bool {
        self.staged.peek().is_none()
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
