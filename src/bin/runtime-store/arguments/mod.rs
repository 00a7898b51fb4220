//! Arguments that several verbs share, opening the store that they name, and the examples of the help.

pub(crate) mod age;
pub(crate) mod bytes;
pub(crate) mod confirm;
pub(crate) mod help;
pub(crate) mod repair;
pub(crate) mod rows;
pub(crate) mod select;
pub(crate) mod words;
