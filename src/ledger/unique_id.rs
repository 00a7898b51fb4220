//! Random ids.

use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use std::fmt::Write as _;

/// 128 random bits in lower-case hex.
pub(crate) fn unique_id(at: OpContext<'_>) -> Result<String, RuntimeError> {
    let mut bits = [0_u8; 16];
    getrandom::fill(&mut bits).map_err(|error| at.io(error.into()))?;
    Ok(bits
        .iter()
        .fold(String::with_capacity(32), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        }))
}
