//! The stored bytes of rows: records, what version 2 adds to them, and the envelope with version and checksum.

pub(crate) mod additions;
pub(crate) mod envelope;
pub(crate) mod kept_file;
pub(crate) mod record;
pub(crate) mod tombstone;
