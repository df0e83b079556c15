//! A stream that fails if its peer does not read for too long, so that a stalled client does not
//! hold buffers for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// Longest time that a write may be pending.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Adds a timeout to pending writes; reads are not limited.
pub(super) struct WriteTimeout<S> {
    stream: S,
    /// Set while a write is pending.
    deadline: Option<Pin<Box<Sleep>>>,
    limit: Duration,
}

impl<S> WriteTimeout<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, deadline: None, limit: WRITE_TIMEOUT }
    }

    /// Returns the result of a write, or an error once it has been pending for too long.
    fn limit_pending<T>(
        &mut self,
        context: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.deadline = None;
            return result;
        }
        let limit = self.limit;
        let deadline =
            self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteTimeout<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit_pending(context, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(context);
        self.limit_pending(context, result)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(context);
        self.limit_pending(context, result)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_peer_that_stops_reading_times_out_and_a_slow_one_does_not() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut near = WriteTimeout { limit: Duration::from_millis(50), ..WriteTimeout::new(near) };
        let mut written = 0;
        while written < 1024 {
            let mut taken = [0; 64];
            let (wrote, read) = tokio::join!(near.write(&[0; 64]), far.read(&mut taken));
            written += wrote.unwrap();
            assert!(read.unwrap() > 0);
        }
        near.write_all(&[0; 64]).await.unwrap();
        let error = near.write_all(&[0; 64]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
