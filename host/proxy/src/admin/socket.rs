//! The admin socket: there only for the user that Reprieve runs as, and never half open.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody answers there.
    #[error("another program listens at {0}; stop it, or set `admin.socket` to another path")]
    Taken(PathBuf),
    /// The system does not let it.
    #[error("cannot listen at {path}: {why}; its folder must be there, for the user to write")]
    Refused {
        /// The path.
        path: PathBuf,
        /// What the system says.
        why: io::Error,
    },
}

/// Connections that wait to be accepted.
const BACKLOG: i32 = 128;

/// Listens at a path that only this user can open, from the first moment on: Linux gives the file
/// the mode that the socket has when it is bound. No mode and no owner is changed by the path,
/// which might lead elsewhere by then.
pub(super) fn bind_private(path: &Path) -> io::Result<UnixListener> {
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None)?;
    nix::sys::stat::fchmod(&socket, nix::sys::stat::Mode::from_bits_truncate(0o600))?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The admin socket. Its path is gone when this is, unless it is left to another process.
#[derive(Debug)]
pub struct AdminSocket {
    /// None where it is left.
    path: Option<PathBuf>,
    /// Which file it is.
    inode: u64,
}

impl AdminSocket {
    /// Listens at a path. What was left there by a process that has gone is replaced.
    ///
    /// # Errors
    /// Where somebody listens there, or the folder cannot be written.
    pub fn listen(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        if UnixStream::connect(path).is_ok() {
            return Err(SocketError::Taken(path.to_owned()));
        }
        Self::take_over(path)
    }

    /// Listens at a path, whoever did before.
    ///
    /// # Errors
    /// Where the folder cannot be written.
    pub fn take_over(path: &Path) -> Result<(Self, UnixListener), SocketError> {
        let refused = |why| SocketError::Refused { path: path.to_owned(), why };
        // Nobody finds it there before it listens.
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        let _ = std::fs::remove_file(&aside);
        let listener = bind_private(&aside).map_err(refused)?;
        let ready = listener
            .set_nonblocking(true)
            .and_then(|()| std::fs::symlink_metadata(&aside))
            .and_then(|metadata| std::fs::rename(&aside, path).map(|()| metadata.ino()));
        match ready {
            Ok(inode) => Ok((Self { path: Some(path.to_owned()), inode }, listener)),
            Err(why) => {
                let _ = std::fs::remove_file(&aside);
                Err(refused(why))
            }
        }
    }

    /// Leaves the path as it is, for a process that may put its own socket there at any moment:
    /// whether it has cannot be seen and the path removed in one step.
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
    fn a_left_over_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let listen = AdminSocket::listen;
        let (left, first) = listen(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(listen(&path), Err(SocketError::Taken(_))));
        drop(first);
        let (own, second) = listen(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
        drop(left);
        assert!(path.exists(), "it is another's by now");
        drop((own, second));
        assert!(!path.exists());
        let error = listen(&folder.path().join("no/such/folder")).unwrap_err().to_string();
        assert!(error.contains("folder must be there"), "{error}");
    }
}
