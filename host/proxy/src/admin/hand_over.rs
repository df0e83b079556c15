//! Listening sockets on their way from a process to the one that takes over. Both have them for
//! a while, and connections that wait in them are lost to neither.

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

/// Sockets in one message; Linux takes up to 253.
const AT_ONCE: usize = 64;
/// How long the other process may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// Stands with sockets; after the last of them comes the other one.
const MORE: u8 = b'+';
const END: u8 = b'.';

/// Tells the process that has handed over to drain, if it does not hear it by its admin socket.
pub(super) const DRAIN: u8 = b'd';

/// Gives sockets to the process that listens at a path, and returns the connection: as long as
/// that process holds it, it takes over.
pub(super) fn give(path: &Path, sockets: &[TcpListener]) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(path)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    for some in sockets.chunks(AT_ONCE) {
        let descriptors: Vec<_> = some.iter().map(|socket| socket.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !beside.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("too many sockets for a message"));
        }
        sendmsg(&stream, &[IoSlice::new(&[MORE])], &mut beside, SendFlags::NOSIGNAL)?;
    }
    let mut nothing = SendAncillaryBuffer::default();
    sendmsg(&stream, &[IoSlice::new(&[END])], &mut nothing, SendFlags::NOSIGNAL)?;
    Ok(stream)
}

/// Where sockets arrive. The path is gone when this is.
#[derive(Debug)]
pub(super) struct Arrival {
    path: PathBuf,
    listener: tokio::net::UnixListener,
}

impl Arrival {
    /// Listens beside the admin socket of the process that is to hand over, for its user alone,
    /// which is this process's too. Within a runtime.
    ///
    /// # Errors
    /// If the folder cannot be written.
    pub(super) fn beside(admin_socket: &Path) -> io::Result<Self> {
        let mut path = admin_socket.as_os_str().to_owned();
        path.push(format!(".take-over.{}", std::process::id()));
        let path = PathBuf::from(path);
        let _ = std::fs::remove_file(&path);
        let listener = super::socket::bind_private(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: tokio::net::UnixListener::from_std(listener)?, path })
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The sockets, once they have been asked for, and the connection that they came by.
    ///
    /// # Errors
    /// If they do not come, or not in time.
    pub(super) async fn sockets(&self, within: Duration) -> io::Result<(Vec<TcpListener>, UnixStream)> {
        let late = |_| io::Error::new(io::ErrorKind::TimedOut, "they did not come in time");
        let (stream, _) = tokio::time::timeout(within, self.listener.accept()).await.map_err(late)??;
        let stream = stream.into_std()?;
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        tokio::task::spawn_blocking(move || receive(stream)).await?
    }
}

fn receive(stream: UnixStream) -> io::Result<(Vec<TcpListener>, UnixStream)> {
    let mut sockets = Vec::new();
    loop {
        let mut word = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let mut words = [IoSliceMut::new(&mut word)];
        let received = recvmsg(&stream, &mut words, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
        let cut_off = received.flags.contains(ReturnFlags::CTRUNC);
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                sockets.extend(descriptors.map(|descriptor: OwnedFd| TcpListener::from(descriptor)));
            }
        }
        match (received.bytes, word[0]) {
            (1, MORE) if !cut_off => {}
            (1, END) => return Ok((sockets, stream)),
            _ => return Err(io::Error::other("the other process broke off, or descriptors are short")),
        }
    }
}

impl Drop for Arrival {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_arrive_with_the_connections_that_wait_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let admin = folder.path().join("admin.sock");
        let arrival = Arrival::beside(&admin).unwrap();
        let sockets: Vec<_> = (0..AT_ONCE + 3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let waiting: Vec<_> =
            addresses.iter().map(|address| std::net::TcpStream::connect(address).unwrap()).collect();
        let path = arrival.path().to_owned();
        let giver = std::thread::spawn(move || give(&path, &sockets).unwrap());
        let (arrived, _held) = arrival.sockets(PATIENCE).await.unwrap();
        giver.join().unwrap();
        assert_eq!(arrived.iter().map(|socket| socket.local_addr().unwrap()).collect::<Vec<_>>(), addresses);
        for (socket, client) in arrived.iter().zip(&waiting) {
            assert_eq!(socket.accept().unwrap().1, client.local_addr().unwrap());
        }
        drop(arrival);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
    }

    #[tokio::test]
    async fn who_breaks_off_or_does_not_come_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let arrival = Arrival::beside(&folder.path().join("admin.sock")).unwrap();
        drop(UnixStream::connect(arrival.path()).unwrap());
        for (within, expected) in [(PATIENCE, "broke off"), (Duration::ZERO, "in time")] {
            let error = arrival.sockets(within).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
