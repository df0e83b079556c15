//! Files that a configuration names and that are read while the process may still be root:
//! certificates, private keys, passwords and tokens.
//!
//! Root reads only what root alone can put there. If another user can change any part of a path,
//! that user could have root read a file for them; such a path counts only if the file at its end
//! belongs to that same user. A secret that every user of the machine can read is refused.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use zeroize::Zeroizing;

use nix::unistd::geteuid;

use crate::Secret;

/// Shorter secrets could be guessed.
const LEAST_SECRET: usize = 16;
/// Longest file that is read, in bytes: bundles of certificates stay far below it.
const LONGEST: u64 = 16 << 20;
/// Symbolic links on the way to a file, as many as the kernel follows.
const MOST_LINKS: usize = 40;
/// What others than a file's owner and its group may do.
const OTHERS: u32 = 0o007;

/// Reads a file that is no secret, such as a certificate.
///
/// # Errors
/// Why it cannot be read, in words that name the file.
pub fn read(path: &Path) -> Result<Vec<u8>, String> {
    let (file, _) = open(path)?;
    contents(path, file).map(|bytes| bytes.to_vec())
}

/// Reads a secret that may have several lines, such as a private key.
///
/// # Errors
/// Why it cannot be read, or that everybody can read it, in words that name the file.
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    let (file, mode) = open(path)?;
    keeps_a_secret(path, mode)?;
    contents(path, file)
}

/// The first line of a file.
///
/// # Errors
/// As [`read_secret`], or that there is none.
pub fn first_line(path: &Path) -> Result<Secret, String> {
    line(path, &read_secret(path)?)
}

/// The first line of a file or of a pipe, for a command that runs with its caller's own rights.
///
/// # Errors
/// As [`first_line`].
pub fn first_line_or_pipe(path: &Path) -> Result<Secret, String> {
    let file = File::open(path).map_err(|error| cannot_read(path, &error))?;
    let metadata = file.metadata().map_err(|error| cannot_read(path, &error))?;
    if metadata.is_file() {
        keeps_a_secret(path, metadata.mode())?;
    }
    line(path, &contents(path, file)?)
}

/// The first line of a file, if it is long enough to be a key.
///
/// # Errors
/// As [`first_line`], or that it is too short.
pub fn long_secret(path: &Path) -> Result<Secret, String> {
    let secret = first_line(path)?;
    if secret.expose().len() < LEAST_SECRET {
        return Err(format!(
            "the first line of {} has fewer than {LEAST_SECRET} characters; make it by: openssl rand -base64 32",
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

/// Opens a file, and its mode. It waits for nobody, whatever stands there.
fn open(path: &Path) -> Result<(File, u32), String> {
    let failed = |error: io::Error| cannot_read(path, &error);
    let others = if geteuid().is_root() { changeable_by(path).map_err(failed)? } else { None };
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path).map_err(failed)?;
    // Of what is open, and not of the path, which may lead elsewhere by now.
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(cannot_read(path, &"it is not a regular file"));
    }
    match others {
        Some(Changer::User(user)) if user != metadata.uid() => Err(format!(
            "{} is not read as root: user {user} can put another file in its place; keep it in a folder that \
             only root can change, or give it to that user: chown {user} {0}",
            path.display()
        )),
        Some(Changer::Several(folder)) => Err(format!(
            "{} is not read as root: others can write to {}, and put another file in its place; run: chmod go-w {1}",
            path.display(),
            folder.display()
        )),
        _ => Ok((file, metadata.mode())),
    }
}

fn keeps_a_secret(path: &Path, mode: u32) -> Result<(), String> {
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
    let length = file.metadata().map_err(failed)?.len().min(LONGEST);
    // All of it at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or(0) + 1024));
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LONGEST {
        return Err(cannot_read(path, &"it is too large"));
    }
    Ok(bytes)
}

/// Somebody beside root who can decide what stands at a path.
enum Changer {
    User(u32),
    /// A folder of root's that others can write to.
    Several(PathBuf),
}

/// The first one beside root who can decide what stands at a path; None if only root can. What
/// root alone can change does not change under this walk, and behind the first other user it
/// ends.
fn changeable_by(path: &Path) -> io::Result<Option<Changer>> {
    let mut links = 0;
    let mut at = PathBuf::from("/");
    let mut left: Vec<_> = parts(&std::path::absolute(path)?);
    while let Some(part) = left.pop() {
        if part == Path::new("..") {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        let metadata = std::fs::symlink_metadata(&next)?;
        if metadata.uid() != 0 {
            return Ok(Some(Changer::User(metadata.uid())));
        }
        if metadata.is_dir() && metadata.mode() & 0o022 != 0 && metadata.mode() & 0o1000 == 0 {
            return Ok(Some(Changer::Several(next)));
        }
        if metadata.is_symlink() {
            links += 1;
            if links > MOST_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
            let target = std::fs::read_link(&next)?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            left.extend(parts(&target));
        } else {
            at = next;
        }
    }
    Ok(None)
}

/// The parts of a path, the last one first.
fn parts(path: &Path) -> Vec<PathBuf> {
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
    fn a_secret_that_everybody_can_read_is_refused_with_the_command_that_mends_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        for (mode, is_taken) in [
            (0o600, true),
            (0o400, true),
            (0o640, true),
            (0o440, true),
            (0o644, false),
            (0o604, false),
            (0o602, false),
        ] {
            secret(&path, mode);
            let ways = [
                first_line(&path).err(),
                first_line_or_pipe(&path).err(),
                long_secret(&path).err(),
                read_secret(&path).err(),
            ];
            for refused in ways {
                assert_eq!(refused.is_none(), is_taken, "{mode:o}: {refused:?}");
                if let Some(why) = refused {
                    assert!(why.ends_with(&format!("chmod o= {}", path.display())), "{why}");
                }
            }
            assert!(read(&path).is_ok(), "{mode:o}: a certificate is for everybody");
        }
    }

    #[test]
    fn what_is_no_regular_file_is_named_and_nobody_waits_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let (fifo, link) = (folder.path().join("fifo"), folder.path().join("link"));
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
        symlink(&link, &link).unwrap();
        for (path, expected) in [
            (&*fifo, "not a regular file"),
            (folder.path(), "not a regular file"),
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
        let (theirs, roots) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        chown(theirs.path(), Some(USER), None).unwrap();
        let target = roots.path().join("secret");
        secret(&target, 0o600);
        let at = |name: &str| theirs.path().join(name);
        symlink(&target, at("link")).unwrap();
        fs::hard_link(&target, at("hard")).unwrap();
        symlink(roots.path(), at("folder")).unwrap();
        secret(&at("of-root"), 0o600);
        secret(&at("own"), 0o600);
        chown(at("own"), Some(USER), None).unwrap();
        // A link of root's to what they can change is no better.
        symlink(at("link"), roots.path().join("there-and-back")).unwrap();
        // Links between folders of root's are usual: certificates have them.
        symlink(&target, roots.path().join("link")).unwrap();
        symlink("link", roots.path().join("relative")).unwrap();
        for (path, is_read) in [
            (at("link"), false),
            (at("hard"), false),
            (at("folder").join("secret"), false),
            (at("of-root"), false),
            (roots.path().join("there-and-back"), false),
            (at("own"), true),
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
