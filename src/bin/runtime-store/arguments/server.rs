//! The URL of a store on a server, and the password for it.

use crate::arguments::password;
use crate::arguments::url::{decoded, without_password};
use redb_runtime_store::{PostgresOptions, RuntimeError, Store};
use std::fmt;
use std::time::Duration;

/// The schema of a URL that names none.
const SCHEMA: &str = "runtimes";

/// How long a completion waits for a server.
const COMPLETION: Duration = Duration::from_secs(1);

/// A schema on a server.
#[derive(Clone)]
pub(crate) struct Server {
    /// The URL for the library, without the schema.
    url: String,
    schema: String,
    /// The URL without user and password.
    shown: String,
}

impl Server {
    /// The server of a URL. `schema=NAME` among its parameters names the schema.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut schema = None;
        let mut rest = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            match parameter.strip_prefix("schema=") {
                Some(name) => schema = Some(decoded(name)),
                None => rest.push(parameter),
            }
        }
        let schema = schema.unwrap_or_else(|| SCHEMA.to_owned());
        if schema.is_empty() {
            return Err("schema= names no schema".to_owned());
        }
        let shown = format!("{}?schema={schema}", without_password(url));
        let url = match rest.is_empty() {
            true => base.to_owned(),
            false => format!("{base}?{}", rest.join("&")),
        };
        Ok(Self { url, schema, shown })
    }

    /// Options for connecting, with the password of the environment or of a password file if the URL has none.
    pub(crate) fn options(&self) -> PostgresOptions {
        let options = PostgresOptions::new(&self.url).schema(&self.schema);
        match password::of(&self.url) {
            Some(password) => options.password(password),
            None => options,
        }
    }

    pub(crate) fn for_reading(&self) -> Result<Store, RuntimeError> {
        Store::connect(self.options().read_only(true))
    }

    pub(crate) fn for_writing(&self) -> Result<Store, RuntimeError> {
        Store::connect(self.options().create(false))
    }

    /// As [`for_writing`](Self::for_writing), and creates the schema if it does not exist.
    pub(crate) fn for_filling(&self) -> Result<Store, RuntimeError> {
        Store::connect(self.options())
    }

    /// As [`for_reading`](Self::for_reading), but does not wait for long.
    pub(crate) fn for_completion(&self) -> Result<Store, RuntimeError> {
        let options = self.options().read_only(true);
        Store::connect(
            options
                .connect_timeout(COMPLETION)
                .outage_timeout(COMPLETION),
        )
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn schema_is_taken_out_of_the_url() {
        let server = Server::parse("postgres://me:pw@h/d?sslmode=disable&schema=a%20b").unwrap();
        assert_eq!(server.url, "postgres://me:pw@h/d?sslmode=disable");
        assert_eq!(server.schema, "a b");
        assert_eq!(server.to_string(), "postgres://h/d?schema=a b");
        assert_eq!(format!("{server:?}"), "postgres://h/d?schema=a b");
        assert_eq!(Server::parse("postgres://h/d").unwrap().schema, "runtimes");
        assert!(Server::parse("postgres://h/d?schema=").is_err());
    }
}
