//! Colours at a terminal. The environment variables `NO_COLOR` and `CLICOLOR` are respected.

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use std::io;

pub(crate) const HEADING: Style = Style::new().bold();
pub(crate) const FAILURE: Style = AnsiColor::Red.on_default().bold();
pub(crate) const MATCH: Style = AnsiColor::Red.on_default().bold();
pub(crate) const USER: Style = AnsiColor::Cyan.on_default().bold();
pub(crate) const ASSISTANT: Style = AnsiColor::Green.on_default().bold();
pub(crate) const SYSTEM: Style = AnsiColor::Yellow.on_default().bold();

/// Whether standard output gets colours.
pub(crate) fn on_stdout() -> bool {
    AutoStream::choice(&io::stdout()) != ColorChoice::Never
}

/// Whether standard error gets colours.
pub(crate) fn on_stderr() -> bool {
    AutoStream::choice(&io::stderr()) != ColorChoice::Never
}

/// `text` in `style` if `wanted`. The width on the terminal does not change.
pub(crate) fn paint(wanted: bool, style: Style, text: &str) -> String {
    if wanted {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}
