//! Random ids.

use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use crate::model::identity::hex;

/// 128 random bits in lower-case hex.
pub(crate) fn unique_id(at: OpContext<'_>) -> Result<String, RuntimeError> {
    Ok(hex(&random_bits(at)?))
}

fn random_bits(at: OpContext<'_>) -> Result<[u8; 16], RuntimeError> {
    let mut bits = [0_u8; 16];
    getrandom::fill(&mut bits).map_err(|error| at.io(error.into()))?;
    Ok(bits)
}

/// A UUID of version 7 (RFC 9562): the milliseconds since 1970 in 48 bits, then random bits.
pub(crate) fn uuid_v7(at: OpContext<'_>, now_ms: u64) -> Result<String, RuntimeError> {
    let mut bits = random_bits(at)?;
    bits[..6].copy_from_slice(&now_ms.to_be_bytes()[2..]);
    // The version, and the variant of RFC 9562.
    bits[6] = bits[6] & 0x0F | 0x70;
    bits[8] = bits[8] & 0x3F | 0x80;
    let hex = hex(&bits);
    let [a, b, c, d, e] = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| &hex[part]);
    Ok(format!("{a}-{b}-{c}-{d}-{e}"))
}
