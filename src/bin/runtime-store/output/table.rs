//! Tables for people. On a terminal they have its width; elsewhere nothing is cut, so that other programs get whole ids.

use crate::output::colour;
use crate::output::failure::Failure;
use crate::output::print::Output;
use crate::output::text::{WIDTH, fit, visible};
use unicode_width::UnicodeWidthStr;

const GAP: &str = "  ";

/// The least width of the column that takes the rest, on a terminal of less than [`WIDTH`] columns.
const MIN_REST: usize = 10;

/// How a column is aligned and cut.
#[derive(PartialEq, Eq)]
enum Holds {
    /// Text, cut where it is too long.
    Text,
    /// Text that takes what the other columns of its row leave.
    Rest,
    /// Numbers, which are never cut.
    Numbers,
}

/// A column: its title, its width in terminal cells, and its alignment.
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

    /// A text column that takes what the others leave. `width` is that on 80 columns. A table has one.
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

    /// By how many terminal cells an uncut cell exceeds the column.
    fn excess(&self, cell: &str) -> usize {
        match self.holds {
            Holds::Numbers => cell.width().saturating_sub(self.width),
            Holds::Text | Holds::Rest => 0,
        }
    }
}

/// A table that prints each row as soon as it is given.
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

    /// Prints a row. The first row is preceded by the column titles.
    pub(crate) fn row(&mut self, output: &mut Output, cells: [&str; N]) -> Result<(), Failure> {
        let width = output.table_width();
        if !std::mem::replace(&mut self.has_title, true) {
            let titles = self.columns.each_ref().map(|column| column.title);
            let titles = self.line(titles, width);
            let painted = output.painted(colour::HEADING, titles.trim_end());
            output.line_after(&painted, "")?;
        }
        output.line(self.line(cells, width))
    }

    /// A line of the table on a terminal of `width` columns; with `None` no cell is cut.
    fn line(&self, cells: [&str; N], width: Option<usize>) -> String {
        let cells = cells.map(visible);
        let with_cells = || self.columns.iter().zip(&cells);
        let excess: usize = with_cells().map(|(column, cell)| column.excess(cell)).sum();
        let (is_cut, available) = (width.is_some(), width.unwrap_or(WIDTH));
        let mut line = String::with_capacity(available);
        for (column, cell) in with_cells() {
            if !line.is_empty() {
                line.push_str(GAP);
            }
            let width = match column.holds {
                Holds::Text => column.width,
                // On a narrow terminal the line wraps; the column does not vanish.
                Holds::Rest => (column.width + available)
                    .saturating_sub(WIDTH + excess)
                    .max(if available < WIDTH { MIN_REST } else { 0 }),
                Holds::Numbers => column.width.max(cell.width()),
            };
            let cell = fit(cell, if is_cut { width } else { usize::MAX });
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
