//! Reads files that a configuration names while the process may still be root: certificates, private
//! keys, passwords and tokens.
//!
//! As root, a file is read only if root alone can replace it. A user who can change any part of the
//! path could otherwise make root read another file for them, so such a path is accepted only if the
//! file belongs to that same user. A secret that every user of the machine can read is refused.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use nix::unistd::geteuid;

use crate::Secret;

/// Minimum length of a key in bytes; shorter ones could be guessed.
const MIN_KEY_BYTES: usize = 16;
/// Size limit of a file; bundles of certificates are far smaller.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// Symbolic links that are followed in one path, as many as by the kernel.
const MAX_LINKS: usize = 40;
/// The permission bits of users other than the owner and the group.
const OTHERS: u32 = 0o007;

/// Reads a file that is not secret, such as a certificate.
///
/// # Errors
/// Why it cannot be read, with its path.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let (file, _) = open(path)?;
    contents(path, file).map(|bytes| bytes.to_vec())
}

/// Reads a secret of any number of lines, such as a private key.
///
/// # Errors
/// Why it cannot be read, or that every user can read it, with its path.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let (file, mode) = open(path)?;
    check_mode(path, mode)?;
    contents(path, file)
}

/// Reads a secret that is the first line of a file, without white space at its end.
///
/// # Errors
/// As [`read_secret`], or that the line is empty.
pub fn first_line(path: &Path) -> Result<Secret, String> {
    line(path, &read_secret(path)?)
}

/// As [`first_line`], but also from a pipe: for a command that runs with the rights of its caller.
///
/// # Errors
/// As [`first_line`].
pub fn first_line_or_pipe(path: &Path) -> Result<Secret, String> {
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    let metadata = file.metadata().map_err(|error| cannot_read(path, &error))?;
    if metadata.is_file() {
        check_mode(path, metadata.mode())?;
    }
    line(path, &contents(path, file)?)
}

/// As [`first_line`], for a key: it must have at least 16 bytes.
///
/// # Errors
/// As [`first_line`], or that the line is too short.
pub fn long_secret(path: &Path) -> Result<Secret, String> {
    let secret = first_line(path)?;
    if secret.expose().len() < MIN_KEY_BYTES {
        return Err(format!(
            "the first line of {} has fewer than {MIN_KEY_BYTES} characters; make a new one with: openssl rand -base64 32",
            path.display()
        ));
    }
    Ok(secret)
}

fn line(path: &Path, bytes: &[u8]) -> Result<Secret, String> {
    let line = bytes.split(|&byte| byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    if line.is_empty() {
        return Err(format!("the first line of {} is empty", path.display()));
    }
    Ok(Secret::new(line))
}

fn cannot_read(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("cannot read {}: {error}", path.display())
}

/// Opens a regular file, and returns its mode. Never blocks, even if the path leads to a pipe.
fn open(path: &Path) -> Result<(File, u32), String> {
    let failed = |error: io::Error| cannot_read(path, &error);
    let changer = if geteuid().is_root() { changeable_by(path).map_err(failed)? } else { None };
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    // From the open file, not from the path, which may lead elsewhere by now.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(cannot_read(path, &"it is not a regular file"));
    }
    match changer {
        Some(Changer::User(user)) if user != metadata.uid() => Err(format!(
            "{} is not read as root: user {user} can replace it; keep it in a directory that only root can change, \
             or give it to that user: chown {user} {0}",
            path.display()
        )),
        Some(Changer::Several(directory)) => Err(format!(
            "{} is not read as root: other users can write to {} and replace the file; run: chmod go-w {1}",
            path.display(),
            directory.display()
        )),
        _ => Ok((file, metadata.mode())),
    }
}

fn check_mode(path: &Path, mode: u32) -> Result<(), String> {
    if mode & OTHERS == 0 {
        return Ok(());
    }
    Err(format!(
        "{0} is a secret, and every user of this machine can read or change it; run: chmod o= {0}",
        path.display()
    ))
}

fn contents(path: &Path, file: File) -> Result<Zeroizing<Vec<u8>>, String> {
    let failed = |error: io::Error| cannot_read(path, &error);
    let length = file.metadata().map_err(failed)?.len().min(MAX_FILE_BYTES);
    // Allocated once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1024));
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(cannot_read(path, &"it is too large"));
    }
    Ok(bytes)
}

/// Users other than root who can decide which file is at a path.
enum Changer {
    User(u32),
    /// Those who can write to this directory, which belongs to root.
    Several(PathBuf),
}

/// Who can decide which file is at a path, other than root. The walk along the path stops at the
/// first part that another user can change. Everything before it can be changed only by root, so the
/// result stays true.
fn changeable_by(path: &Path) -> io::Result<Option<Changer>> {
    let mut links = 0;
    let mut directory = PathBuf::from("/");
    let mut remaining: Vec<_> = reversed_parts(&std::path::absolute(path)?);
    while let Some(part) = remaining.pop() {
        if part == Path::new("..") {
            directory.pop();
            continue;
        }
        let next = directory.join(&part);
        let metadata = std::fs::symlink_metadata(&next)?;
        if metadata.uid() != 0 {
            return Ok(Some(Changer::User(metadata.uid())));
        }
        if metadata.is_dir() && metadata.mode() & 0o022 != 0 && metadata.mode() & 0o1000 == 0 {
            return Ok(Some(Changer::Several(next)));
        }
        if metadata.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = std::fs::read_link(&next)?;
            if target.is_absolute() {
                directory = PathBuf::from("/");
            }
            remaining.extend(reversed_parts(&target));
        } else {
            directory = next;
        }
    }
    Ok(None)
}

/// The parts of a path, the last one first.
fn reversed_parts(path: &Path) -> Vec<PathBuf> {
    let names = path.components().rev().filter_map(|part| match part {
        Component::Normal(name) => Some(name.into()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    });
    names.collect()
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, chown, symlink};

    use super::*;

    fn secret(path: &Path, mode: u32) {
        fs::write(path, "a secret of enough letters\n").unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_secret_that_every_user_can_read_is_refused_with_the_command_that_fixes_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        for (mode, is_accepted) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o440, true),
            (0o644, false),
            (0o604, false),
            (0o602, false),
        ] {
            secret(&path, mode);
            let results = [
                first_line(&path).err(),
                first_line_or_pipe(&path).err(),
                long_secret(&path).err(),
                read_secret(&path).err(),
            ];
            for refused in results {
                assert_eq!(refused.is_none(), is_accepted, "{mode:o}: {refused:?}");
                if let Some(why) = refused {
                    assert!(why.ends_with(&format!("chmod o= {}", path.display())), "{why}");
                }
            }
            assert!(read(&path).is_ok(), "{mode:o}: a certificate may be readable by all");
        }
    }

    #[test]
    fn a_pipe_directory_device_or_loop_of_links_is_an_error_and_does_not_block() {
        let directory = tempfile::tempdir().unwrap();
        let (fifo, link) = (directory.path().join("fifo"), directory.path().join("link"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        symlink(&link, &link).unwrap();
        for (path, expected) in [
            (&*fifo, "not a regular file"),
            (directory.path(), "not a regular file"),
            (Path::new("/dev/zero"), "not a regular file"),
            (&*link, "Too many levels"),
        ] {
            let why = first_line(path).unwrap_err();
            assert!(why.contains(expected) && why.contains(&*path.to_string_lossy()), "{why}");
        }
    }

    #[test]
    fn root_reads_nothing_for_a_user_who_can_change_the_path() {
        if !geteuid().is_root() {
            return;
        }
        const USER: u32 = 65_534;
        let (users, roots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        chown(users.path(), Some(USER), None).unwrap();
        let target = roots.path().join("secret");
        secret(&target, 0o600);
        let in_users = |name: &str| users.path().join(name);
        symlink(&target, in_users("link")).unwrap();
        fs::hard_link(&target, in_users("hard")).unwrap();
        symlink(roots.path(), in_users("directory")).unwrap();
        secret(&in_users("of-root"), 0o600);
        secret(&in_users("own"), 0o600);
        chown(in_users("own"), Some(USER), None).unwrap();
        // A link that belongs to root leads to something that the user can change.
        symlink(in_users("link"), roots.path().join("there-and-back")).unwrap();
        // Links between directories of root are usual: certificate tools make them.
        symlink(&target, roots.path().join("link")).unwrap();
        symlink("link", roots.path().join("relative")).unwrap();
        for (path, is_read) in [
            (in_users("link"), false),
            (in_users("hard"), false),
            (in_users("directory").join("secret"), false),
            (in_users("of-root"), false),
            (roots.path().join("there-and-back"), false),
            (in_users("own"), true),
            (target.clone(), true),
            (roots.path().join("link"), true),
            (roots.path().join("relative"), true),
        ] {
            let refused = first_line(&path).err();
            assert_eq!(refused.is_none(), is_read, "{}: {refused:?}", path.display());
            assert!(refused.is_none_or(|why| why.contains("65534")), "{}", path.display());
        }
    }
}
