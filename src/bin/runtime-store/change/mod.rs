//! Verbs that change the runtimes and workers of a store.

pub(crate) mod delete_runtime;
pub(crate) mod delete_worker;
pub(crate) mod pin;
pub(crate) mod prune;
pub(crate) mod redact;
pub(crate) mod rename;
pub(crate) mod set_attributes;
pub(crate) mod set_limits;
pub(crate) mod stop_runtime;
pub(crate) mod stop_worker;
