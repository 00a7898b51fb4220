//! The connection to the server: the I/O thread, TLS, statements and their failures.

pub(crate) mod address;
pub(crate) mod connection;
pub(crate) mod hosts;
pub(crate) mod io_thread;
pub(crate) mod server_error;
pub(crate) mod tls;
