//! Text for people: widths in terminal cells, escapes, numbers with their units.

use redb_runtime_store::Visible;
use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;
use unicode_width::UnicodeWidthStr;

/// The nouns of files that an import stores as they are.
pub(crate) const OTHER_FILE: &str = "file that is not part of the layout";
pub(crate) const OTHER_FILES: &str = "files that are not part of the layout";

/// Width of tables, and of running text without a terminal, in terminal cells.
pub(crate) const WIDTH: usize = 80;

/// The longest part of a finding's text that is printed for people, in characters.
const FINDING_TEXT_CHARS: usize = 160;

/// `text`, cut to [`FINDING_TEXT_CHARS`] characters, with the number of bytes that were cut off.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(FINDING_TEXT_CHARS) {
        Some((end, _)) => format!(
            "{}… ({} more bytes with --json)",
            &text[..end],
            text.len() - end
        ),
        None => text.to_owned(),
    }
}

/// `text` as one line that is safe on a terminal; see [`Visible`].
pub(crate) fn visible(text: impl Display) -> String {
    Visible(text).to_string()
}

/// A line of JSON for a terminal: equal as JSON, with escapes for every character that [`visible`]
/// escapes. White space between values becomes a space.
pub(crate) fn visible_json(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for character in line.chars() {
        // In JSON these stand between values only.
        if matches!(character, '\t' | '\r' | '\n') {
            shown.push(' ');
        } else if matches!(character, ' '..='~') || visible(character) == character.to_string() {
            shown.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                shown.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    shown
}

/// A number of bytes for people.
pub(crate) fn bytes_for_people(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

/// The parts of a cell that a bar fills, by eighths.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// A bar for `part`, which is `width` terminal cells long for `most`. Something is shown for everything above 0.
pub(crate) fn bar(part: u64, most: Option<u64>, width: usize) -> String {
    let (width, most) = (width as u64, most.unwrap_or(0).max(1));
    let eighths = u128::from(part.min(most)) * u128::from(width) * 8 / u128::from(most);
    let eighths = usize::try_from(eighths)
        .unwrap_or(0)
        .max(usize::from(part > 0));
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// What a verb moved: `VERB: RUNTIMES, WORKERS, EVENTS, ENTRIES`.
pub(crate) fn totals(verb: &str, [runtimes, workers, events, entries]: [u64; 4]) -> String {
    format!(
        "{verb}: {}, {}, {}, {}",
        count(runtimes, "runtime", "runtimes"),
        count(workers, "worker", "workers"),
        count(events, "event", "events"),
        count(entries, "entry", "entries"),
    )
}

/// `1 worker`, `2 workers`.
pub(crate) fn count(number: u64, singular: &str, plural: &str) -> String {
    let word = if number == 1 { singular } else { plural };
    format!("{} {word}", indicatif::HumanCount(number))
}

/// `read 1.0 MiB in 0.50 s (2.0 MiB/s)`
pub(crate) fn rate(verb: &str, bytes: u64, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    let per_second = if seconds > 0.0 {
        bytes as f64 / seconds
    } else {
        0.0
    };
    format!(
        "{verb} {} in {seconds:.2} s ({}/s)",
        bytes_for_people(bytes),
        bytes_for_people(per_second as u64)
    )
}

/// The most characters that are considered for each terminal cell: a text can have any number of
/// marks that take no cell.
const CHARS_PER_CELL: usize = 16;

/// `text`, cut to `width` terminal cells, with an ellipsis if it was cut.
pub(crate) fn fit(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    if width == 0 {
        return String::new();
    }
    let mut end = 0;
    for (start, character) in text.char_indices().take(width * CHARS_PER_CELL) {
        let next = start + character.len_utf8();
        // A mark can widen the characters before it, so only the width of the whole piece counts.
        if text[..next].width() >= width {
            break;
        }
        end = next;
    }
    format!("{}…", &text[..end])
}

/// `text`, wrapped into lines of at most `width` terminal cells.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<Cow<'_, str>> {
    let mut narrowed = width;
    loop {
        let lines = textwrap::wrap(text, narrowed);
        let widest = lines.iter().map(|line| line.width()).max().unwrap_or(0);
        if widest <= width || narrowed <= 1 {
            return lines;
        }
        // textwrap adds up the widths of single characters, and a mark can double the width of the
        // character before it: half of the width is always enough.
        narrowed = narrowed.saturating_sub(widest - width).max(narrowed / 2);
    }
}

#[cfg(test)]
mod tests {
    use super::{bar, visible_json};

    #[test]
    fn bars_are_in_proportion_and_fit() {
        assert_eq!(bar(0, Some(10), 4), "");
        assert_eq!(bar(1, Some(u64::MAX), 4), "▏");
        assert_eq!(bar(5, Some(10), 4), "██");
        assert_eq!(bar(9, Some(16), 4), "██▎");
        assert_eq!(bar(u64::MAX, Some(u64::MAX), 4), "████");
        assert_eq!(bar(7, None, 4), "████");
    }

    #[test]
    fn json_for_terminals_has_the_same_value() {
        let text = "a\u{7f}b\u{9b}31m\u{2028}\u{202e}\u{200b}\u{e0041}é\u{1b}\n\"\\";
        let value = serde_json::json!({ text: [text, 1] });
        let line = value.to_string();
        let shown = visible_json(&line);
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(&shown).unwrap(),
            value
        );
        let is_raw = |c: char| c.is_control() || ('\u{200b}'..='\u{202e}').contains(&c);
        assert!(!shown.contains(is_raw), "{shown:?}");
        assert!(shown.contains(r"\u007fb\u009b31m\u2028"), "{shown}");
        assert_eq!(visible_json("{\r\t\"a\": 1}"), "{  \"a\": 1}");
    }
}
