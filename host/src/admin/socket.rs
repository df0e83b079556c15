//! The admin socket: there only for the user that Reprieve runs as, and never half open.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
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
        why: std::io::Error,
    },
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
        // Nobody else gets in between: it has its name only when it has its permissions.
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        let _ = std::fs::remove_file(&aside);
        let listener = UnixListener::bind(&aside).map_err(refused)?;
        let ready = std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))
            .and_then(|()| listener.set_nonblocking(true))
            .and_then(|()| std::fs::metadata(&aside))
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
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.ino() == self.inode) {
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
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
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
