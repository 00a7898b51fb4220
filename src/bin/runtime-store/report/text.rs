//! Texts of a store in HTML: escaped, and with hidden characters made visible.

use crate::output::text::visible;
use maud::Render;

/// The most characters of an id, a name or an intent that a page shows: a text of the store can be as long as memory.
const MOST_CHARS: usize = 200;

/// The most characters of a message.
const MOST_MESSAGE_CHARS: usize = 2000;

/// A text in one line. Hidden characters, newlines and tabs among them, are shown as marked escapes; a long text is cut.
pub(crate) struct Line<'a>(pub(crate) &'a str);

impl Render for Line<'_> {
    fn render_to(&self, html: &mut String) {
        push_cut(self.0, MOST_CHARS, html);
    }
}

/// As [`Line`], for texts that may be longer.
pub(crate) struct Message<'a>(pub(crate) &'a str);

impl Render for Message<'_> {
    fn render_to(&self, html: &mut String) {
        push_cut(self.0, MOST_MESSAGE_CHARS, html);
    }
}

fn push_cut(text: &str, most: usize, html: &mut String) {
    match text.char_indices().nth(most) {
        None => push_visible(text, html),
        Some((end, _)) => {
            push_visible(&text[..end], html);
            html.push('…');
        }
    }
}

/// A whole text, in which newlines and tabs stay as they are. Other hidden characters are shown as marked escapes.
pub(crate) struct Prose<'a>(pub(crate) &'a str);

impl Render for Prose<'_> {
    fn render_to(&self, html: &mut String) {
        for (number, line) in self.0.split('\n').enumerate() {
            if number > 0 {
                html.push('\n');
            }
            // Lines that end with CR and LF read as lines.
            let line = line.strip_suffix('\r').unwrap_or(line);
            for (number, part) in line.split('\t').enumerate() {
                if number > 0 {
                    html.push('\t');
                }
                push_visible(part, html);
            }
        }
    }
}

/// Adds `text` with the escapes of [`visible`], each in an element of its own: a reader can tell them from the same
/// characters in the text.
fn push_visible(text: &str, html: &mut String) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.render_to(html);
    }
    let shown = visible(text);
    let mut rest = shown.as_str();
    // The characters before `plain` are written.
    let (mut plain, mut at) = (0, 0);
    for character in text.chars() {
        let end = at + character.len_utf8();
        match rest.strip_prefix(character) {
            Some(after) => rest = after,
            // A hidden character is never the backslash with which its escape begins.
            None => {
                text[plain..at].render_to(html);
                let escape = character.escape_default().to_string();
                rest = rest.strip_prefix(escape.as_str()).unwrap_or(rest);
                html.push_str("<i class=esc>");
                html.push_str(&escape);
                html.push_str("</i>");
                plain = end;
            }
        }
        at = end;
    }
    text[plain..].render_to(html);
}

#[cfg(test)]
mod tests {
    use super::{Line, Message, Prose};
    use maud::Render;

    fn rendered(text: impl Render) -> String {
        text.render().into_string()
    }

    #[test]
    fn markup_of_texts_is_escaped() {
        let text = "<script>'\"&</script>";
        let html = "&lt;script&gt;'&quot;&amp;&lt;/script&gt;";
        assert_eq!(rendered(Line(text)), html);
        assert_eq!(rendered(Prose(text)), html);
        assert_eq!(rendered(Prose("é<")), "é&lt;");
    }

    #[test]
    fn hidden_characters_become_marked_escapes() {
        let shown = r"a<i class=esc>\u{202e}</i>b\u{202e}<i class=esc>\n</i>";
        assert_eq!(rendered(Line("a\u{202e}b\\u{202e}\n")), shown);
        assert_eq!(
            rendered(Prose("a\u{0}\tb\r\nc\rd")),
            "a<i class=esc>\\u{0}</i>\tb\nc<i class=esc>\\r</i>d"
        );
        for whole in ["ランタイム", "👩‍👩‍👧", "می\u{200C}خواهم"] {
            assert_eq!(rendered(Line(whole)), whole);
        }
    }

    #[test]
    fn long_lines_are_cut_between_characters() {
        let text = "é".repeat(1000);
        assert_eq!(rendered(Line(&text)), format!("{}…", "é".repeat(200)));
        assert_eq!(rendered(Message(&text)), text);
        assert_eq!(rendered(Message(&text.repeat(3))).chars().count(), 2001);
        assert_eq!(rendered(Prose(&text)), text);
    }
}
