//! The admin socket: there only for the user that Reprieve runs as, and never half open.

use std::os::unix::fs::PermissionsExt as _;
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

/// Listens at a path. What was left there by a process that has gone is replaced.
///
/// # Errors
/// Where somebody listens there, or the folder cannot be written.
pub fn listen(path: &Path) -> Result<UnixListener, SocketError> {
    if UnixStream::connect(path).is_ok() {
        return Err(SocketError::Taken(path.to_owned()));
    }
    let refused = |why| SocketError::Refused { path: path.to_owned(), why };
    // Nobody else gets in between: it has its name only when it has its permissions.
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    let aside = PathBuf::from(aside);
    let _ = std::fs::remove_file(&aside);
    let listener = UnixListener::bind(&aside).map_err(refused)?;
    let ready = std::fs::set_permissions(&aside, std::fs::Permissions::from_mode(0o600))
        .and_then(|()| std::fs::rename(&aside, path))
        .and_then(|()| listener.set_nonblocking(true));
    if let Err(why) = ready {
        let _ = std::fs::remove_file(&aside);
        return Err(refused(why));
    }
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_left_over_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        let first = listen(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(listen(&path), Err(SocketError::Taken(_))));
        drop(first);
        let second = listen(&path).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left aside");
        drop(second);
        let error = listen(&folder.path().join("no/such/folder")).unwrap_err().to_string();
        assert!(error.contains("folder must be there"), "{error}");
    }
}
