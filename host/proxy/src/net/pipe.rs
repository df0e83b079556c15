//! Moves bytes between two connections inside the kernel, through a pipe (`splice(2)`).

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Capacity requested for a pipe, in bytes. The system may grant less.
const CAPACITY_BYTES: i32 = 1 << 20;
/// Number of empty pipes that a thread keeps for reuse.
const MAX_IDLE: usize = 8;

thread_local! {
    static IDLE: RefCell<Vec<(OwnedFd, OwnedFd)>> = const { RefCell::new(Vec::new()) };
}

/// A pipe between two connections.
#[derive(Debug)]
pub struct Pipe {
    /// The reading and the writing end; None once returned to the idle pipes.
    ends: Option<(OwnedFd, OwnedFd)>,
    buffered: usize,
}

impl Pipe {
    /// Takes an idle pipe, or creates one.
    ///
    /// # Errors
    /// If no file descriptor is left.
    pub fn take() -> io::Result<Self> {
        if let Some(ends) = IDLE.with_borrow_mut(Vec::pop) {
            return Ok(Self { ends: Some(ends), buffered: 0 });
        }
        let (out, into) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Fails above the limit for all pipes of a user; the pipe then keeps its default capacity.
        let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(CAPACITY_BYTES));
        Ok(Self { ends: Some((out, into)), buffered: 0 })
    }

    /// Number of bytes in the pipe.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// Moves up to `max` received bytes into the pipe.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if none were received or the pipe is full; other kinds if the
    /// connection is lost.
    pub fn fill(&mut self, from: &TcpStream, max: usize) -> io::Result<usize> {
        let Some((_, into)) = &self.ends else { return Ok(0) };
        let moved = from.try_io(Interest::READABLE, || {
            Ok(splice(from, None, into, None, max, SpliceFFlags::SPLICE_F_NONBLOCK)?)
        })?;
        self.buffered += moved;
        Ok(moved)
    }

    /// Moves the contents of the pipe to a connection. Ready when the pipe is empty.
    ///
    /// # Errors
    /// If the connection is lost.
    pub fn poll_drain(&mut self, to: &TcpStream, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((out, _)) = &self.ends else { return Poll::Ready(Ok(())) };
        while self.buffered > 0 {
            ready!(to.poll_write_ready(task))?;
            let moved = to.try_io(Interest::WRITABLE, || {
                Ok(splice(out, None, to, None, self.buffered, SpliceFFlags::SPLICE_F_NONBLOCK)?)
            });
            match moved {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.buffered -= count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // A pipe that still holds bytes of this session must not be reused by another.
        if self.buffered == 0
            && let Some(ends) = self.ends.take()
        {
            IDLE.with_borrow_mut(|empty| {
                if empty.len() < MAX_IDLE {
                    empty.push(ends);
                }
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn connected() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        (near.unwrap(), far.unwrap().0)
    }

    #[tokio::test]
    async fn bytes_pass_in_order_and_up_to_the_maximum() {
        let (mut source, from) = connected().await;
        let (to, mut sink) = connected().await;
        source.write_all(b"0123456789").await.unwrap();
        let mut pipe = Pipe::take().unwrap();
        from.readable().await.unwrap();
        assert_eq!(pipe.fill(&from, 4).unwrap(), 4);
        assert_eq!(pipe.buffered(), 4);
        poll_fn(|task| pipe.poll_drain(&to, task)).await.unwrap();
        assert_eq!(pipe.fill(&from, 100).unwrap(), 6);
        poll_fn(|task| pipe.poll_drain(&to, task)).await.unwrap();
        assert_eq!(pipe.fill(&from, 100).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut read = [0; 10];
        sink.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"0123456789");
    }

    #[tokio::test]
    async fn a_pipe_that_is_not_empty_is_not_reused() {
        let (mut source, from) = connected().await;
        source.write_all(b"secret").await.unwrap();
        from.readable().await.unwrap();
        let mut pipe = Pipe::take().unwrap();
        pipe.fill(&from, 100).unwrap();
        drop(pipe);
        let (to, mut sink) = connected().await;
        let mut next = Pipe::take().unwrap();
        source.write_all(b"own").await.unwrap();
        from.readable().await.unwrap();
        next.fill(&from, 100).unwrap();
        poll_fn(|task| next.poll_drain(&to, task)).await.unwrap();
        let mut read = [0; 3];
        sink.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"own");
    }
}
