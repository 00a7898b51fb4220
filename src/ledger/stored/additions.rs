//! What a row of version 2 can have that one of version 1 cannot.
//!
//! The body of version 2 is the record of version 1, then `present`, a bit set as a varint of 32 bits, then the
//! additions whose bits are set, in the order of the bits, each in postcard. An absent addition costs
//! nothing: a row without any is one byte longer than in version 1.
//!
//! | bit | addition | form | runtime | worker | event | entry | diagnostic |
//! |---|---|---|---|---|---|---|---|
//! | 0 | time | `u64`, ms since 1970 UTC | latest of its rows | last change | commit | commit | commit |
//! | 1 | change number | `u64` | last assigned | of its last change | | | |
//! | 2 | attributes | text: a JSON object | | yes | | yes | |
//! | 3 | floor | `u64` | first event id | first position | | | |
//! | 4 | pinned | nothing: the bit says it | | yes | | | |
//! | 5 | ended at | `u64`, ms since 1970 UTC | | yes | | | |
//! | 6 | spelling | `u64` | number of the form | | bit set | bit set | |
//! | 7 | own text | text | | | yes | yes | |
//!
//! The bits are numbered once for all records, so that one place reads and writes them. A bit that a record
//! does not have is damage: skipping it would lose data with the next write of the row. A new addition takes
//! the next free bit and a new schema version. The spelling and the own text are those of
//! [`LineForm`](crate::model::layout_form::LineForm), the form of a runtime is that of the newest
//! [`LayoutForm`](crate::model::layout_form::LayoutForm) in it. The tests of `envelope` pin the bytes.

use crate::model::layout_form::{LayoutForm, LineForm, Spelling};
use crate::model::time::MAX_TIME_MS;
use std::borrow::Cow;

/// The bits of the additions.
pub(crate) const TIME: u32 = 1 << 0;
pub(crate) const CHANGE: u32 = 1 << 1;
pub(crate) const ATTRIBUTES: u32 = 1 << 2;
pub(crate) const FLOOR: u32 = 1 << 3;
pub(crate) const PINNED: u32 = 1 << 4;
pub(crate) const ENDED_AT: u32 = 1 << 5;
pub(crate) const SPELLING: u32 = 1 << 6;
pub(crate) const OWN_TEXT: u32 = 1 << 7;

/// The additions of one row; `None`, 0 and `false` are not stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Additions<'v> {
    pub(crate) time_ms: Option<u64>,
    pub(crate) change: u64,
    pub(crate) attributes: Option<&'v str>,
    pub(crate) floor: u64,
    pub(crate) is_pinned: bool,
    pub(crate) ended_at_ms: Option<u64>,
    pub(crate) spelling: u64,
    pub(crate) own_text: Option<&'v str>,
}

impl<'v> Additions<'v> {
    /// A row that has a time and nothing else.
    pub(crate) fn of_time(time_ms: Option<u64>) -> Self {
        Self {
            time_ms,
            ..Self::default()
        }
    }

    /// A line of a log that has a time and a form.
    pub(crate) fn of_line(time_ms: Option<u64>, form: &'v LineForm<'_>) -> Self {
        Self {
            spelling: form.spelling.bits(),
            own_text: form.own_text.as_deref(),
            ..Self::of_time(time_ms)
        }
    }

    /// The form of the line.
    pub(crate) fn line_form(&self) -> LineForm<'v> {
        LineForm {
            spelling: Spelling::from_bits(self.spelling).unwrap_or_default(),
            own_text: self.own_text.map(Cow::Borrowed),
        }
    }

    /// The form of the runtime.
    pub(crate) fn layout_form(&self) -> LayoutForm {
        LayoutForm::from_number(self.spelling).unwrap_or_default()
    }

    fn present(&self) -> u32 {
        let bits = [
            (self.time_ms.is_some(), TIME),
            (self.change != 0, CHANGE),
            (self.attributes.is_some(), ATTRIBUTES),
            (self.floor != 0, FLOOR),
            (self.is_pinned, PINNED),
            (self.ended_at_ms.is_some(), ENDED_AT),
            (self.spelling != 0, SPELLING),
            (self.own_text.is_some(), OWN_TEXT),
        ];
        let present = bits.into_iter().filter(|(is_present, _)| *is_present);
        present.fold(0, |present, (_, bit)| present | bit)
    }

    /// Appends the additions to `value`.
    pub(crate) fn write(&self, value: Vec<u8>) -> postcard::Result<Vec<u8>> {
        let present = self.present();
        let mut value = postcard::to_extend(&present, value)?;
        if let Some(time_ms) = self.time_ms {
            value = postcard::to_extend(&time_ms, value)?;
        }
        if self.change != 0 {
            value = postcard::to_extend(&self.change, value)?;
        }
        if let Some(attributes) = self.attributes {
            value = postcard::to_extend(attributes, value)?;
        }
        if self.floor != 0 {
            value = postcard::to_extend(&self.floor, value)?;
        }
        if let Some(ended_at_ms) = self.ended_at_ms {
            value = postcard::to_extend(&ended_at_ms, value)?;
        }
        if self.spelling != 0 {
            value = postcard::to_extend(&self.spelling, value)?;
        }
        if let Some(own_text) = self.own_text {
            value = postcard::to_extend(own_text, value)?;
        }
        Ok(value)
    }

    /// Reads the additions at the beginning of `bytes`, and returns them with the bytes that follow. Fails
    /// with the reason on a bit that is not in `known`, and on a time after the year 9999.
    pub(crate) fn read(bytes: &'v [u8], known: u32) -> Result<(Self, &'v [u8]), String> {
        let mut rest = bytes;
        let present: u32 = take(&mut rest)?;
        if present & !known != 0 {
            return Err(format!(
                "the additions {:#b} are not known",
                present & !known
            ));
        }
        let mut additions = Self::default();
        if present & TIME != 0 {
            additions.time_ms = Some(take_time(&mut rest)?);
        }
        if present & CHANGE != 0 {
            additions.change = take(&mut rest)?;
        }
        if present & ATTRIBUTES != 0 {
            additions.attributes = Some(take(&mut rest)?);
        }
        if present & FLOOR != 0 {
            additions.floor = take(&mut rest)?;
        }
        additions.is_pinned = present & PINNED != 0;
        if present & ENDED_AT != 0 {
            additions.ended_at_ms = Some(take_time(&mut rest)?);
        }
        if present & SPELLING != 0 {
            additions.spelling = take_spelling(&mut rest, known)?;
        }
        if present & OWN_TEXT != 0 {
            additions.own_text = Some(take(&mut rest)?);
        }
        Ok((additions, rest))
    }
}

fn take<'v, T: serde::Deserialize<'v>>(rest: &mut &'v [u8]) -> Result<T, String> {
    let (value, after) =
        postcard::take_from_bytes(rest).map_err(|error| format!("an addition: {error}"))?;
    *rest = after;
    Ok(value)
}

/// The spelling of a line, which can also have an own text, or the form of a runtime, which cannot.
fn take_spelling(rest: &mut &[u8], known: u32) -> Result<u64, String> {
    let spelling = take(rest)?;
    let is_known = match known & OWN_TEXT {
        0 => LayoutForm::from_number(spelling).is_some(),
        _ => Spelling::from_bits(spelling).is_some(),
    };
    match is_known {
        true => Ok(spelling),
        false => Err(format!("the spelling {spelling} is not known")),
    }
}

fn take_time(rest: &mut &[u8]) -> Result<u64, String> {
    match take(rest)? {
        time_ms if time_ms > MAX_TIME_MS => {
            Err(format!("the time {time_ms} is past the year 9999"))
        }
        time_ms => Ok(time_ms),
    }
}
