//! Colours, for people at a terminal who want them: `NO_COLOR` and `CLICOLOR` are heard.

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use std::io;

pub(crate) const HEADING: Style = Style::new().bold();
pub(crate) const FAILURE: Style = AnsiColor::Red.on_default().bold();
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

/// `text` in `style`, where `wanted`. It is as wide as before.
pub(crate) fn paint(wanted: bool, style: Style, text: &str) -> String {
    if wanted {
        format!("{style}{text}{style:#}")
    } else {
        text.to_owned()
    }
}
