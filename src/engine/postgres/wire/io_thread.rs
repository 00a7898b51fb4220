//! The thread that does all input and output, and how other threads wait for it.
//!
//! A host may call the store inside a runtime of its own, where a second one must not be entered. So the sockets belong to
//! a thread of the store, and callers park until that thread wakes them.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Instant;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The I/O thread of one store. It ends, and closes all connections, when this is dropped.
pub(crate) struct IoThread {
    handle: Handle,
    _stop: oneshot::Sender<()>,
}

impl IoThread {
    pub(crate) fn start() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("runtime-store-io".to_owned())
            .spawn(move || {
                // An error says that the sender was dropped, which is the only way to end.
                let _ = runtime.block_on(stopped);
            })?;
        Ok(Self {
            handle,
            _stop: stop,
        })
    }

    pub(crate) fn handle(&self) -> &Handle {
        &self.handle
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until `future` is done. `None` if it is not at `deadline`.
pub(crate) fn block_on<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return Some(done);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        thread::park_timeout(left);
    }
}

#[cfg(test)]
mod tests {
    use super::{IoThread, block_on};
    use std::time::{Duration, Instant};

    #[test]
    fn wait_ends_at_its_deadline() {
        let deadline = Instant::now() + Duration::from_millis(20);
        assert_eq!(block_on(std::future::pending::<()>(), deadline), None);
        assert!(Instant::now() >= deadline);
    }

    #[test]
    fn wait_inside_a_host_runtime_succeeds() {
        let host = tokio::runtime::Builder::new_current_thread();
        let host = { host }.build().unwrap();
        let answer = host.block_on(async {
            let io = IoThread::start().unwrap();
            let task = io.handle().spawn(async { 7 });
            block_on(task, Instant::now() + Duration::from_secs(10))
        });
        assert_eq!(answer.unwrap().unwrap(), 7);
    }
}
