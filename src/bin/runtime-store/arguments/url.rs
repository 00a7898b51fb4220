//! URLs of stores on a server, as text.

/// Whether an argument is the URL of a server.
pub(crate) fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// An argument without the password that it can have: of a URL the user goes, too, and what follows the name of the
/// database.
pub(crate) fn without_password(argument: &str) -> String {
    // Also within an argument such as `--option=postgres://...`.
    let Some((before, after)) = ["postgres://", "postgresql://"]
        .iter()
        .find_map(|scheme| argument.split_once(scheme))
    else {
        return argument.to_owned();
    };
    // A password can have any of these characters, if it is not written as it should be.
    let rest = after.rsplit_once('@').map_or(after, |(_, rest)| rest);
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    format!("{before}postgres://{rest}")
}

/// A part of a URL without its `%` escapes.
#[cfg(feature = "postgres")]
pub(crate) fn decoded(part: &str) -> String {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = digits.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match escaped.filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::without_password;

    #[test]
    fn password_is_cut_out_wherever_it_stands() {
        for (url, shown) in [
            ("postgres://h/d", "postgres://h/d"),
            (
                "postgres://me:secret@h:1,i/d?schema=s",
                "postgres://h:1,i/d",
            ),
            ("postgres://me:se/cr?et@h/d", "postgres://h/d"),
            ("postgresql://h/d?user=me&password=secret", "postgres://h/d"),
            ("--x=postgres://me:secret@h/d", "--x=postgres://h/d"),
            ("agents.redb", "agents.redb"),
        ] {
            assert_eq!(without_password(url), shown, "{url}");
        }
    }
}
