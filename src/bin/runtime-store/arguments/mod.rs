//! Arguments that several verbs share, opening the store that they name, and the examples of the help.

pub(crate) mod age;
pub(crate) mod bytes;
pub(crate) mod confirm;
pub(crate) mod help;
pub(crate) mod location;
#[cfg(feature = "postgres")]
pub(crate) mod password;
pub(crate) mod repair;
pub(crate) mod rows;
pub(crate) mod select;
#[cfg(feature = "postgres")]
pub(crate) mod server;
pub(crate) mod url;
pub(crate) mod words;
