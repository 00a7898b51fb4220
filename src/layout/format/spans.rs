//! Where the parts of a JSON text are: the members of its objects and the items of its arrays. Edits of a text need the
//! bytes between the values, which a parsed value does not have.
//!
//! The text must be valid JSON. The functions return `None` where they find that it is not.

use std::ops::Range;

/// A member of an object, or an item of an array.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The name of a member; empty for an item.
    pub(crate) name: String,
    /// From the name of a member or the value of an item to the end of the value.
    pub(crate) whole: Range<usize>,
    pub(crate) value: Range<usize>,
}

/// The value of a whole document, without the white space around it.
pub(crate) fn document(text: &str) -> Range<usize> {
    let start = text.len() - text.trim_ascii_start().len();
    start..text.trim_ascii_end().len().max(start)
}

/// The members of the object at `object`, duplicates included.
pub(crate) fn members(text: &str, object: &Range<usize>) -> Option<Vec<Span>> {
    let mut scan = Scan::inside(text, object, b'{')?;
    let mut members = Vec::new();
    while let Some(start) = scan.next_part()? {
        let name = scan.value()?;
        scan.skip_white();
        scan.take(b':')?;
        scan.skip_white();
        let value = scan.value()?;
        members.push(Span {
            name: serde_json::from_str(&text[name]).ok()?,
            whole: start..value.end,
            value,
        });
    }
    Some(members)
}

/// The items of the array at `array`.
pub(crate) fn items(text: &str, array: &Range<usize>) -> Option<Vec<Span>> {
    let mut scan = Scan::inside(text, array, b'[')?;
    let mut items = Vec::new();
    while scan.next_part()?.is_some() {
        let value = scan.value()?;
        items.push(Span {
            name: String::new(),
            whole: value.clone(),
            value,
        });
    }
    Some(items)
}

/// The members of an object or the items of an array; `None` for any other value.
pub(crate) fn parts(text: &str, value: &Range<usize>) -> Option<Vec<Span>> {
    match text.as_bytes().get(value.start)? {
        b'{' => members(text, value),
        b'[' => items(text, value),
        _ => None,
    }
}

/// The member `name` of the object at `object`; the last one if there are several.
pub(crate) fn member(text: &str, object: &Range<usize>, name: &str) -> Option<Span> {
    let members = members(text, object)?;
    members.into_iter().rfind(|member| member.name == name)
}

struct Scan<'t> {
    bytes: &'t [u8],
    at: usize,
    is_first: bool,
}

impl<'t> Scan<'t> {
    fn inside(text: &'t str, value: &Range<usize>, opening: u8) -> Option<Self> {
        let mut scan = Self {
            bytes: text.as_bytes().get(..value.end)?,
            at: value.start,
            is_first: true,
        };
        scan.take(opening)?;
        Some(scan)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn take(&mut self, byte: u8) -> Option<()> {
        (self.peek()? == byte).then(|| self.at += 1)
    }

    fn skip_white(&mut self) {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.peek() {
            self.at += 1;
        }
    }

    /// Moves to the next member or item. `None` within at the end of the object or array.
    fn next_part(&mut self) -> Option<Option<usize>> {
        self.skip_white();
        if matches!(self.peek()?, b'}' | b']') {
            return Some(None);
        }
        if !std::mem::take(&mut self.is_first) {
            self.take(b',')?;
            self.skip_white();
        }
        Some(Some(self.at))
    }

    /// Skips a value of any depth, without recursion.
    fn value(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek()? {
                b'"' => self.string()?,
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' | b' ' | b'\t' | b'\r' | b'\n' if depth > 0 => {
                    self.at += 1;
                    continue;
                }
                _ => self.scalar()?,
            }
            if depth == 0 {
                return Some(start..self.at);
            }
        }
    }

    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            let rest = self.bytes.get(self.at..)?;
            self.at += memchr::memchr2(b'"', b'\\', rest)? + 1;
            match self.bytes.get(self.at - 1)? {
                b'"' => return Some(()),
                // The escaped character, which can be a quote.
                _ => self.at += 1,
            }
        }
    }

    /// Skips a number, `true`, `false` or `null`.
    fn scalar(&mut self) -> Option<()> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            if !matches!(byte, b'0'..=b'9' | b'a'..=b'z' | b'E' | b'+' | b'-' | b'.') {
                break;
            }
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole<'t>(text: &'t str, spans: &[Span]) -> Vec<&'t str> {
        let of = |span: &Span| &text[span.whole.clone()];
        spans.iter().map(of).collect()
    }

    #[test]
    fn members_and_items_have_their_bytes() {
        let text = " {\"a\\u0062\" : [1, {\"x]\":\"\\\"}\"},[] ],\n\"c\":-1.5e+7 , \"c\":null}\n";
        let members = members(text, &document(text)).unwrap();
        assert_eq!(
            whole(text, &members),
            [
                "\"a\\u0062\" : [1, {\"x]\":\"\\\"}\"},[] ]",
                "\"c\":-1.5e+7",
                "\"c\":null"
            ]
        );
        assert_eq!(members[0].name, "ab");
        assert_eq!(&text[members[1].value.clone()], "-1.5e+7");
        let items = items(text, &members[0].value).unwrap();
        assert_eq!(whole(text, &items), ["1", "{\"x]\":\"\\\"}\"}", "[]"]);
        assert_eq!(parts(text, &items[2].value).unwrap(), []);
        assert_eq!(parts(text, &items[0].value), None);
    }

    #[test]
    fn invalid_text_has_no_spans() {
        for text in [
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "[1",
            "{\"a\":\"",
            "{\"a\":1 \"b\":2}",
            "[}",
            "",
        ] {
            let found = parts(text, &document(text));
            assert!(found.is_none() || text == "[}", "{text}: {found:?}");
        }
    }
}
