//! The rows of `locks`.

use crate::engine::postgres::keys::key;
use crate::engine::postgres::wire::server_error::ServerError;
use std::borrow::Cow;
use tokio_postgres::Row;

/// The id of the row of `locks` that belongs to no runtime: of the list of all, and of the number of the last opening.
pub(crate) const WHOLE_STORE: &str = "";

/// The place of a runtime in the order in which hosts wait for locks: that of the keys, which the server sorts by. The row
/// of the whole store comes last.
pub(crate) fn place_in_order(runtime: &str) -> (bool, Cow<'_, [u8]>) {
    (runtime == WHOLE_STORE, key(runtime))
}

/// Tells a commit from all others: 128 random bits.
pub(crate) type Token = [u8; 16];

/// The state of a runtime: how many commits have changed it, and the token of the last one.
///
/// The number alone can repeat. After a fail-over that lost commits, the new primary counts on from an older number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) number: i64,
    /// `None` before the first commit.
    pub(crate) stamp: Option<Token>,
}

impl Version {
    /// Reads the number in `column` and the stamp after it.
    pub(crate) fn read(row: &Row, column: usize) -> Result<Self, ServerError> {
        let stamp: Option<&[u8]> = row.try_get(column + 1)?;
        Ok(Self {
            number: row.try_get(column)?,
            stamp: stamp.and_then(|stamp| stamp.try_into().ok()),
        })
    }

    /// The version after a commit with `token`.
    pub(crate) fn after(self, token: Token) -> Self {
        Self {
            number: self.number.wrapping_add(1),
            stamp: Some(token),
        }
    }

    /// A number that differs between versions: of two of them it is equal by chance once in 2^64 times.
    pub(crate) fn digest(self) -> i64 {
        let [a, b, c, d, e, f, g, h, ..] = self.stamp.unwrap_or_default();
        self.number ^ i64::from_le_bytes([a, b, c, d, e, f, g, h])
    }
}

/// A row of `locks`, as it was when it was locked.
#[derive(Clone, Debug)]
pub(crate) struct LockRow {
    pub(crate) version: Version,
    pub(crate) holder: Option<String>,
    pub(crate) epoch: i64,
    /// Whether the lease of the holder has not ended.
    pub(crate) is_held: bool,
}

#[cfg(test)]
mod tests {
    use super::place_in_order;
    use crate::engine::postgres::keys::{PREFIX, key};

    /// The server locks rows in the order of their keys.
    #[test]
    fn locks_are_in_the_order_of_the_server() {
        let long = "x".repeat(PREFIX);
        let mut runtimes: Vec<String> = (b'a'..=b'z')
            .map(|tail| format!("{long}{}", char::from(tail)))
            .chain(["", "a", "z"].map(str::to_owned))
            .collect();
        runtimes.sort_by(|a, b| place_in_order(a).cmp(&place_in_order(b)));
        assert_eq!(
            runtimes.pop().as_deref(),
            Some(""),
            "the whole store is last"
        );
        assert!(runtimes.is_sorted_by_key(|id| key(id).into_owned()));
    }
}
