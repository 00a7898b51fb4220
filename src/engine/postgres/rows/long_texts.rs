//! The texts of keys, where a row has the key alone.

use crate::engine::postgres::keys::{is_long, keeper, key};
use crate::engine::postgres::rows::source::{Scope, Source};
use crate::engine::postgres::snapshot::PgSnapshot;
use crate::error::RuntimeError;
use crate::ledger::context::OpContext;
use std::cell::RefCell;
use std::collections::HashMap;

/// The most texts that are in memory. Each has up to 140 KiB: a path has the id of a worker in hex.
const KNOWN: usize = 64;

/// The key of the runtime that keeps a text, and the key of the text.
type LongKey = (Vec<u8>, Vec<u8>);

/// The texts of the long keys of a snapshot.
pub(crate) struct LongTexts<'a> {
    snapshot: &'a PgSnapshot,
    at: OpContext<'a>,
    /// Those that were read last.
    known: RefCell<HashMap<LongKey, String>>,
}

pub(crate) fn missing_text(at: OpContext<'_>, table: &str) -> RuntimeError {
    at.corrupt(format!(
        "table {table}: the text of a long key is missing or damaged"
    ))
}

impl<'a> LongTexts<'a> {
    pub(crate) fn new(snapshot: &'a PgSnapshot, at: OpContext<'a>) -> Self {
        Self {
            snapshot,
            at,
            known: RefCell::default(),
        }
    }

    /// The id of the runtime with the key `owner`.
    pub(crate) fn owner(&self, table: &str, owner: &[u8]) -> Result<String, RuntimeError> {
        self.text(table, owner, owner)
    }

    /// The worker or the path with the key `part`.
    pub(crate) fn part(
        &self,
        table: &str,
        owner: &[u8],
        part: &[u8],
    ) -> Result<String, RuntimeError> {
        self.text(table, keeper(table, owner, part), part)
    }

    fn text(&self, table: &str, keeper: &[u8], of: &[u8]) -> Result<String, RuntimeError> {
        let text = |bytes: &[u8]| {
            let text = String::from_utf8(bytes.to_vec());
            text.map_err(|error| self.at.corrupt(format!("table {table}: {error}")))
        };
        if !is_long(of) {
            return text(of);
        }
        let both = (keeper.to_vec(), of.to_vec());
        if let Some(known) = self.known.borrow().get(&both) {
            return Ok(known.clone());
        }
        const GET: &str = "SELECT text FROM long_keys WHERE runtime = $1 AND key = $2";
        let found = self.snapshot.query(Scope::Hint, GET, &[&keeper, &of]);
        let found = found.map_err(|error| error.runtime(self.at))?;
        let found = found
            .first()
            .and_then(|row| row.try_get::<_, &[u8]>(0).ok());
        let found = text(found.ok_or_else(|| missing_text(self.at, table))?)?;
        if *key(&found) != *of {
            return Err(missing_text(self.at, table));
        }
        let mut known = self.known.borrow_mut();
        if known.len() >= KNOWN {
            known.clear();
        }
        known.insert(both, found.clone());
        Ok(found)
    }
}
