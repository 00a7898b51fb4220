//! Tables and text for people, 80 columns wide.

use crate::colour;
use crate::failure::Failure;
use crate::output::{Output, visible};
use std::borrow::Cow;
use unicode_width::UnicodeWidthStr;

/// What a table may take of a line.
pub(crate) const WIDTH: usize = 80;

const GAP: &str = "  ";

/// What a column holds.
#[derive(PartialEq, Eq)]
enum Holds {
    /// Text, cut where it is too long.
    Text,
    /// Text that gives its space to the numbers of its row.
    Rest,
    /// Numbers, which are never cut.
    Numbers,
}

/// A column: its title, and its width in terminal cells.
pub(crate) struct Column {
    title: &'static str,
    width: usize,
    holds: Holds,
}

impl Column {
    pub(crate) const fn text(title: &'static str, width: usize) -> Self {
        Self {
            title,
            width,
            holds: Holds::Text,
        }
    }

    /// The text that is cut further where a number is wider than its column; one in a table.
    pub(crate) const fn rest(title: &'static str, width: usize) -> Self {
        Self {
            title,
            width,
            holds: Holds::Rest,
        }
    }

    pub(crate) const fn number(title: &'static str, width: usize) -> Self {
        Self {
            title,
            width,
            holds: Holds::Numbers,
        }
    }

    /// How much wider than the column a cell is that is not cut.
    fn excess(&self, cell: &str) -> usize {
        match self.holds {
            Holds::Numbers => cell.width().saturating_sub(self.width),
            Holds::Text | Holds::Rest => 0,
        }
    }
}

/// A table whose rows are printed as they come.
pub(crate) struct Table<const N: usize> {
    columns: [Column; N],
    has_title: bool,
}

impl<const N: usize> Table<N> {
    pub(crate) fn new(columns: [Column; N]) -> Self {
        Self {
            columns,
            has_title: false,
        }
    }

    /// Prints a row, and the titles before the first.
    pub(crate) fn row(&mut self, output: &mut Output, cells: [&str; N]) -> Result<(), Failure> {
        if !std::mem::replace(&mut self.has_title, true) {
            let titles = self.line(self.columns.each_ref().map(|column| column.title));
            let painted = output.painted(colour::HEADING, titles.trim_end());
            output.line(painted)?;
        }
        output.line(self.line(cells))
    }

    fn line(&self, cells: [&str; N]) -> String {
        let cells = cells.map(visible);
        let with_cells = || self.columns.iter().zip(&cells);
        let excess: usize = with_cells().map(|(column, cell)| column.excess(cell)).sum();
        let mut line = String::with_capacity(WIDTH);
        for (column, cell) in with_cells() {
            if !line.is_empty() {
                line.push_str(GAP);
            }
            let width = match column.holds {
                Holds::Text => column.width,
                Holds::Rest => column.width.saturating_sub(excess),
                Holds::Numbers => column.width.max(cell.width()),
            };
            let cell = fit(cell, width);
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            if column.holds == Holds::Numbers {
                line.push_str(&padding);
                line.push_str(&cell);
            } else {
                line.push_str(&cell);
                line.push_str(&padding);
            }
        }
        line
    }
}

/// The most characters for a terminal cell that are looked at: text can have any number of marks that
/// take none.
const CHARS_PER_CELL: usize = 16;

/// `text`, cut to `width` terminal cells, with an ellipsis where something was cut off.
pub(crate) fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    if width == 0 {
        return String::new();
    }
    let mut end = 0;
    for (start, character) in text.char_indices().take(width * CHARS_PER_CELL) {
        let next = start + character.len_utf8();
        // A mark can make what stands before it wider: only all of it together says how wide it is.
        if text[..next].width() >= width {
            break;
        }
        end = next;
    }
    format!("{}…", &text[..end])
}

/// `text` in lines of at most `width` terminal cells.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<Cow<'_, str>> {
    let mut narrowed = width;
    loop {
        let lines = textwrap::wrap(text, narrowed);
        let widest = lines.iter().map(|line| line.width()).max().unwrap_or(0);
        if widest <= width || narrowed <= 1 {
            return lines;
        }
        // textwrap adds up the widths of characters, and a mark can make what it stands on twice as
        // wide: half of the width is always enough.
        narrowed = narrowed.saturating_sub(widest - width).max(narrowed / 2);
    }
}
