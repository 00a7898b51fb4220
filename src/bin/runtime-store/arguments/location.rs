//! The place of a store on the command line: a file, or the URL of a schema on a server.

#[cfg(feature = "postgres")]
use crate::arguments::server::Server;
use crate::arguments::url::is_url;
use clap::builder::{TypedValueParser, ValueParserFactory};
use clap::error::ErrorKind;
use clap::{Arg, Command, Error};
use std::ffi::OsStr;
use std::fmt;
use std::path::{Path, PathBuf};

/// The place of a store.
#[derive(Clone, Debug)]
pub(crate) enum Location {
    File(PathBuf),
    #[cfg(feature = "postgres")]
    Server(Server),
}

impl Location {
    /// The place that an argument names, or why it names none.
    pub(crate) fn parse(argument: &OsStr) -> Result<Self, String> {
        match argument.to_str().filter(|text| is_url(text)) {
            #[cfg(feature = "postgres")]
            Some(url) => Server::parse(url).map(Self::Server),
            #[cfg(not(feature = "postgres"))]
            Some(_) => Err(
                "this program was built without the feature `postgres`, which stores on a server need"
                    .to_owned(),
            ),
            None if argument.is_empty() => Err("a store has a path or a URL".to_owned()),
            None => Ok(Self::File(PathBuf::from(argument))),
        }
    }

    /// The path of the file; `None` for a store on a server.
    pub(crate) fn file(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            #[cfg(feature = "postgres")]
            Self::Server(_) => None,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        self.file().is_some_and(Path::is_dir)
    }
}

/// Shows the path, or the URL without a user and a password.
impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            #[cfg(feature = "postgres")]
            Self::Server(server) => server.fmt(f),
        }
    }
}

impl ValueParserFactory for Location {
    type Parser = LocationParser;

    fn value_parser() -> LocationParser {
        LocationParser
    }
}

/// Parses the argument. Unlike those of clap, its errors do not quote the argument.
#[derive(Clone)]
pub(crate) struct LocationParser;

impl TypedValueParser for LocationParser {
    type Value = Location;

    fn parse_ref(
        &self,
        command: &Command,
        argument: Option<&Arg>,
        value: &OsStr,
    ) -> Result<Location, Error> {
        Location::parse(value).map_err(|why| {
            let name = argument.map(ToString::to_string).unwrap_or_default();
            let message = format!("invalid value for '{name}': {why}\n");
            Error::raw(ErrorKind::ValueValidation, message).with_cmd(command)
        })
    }
}
