//! Lists of rows in the order of their ids or paths.
//!
//! Keys have the order of their texts, except within a [`Family`]. A list reads pages in the order of keys, up to the first
//! long key. Then it reads the family of that key in the order of its texts, and continues with the key after the family.

use crate::engine::postgres::keys::{ABOVE_ALL, Family, is_long, is_whole, key};
use crate::engine::postgres::rows::long_texts::missing_text;
use crate::engine::postgres::rows::reader::{Reader, limit};
use crate::engine::postgres::rows::source::Scope;
use crate::engine::postgres::wire::connection::Param;
use crate::error::RuntimeError;
use tokio_postgres::Row;

/// The statements of a list. Each returns a text or its key, then the other columns.
pub(crate) struct List {
    table: &'static str,
    /// The rows whose keys are in a range: the owner, the first key, the first key behind, the number of rows. A list of the
    /// whole store takes no owner.
    page: &'static str,
    /// As `page`, then the first text and the first text behind.
    family: &'static str,
    backwards: bool,
}

macro_rules! list {
    // Rows of one runtime.
    ($table:literal, $key:literal, $columns:literal, $direction:literal, $then:literal) => {
        list!(@ $table, $key, $columns, $direction, $then, "t.runtime = $1 AND ",
            "l.runtime = t.runtime", "$2", "$3", "$4", "$5", "$6")
    };
    // Rows of the whole store, of which `$of` is true.
    ($table:literal where $of:literal, $key:literal, $columns:literal, $direction:literal) => {
        list!(@ $table, $key, $columns, $direction, "", $of,
            concat!("l.runtime = t.", $key), "$1", "$2", "$3", "$4", "$5")
    };
    (@ $table:literal, $key:literal, $columns:literal, $direction:literal, $then:literal, $of:expr, $keeper:expr,
        $first:literal, $behind:literal, $most:literal, $first_text:literal, $text_behind:literal) => {
        List {
            table: $table,
            page: concat!(
                "SELECT t.", $key, $columns, " FROM ", $table, " AS t WHERE ", $of,
                "t.", $key, " >= ", $first, " AND t.", $key, " < ", $behind,
                " ORDER BY t.", $key, $direction, $then, " LIMIT ", $most
            ),
            // A text that is missing is damage.
            family: concat!(
                "SELECT l.text", $columns, " FROM ", $table, " AS t LEFT JOIN long_keys AS l ON ",
                $keeper, " AND l.key = t.", $key, " WHERE ", $of,
                "t.", $key, " >= ", $first, " AND t.", $key, " < ", $behind,
                " AND (l.text IS NULL OR (l.text >= ", $first_text, " AND l.text < ", $text_behind,
                ")) ORDER BY l.text", $direction, $then, " LIMIT ", $most
            ),
            backwards: !$direction.is_empty(),
        }
    };
}

pub(crate) const RUNTIMES: List = list!("runtimes" where "", "runtime", ", t.record", "");
#[cfg(feature = "search")]
pub(crate) const RUNTIMES_BACKWARDS: List =
    list!("runtimes" where "", "runtime", ", t.record", " DESC");
pub(crate) const IMPORTS: List = list!("imports" where "", "runtime", ", t.record", "");
pub(crate) const WORKERS: List = list!("workers", "worker", ", t.record", "", "");
#[cfg(feature = "search")]
pub(crate) const WORKERS_BACKWARDS: List = list!("workers", "worker", ", t.record", " DESC", "");
pub(crate) const TOMBSTONES: List = list!("tombstones", "worker", ", t.record", "", "");
/// The marks of unfinished deletions.
pub(crate) const MARKS: List =
    list!("tombstones" where "t.runtime = '' AND ", "worker", ", t.record", "");
pub(crate) const FILES: List = list!(
    "files",
    "path",
    ", t.number, length(t.record)::int8",
    "",
    ", t.number"
);

/// Texts from the first one on and below the second one; without the second one to the end.
#[derive(Clone, Copy)]
pub(crate) struct Range<'t> {
    pub(crate) from: &'t str,
    pub(crate) below: Option<&'t str>,
}

impl<'t> Range<'t> {
    /// The texts from `from` on.
    pub(crate) fn from(from: &'t str) -> Self {
        Self { from, below: None }
    }

    /// The texts below `text`, or all.
    #[cfg(feature = "search")]
    pub(crate) fn below(text: Option<&'t str>) -> Self {
        let from = "";
        Self { from, below: text }
    }
}

/// The first text that follows `text`.
pub(crate) fn after(text: &str) -> String {
    format!("{text}\0")
}

/// The first text that follows `last`, or the first of all.
pub(crate) fn behind(last: Option<&str>) -> String {
    last.map(after).unwrap_or_default()
}

/// The rows of a page behind a long key.
const PAGE_ROWS_AT_LEAST: usize = 8;

/// A list that is being read.
struct Walk<'w> {
    reader: &'w Reader<'w>,
    scope: Scope<'w>,
    list: &'w List,
    owner: Option<&'w str>,
    range: Range<'w>,
    most: usize,
    /// The most rows of the next page.
    page_rows: usize,
    found: Vec<(String, Row)>,
}

impl Reader<'_> {
    /// The first `most` rows of `list` whose texts are in `range`, each with its text; of a backwards list the last ones,
    /// the last one first. `owner` is the runtime, unless the list is of the whole store.
    pub(crate) fn list(
        &self,
        scope: Scope<'_>,
        (list, owner): (&List, Option<&str>),
        range: Range<'_>,
        most: usize,
    ) -> Result<Vec<(String, Row)>, RuntimeError> {
        let mut walk = Walk {
            reader: self,
            scope,
            list,
            owner,
            range,
            most,
            page_rows: most,
            found: Vec::new(),
        };
        match list.backwards {
            false => walk.forwards()?,
            true => walk.backwards()?,
        }
        Ok(walk.found)
    }
}

impl Walk<'_> {
    fn forwards(&mut self) -> Result<(), RuntimeError> {
        let mut first = self.range.from.as_bytes().to_vec();
        if let Some(family) = Family::of(&first) {
            self.take_family(&family)?;
            first = family.upper;
        }
        let behind = match self.range.below.map(str::as_bytes) {
            None => ABOVE_ALL.to_vec(),
            Some(below) => Family::of(below).map_or(below.to_vec(), |family| family.upper),
        };
        while let Some(family) = self.take_page(&first, &behind)? {
            self.take_family(&family)?;
            first = family.upper;
        }
        Ok(())
    }

    fn backwards(&mut self) -> Result<(), RuntimeError> {
        let mut behind = match self.range.below {
            None => ABOVE_ALL.to_vec(),
            Some(below) => below.as_bytes().to_vec(),
        };
        if let Some(family) = Family::of(&behind) {
            self.take_family(&family)?;
            behind = family.lower;
        }
        let first = self.range.from.as_bytes();
        let first = Family::of(first).map_or(first.to_vec(), |family| family.lower);
        while let Some(family) = self.take_page(&first, &behind)? {
            self.take_family(&family)?;
            behind = family.lower;
        }
        Ok(())
    }

    fn query(
        &self,
        sql: &'static str,
        (first, behind): (&Vec<u8>, &Vec<u8>),
        texts: Option<(&[u8], &[u8])>,
    ) -> Result<Vec<Row>, RuntimeError> {
        let owner = self.owner.map(key);
        let left = self.most - self.found.len();
        let left = limit(match texts {
            None => left.min(self.page_rows),
            Some(_) => left,
        });
        let mut params: Vec<Param<'_>> = owner.iter().map(|owner| owner as Param<'_>).collect();
        params.extend([first as Param<'_>, behind, &left]);
        if let Some((first, behind)) = &texts {
            params.extend([first as Param<'_>, behind]);
        }
        self.reader.query(self.scope, sql, &params)
    }

    /// Takes the rows of the next page, up to a long key. Returns the family of that one.
    fn take_page(
        &mut self,
        first: &Vec<u8>,
        behind: &Vec<u8>,
    ) -> Result<Option<Family>, RuntimeError> {
        if self.found.len() >= self.most {
            return Ok(None);
        }
        let before = self.found.len();
        for row in self.query(self.list.page, (first, behind), None)? {
            let key = self.reader.bytes(self.list.table, &row, 0)?;
            if !is_whole(key) {
                return Err(missing_text(self.reader.at, self.list.table));
            }
            if let Some(family) = Family::of(key) {
                // Where long keys are frequent, most of a large page would be read in vain.
                self.page_rows = PAGE_ROWS_AT_LEAST.max(2 * (self.found.len() - before));
                return Ok(Some(family));
            }
            let text = self.reader.text(self.list.table, &row, 0)?;
            self.found.push((text, row));
        }
        Ok(None)
    }

    /// Takes the rows of a family.
    fn take_family(&mut self, family: &Family) -> Result<(), RuntimeError> {
        let below = self.range.below.map_or(ABOVE_ALL, str::as_bytes);
        let texts = (self.range.from.as_bytes(), below);
        let keys = (&family.lower, &family.upper);
        for row in self.query(self.list.family, keys, Some(texts))? {
            let text: Option<&[u8]> = row.try_get(0).ok().flatten();
            if !text.is_some_and(is_long) {
                return Err(missing_text(self.reader.at, self.list.table));
            }
            let text = self.reader.text(self.list.table, &row, 0)?;
            self.found.push((text, row));
        }
        Ok(())
    }
}
