//! One connection: statements with a deadline, and statements that are sent together.

use crate::engine::postgres::wire::io_thread::block_on;
use crate::engine::postgres::wire::server_error::ServerError;
use crate::error::with_causes;
use futures_util::future::{MaybeDone, join, join_all, join3, maybe_done};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_postgres::error::Severity;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row, Statement};

/// A parameter of a statement.
pub(crate) type Param<'p> = &'p (dyn ToSql + Sync);

/// A statement with its parameters.
pub(crate) struct Call<'p> {
    pub(crate) sql: &'static str,
    pub(crate) params: Vec<Param<'p>>,
}

/// A session on the server. It ends when this is dropped, after the statements that were sent.
pub(crate) struct Connection {
    client: Client,
    task: AbortHandle,
    /// Whether the server sent a warning. At a commit one says that the wait for the standby was given up.
    warned: Arc<AtomicBool>,
    statements: Mutex<HashMap<&'static str, Statement>>,
    /// The statements that begin a transaction, until the next call sends them.
    beginning: Mutex<Option<String>>,
}

impl Connection {
    /// Has the I/O thread serve `wire`.
    pub(crate) fn serve<S, T>(
        io: &Handle,
        client: Client,
        wire: tokio_postgres::Connection<S, T>,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let warned = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&warned);
        let task = io.spawn(async move {
            let mut wire = wire;
            // An error ends the calls that wait; each of them reports it.
            while let Some(Ok(message)) = poll_fn(|context| wire.poll_message(context)).await {
                // `severity()` is a word in the language of the server.
                if let AsyncMessage::Notice(notice) = message
                    && notice.parsed_severity() == Some(Severity::Warning)
                {
                    noted.store(true, Ordering::Release);
                }
            }
        });
        Self {
            client,
            task: task.abort_handle(),
            warned,
            statements: Mutex::default(),
            beginning: Mutex::default(),
        }
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    /// Closes the socket at once. The server finds out by itself; no statement is cancelled, since that ends the wait for a
    /// standby with an answer that looks like success.
    pub(crate) fn cut(&self) {
        self.task.abort();
    }

    /// Whether the server sent a warning since the last call.
    pub(crate) fn take_warning(&self) -> bool {
        self.warned.swap(false, Ordering::AcqRel)
    }

    /// Waits for `call`, which is sent after the beginning of the transaction, if that is due.
    fn wait<T>(
        &self,
        call: impl Future<Output = Result<T, ServerError>>,
        deadline: Instant,
    ) -> Result<T, ServerError> {
        let beginning = self.lock_beginning().take();
        let both = async {
            let Some(sql) = beginning else {
                return call.await;
            };
            // Polled in this order, so sent in this order.
            let (begun, done) = join(self.client.batch_execute(&sql), call).await;
            // Without its beginning the call was no part of a transaction.
            begun.map_err(ServerError::of_session)?;
            done
        };
        let done = block_on(both, deadline).unwrap_or(Err(ServerError::TimedOut));
        if done.as_ref().is_err_and(ServerError::is_lost) {
            self.cut();
        }
        done
    }

    /// Has the next call begin a transaction with `sql`.
    pub(crate) fn begin_next(&self, sql: String) {
        *self.lock_beginning() = Some(sql);
    }

    /// Forgets the transaction that no call has begun yet. Returns whether there was one.
    pub(crate) fn forget_beginning(&self) -> bool {
        self.lock_beginning().take().is_some()
    }

    /// Sends `sql` without waiting for an answer. The next call on the connection comes after it.
    pub(crate) fn send(&self, sql: &str) {
        let mut call = pin!(self.client.batch_execute(sql));
        // The first poll puts the message into the queue of the connection. A failure is that of the next call, too.
        let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Runs statements without parameters.
    pub(crate) fn run(&self, sql: &str, deadline: Instant) -> Result<(), ServerError> {
        self.wait(session(self.client.batch_execute(sql)), deadline)
    }

    /// Runs a query that is not repeated.
    pub(crate) fn query_once(
        &self,
        sql: &str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<Vec<Row>, ServerError> {
        self.wait(session(self.client.query(sql, params)), deadline)
    }

    /// Runs a query, whose statement the connection keeps prepared.
    pub(crate) fn query(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<Vec<Row>, ServerError> {
        let statement = self.prepared(sql, deadline)?;
        self.wait(session(self.client.query(&statement, params)), deadline)
    }

    /// Runs a statement that returns no rows. Returns how many rows it changed.
    pub(crate) fn execute(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<u64, ServerError> {
        let statement = self.prepared(sql, deadline)?;
        self.wait(session(self.client.execute(&statement, params)), deadline)
    }

    /// Sends `calls`, COMMIT and the query `after` together, and waits for all answers. Returns the rows of `after`, or the
    /// first error. One that is not [`ServerError::is_lost`] says that nothing was committed.
    pub(crate) fn commit(
        &self,
        calls: &[Call<'_>],
        after: Option<&'static str>,
        deadline: Instant,
    ) -> Result<Vec<Row>, ServerError> {
        let prepared = calls.iter().map(|call| self.prepared(call.sql, deadline));
        let statements: Vec<Statement> = prepared.collect::<Result<_, _>>()?;
        let after = after.map(|sql| self.prepared(sql, deadline)).transpose()?;
        let together = async {
            let calls = calls.iter().zip(&statements);
            let calls = calls.map(|(call, statement)| {
                Box::pin(maybe_done(self.client.execute(statement, &call.params)))
            });
            let mut calls: Vec<_> = calls.collect();
            // The server must get no COMMIT after a part of the batch.
            if let Some(error) = poll_fn(|context| Poll::Ready(send(&mut calls, context))).await {
                return Err(self.not_sent(&error));
            }
            let rows = async {
                match &after {
                    Some(after) => self.client.query(after, &[]).await,
                    None => Ok(Vec::new()),
                }
            };
            let answers = join_all(calls.iter_mut().map(|call| call.as_mut()));
            // Polled in this order, so sent in this order.
            let (_, committed, rows) =
                join3(answers, self.client.batch_execute("COMMIT"), rows).await;
            for call in &mut calls {
                let answer = call.as_mut().take_output().transpose();
                answer.map_err(ServerError::of_session)?;
            }
            committed.map_err(ServerError::of_session)?;
            rows.map_err(|error| ServerError::Lost(with_causes(&error)))
        };
        self.wait(together, deadline)
    }

    /// A statement that did not reach the connection: one that is too large for a message, unless the connection is lost.
    fn not_sent(&self, error: &tokio_postgres::Error) -> ServerError {
        match self.client.is_closed() {
            true => ServerError::Lost(with_causes(error)),
            false => ServerError::Invalid(format!(
                "a statement could not be sent to the server: {}",
                with_causes(error)
            )),
        }
    }

    /// Copies rows into a table. `rows` is in the binary format of COPY.
    pub(crate) fn copy_in(
        &self,
        sql: &str,
        rows: Vec<u8>,
        deadline: Instant,
    ) -> Result<u64, ServerError> {
        let copy = async {
            let sink = self.client.copy_in::<_, bytes::Bytes>(sql).await?;
            let mut sink = pin!(sink);
            futures_util::SinkExt::send(&mut sink, bytes::Bytes::from(rows)).await?;
            sink.finish().await
        };
        self.wait(session(copy), deadline)
    }

    fn prepared(&self, sql: &'static str, deadline: Instant) -> Result<Statement, ServerError> {
        let known = self.lock_statements().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.wait(session(self.client.prepare(sql)), deadline)?;
        self.lock_statements().insert(sql, statement.clone());
        Ok(statement)
    }

    fn lock_beginning(&self) -> MutexGuard<'_, Option<String>> {
        self.beginning
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_statements(&self) -> MutexGuard<'_, HashMap<&'static str, Statement>> {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Polls each of `calls` once, which sends its statement. Returns the error of the first one that could not be sent.
fn send<F: Future<Output = Result<u64, tokio_postgres::Error>>>(
    calls: &mut [Pin<Box<MaybeDone<F>>>],
    context: &mut Context<'_>,
) -> Option<tokio_postgres::Error> {
    for call in calls {
        let _ = call.as_mut().poll(context);
        let done = call.as_mut().output_mut();
        // The server may have answered to it already. What it refused was sent, and COMMIT then undoes the rest.
        let is_unsent = done.is_some_and(|done| {
            let error = done.as_ref().err();
            error.is_some_and(|error| error.as_db_error().is_none())
        });
        if is_unsent {
            return call.as_mut().take_output()?.err();
        }
    }
    None
}

/// A call of a session that has begun.
async fn session<T>(
    call: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, ServerError> {
    call.await.map_err(ServerError::of_session)
}

#[cfg(test)]
#[path = "connection_tests.rs"]
mod tests;
