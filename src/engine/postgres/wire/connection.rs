//! One connection: statements with a deadline, and statements that are sent together.

use crate::engine::postgres::wire::io_thread::block_on;
use crate::engine::postgres::wire::server_error::ServerError;
use futures_util::future::{join, join_all};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
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
                if let AsyncMessage::Notice(notice) = message
                    && notice.severity() == "WARNING"
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

    fn wait<T>(
        &self,
        call: impl Future<Output = Result<T, tokio_postgres::Error>>,
        deadline: Instant,
    ) -> Result<T, ServerError> {
        let done = match block_on(call, deadline) {
            Some(done) => done.map_err(ServerError::from),
            None => Err(ServerError::TimedOut),
        };
        if done.as_ref().is_err_and(ServerError::is_lost) {
            self.cut();
        }
        done
    }

    /// Sends `sql` without waiting for an answer. The next call on the connection comes after it.
    pub(crate) fn send(&self, sql: &str) {
        let mut call = pin!(self.client.batch_execute(sql));
        // The first poll puts the message into the queue of the connection. A failure is that of the next call, too.
        let _ = call.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    }

    /// Runs statements without parameters.
    pub(crate) fn run(&self, sql: &str, deadline: Instant) -> Result<(), ServerError> {
        self.wait(self.client.batch_execute(sql), deadline)
    }

    /// Runs a query that is not repeated.
    pub(crate) fn query_once(
        &self,
        sql: &str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<Vec<Row>, ServerError> {
        self.wait(self.client.query(sql, params), deadline)
    }

    /// Runs a query, whose statement the connection keeps prepared.
    pub(crate) fn query(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<Vec<Row>, ServerError> {
        let statement = self.prepared(sql, deadline)?;
        self.wait(self.client.query(&statement, params), deadline)
    }

    /// Runs a statement that returns no rows. Returns how many rows it changed.
    pub(crate) fn execute(
        &self,
        sql: &'static str,
        params: &[Param<'_>],
        deadline: Instant,
    ) -> Result<u64, ServerError> {
        let statement = self.prepared(sql, deadline)?;
        self.wait(self.client.execute(&statement, params), deadline)
    }

    /// Sends `calls` and then `last` together, and waits for all answers. Returns the first error.
    pub(crate) fn execute_all(
        &self,
        calls: &[Call<'_>],
        last: &str,
        deadline: Instant,
    ) -> Result<(), ServerError> {
        let statements: Vec<Statement> = calls
            .iter()
            .map(|call| self.prepared(call.sql, deadline))
            .collect::<Result<_, _>>()?;
        let together = async {
            let calls = calls.iter().zip(&statements);
            let calls = calls.map(|(call, statement)| self.client.execute(statement, &call.params));
            let calls = join_all(calls);
            // Polled in this order, so sent in this order.
            let (calls, last) = join(calls, self.client.batch_execute(last)).await;
            for call in calls {
                call?;
            }
            last
        };
        self.wait(together, deadline)
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
        self.wait(copy, deadline)
    }

    fn prepared(&self, sql: &'static str, deadline: Instant) -> Result<Statement, ServerError> {
        let known = self.lock_statements().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.wait(self.client.prepare(sql), deadline)?;
        self.lock_statements().insert(sql, statement.clone());
        Ok(statement)
    }

    fn lock_statements(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Statement>> {
        self.statements
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
