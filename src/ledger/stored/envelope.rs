//! The envelope around a stored record: a version, the record's bytes, and a checksum.
//!
//! A value is `version byte · body · CRC-32`. The body of version 1 is a record in postcard; that of version 2
//! is the same record, then its [additions](crate::ledger::stored::additions). A row that does not change keeps its
//! version, so a migration rewrites no row. The CRC (IEEE, little-endian) covers the
//! table's name, a zero byte, the key, the version and the body. It includes table and key, so that a
//! value that was moved to another key is rejected too. The engine's own checksums do not replace it:
//! redb does not verify them when it reads. In the key each text is followed by the byte 0xFF, which no
//! UTF-8 text contains, and each number is eight little-endian bytes.

use crate::ledger::stored::additions::Additions;
use serde::{Deserialize, Serialize};

/// The first version, without additions.
const WITHOUT_ADDITIONS: u8 = 1;

/// The bytes of the CRC at the end of a value.
const CRC_BYTES: usize = 4;

/// The largest value that is written, in bytes. redb's own limit is 3 GiB.
pub(crate) const MAX_VALUE_BYTES: usize = 1 << 30;

/// A row that has a stored form.
///
/// The row is what the rules use, the record is what postcard writes. They are types of their own, so
/// that neither a change of the model nor one of the rules can change a stored byte.
pub(crate) trait Record {
    /// The version byte of the values that are written. Lower versions are read, higher ones rejected.
    const VERSION: u8 = WITHOUT_ADDITIONS;

    /// The bits of the additions that the record can have. Others are rejected.
    const ADDITIONS: u32 = 0;

    /// The stored form. Its texts are borrowed from the row or from the value, so that neither
    /// writing nor decoding copies them.
    type Stored<'v>: Serialize + Deserialize<'v>;

    /// The row as it is read. The rows of the two logs borrow their texts from the value.
    type Read<'v>: Record;

    /// The stored form of the row.
    fn stored(&self) -> Self::Stored<'_>;

    /// The additions of the row; of a record of version 1 none.
    fn additions(&self) -> Additions<'_> {
        Additions::default()
    }

    /// The row of a stored form.
    fn read<'v>(stored: Self::Stored<'v>, additions: Additions<'v>) -> Self::Read<'v>;
}

/// Appends the version and the body of `row` to `value`.
pub(crate) fn append_body<R: Record>(row: &R, mut value: Vec<u8>) -> Result<Vec<u8>, String> {
    value.push(R::VERSION);
    let value = postcard::to_extend(&row.stored(), value);
    let value = match R::VERSION {
        WITHOUT_ADDITIONS => value,
        _ => value.and_then(|value| row.additions().write(value)),
    };
    value.map_err(|error| error.to_string())
}

/// A CRC-32 over many short pieces. It collects them first, since each update of the hasher costs more
/// than copying a few bytes.
pub(crate) struct Crc {
    hasher: crc32fast::Hasher,
    collected: [u8; 128],
    len: usize,
}

impl Crc {
    pub(crate) fn new() -> Self {
        Self {
            hasher: crc32fast::Hasher::new(),
            collected: [0; 128],
            len: 0,
        }
    }

    /// The CRC over a table's name and a key, which precede the value.
    fn of_key(table: &str, key: &impl KeyBytes) -> Self {
        let mut crc = Self::new();
        crc.update(table.as_bytes());
        crc.update(&[0]);
        key.digest(&mut crc);
        crc
    }

    /// A CRC that continues from `prefix`.
    pub(crate) fn after(prefix: &CrcPrefix) -> Self {
        Self {
            hasher: prefix.0.clone(),
            collected: [0; 128],
            len: 0,
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        if let Some(free) = self.collected[self.len..].get_mut(..bytes.len()) {
            free.copy_from_slice(bytes);
            self.len += bytes.len();
            return;
        }
        self.hasher.update(&self.collected[..self.len]);
        self.len = 0;
        self.hasher.update(bytes);
    }

    pub(crate) fn finalize(self) -> u32 {
        self.into_prefix().0.finalize()
    }

    /// The state so far, from which many CRCs can continue.
    fn into_prefix(mut self) -> CrcPrefix {
        self.hasher.update(&self.collected[..self.len]);
        CrcPrefix(self.hasher)
    }
}

/// The CRC over a table's name and the part of the key that many rows share.
#[derive(Clone)]
pub(crate) struct CrcPrefix(crc32fast::Hasher);

impl CrcPrefix {
    /// The prefix of the rows of `table` whose keys begin with `key`.
    pub(crate) fn new(table: &str, key: &impl KeyBytes) -> Self {
        Crc::of_key(table, key).into_prefix()
    }
}

/// A key, as the CRC covers it.
pub(crate) trait KeyBytes {
    /// Whether the key ends in a number. It ends in a text otherwise.
    const ENDS_IN_NUMBER: bool;

    /// Adds the key to `crc`.
    fn digest(&self, crc: &mut Crc);
}

impl KeyBytes for &str {
    const ENDS_IN_NUMBER: bool = false;

    fn digest(&self, crc: &mut Crc) {
        crc.update(self.as_bytes());
        crc.update(&[0xFF]);
    }
}

impl KeyBytes for u64 {
    const ENDS_IN_NUMBER: bool = true;

    fn digest(&self, crc: &mut Crc) {
        crc.update(&self.to_le_bytes());
    }
}

impl<A: KeyBytes, B: KeyBytes> KeyBytes for (A, B) {
    const ENDS_IN_NUMBER: bool = B::ENDS_IN_NUMBER;

    fn digest(&self, crc: &mut Crc) {
        self.0.digest(crc);
        self.1.digest(crc);
    }
}

impl<A: KeyBytes, B: KeyBytes, C: KeyBytes> KeyBytes for (A, B, C) {
    const ENDS_IN_NUMBER: bool = C::ENDS_IN_NUMBER;

    fn digest(&self, crc: &mut Crc) {
        self.0.digest(crc);
        self.1.digest(crc);
        self.2.digest(crc);
    }
}

fn checksum(mut key: Crc, versioned_body: &[u8]) -> [u8; CRC_BYTES] {
    key.update(versioned_body);
    key.finalize().to_le_bytes()
}

/// Encodes `row` as the value under `key` of `table`. Replaces the contents of `value`, whose memory is
/// reused. Fails with the reason if the value would be larger than [`MAX_VALUE_BYTES`].
pub(crate) fn encode<R: Record>(
    table: &str,
    key: &impl KeyBytes,
    row: &R,
    value: &mut Vec<u8>,
) -> Result<(), String> {
    value.clear();
    *value = append_body(row, std::mem::take(value))?;
    refuse_too_large(value.len() + CRC_BYTES)?;
    let crc = checksum(Crc::of_key(table, key), value);
    value.extend_from_slice(&crc);
    Ok(())
}

/// Rejects a value that is larger than [`MAX_VALUE_BYTES`].
pub(crate) fn refuse_too_large(bytes: usize) -> Result<(), String> {
    if bytes > MAX_VALUE_BYTES {
        return Err(format!(
            "a value of {bytes} bytes is over the limit of {MAX_VALUE_BYTES}"
        ));
    }
    Ok(())
}

/// Decodes the row in `value`. Fails with the reason on a wrong checksum, an unknown version, a body that
/// does not decode, and bytes that follow the record.
pub(crate) fn decode<'v, R: Record>(
    table: &str,
    key: &impl KeyBytes,
    value: &'v [u8],
) -> Result<R::Read<'v>, String> {
    unseal::<R>(Crc::of_key(table, key), value)
}

/// Decodes one of many rows whose keys begin with the same part: `prefix` covers that part, `rest` is the
/// remainder of this row's key.
pub(crate) fn decode_after<'v, R: Record>(
    prefix: &CrcPrefix,
    rest: &impl KeyBytes,
    value: &'v [u8],
) -> Result<R::Read<'v>, String> {
    let mut key = Crc::after(prefix);
    rest.digest(&mut key);
    unseal::<R>(key, value)
}

/// The stored body of a record whose checksum and version were verified. It is not decoded.
pub(crate) struct Verified<'v> {
    version: u8,
    body: &'v [u8],
}

impl<'v> Verified<'v> {
    /// The bytes of the record. Postcard stores each text as it is.
    #[cfg(feature = "search")]
    pub(crate) fn bytes(&self) -> &'v [u8] {
        self.body
    }

    /// Decodes the row. Fails with the reason on a body that does not decode, and on bytes that follow it.
    pub(crate) fn decode<R: Record>(self) -> Result<R::Read<'v>, String> {
        let (record, rest) = postcard::take_from_bytes::<R::Stored<'_>>(self.body)
            .map_err(|error| error.to_string())?;
        let (additions, rest) = match self.version {
            WITHOUT_ADDITIONS => (Additions::default(), rest),
            _ => Additions::read(rest, R::ADDITIONS)?,
        };
        match rest {
            [] => Ok(R::read(record, additions)),
            rest => Err(format!("{} bytes follow the record", rest.len())),
        }
    }
}

/// Verifies one of many rows as [`decode_after`] does, without decoding it.
#[cfg(feature = "search")]
pub(crate) fn verify_after<'v, R: Record>(
    prefix: &CrcPrefix,
    rest: &impl KeyBytes,
    value: &'v [u8],
) -> Result<Verified<'v>, String> {
    let mut key = Crc::after(prefix);
    rest.digest(&mut key);
    verify::<R>(key, value)
}

fn unseal<R: Record>(key: Crc, value: &[u8]) -> Result<R::Read<'_>, String> {
    verify::<R>(key, value)?.decode::<R>()
}

fn verify<R: Record>(key: Crc, value: &[u8]) -> Result<Verified<'_>, String> {
    let Some((versioned_body, crc)) = value.split_last_chunk::<CRC_BYTES>() else {
        return Err(format!("a value of {} bytes is too short", value.len()));
    };
    if checksum(key, versioned_body) != *crc {
        return Err("the checksum of the value is wrong".to_owned());
    }
    let Some((&version, body)) = versioned_body.split_first() else {
        return Err("the value is empty".to_owned());
    };
    if !(WITHOUT_ADDITIONS..=R::VERSION).contains(&version) {
        return Err(format!("value version {version} is not known"));
    }
    Ok(Verified { version, body })
}

#[cfg(test)]
#[path = "envelope_tests.rs"]
pub(crate) mod tests;
