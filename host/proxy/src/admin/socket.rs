//! The admin's Unix socket: accessible only to the user that Reprieve runs as, from the moment
//! that its path exists.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why the socket could not be created.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Another process listens on the path.
    #[error("another process listens on {0}; stop it, or set `admin.socket` to another path")]
    Taken(PathBuf),
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

/// The admin socket's path, removed when dropped unless it is left to another process.
#[derive(Debug)]
pub struct AdminSocket {
    /// None if the path is left to another process.
    path: Option<PathBuf>,
    inode: u64,
}

impl AdminSocket {
    /// Listens on a path, and replaces a socket that a dead process left there.
    ///
    /// # Errors
    /// If another process listens there, or the directory is not writable.
    pub fn listen(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        if UnixStream::connect(path).is_ok() {
            return Err(SocketError::Taken(path.to_owned()));
        }
        Self::take_over(path)
    }

    /// Listens on a path, and replaces the socket of the process that is being taken over.
    ///
    /// # Errors
    /// If the directory is not writable.
    pub fn take_over(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let refused = |why| SocketError::Refused { path: path.to_owned(), why };
        // Bound under another name and renamed, so that the path always accepts connections.
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let _ = std::fs::remove_file(&temporary);
        let listener = bind_private(&temporary).map_err(refused)?;
        let ready = listener
            .set_nonblocking(true)
            .and_then(|()| std::fs::symlink_metadata(&temporary))
            .and_then(|metadata| std::fs::rename(&temporary, path).map(|()| metadata.ino()));
        match ready {
            Ok(inode) => Ok((Self { path: Some(path.to_owned()), inode }, listener)),
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

impl Drop for AdminSocket {
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
        let listen = AdminSocket::listen;
        let (left, first) = listen(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(listen(&path), Err(SocketError::Taken(_))));
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
}
