//! The password for a server, where the URL has none: `PGPASSWORD`, or a line of the password file, which is
//! `PGPASSFILE` or `~/.pgpass`. A password in an argument is shown to other users of the machine by `ps`.

use crate::arguments::url::decoded;
use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// What a line of a password file has to match.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// Hosts with their ports.
    hosts: Vec<(String, String)>,
    database: String,
    user: String,
}

/// The password for `url`, from the environment or a password file. `None` if the URL has one, or none is found.
pub(crate) fn of(url: &str) -> Option<String> {
    let wanted = wanted(url)?;
    if let Ok(password) = env::var("PGPASSWORD") {
        return Some(password).filter(|password| !password.is_empty());
    }
    let file = env::var_os("PGPASSFILE").map(PathBuf::from);
    let path = file.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".pgpass")))?;
    // As libpq: a file that others can read is not used.
    let is_private =
        fs::metadata(&path).is_ok_and(|file| file.is_file() && file.mode() & 0o077 == 0);
    let text = fs::read_to_string(path).ok().filter(|_| is_private)?;
    text.lines().find_map(|line| password_in(line, &wanted))
}

/// What a line for `url` has to match; `None` if the URL has a password.
fn wanted(url: &str) -> Option<Wanted> {
    let (_, rest) = url.split_once("://")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
    let parameter = |name: &str| {
        let mut parameters = query.split('&').filter_map(|part| part.split_once('='));
        parameters
            .find(|(of, _)| *of == name)
            .map(|(_, value)| decoded(value))
    };
    if user.contains(':') || parameter("password").is_some() {
        return None;
    }
    let user = match user {
        "" => parameter("user")
            .or_else(|| env::var("USER").ok())
            .unwrap_or_default(),
        user => decoded(user),
    };
    let hosts = hosts.split(',').map(|host| match host.rsplit_once(':') {
        // An IPv6 address has colons of its own, in brackets.
        Some((name, port)) if !port.ends_with(']') => (decoded(name), port.to_owned()),
        _ => (decoded(host), "5432".to_owned()),
    });
    Some(Wanted {
        hosts: hosts.collect(),
        database: match database {
            "" => user.clone(),
            database => decoded(database),
        },
        user,
    })
}

/// The password in a line `host:port:database:user:password`, if its other fields match. A field can be `*`; `\` escapes
/// a colon and itself.
fn password_in(line: &str, wanted: &Wanted) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        match character {
            ':' if fields.len() < 5 => fields.push(String::new()),
            '\\' => fields.last_mut()?.extend(characters.next()),
            other => fields.last_mut()?.push(other),
        }
    }
    let [host, port, database, user, password] = fields.as_slice() else {
        return None;
    };
    let is_one = |field: &str, value: &str| field == "*" || field == value;
    let has_host = wanted.hosts.iter().any(|(name, of)| {
        // A socket's directory is that of this machine.
        let is_socket = name.starts_with('/') && host == "localhost";
        (is_one(host, name) || is_socket) && is_one(port, of)
    });
    let matches = has_host && is_one(database, &wanted.database) && is_one(user, &wanted.user);
    matches.then(|| password.clone())
}

#[cfg(test)]
mod tests {
    use super::{password_in, wanted};

    #[test]
    fn line_of_password_file_matches_as_in_libpq() {
        let of = |line| password_in(line, &wanted("postgres://me@a,b:6000/d").unwrap());
        assert_eq!(of("a:5432:d:me:x:y"), Some("x:y".to_owned()));
        assert_eq!(of(r"b:6000:*:me:x\:\\"), Some(r"x:\".to_owned()));
        assert_eq!(of("*:*:*:*:z"), Some("z".to_owned()));
        for other in [
            "b:5432:d:me:x",
            "a:5432:e:me:x",
            "#*:*:*:*:x",
            "a:5432:d:x",
            "",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn url_with_password_looks_for_no_other() {
        assert_eq!(wanted("postgres://me:secret@a/d"), None);
        assert_eq!(wanted("postgres://a/d?user=me&password=x"), None);
        let wanted = wanted("postgres://me%40x@[::1]:7/").unwrap();
        assert_eq!(wanted.hosts, [("[::1]".to_owned(), "7".to_owned())]);
        assert_eq!(
            (wanted.user.as_str(), wanted.database.as_str()),
            ("me@x", "me@x")
        );
    }
}
