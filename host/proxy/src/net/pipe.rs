//! Octets that pass from one connection to another within the system, unseen (splice(2)).

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::task::{Context, Poll, ready};

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// Octets that a pipe is asked to hold. Where the system grants fewer, it holds those.
const ROOM: i32 = 1 << 20;
/// Empty pipes that a thread keeps for the next ones.
const KEPT: usize = 8;

thread_local! {
    static EMPTY: RefCell<Vec<(OwnedFd, OwnedFd)>> = const { RefCell::new(Vec::new()) };
}

/// A pipe between two connections.
#[derive(Debug)]
pub struct Pipe {
    /// Where octets come out, and where they go in; None once it is given back.
    ends: Option<(OwnedFd, OwnedFd)>,
    held: usize,
}

impl Pipe {
    /// An empty one.
    ///
    /// # Errors
    /// Where the system has no more descriptors.
    pub fn take() -> io::Result<Self> {
        if let Some(ends) = EMPTY.with_borrow_mut(Vec::pop) {
            return Ok(Self { ends: Some(ends), held: 0 });
        }
        let (out, into) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Beyond the system's limit for all pipes of a user it stays as it is.
        let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(ROOM));
        Ok(Self { ends: Some((out, into)), held: 0 })
    }

    /// Octets that have come in and not gone out.
    #[must_use]
    pub fn held(&self) -> usize {
        self.held
    }

    /// Takes up to `most` octets that have arrived.
    ///
    /// # Errors
    /// Where none have, or there is no room ([`io::ErrorKind::WouldBlock`]), or the connection
    /// is lost.
    pub fn fill(&mut self, from: &TcpStream, most: usize) -> io::Result<usize> {
        let Some((_, into)) = &self.ends else { return Ok(0) };
        let came = from.try_io(Interest::READABLE, || {
            Ok(splice(from, None, into, None, most, SpliceFFlags::SPLICE_F_NONBLOCK)?)
        })?;
        self.held += came;
        Ok(came)
    }

    /// Lets out what it holds. Ready when it is empty.
    ///
    /// # Errors
    /// Where the connection is lost.
    pub fn poll_drain(&mut self, to: &TcpStream, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some((out, _)) = &self.ends else { return Poll::Ready(Ok(())) };
        while self.held > 0 {
            ready!(to.poll_write_ready(task))?;
            let went = to.try_io(Interest::WRITABLE, || {
                Ok(splice(out, None, to, None, self.held, SpliceFFlags::SPLICE_F_NONBLOCK)?)
            });
            match went {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(count) => self.held -= count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // What is still in one is another session's: it is never used again.
        if self.held == 0
            && let Some(ends) = self.ends.take()
        {
            EMPTY.with_borrow_mut(|empty| {
                if empty.len() < KEPT {
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
    async fn octets_pass_in_order_and_no_more_than_asked_for() {
        let (mut source, from) = connected().await;
        let (to, mut sink) = connected().await;
        source.write_all(b"0123456789").await.unwrap();
        let mut pipe = Pipe::take().unwrap();
        from.readable().await.unwrap();
        assert_eq!(pipe.fill(&from, 4).unwrap(), 4);
        assert_eq!(pipe.held(), 4);
        poll_fn(|task| pipe.poll_drain(&to, task)).await.unwrap();
        assert_eq!(pipe.fill(&from, 100).unwrap(), 6);
        poll_fn(|task| pipe.poll_drain(&to, task)).await.unwrap();
        assert_eq!(pipe.fill(&from, 100).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut read = [0; 10];
        sink.read_exact(&mut read).await.unwrap();
        assert_eq!(&read, b"0123456789");
    }

    #[tokio::test]
    async fn one_that_holds_octets_is_not_used_again() {
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
