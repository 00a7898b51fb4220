//! The address of a server: a URL, without what only this program understands.

use std::net::IpAddr;
use std::path::PathBuf;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// A parsed address.
pub(crate) struct Address {
    pub(crate) config: Config,
    /// Whether connections are encrypted.
    pub(crate) is_encrypted: bool,
    /// The file with the certificates to trust, if the address names one.
    pub(crate) roots: Option<PathBuf>,
    /// The hosts and the database, for messages. It has neither the user nor the password.
    pub(crate) name: String,
}

/// Whether `text` is the address of a server.
pub(crate) fn is_address(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

impl Address {
    /// Parses `url`. The message of a failure does not repeat it: it can have a password.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        if !is_address(url) {
            return Err("the address of a server begins with postgres://".to_owned());
        }
        refuse_stray_at(url)?;
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut roots, mut rest) = (None, None, Vec::new());
        for part in query.split('&').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value.to_owned()),
                Some(("sslrootcert", value)) => roots = Some(PathBuf::from(decoded(value))),
                _ => rest.push(part),
            }
        }
        let url = match rest.is_empty() {
            true => base.to_owned(),
            false => format!("{base}?{}", rest.join("&")),
        };
        let mut config: Config = url
            .parse()
            .map_err(|error| format!("the address of the server: {}", reason(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("the address of the server names no host".to_owned());
        }
        let is_encrypted = match mode.as_deref() {
            None => !is_all_local(&config),
            Some("verify-full" | "require") => true,
            Some("disable") => false,
            Some(other) => {
                return Err(format!(
                    "sslmode={other}: only verify-full, which is the default, and disable exist"
                ));
            }
        };
        config.ssl_mode(match is_encrypted {
            true => SslMode::Require,
            false => SslMode::Disable,
        });
        let name = name_of(&config);
        Ok(Self {
            config,
            is_encrypted,
            roots,
            name,
        })
    }
}

/// Rejects an `@` that does not end the user and the password. It would make a part of a password a part of the host.
fn refuse_stray_at(url: &str) -> Result<(), String> {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    match rest[..end].matches('@').count() > 1 || rest[end..].contains('@') {
        true => Err(
            "the address of the server has an @ besides the one after the password, which is written as %40"
                .to_owned(),
        ),
        false => Ok(()),
    }
}

/// Whether what is sent to any of the hosts does not leave this machine. An address stands above the name of its host.
fn is_all_local(config: &Config) -> bool {
    let addresses = config.get_hostaddrs();
    config.get_hosts().iter().all(is_local) && addresses.iter().all(IpAddr::is_loopback)
}

fn reason(error: &tokio_postgres::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// Whether what is sent to `host` does not leave this machine.
fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            name == "localhost"
                || name
                    .parse::<IpAddr>()
                    .is_ok_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

fn name_of(config: &Config) -> String {
    let ports = config.get_ports();
    let hosts = config.get_hosts().iter().enumerate().map(|(number, host)| {
        let port = ports.get(number).or(ports.first()).copied();
        let port = port.filter(|port| *port != 5432);
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        match host {
            Host::Tcp(name) => format!("{name}{port}"),
            #[cfg(unix)]
            Host::Unix(path) => format!("{}{port}", path.display()),
        }
    });
    let hosts: Vec<String> = hosts.collect();
    let database = config.get_dbname().unwrap_or_default();
    format!("postgres://{}/{database}", hosts.join(","))
}

/// A value of a URL, without its `%` escapes.
fn decoded(value: &str) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let escaped = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (first, escaped) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::Address;

    #[test]
    fn name_has_hosts_without_password() {
        let url = "postgres://me:secret@a.example,b.example:6000/agents?connect_timeout=3";
        let address = Address::parse(url).unwrap();
        assert_eq!(address.name, "postgres://a.example,b.example:6000/agents");
        assert!(address.is_encrypted);
    }

    #[test]
    fn only_loopback_goes_unencrypted_by_default() {
        let is_encrypted = |url| Address::parse(url).map(|address| address.is_encrypted);
        assert_eq!(is_encrypted("postgres://127.0.0.1/x"), Ok(false));
        assert_eq!(is_encrypted("postgres://127.0.0.1,b/x"), Ok(true));
        assert_eq!(is_encrypted("postgres://b/x?sslmode=disable"), Ok(false));
        assert!(is_encrypted("postgres://b/x?sslmode=prefer").is_err());
    }

    #[test]
    fn address_of_another_machine_is_encrypted() {
        for (url, expected) in [
            ("postgres://localhost/x?hostaddr=192.0.2.7", true),
            ("postgres://localhost/x?hostaddr=127.0.0.1", false),
            ("postgres:///x?hostaddr=192.0.2.7", true),
        ] {
            assert_eq!(Address::parse(url).unwrap().is_encrypted, expected, "{url}");
        }
    }

    #[test]
    fn invalid_address_is_not_repeated() {
        for url in [
            "postgres://me:secret@a/x?what=1",
            "mysql://me:secret@a/x",
            "postgres://me:p@secret@a/x",
            "postgres://me:12/secret@a/x",
            "postgres://me:12?secret@a/x",
            "postgres://me:12?a=b&secret@a/x",
        ] {
            let message = Address::parse(url).err().unwrap();
            assert!(!message.contains("secret"), "{message}");
        }
    }
}
