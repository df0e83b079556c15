//! The client's end of a session: lines in, replies out. Between commands it holds no buffer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroize;

use super::context::Context;
use crate::net::Stream;
use crate::pop3::line::LineBuffer;

/// How the client's end of a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LinkEnd {
    /// The client closed it.
    Closed,
    /// It broke.
    Lost,
    /// The client was silent for too long, or did not read.
    Idle,
    /// The server ends.
    Drained,
}

/// Octets that are read at once.
const READ: usize = 16 << 10;
/// Replies of more octets than this are written before the next command is looked at.
pub(super) const LARGE: usize = 32 << 10;

thread_local! {
    /// What is read goes through here: a session that waits has no buffer of its own.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into_boxed_slice());
}

pub(super) struct Link {
    pub(super) stream: Stream,
    pub(super) inbox: LineBuffer,
    pub(super) out: Vec<u8>,
    pub(super) octets_in: u64,
    pub(super) octets_out: u64,
}

impl Link {
    pub(super) fn new(stream: Stream) -> Self {
        Self { stream, inbox: LineBuffer::default(), out: Vec::new(), octets_in: 0, octets_out: 0 }
    }

    /// Reads what has arrived into the inbox. Ready once there is something.
    pub(super) fn poll_fill(&mut self, task: &mut TaskContext<'_>) -> Poll<Result<(), LinkEnd>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let read = ready!(Pin::new(&mut self.stream).poll_read(task, &mut buffer));
            let filled = buffer.filled_mut();
            let length = filled.len();
            self.inbox.push(filled);
            // It may have been a password.
            filled.zeroize();
            self.octets_in += length as u64;
            Poll::Ready(match read {
                Err(_) => Err(LinkEnd::Lost),
                Ok(()) if length == 0 => Err(LinkEnd::Closed),
                Ok(()) => Ok(()),
            })
        })
    }

    /// Waits for something to arrive.
    pub(super) async fn fill(&mut self) -> Result<(), LinkEnd> {
        poll_fn(|task| self.poll_fill(task)).await
    }

    /// Waits for something to arrive, until a deadline or the server's end.
    pub(super) async fn fill_until(&mut self, deadline: Instant, context: &Context) -> Result<(), LinkEnd> {
        let arrived = async {
            let mut drain = context.drain.clone();
            tokio::select! {
                biased;
                filled = self.fill() => filled,
                _ = drain.wait_for(|drained| *drained) => Err(LinkEnd::Drained),
            }
        };
        timeout_at(deadline, arrived).await.unwrap_or(Err(LinkEnd::Idle))
    }

    /// Writes the replies.
    pub(super) async fn flush(&mut self, within: Duration) -> Result<(), LinkEnd> {
        self.flush_until(Instant::now() + within).await
    }

    pub(super) async fn flush_until(&mut self, deadline: Instant) -> Result<(), LinkEnd> {
        if self.out.is_empty() {
            return Ok(());
        }
        let out = std::mem::take(&mut self.out);
        self.octets_out += out.len() as u64;
        match timeout_at(deadline, self.stream.write_all(&out)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(LinkEnd::Lost),
            Err(_) => Err(LinkEnd::Idle),
        }
    }

    /// Keeps a client that sends many commands at once from making the replies pile up.
    pub(super) async fn flush_if_large(&mut self, within: Duration) -> Result<(), LinkEnd> {
        if self.out.len() >= LARGE { self.flush(within).await } else { Ok(()) }
    }

    /// Closes in order: the last reply arrives even if the client has sent more meanwhile.
    pub(super) async fn close(&mut self) {
        let _ = self.stream.shutdown().await;
    }
}
