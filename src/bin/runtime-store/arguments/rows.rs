//! The arguments that select rows of a log: how many from its end, in which order, with which text.

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use redb_runtime_store::diagnostics::DiagnosticSeverity;
use redb_runtime_store::interaction::TranscriptRole;
use redb_runtime_store::observation::RuntimeEventKind;
use redb_runtime_store::search::Search;
use std::str::FromStr;

/// Arguments about the end and the order of a log.
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
    pub(crate) fn is_given(&self) -> bool {
        self.grep.is_some()
    }

    pub(crate) fn select(&self, text: &str) -> bool {
        self.grep
            .as_ref()
            .is_none_or(|wanted| text.contains(wanted))
    }
}

/// Arguments about the matches of a pattern.
#[derive(Args)]
pub(crate) struct PatternArguments {
    /// Treat upper and lower case as equal
    #[arg(long, short)]
    ignore_case: bool,
    /// Search for the matches of PATTERN as a regular expression
    #[arg(long)]
    regex: bool,
}

impl PatternArguments {
    pub(crate) fn search(&self, pattern: &str) -> Search {
        let search = match self.regex {
            true => Search::regex(pattern),
            false => Search::literal(pattern),
        };
        search.ignore_case(self.ignore_case)
    }
}

/// Parses a kind of event.
pub(crate) fn event_kind() -> impl TypedValueParser<Value = RuntimeEventKind> {
    named(RuntimeEventKind::ALL.iter().map(|kind| kind.as_str()))
}

/// Parses a role.
pub(crate) fn role() -> impl TypedValueParser<Value = TranscriptRole> {
    named(TranscriptRole::ALL.iter().map(|role| role.as_str()))
}

/// Parses a severity.
pub(crate) fn severity() -> impl TypedValueParser<Value = DiagnosticSeverity> {
    named(DiagnosticSeverity::ALL.iter().map(|one| one.as_str()))
}

/// Parses the name of a value of the model, one of `names`.
fn named<T>(names: impl IntoIterator<Item = &'static str>) -> impl TypedValueParser<Value = T>
where
    T: FromStr + Clone + Send + Sync + 'static,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    PossibleValuesParser::new(names).try_map(|name| name.parse::<T>())
}
