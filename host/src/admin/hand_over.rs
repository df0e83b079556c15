//! Listening sockets on their way from a process to the one that takes over. Both have them for
//! a while, and connections that wait in them are lost to neither.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// Sockets in one message; Linux takes up to 253.
const AT_ONCE: usize = 64;
/// How long the other process may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Stands with sockets; after the last of them comes the other one.
const MORE: u8 = b'+';
const END: u8 = b'.';

/// Gives sockets to whoever listens at a path.
pub(super) fn give(path: &Path, sockets: &[TcpListener]) -> io::Result<()> {
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
    Ok(())
}

/// Where sockets arrive. The path is gone when this is.
#[derive(Debug)]
pub struct Arrival {
    path: PathBuf,
    listener: UnixListener,
}

impl Arrival {
    /// Listens beside the admin socket of the process that is to hand over, for that one alone.
    ///
    /// # Errors
    /// Where the folder cannot be written, or nobody serves there.
    pub fn beside(admin_socket: &Path) -> io::Result<Self> {
        let owner = std::fs::metadata(admin_socket)?;
        let mut path = admin_socket.as_os_str().to_owned();
        path.push(format!(".take-over.{}", std::process::id()));
        let path = PathBuf::from(path);
        let _ = std::fs::remove_file(&path);
        let arrival = Self { listener: UnixListener::bind(&path)?, path };
        std::fs::set_permissions(&arrival.path, std::fs::Permissions::from_mode(0o600))?;
        // Whoever serves there may be somebody who has given up root.
        std::os::unix::fs::chown(&arrival.path, Some(owner.uid()), Some(owner.gid()))?;
        Ok(arrival)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sockets, once they have been asked for.
    ///
    /// # Errors
    /// Where they do not come.
    pub fn sockets(&self) -> io::Result<Vec<TcpListener>> {
        let (stream, _) = self.listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
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
                (1, END) => return Ok(sockets),
                _ => return Err(io::Error::other("the other process broke off, or descriptors are short")),
            }
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

    #[test]
    fn sockets_arrive_with_the_connections_that_wait_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let admin = folder.path().join("admin.sock");
        let _serving = UnixListener::bind(&admin).unwrap();
        let arrival = Arrival::beside(&admin).unwrap();
        let sockets: Vec<_> = (0..AT_ONCE + 3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses: Vec<_> = sockets.iter().map(|socket| socket.local_addr().unwrap()).collect();
        let waiting: Vec<_> =
            addresses.iter().map(|address| std::net::TcpStream::connect(address).unwrap()).collect();
        let path = arrival.path().to_owned();
        let giver = std::thread::spawn(move || give(&path, &sockets).unwrap());
        let arrived = arrival.sockets().unwrap();
        giver.join().unwrap();
        assert_eq!(arrived.iter().map(|socket| socket.local_addr().unwrap()).collect::<Vec<_>>(), addresses);
        for (socket, client) in arrived.iter().zip(&waiting) {
            assert_eq!(socket.accept().unwrap().1, client.local_addr().unwrap());
        }
        drop(arrival);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "only the admin socket is left");
    }

    #[test]
    fn who_breaks_off_is_told_of() {
        let folder = tempfile::tempdir().unwrap();
        let admin = folder.path().join("admin.sock");
        let _serving = UnixListener::bind(&admin).unwrap();
        let arrival = Arrival::beside(&admin).unwrap();
        drop(UnixStream::connect(arrival.path()).unwrap());
        assert!(arrival.sockets().unwrap_err().to_string().contains("broke off"));
    }
}
