//! The client's side of a session: lines in, replies out. Between commands it holds no buffer.

use std::cell::RefCell;
use std::future::{Ready, poll_fn};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, Waker, ready};
use std::time::Duration;

use futures_util::future::Either;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use zeroize::Zeroize;

use super::deadline::DeadlineOrDrain;
use crate::net::Stream;
use crate::time::{Instant, timeout_at};
use reprieve_pop3::line::LineBuffer;
use reprieve_secrets::wiping::wiping;

/// How the client's side of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Disconnect {
    /// The client closed the connection.
    Closed,
    /// The connection broke.
    Lost,
    /// The client sent nothing, or did not read, until the deadline.
    Idle,
    /// The server shuts down.
    Drained,
    /// The client reads too slowly.
    Stalled,
}

/// A future that is nearly always ready at once. If it is not ready, it is boxed, so the caller's
/// future stays small.
type AtOnce<'a, T> = Either<Ready<T>, Pin<Box<dyn Future<Output = T> + Send + 'a>>>;

fn at_once<'a, T>(result: T) -> AtOnce<'a, T> {
    Either::Left(std::future::ready(result))
}

/// Bytes per read.
const READ: usize = 16 << 10;
/// Replies of more bytes than this are written before the next command is handled.
pub(super) const LARGE: usize = 32 << 10;

/// Bytes that a client must read within the stall timeout.
pub(super) const LEAST_PROGRESS: u64 = 1024;

thread_local! {
    /// Read buffer of the thread, so that an idle session has none.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

pub(super) struct ClientIo {
    pub(super) stream: Stream,
    pub(super) inbox: LineBuffer,
    pub(super) out: Vec<u8>,
    pub(super) bytes_in: u64,
    pub(super) bytes_out: u64,
    stall_timeout: Duration,
}

impl Drop for ClientIo {
    fn drop(&mut self) {
        // The buffers of a TLS connection hold what was decrypted last, which may be a password.
        if let Stream::Tls(_) = self.stream {
            wiping(|| self.stream = Stream::Taken);
        }
    }
}

impl ClientIo {
    /// `stall_timeout`: how long the client may take to read 1 KiB.
    pub(super) fn new(stream: Stream, stall_timeout: Duration) -> Self {
        Self {
            stream,
            inbox: LineBuffer::default(),
            out: Vec::new(),
            bytes_in: 0,
            bytes_out: 0,
            stall_timeout,
        }
    }

    /// Reads what has arrived into the inbox. Ready when there is something.
    pub(super) fn poll_fill(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), Disconnect>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(task, &mut buffer));
            let filled = buffer.filled_mut();
            let length = filled.len();
            self.inbox.push(filled);
            // It may contain a password.
            filled.zeroize();
            self.bytes_in += length as u64;
            Poll::Ready(match read {
                Err(_) => Err(Disconnect::Lost),
                Ok(()) if length == 0 => Err(Disconnect::Closed),
                Ok(()) => Ok(()),
            })
        })
    }

    /// Waits for something to arrive.
    pub(super) fn fill(&mut self) -> impl Future<Output = Result<(), Disconnect>> {
        poll_fn(|task| self.poll_fill(task))
    }

    /// Waits for something to arrive, until a deadline or the server's shutdown.
    pub(super) fn fill_until(
        &mut self,
        deadline: Instant,
        mut wait_limit: Pin<&mut DeadlineOrDrain<'_>>,
    ) -> impl Future<Output = Result<(), Disconnect>> {
        poll_fn(move |task| match self.poll_fill(task) {
            Poll::Pending => wait_limit.as_mut().poll_over(deadline, task).map(Err),
            filled => filled,
        })
    }

    /// Writes as much of the replies as the socket takes, nearly always everything. Returns the rest,
    /// if any; the caller must poll for writability itself.
    fn write_at_once(&mut self) -> Result<Option<Vec<u8>>, Disconnect> {
        if self.out.is_empty() {
            return Ok(None);
        }
        let task = &mut TaskContext::from_waker(Waker::noop());
        let mut out = std::mem::take(&mut self.out);
        self.bytes_out += out.len() as u64;
        let mut written = 0;
        while written < out.len() {
            match Pin::new(&mut self.stream).poll_write(task, &out[written..]) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(Disconnect::Lost),
                Poll::Ready(Ok(count)) => written += count,
                Poll::Pending => {
                    out.drain(..written);
                    return Ok(Some(out));
                }
            }
        }
        // An encrypted connection keeps what it could not write.
        match Pin::new(&mut self.stream).poll_flush(task) {
            Poll::Ready(Ok(())) => Ok(None),
            Poll::Ready(Err(_)) => Err(Disconnect::Lost),
            Poll::Pending => Ok(Some(Vec::new())),
        }
    }

    /// Writes the replies, as long as the client reads at least at the minimum rate.
    pub(super) fn flush(&mut self) -> AtOnce<'_, Result<(), Disconnect>> {
        match self.write_at_once() {
            Ok(None) => at_once(Ok(())),
            Ok(Some(rest)) => Either::Right(Box::pin(self.write_slowly(rest))),
            Err(end) => at_once(Err(end)),
        }
    }

    /// Writes bytes while the client reads at least 1 KiB per `stall_timeout`.
    async fn write_slowly(&mut self, out: Vec<u8>) -> Result<(), Disconnect> {
        let mut written = 0;
        let mut acknowledged = self.acknowledged(out.len());
        loop {
            let writing = async {
                while written < out.len() {
                    match self.stream.write(&out[written..]).await? {
                        0 => return Err(std::io::ErrorKind::WriteZero.into()),
                        count => written += count,
                    }
                }
                self.stream.flush().await
            };
            match crate::time::timeout(self.stall_timeout, writing).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(_)) => return Err(Disconnect::Lost),
                Err(_) => {
                    let now = self.acknowledged(out.len() - written);
                    if now.saturating_sub(acknowledged) < LEAST_PROGRESS {
                        return Err(Disconnect::Stalled);
                    }
                    acknowledged = now;
                }
            }
        }
    }

    /// Bytes that the client has acknowledged, given the number of unwritten bytes.
    fn acknowledged(&self, unwritten: usize) -> u64 {
        self.bytes_out.saturating_sub(unwritten as u64 + self.stream.unacknowledged_bytes())
    }

    /// Writes the replies until a deadline.
    pub(super) fn flush_until(&mut self, deadline: Instant) -> AtOnce<'_, Result<(), Disconnect>> {
        match self.write_at_once() {
            Ok(None) => at_once(Ok(())),
            Ok(Some(rest)) => Either::Right(Box::pin(self.write_until(deadline, rest))),
            Err(end) => at_once(Err(end)),
        }
    }

    async fn write_until(&mut self, deadline: Instant, out: Vec<u8>) -> Result<(), Disconnect> {
        let writing = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        match timeout_at(deadline, writing).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Disconnect::Lost),
            Err(_) => Err(Disconnect::Idle),
        }
    }

    /// Keeps a client that sends many commands at once from making the replies pile up.
    pub(super) fn flush_if_large(&mut self) -> AtOnce<'_, Result<(), Disconnect>> {
        if self.out.len() >= LARGE { self.flush() } else { at_once(Ok(())) }
    }

    /// Writes the last replies and closes. The replies and the FIN are sent in one packet if possible.
    pub(super) fn finish(&mut self) -> AtOnce<'_, Result<(), Disconnect>> {
        let held_back = self.stream.write_deferred(&self.out);
        self.bytes_out += held_back as u64;
        self.out.drain(..held_back);
        match self.write_at_once() {
            Ok(None) if self.closes_at_once() => at_once(Ok(())),
            Ok(rest) => Either::Right(Box::pin(async move {
                if let Some(rest) = rest {
                    self.write_slowly(rest).await?;
                }
                self.close().await;
                Ok(())
            })),
            Err(end) => at_once(Err(end)),
        }
    }

    /// Closes gracefully: the last reply arrives even if the client has sent more meanwhile.
    pub(super) fn close(&mut self) -> AtOnce<'_, ()> {
        if self.closes_at_once() {
            return at_once(());
        }
        // An encrypted connection sends close_notify, which has to wait if the client does not
        // read.
        Either::Right(Box::pin(async {
            let _ = crate::time::timeout(self.stall_timeout, self.stream.shutdown()).await;
        }))
    }

    fn closes_at_once(&mut self) -> bool {
        let task = &mut TaskContext::from_waker(Waker::noop());
        Pin::new(&mut self.stream).poll_shutdown(task).is_ready()
    }
}
