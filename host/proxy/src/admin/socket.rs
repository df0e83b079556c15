//! Unix sockets of the admin interface. That for `reprieve ctl` is accessible only to the user that
//! Reprieve runs as, from the moment that its path exists. Everyone may write to that for signals of new
//! mail who can enter its directory: delivery agents run as many users.

use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the socket could not be created.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens on the path.
    #[error("another process listens on {path}; stop it, or set `{key}` to another path")]
    #[allow(missing_docs)]
    Taken { path: PathBuf, key: &'static str },
    /// The system call failed.
    #[error("cannot listen on {path}: {why}; its directory must exist and be writable by the service user")]
    #[allow(missing_docs)]
    Refused { path: PathBuf, why: io::Error },
}

/// Length of the accept queue.
const BACKLOG: i32 = 128;

/// Listens on a path that only this user can open from the start: Linux creates the file with the
/// mode that the socket has when it is bound. Changing the mode by path afterwards would be a race.
pub(super) fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    nix::sys::stat::fchmod(&socket, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Binds a datagram socket that every user can send to.
fn bind_public(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::bind(path)?;
    // The umask applies to a bound socket.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(socket)
}

/// A socket's path, removed when dropped unless it is left to another process.
#[derive(Debug)]
pub struct SocketPath {
    /// None if the path is left to another process.
    path: Option<PathBuf>,
    inode: u64,
}

impl SocketPath {
    /// Listens for `reprieve ctl`, and replaces a socket that a dead process left there. `takes_over`:
    /// also the socket of the process that is being taken over.
    ///
    /// # Errors
    /// If another process listens there, or the directory is not writable.
    pub fn listen(path: &Path, takes_over: bool) -> Result<(Self, UnixListener), SocketError> {
        if !takes_over && UnixStream::connect(path).is_ok() {
            return Err(SocketError::Taken { path: path.to_owned(), key: "admin.socket" });
        }
        Self::create(path, bind_private)
    }

    /// Receives signals of new mail, like [`SocketPath::listen`].
    ///
    /// # Errors
    /// As [`SocketPath::listen`].
    pub fn receive(path: &Path, takes_over: bool) -> Result<(Self, UnixDatagram), SocketError> {
        let is_taken = || UnixDatagram::unbound().and_then(|socket| socket.connect(path)).is_ok();
        if !takes_over && is_taken() {
            return Err(SocketError::Taken { path: path.to_owned(), key: "admin.new-mail-socket" });
        }
        Self::create(path, bind_public)
    }

    fn create<S: Socket>(
        path: &Path,
        bind: impl FnOnce(&Path) -> io::Result<S>,
    ) -> Result<(Self, S), SocketError> {
        let refused = |why| SocketError::Refused { path: path.to_owned(), why };
        // Bound under another name and renamed, so that the path always accepts connections.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let _ = std::fs::remove_file(&temporary);
        let socket = bind(&temporary).map_err(refused)?;
        let ready = socket
            .set_nonblocking()
            .and_then(|()| std::fs::symlink_metadata(&temporary))
            .and_then(|metadata| std::fs::rename(&temporary, path).map(|()| metadata.ino()));
        match ready {
            Ok(inode) => Ok((Self { path: Some(path.to_owned()), inode }, socket)),
            Err(why) => {
                let _ = std::fs::remove_file(&temporary);
                Err(refused(why))
            }
        }
    }

    /// Keeps the path, because the process that takes over may replace it at any moment; checking
    /// for that and removing the path is not one atomic step.
    pub fn leave(mut self) {
        self.path = None;
    }
}

trait Socket {
    fn set_nonblocking(&self) -> io::Result<()>;
}

impl Socket for UnixListener {
    fn set_nonblocking(&self) -> io::Result<()> {
        Self::set_nonblocking(self, true)
    }
}

impl Socket for UnixDatagram {
    fn set_nonblocking(&self) -> io::Result<()> {
        Self::set_nonblocking(self, true)
    }
}

impl Drop for SocketPath {
    fn drop(&mut self) {
        let Some(path) = &self.path else { return };
        if std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.ino() == self.inode) {
            let _ = std::fs::remove_file(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let listen = |path: &Path| SocketPath::listen(path, false);
        let (left, first) = listen(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(listen(&path), Err(SocketError::Taken { .. })));
        drop(first);
        let (own, second) = listen(&path).unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
        drop(left);
        assert!(path.exists(), "it belongs to the second socket");
        drop((own, second));
        assert!(!path.exists());
        let error = listen(&directory.path().join("no/such/directory")).unwrap_err().to_string();
        assert!(error.contains("directory must exist"), "{error}");
    }

    #[test]
    fn every_user_can_send_to_the_socket_for_signals() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new-mail.sock");
        let (left, first) = SocketPath::receive(&path, false).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
        let error = SocketPath::receive(&path, false).unwrap_err().to_string();
        assert!(error.contains("admin.new-mail-socket"), "{error}");
        let (own, second) = SocketPath::receive(&path, true).unwrap();
        UnixDatagram::unbound().unwrap().send_to(b"alice", &path).unwrap();
        let mut buffer = [0; 16];
        assert_eq!(second.recv(&mut buffer).unwrap(), 5, "it replaces the first");
        drop((left, first));
        assert!(path.exists(), "it belongs to the second socket");
        drop(own);
        assert!(!path.exists());
    }
}
