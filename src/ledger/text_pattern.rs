//! A compiled pattern, and its matches in stored texts.

use crate::model::search::{Search, SearchPattern};
use memchr::memmem::Finder;
use regex::{Regex, RegexBuilder};
use std::ops::Range;

/// The largest compiled expression, in bytes. A search holds one, and at most about as much again while it
/// runs.
const EXPRESSION_BYTES: usize = 10 << 20;

/// A compiled pattern.
pub(crate) enum TextPattern {
    /// A text, byte for byte. It is not empty.
    Literal(Box<Finder<'static>>),
    Expression(Regex),
}

impl TextPattern {
    /// Compiles the pattern of a search. Fails with the reason if it is no expression, or too large.
    pub(crate) fn new(search: &Search) -> Result<Self, String> {
        let expression = match &search.pattern {
            // The finder would return places inside of characters for an empty text.
            SearchPattern::Literal(text) if !search.ignore_case && !text.is_empty() => {
                return Ok(Self::Literal(Box::new(Finder::new(text).into_owned())));
            }
            SearchPattern::Literal(text) => regex::escape(text),
            SearchPattern::Expression(expression) => expression.clone(),
        };
        RegexBuilder::new(&expression)
            .case_insensitive(search.ignore_case)
            .size_limit(EXPRESSION_BYTES)
            .build()
            .map(Self::Expression)
            .map_err(|error| match &search.pattern {
                SearchPattern::Literal(_) => format!(
                    "a text of {} bytes is too long for a search that ignores case",
                    expression.len()
                ),
                SearchPattern::Expression(_) => {
                    format!("the regular expression is invalid: {}", reason(&error))
                }
            })
    }

    /// Whether a row with these stored bytes can match. Postcard stores a text as its bytes, so a literal that
    /// is not among the bytes of the row is not in its text.
    #[inline]
    pub(crate) fn may_be_in(&self, stored: &[u8]) -> bool {
        match self {
            Self::Literal(finder) => finder.find(stored).is_some(),
            Self::Expression(_) => true,
        }
    }

    /// Whether `text` has a match.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        match self {
            Self::Literal(finder) => finder.find(text.as_bytes()).is_some(),
            Self::Expression(expression) => expression.is_match(text),
        }
    }

    /// The byte ranges of the matches in `text`: ascending, without overlaps, at the boundaries of characters.
    pub(crate) fn ranges<'t>(
        &'t self,
        text: &'t str,
    ) -> Box<dyn Iterator<Item = Range<usize>> + 't> {
        match self {
            Self::Literal(finder) => {
                let length = finder.needle().len();
                let starts = finder.find_iter(text.as_bytes());
                Box::new(starts.map(move |start| start..start + length))
            }
            Self::Expression(expression) => {
                Box::new(expression.find_iter(text).map(|found| found.range()))
            }
        }
    }
}

/// The reason in one line. The message of a syntax error shows the expression on lines of their own, and ends
/// with the reason.
fn reason(error: &regex::Error) -> String {
    match error {
        regex::Error::Syntax(message) => match message.rsplit_once("error: ") {
            Some((_, reason)) => reason.trim_end().to_owned(),
            None => message.clone(),
        },
        regex::Error::CompiledTooBig(limit) => {
            format!("its compiled form exceeds the limit of {limit} bytes")
        }
        error => error.to_string(),
    }
}
