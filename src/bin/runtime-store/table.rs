//! Tables for people, 80 columns wide.

use crate::colour;
use crate::failure::Failure;
use crate::output::{Output, visible};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What a table may take of a line.
pub(crate) const WIDTH: usize = 80;

const GAP: &str = "  ";

/// A column: its title, its width in terminal cells, and whether it holds numbers.
pub(crate) struct Column {
    title: &'static str,
    width: usize,
    numbers: bool,
}

impl Column {
    pub(crate) const fn text(title: &'static str, width: usize) -> Self {
        Self {
            title,
            width,
            numbers: false,
        }
    }

    pub(crate) const fn number(title: &'static str, width: usize) -> Self {
        Self {
            title,
            width,
            numbers: true,
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
        let mut line = String::with_capacity(WIDTH);
        for (column, cell) in self.columns.iter().zip(cells) {
            if !line.is_empty() {
                line.push_str(GAP);
            }
            let cell = fit(&visible(cell), column.width);
            let padding = " ".repeat(column.width.saturating_sub(cell.width()));
            if column.numbers {
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

/// `text`, cut to `width` terminal cells, with an ellipsis where something was cut off.
pub(crate) fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut fitted = String::new();
    let mut used = 1;
    for character in text.chars() {
        used += character.width().unwrap_or(0);
        if used > width {
            break;
        }
        fitted.push(character);
    }
    fitted.push('…');
    fitted
}
