//! Text for terminals and logs.

use std::fmt;

/// Displays a value with the characters escaped that a terminal would act on, or that no reader sees.
///
/// Ids, names of files and contents come from outside. Printed as they are, a newline begins a line of
/// its own, an escape sequence moves the cursor, and an invisible character hides a difference. Escaped as
/// `\n` or `\u{1b}` are:
///
/// - control characters, among them the newline, the tab, DEL and U+0080 to U+009F;
/// - the line and paragraph separators U+2028 and U+2029;
/// - marks that change the direction of text, such as U+061C and U+202E;
/// - characters without width, such as U+200B, U+FEFF and the tag characters. U+200C and U+200D stay
///   between two characters that are not ASCII, where scripts and emoji need them, and so do the variation
///   selectors U+FE00 to U+FE0F.
///
/// The messages of [`RuntimeError`](crate::RuntimeError) and
/// [`LayoutError`](crate::layout::LayoutError) are escaped like this already.
///
/// ```
/// use redb_runtime_store::Visible;
///
/// assert_eq!(Visible("a\nb\u{202e}").to_string(), r"a\nb\u{202e}");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Visible<T>(pub T);

impl<T: fmt::Display> fmt::Display for Visible<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As a whole, because the escape of a joiner depends on its neighbours.
        let text = self.0.to_string();
        let mut shown = String::with_capacity(text.len());
        let mut last = None;
        let mut rest = text.chars();
        while let Some(character) = rest.next() {
            let is_joiner = matches!(character, '\u{200C}' | '\u{200D}');
            let is_plain = match is_joiner {
                true => joins(last) && joins(rest.clone().next()),
                false => !is_hidden(character),
            };
            match is_plain {
                true => shown.push(character),
                false => shown.extend(character.escape_default()),
            }
            last = Some(character);
        }
        f.pad(&shown)
    }
}

/// Whether a joiner between this character and another one has an effect that a reader sees.
fn joins(neighbour: Option<char>) -> bool {
    neighbour.is_some_and(|c| !c.is_ascii() && !c.is_whitespace() && !is_hidden(c))
}

/// Whether a terminal acts on `character`, or shows nothing for it.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Soft hyphen, combining grapheme joiner, Arabic letter mark, Hangul and Khmer fillers.
            '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}'
            | '\u{180B}'..='\u{180F}'
            // Zero-width characters, direction marks, separators, invisible operators.
            | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}'
            | '\u{3164}' | '\u{FEFF}' | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}'
            | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}'
            // Tags, and the selectors of variants that no emoji uses.
            | '\u{E0000}'..='\u{E0FFF}')
}

#[cfg(test)]
mod tests {
    use super::Visible;

    #[test]
    fn hidden_characters_are_escaped_everywhere() {
        for hidden in [
            '\0',
            '\t',
            '\n',
            '\r',
            '\u{1B}',
            '\u{7F}',
            '\u{85}',
            '\u{9B}',
            '\u{AD}',
            '\u{61C}',
            '\u{200B}',
            '\u{200C}',
            '\u{200D}',
            '\u{200E}',
            '\u{2028}',
            '\u{2029}',
            '\u{202E}',
            '\u{2060}',
            '\u{2066}',
            '\u{FEFF}',
            '\u{E0001}',
            '\u{E007F}',
            '\u{E0100}',
        ] {
            let shown = Visible(format!("a{hidden}b")).to_string();
            assert_eq!(shown, format!("a{}b", hidden.escape_default()));
        }
    }

    #[test]
    fn text_of_every_script_stays_unescaped() {
        for text in [
            "",
            "a b",
            "ランタイム/β",
            "❤️",
            "1️⃣",
            "🇩🇪",
            "👩‍👩‍👧",
            "می\u{200C}خواهم",
            "é",
            r"a\nb",
        ] {
            assert_eq!(Visible(text).to_string(), text);
        }
    }

    #[test]
    fn escaping_twice_changes_nothing_more() {
        let text = "a\n\u{9B}31m\u{200D}\u{202E}👩‍👧";
        let once = Visible(text).to_string();
        assert_eq!(Visible(&once).to_string(), once);
    }
}
