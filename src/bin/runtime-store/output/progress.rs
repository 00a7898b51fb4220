//! Progress bars on standard error; hidden unless it is a terminal.

use crate::output::print::Output;
use indicatif::{ProgressBar, ProgressStyle};
use redb_runtime_store::layout::Progress;
use redb_runtime_store::store::RowProgress;
use std::time::Duration;

/// A bar that counts bytes.
pub(crate) fn bar(output: &Output, what: &'static str) -> ProgressBar {
    styled(
        output,
        what,
        "{msg} {bar:24} {binary_bytes:>10} of {binary_total_bytes} {binary_bytes_per_sec:>12} {eta:>4}",
    )
}

/// A bar on standard error; hidden if standard error is no terminal.
fn styled(output: &Output, what: &'static str, template: &str) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    // Without a length it is empty; with one of 0 it would be full.
    let bar = ProgressBar::no_length();
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.set_message(what);
    bar
}

/// Shows `progress` on `bar`.
pub(crate) fn show(bar: &ProgressBar, progress: Progress) {
    bar.set_length(progress.bytes_total.max(progress.bytes_done));
    bar.set_position(progress.bytes_done);
}

/// Template of a bar that counts rows.
const ROWS: &str = "{msg} {bar:24} {human_pos:>12} of {human_len} rows {eta:>4}";

/// A bar that counts rows.
pub(crate) fn rows(output: &Output, what: &'static str) -> ProgressBar {
    styled(output, what, ROWS)
}

/// Lets a bar count rows from here on. Two bars would draw over each other.
pub(crate) fn count_rows(bar: &ProgressBar, what: &'static str) {
    if let Ok(style) = ProgressStyle::with_template(ROWS) {
        bar.set_style(style);
    }
    bar.set_message(what);
}

/// Shows `progress` on `bar`.
pub(crate) fn show_rows(bar: &ProgressBar, progress: RowProgress) {
    bar.set_length(progress.total.max(progress.done));
    bar.set_position(progress.done);
}

/// A bar for work that reports its progress as a fraction from 0 to 1.
pub(crate) fn part(output: &Output, what: &'static str) -> ProgressBar {
    let bar = styled(output, what, "{msg} {bar:24} {percent:>3} % {elapsed:>6}");
    bar.set_length(100);
    bar
}

/// Shows the fraction `part` on `bar`.
pub(crate) fn show_part(bar: &ProgressBar, part: f64) {
    bar.set_position((part * 100.0) as u64);
}

/// A spinner for work that does not report its progress.
pub(crate) fn spinner(output: &Output, what: &'static str) -> ProgressBar {
    let bar = styled(output, what, "{spinner} {msg} {elapsed}");
    if !bar.is_hidden() {
        bar.enable_steady_tick(Duration::from_millis(100));
    }
    bar
}
