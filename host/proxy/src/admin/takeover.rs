//! Passes listening sockets from a process to the one that takes over (SCM_RIGHTS). For a while
//! both processes hold them, so connections in the accept queues are not lost.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Linux accepts up to 253 descriptors in one message.
const SOCKETS_PER_MESSAGE: usize = 64;
/// Longest wait for the other process.
pub(super) const TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);
/// Payload of a message that carries sockets.
const MORE: u8 = b'+';
/// Payload of the message after the last socket.
const END: u8 = b'.';

/// Payload that tells the old process to drain, if its admin socket does not answer.
pub(super) const DRAIN: u8 = b'd';

/// Sends sockets to the process that listens on `path`. Returns the connection, which the other
/// process keeps open while it is taking over.
pub(super) fn send_sockets(path: &Path, sockets: &[TcpListener]) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(TRANSFER_TIMEOUT))?;
    for some in sockets.chunks(SOCKETS_PER_MESSAGE) {
        let descriptors: Vec<_> = some.iter().map(|socket| socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("too many sockets for a message"));
        }
        sendmsg(&stream, &[IoSlice::new(&[MORE])], &mut ancillary, SendFlags::NOSIGNAL)?;
    }
    let mut nothing = SendAncillaryBuffer::default();
    sendmsg(&stream, &[IoSlice::new(&[END])], &mut nothing, SendFlags::NOSIGNAL)?;
    Ok(stream)
}

/// Receives sockets on a Unix socket. Removes its path when dropped.
#[derive(Debug)]
pub(super) struct SocketReceiver {
    path: PathBuf,
    listener: tokio::net::UnixListener,
}

impl SocketReceiver {
    /// Listens next to the admin socket of the old process, accessible to this user only. Must be
    /// called within a Tokio runtime.
    ///
    /// # Errors
    /// If the directory is not writable.
    pub(super) fn bind_next_to(admin_socket: &Path) -> io::Result<Self> {
        let mut path = admin_socket.as_os_str().to_owned();
        path.push(format!(".take-over.{}", std::process::id()));
        let path = PathBuf::from(path);
        let _ = std::fs::remove_file(&path);
        let listener = super::socket::bind_private(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: tokio::net::UnixListener::from_std(listener)?, path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the sockets; returns them with the connection through which they came.
    ///
    /// # Errors
    /// If the other process does not connect in time, or closes the connection early.
    pub(super) async fn sockets(&self, within: Duration) -> io::Result<(Vec<TcpListener>, UnixStream)> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the sockets did not arrive in time");
        let (stream, _) = tokio::time::timeout(within, self.listener.accept()).await.map_err(late)??;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(TRANSFER_TIMEOUT))?;
        tokio::task::spawn_blocking(move || receive(stream)).await?
    }
}

fn receive(stream: UnixStream) -> io::Result<(Vec<TcpListener>, UnixStream)> {
    let mut sockets = Vec::new();
    loop {
        let mut word = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut words = [IoSliceMut::new(&mut word)];
        let received = recvmsg(&stream, &mut words, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
        let cut_off = received.flags.contains(ReturnFlags::CTRUNC);
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                sockets.extend(descriptors.map(|descriptor: OwnedFd| TcpListener::from(descriptor)));
            }
        }
        match (received.bytes, word[0]) {
            (1, MORE) if !cut_off => {}
            (1, END) => return Ok((sockets, stream)),
            _ => {
                return Err(io::Error::other(
                    "the other process closed the connection early, or this process is out of file descriptors",
                ));
            }
        }
    }
}

impl Drop for SocketReceiver {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_are_received_with_their_pending_connections() {
        let directory = tempfile::tempdir().unwrap();
        let admin = directory.path().join("admin.sock");
        let receiver = SocketReceiver::bind_next_to(&admin).unwrap();
        let sockets: Vec<_> =
            (0..SOCKETS_PER_MESSAGE + 3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let waiting: Vec<_> =
            addresses.iter().map(|address| std::net::TcpStream::connect(address).unwrap()).collect();
        let path = receiver.path().to_owned();
        let giver = std::thread::spawn(move || send_sockets(&path, &sockets).unwrap());
        let (arrived, _held) = receiver.sockets(TRANSFER_TIMEOUT).await.unwrap();
        giver.join().unwrap();
        assert_eq!(arrived.iter().map(|socket| socket.local_addr().unwrap()).collect::<Vec<_>>(), addresses);
        for (socket, client) in arrived.iter().zip(&waiting) {
            assert_eq!(socket.accept().unwrap().1, client.local_addr().unwrap());
        }
        drop(receiver);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is left");
    }

    #[tokio::test]
    async fn an_early_close_and_a_missing_peer_are_errors() {
        let directory = tempfile::tempdir().unwrap();
        let receiver = SocketReceiver::bind_next_to(&directory.path().join("admin.sock")).unwrap();
        drop(UnixStream::connect(receiver.path()).unwrap());
        for (within, expected) in
            [(TRANSFER_TIMEOUT, "closed the connection early"), (Duration::ZERO, "in time")]
        {
            let error = receiver.sockets(within).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
