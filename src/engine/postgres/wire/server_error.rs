//! How a call to the server fails, and the error that callers of the library get.

use crate::commit::failure::Failure;
use crate::error::{RuntimeError, with_causes};
use crate::ledger::context::OpContext;
use std::io::{Error, ErrorKind};
use tokio_postgres::error::{DbError, Severity, SqlState};

/// A failed call. No variant has the password: no message of the server or of the client has it.
#[derive(Clone, Debug)]
pub(crate) enum ServerError {
    /// The connection was lost, or none could be made. The outcome of a commit under way is unknown.
    Lost(String),
    /// The deadline passed. The connection was dropped, as for [`Lost`](Self::Lost).
    TimedOut,
    /// The server refused the statement, and has undone its transaction.
    Refused(SqlState, String),
    /// The rows that the turn has read were changed by another host.
    Conflict,
    /// Another host has the lease of the runtime.
    LeaseLost,
    /// The store was closed.
    Closed,
    /// The calling process is a fork of the one that connected.
    Forked,
    /// All connections of the store are in use, this many.
    TooMany(usize),
    /// A number that the server has no type for, or another invalid request.
    Invalid(String),
    /// The server is set up so that a commit can be lost.
    Unfit(String),
}

/// States after which another server, or the same one later, can take the call.
fn is_outage(code: &SqlState) -> bool {
    *code == SqlState::READ_ONLY_SQL_TRANSACTION
        || *code == SqlState::ADMIN_SHUTDOWN
        || *code == SqlState::CRASH_SHUTDOWN
        || *code == SqlState::CANNOT_CONNECT_NOW
        || *code == SqlState::IDLE_IN_TRANSACTION_SESSION_TIMEOUT
        || code.code().starts_with("08")
}

/// Whether the server ended with this error. It can have written a commit to its log before, which it finds when it starts
/// again.
fn is_panic(error: &DbError) -> bool {
    error.parsed_severity() == Some(Severity::Panic)
}

impl From<tokio_postgres::Error> for ServerError {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(refused) if is_outage(refused.code()) || is_panic(refused) => {
                Self::Lost(refused.message().to_owned())
            }
            Some(refused) => Self::Refused(refused.code().clone(), refused.message().to_owned()),
            None => Self::without_answer(with_causes(&error)),
        }
    }
}

/// How the client says that the server asks for a password and the address has none. It has no code.
const NO_PASSWORD: &str = "password missing";

impl ServerError {
    /// The error of a call in a session that has begun. One that ended the session says nothing about a commit under way.
    pub(crate) fn of_session(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(ended) if ended.parsed_severity() == Some(Severity::Fatal) => {
                Self::Lost(ended.message().to_owned())
            }
            _ => Self::from(error),
        }
    }

    /// A failure of the client.
    fn without_answer(message: String) -> Self {
        match message.ends_with(NO_PASSWORD) {
            true => Self::Refused(SqlState::INVALID_PASSWORD, message),
            false => Self::Lost(message),
        }
    }

    /// Whether the transaction can be begun again and written once more.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::Lost(_) => true,
            Self::Refused(code, _) => {
                *code == SqlState::T_R_SERIALIZATION_FAILURE
                    || *code == SqlState::T_R_DEADLOCK_DETECTED
            }
            _ => false,
        }
    }

    /// Whether the server has no connection to spare.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Refused(code, _) if *code == SqlState::TOO_MANY_CONNECTIONS)
    }

    /// Whether the connection is of no more use.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self, Self::Lost(_) | Self::TimedOut)
    }

    /// Whether the wait for a lock reached its limit.
    pub(crate) fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Refused(code, _) if *code == SqlState::LOCK_NOT_AVAILABLE)
    }

    /// The error of the operation `at`.
    pub(crate) fn runtime(&self, at: OpContext<'_>) -> RuntimeError {
        match self {
            Self::Lost(message) => at.io(Error::new(
                ErrorKind::ConnectionAborted,
                format!("the connection to the server failed: {message}"),
            )),
            Self::TimedOut => at.io(Error::new(
                ErrorKind::TimedOut,
                "the server did not answer in time",
            )),
            Self::Conflict => at.conflict(),
            Self::LeaseLost => at.locked(None),
            Self::Closed => at.closed(),
            Self::Forked => at.forked(),
            Self::TooMany(most) => {
                at.busy(format!("all {most} connections of this handle are in use"))
            }
            Self::Invalid(message) => RuntimeError::InvalidRequest(message.clone()),
            Self::Unfit(message) => {
                RuntimeError::InvalidRequest(format!("{}: {message}", at.place))
            }
            Self::Refused(code, message) => refused(code, message, at),
        }
    }

    /// The failure of a commit that the server did not carry out.
    pub(crate) fn failure(&self, at: OpContext<'_>) -> Failure {
        Failure::before_commit(self.runtime(at))
    }
}

fn refused(code: &SqlState, message: &str, at: OpContext<'_>) -> RuntimeError {
    match code {
        code if *code == SqlState::LOCK_NOT_AVAILABLE || *code == SqlState::QUERY_CANCELED => {
            at.busy("another host holds a lock on the same rows")
        }
        code if *code == SqlState::TOO_MANY_CONNECTIONS => at.busy(message),
        code if *code == SqlState::T_R_SERIALIZATION_FAILURE
            || *code == SqlState::T_R_DEADLOCK_DETECTED =>
        {
            at.conflict()
        }
        code if *code == SqlState::UNIQUE_VIOLATION => at.corrupt(format!(
            "key already exists at the next append position: {message}"
        )),
        code if *code == SqlState::UNDEFINED_TABLE || *code == SqlState::UNDEFINED_COLUMN => {
            at.not_a_store(message)
        }
        code if *code == SqlState::INSUFFICIENT_PRIVILEGE || code.code().starts_with("28") => {
            at.io(Error::new(ErrorKind::PermissionDenied, message))
        }
        code if *code == SqlState::PROGRAM_LIMIT_EXCEEDED => {
            RuntimeError::InvalidRequest(format!("{}: {message}", at.place))
        }
        code if *code == SqlState::DISK_FULL => at.io(Error::new(ErrorKind::StorageFull, message)),
        code => at.io(Error::other(format!(
            "{message} (SQLSTATE {})",
            code.code()
        ))),
    }
}
