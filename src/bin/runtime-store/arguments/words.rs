//! Words of other programs, and the commands that do the same here.

use clap::Command;
use clap::error::{ContextKind, ContextValue, Error, ErrorKind};
use std::ffi::OsString;
use std::fmt::Write as _;

/// A word and the commands for it.
const WORDS: [(&str, &[&str]); 17] = [
    ("cat", &["transcript"]),
    ("check", &["verify"]),
    ("cp", &["copy", "backup"]),
    ("diff", &["compare"]),
    ("fsck", &["verify"]),
    ("gc", &["prune", "compact"]),
    ("grep", &["search"]),
    ("info", &["stats", "worker"]),
    ("list", &["runtimes", "workers"]),
    ("log", &["events"]),
    ("ls", &["runtimes", "workers"]),
    ("mv", &["rename"]),
    ("rm", &["delete-worker", "delete-runtime", "prune"]),
    ("show", &["worker", "transcript"]),
    ("tail", &["events", "transcript"]),
    ("upgrade", &["migrate"]),
    ("vacuum", &["compact"]),
];

/// The commands for a word.
fn commands_for(word: &str) -> Option<&'static [&'static str]> {
    let found = WORDS.iter().find(|(known, _)| *known == word);
    found.map(|(_, commands)| *commands)
}

/// The help for `help WORD`, where the program has no such command: that of the only command for the word, or the list of
/// the commands for it. `None` for other arguments.
pub(crate) fn help(arguments: &[OsString], mut program: Command) -> Option<String> {
    let [_, help, word] = arguments else {
        return None;
    };
    let commands = commands_for(word.to_str().filter(|_| help == "help")?)?;
    program.build();
    if let [command] = commands {
        let command = program.find_subcommand_mut(command)?;
        return Some(command.render_long_help().to_string());
    }
    let mut text = String::new();
    for command in commands {
        let command = program.find_subcommand(command)?;
        let about = command.get_about().map(ToString::to_string);
        let (name, about) = (command.get_name(), about.unwrap_or_default());
        // Writing to a text does not fail.
        let _ = writeln!(text, "  {name:<16} {about}");
    }
    Some(text)
}

/// Adds the commands for a word to the error that the program has no such command.
pub(crate) fn suggest(error: &mut Error) {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand) else {
        return;
    };
    if let Some(commands) = commands_for(word) {
        let commands = commands.iter().map(ToString::to_string).collect();
        error.insert(
            ContextKind::SuggestedSubcommand,
            ContextValue::Strings(commands),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arguments;
    use clap::CommandFactory;

    #[test]
    fn words_lead_to_commands_only() {
        let program = Arguments::command();
        for (word, commands) in WORDS {
            assert!(program.find_subcommand(word).is_none(), "{word}");
            for command in commands {
                assert!(program.find_subcommand(command).is_some(), "{command}");
            }
        }
    }
}
