//! Progress of long work, for people at a terminal.

use crate::output::Output;
use indicatif::{ProgressBar, ProgressStyle};
use redb_runtime_store::layout::Progress;

/// A bar on standard error; invisible where nobody watches.
pub(crate) fn bar(output: &Output, what: &'static str) -> ProgressBar {
    if !output.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let template = "{msg} {bar:24} {binary_bytes:>10} of {binary_total_bytes} {binary_bytes_per_sec:>12} {eta:>4}";
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
