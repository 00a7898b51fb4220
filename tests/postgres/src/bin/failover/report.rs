//! The lines in which a host process reports to the campaign.

use crate::history::Answer;
use std::fmt;

/// A report. The text of an input has no space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Report {
    /// The host is connected, and begins to send.
    Ready,
    /// The input of this text is sent next.
    Sent(String),
    /// The answer to the input of this text.
    Answered(String, Answer),
    /// The host has closed its store.
    Closed,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("ready"),
            Self::Sent(text) => write!(f, "sent {text}"),
            Self::Answered(text, Answer::Acknowledged(event)) => {
                write!(f, "acknowledged {text} {event}")
            }
            Self::Answered(text, Answer::Refused(why)) => {
                write!(f, "refused {text} {}", why.replace('\n', " "))
            }
            Self::Answered(text, Answer::Uncertain | Answer::Missing) => {
                write!(f, "uncertain {text}")
            }
            Self::Closed => f.write_str("closed"),
        }
    }
}

impl Report {
    /// The report in `line`.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (text, more) = rest.split_once(' ').unwrap_or((rest, ""));
        let answered = |answer| Self::Answered(text.to_owned(), answer);
        Some(match kind {
            "ready" => Self::Ready,
            "sent" => Self::Sent(text.to_owned()),
            "acknowledged" => answered(Answer::Acknowledged(more.parse().ok()?)),
            "uncertain" => answered(Answer::Uncertain),
            "refused" => answered(Answer::Refused(more.to_owned())),
            "closed" => Self::Closed,
            _ => return None,
        })
    }
}
