//! The arguments that select rows of a log: how many from its end, in which order, with which text.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use std::str::FromStr;

/// How much of the end of a log is printed, and in which order.
#[derive(Args)]
pub(crate) struct EndArguments {
    /// Print only the last N of the selected rows
    #[arg(long, short = 'n', value_name = "N", conflicts_with_all = ["from_start", "limit"])]
    pub(crate) tail: Option<usize>,
    /// Print the last row first
    #[arg(long, conflicts_with_all = ["from_start", "follow"])]
    pub(crate) reverse: bool,
}

/// The text that rows must have.
#[derive(Args)]
pub(crate) struct TextArguments {
    /// Print only rows whose text contains this; `search` has regular expressions
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
}

impl TextArguments {
    pub(crate) fn select(&self, text: &str) -> bool {
        self.grep
            .as_ref()
            .is_none_or(|wanted| text.contains(wanted))
    }
}

/// Parses the name of a value of the model, one of `names`.
pub(crate) fn named<T>(
    names: impl IntoIterator<Item = &'static str>,
) -> impl TypedValueParser<Value = T>
where
    T: FromStr + Clone + Send + Sync + 'static,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}
