//! A private PostgreSQL for the tests of `redb-runtime-store`, and ways to make it fail.
//!
//! `tests/postgres/run` installs the server where it is missing and runs everything in here. The tests need no
//! set-up: each [`cluster::Cluster`] is made in a temporary directory, listens on loopback only, and is gone
//! when its test is, also after a panic, a kill or ^C.
//!
//! - [`install`] finds the server's programs and runs them as an unprivileged user; [`scratch`] is the
//!   directory of a cluster and what removes it.
//! - [`server`] is one server, [`cluster`] a primary with or without its standby, [`psql`] asks them.
//! - [`proxy`] stands between a host and a server, or between a primary and its standby. It counts the
//!   messages of the protocol, which [`frames`] finds, and cuts or holds a connection at one of them.

pub mod cluster;
pub mod frames;
pub mod install;
pub mod proxy;
pub mod psql;
pub mod scratch;
pub mod server;
