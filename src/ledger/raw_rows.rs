//! Rows as they are stored, for copies from one engine to another: a record has the same bytes in every engine.

use crate::error::RuntimeError;

/// A row. The parts of its key that its table does not have are empty.
pub(crate) struct RawRow<'r> {
    /// The runtime; of `meta` the property.
    pub(crate) owner: &'r str,
    /// The worker or the path.
    pub(crate) part: &'r str,
    pub(crate) number: u64,
    /// The record in its envelope.
    pub(crate) value: &'r [u8],
}

/// Receives rows in the order of their keys.
pub(crate) type EachRaw<'e> = dyn FnMut(RawRow<'_>) -> Result<(), RuntimeError> + 'e;

/// A snapshot whose tables can be read as they are stored.
pub(crate) trait RawRows {
    /// Passes all rows of the table with this name to `each`.
    fn each_raw(&self, table: &'static str, each: &mut EachRaw<'_>) -> Result<(), RuntimeError>;
}
