//! Colours at a terminal. Without `--color` the environment variables `NO_COLOR` and `CLICOLOR` decide.

use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use std::io;

pub(crate) const HEADING: Style = Style::new().bold();
pub(crate) const FAILURE: Style = AnsiColor::Red.on_default().bold();
pub(crate) const MATCH: Style = AnsiColor::Red.on_default().bold();
pub(crate) const USER: Style = AnsiColor::Cyan.on_default().bold();
pub(crate) const ASSISTANT: Style = AnsiColor::Green.on_default().bold();
pub(crate) const SYSTEM: Style = AnsiColor::Yellow.on_default().bold();

/// The value of `--color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum When {
    Auto,
    Always,
    Never,
}

impl When {
    /// Decides for this run. Help and wrong arguments are printed before the arguments are known, so they follow the
    /// terminal and the environment alone.
    pub(crate) fn decide(self) {
        match self {
            Self::Auto => ColorChoice::Auto,
            Self::Always => ColorChoice::Always,
            Self::Never => ColorChoice::Never,
        }
        .write_global();
    }
}

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
