//! The page that the sections write to.

use crate::output::failure::Failure;
use crate::read::times::Times;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::io::Write;

/// The style of the page. It names no address.
const STYLE: &str = include_str!("style.css");

/// What a browser may do with the page: use its own style, and nothing else.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// A page under way, and how it shows times.
pub(crate) struct Page<'w> {
    out: &'w mut dyn Write,
    pub(crate) times: &'w Times,
}

impl<'w> Page<'w> {
    /// Begins the page.
    pub(crate) fn begin(
        out: &'w mut dyn Write,
        times: &'w Times,
        title: &str,
    ) -> Result<Self, Failure> {
        let mut page = Self { out, times };
        page.put(html! {
            (DOCTYPE)
            (PreEscaped("<html lang=\"en\">"))
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) " – runtime store report" }
                style { (PreEscaped(STYLE)) }
            }
            (PreEscaped("<body>"))
        })?;
        Ok(page)
    }

    /// Writes elements.
    pub(crate) fn put(&mut self, markup: Markup) -> Result<(), Failure> {
        self.out.write_all(markup.into_string().as_bytes())?;
        Ok(())
    }

    /// Writes the beginning or the end of an element that holds others.
    pub(crate) fn tag(&mut self, tag: &'static str) -> Result<(), Failure> {
        self.out.write_all(tag.as_bytes())?;
        Ok(())
    }

    /// Ends the page.
    pub(crate) fn end(mut self) -> Result<(), Failure> {
        self.tag("</body></html>\n")?;
        self.out.flush()?;
        Ok(())
    }
}

/// Numbers with separators.
pub(crate) fn number(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}
