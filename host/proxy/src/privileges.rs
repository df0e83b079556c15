//! Drops root privileges as early as possible.
//!
//! What the start does as root, and why an unprivileged user cannot misuse it:
//!
//! | as root | protection |
//! | --- | --- |
//! | reads the configuration file | root chooses it on the command line |
//! | binds TCP ports: virtual servers, `admin.listen` | no paths |
//! | reads certificates, keys, passwords and tokens | [`reprieve_secrets::secret_file`]: read-only, and only paths that no other user can change |
//! | looks up `user` and `group` | no paths |
//!
//! Everything else is accessed as the service user, after root privileges are dropped for good: the
//! admin socket, the takeover socket, the decision log and its rotated files, the store's file,
//! compiled policies, policy components, journald and the service manager. Symbolic links in their
//! paths therefore give access to nothing that the service user could not access anyway.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups, setgid, setuid};

use crate::config::Config;

/// Why the process cannot switch to the service user.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    /// There is no such user or group.
    #[error("`{key}`: there is no {key} {name:?} on this machine; create it, for example with: {remedy}")]
    Unknown {
        /// Key in the configuration.
        key: &'static str,
        /// Its value.
        name: String,
        /// Command that creates the user or group.
        remedy: String,
    },
    /// Only root can switch users.
    #[error("`user`: only root can switch to user {0:?}; start as root, or start as {0:?} and remove `user`")]
    NotRoot(String),
    /// A system call failed.
    #[error("cannot switch to user {name:?}: {why}")]
    #[allow(missing_docs)]
    Refused { name: String, why: nix::Error },
}

#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Switches to the user that the configuration names, if any.
///
/// # Errors
/// As [`become_user`].
pub fn become_service_user(config: &Config) -> Result<(), PrivilegesError> {
    match &config.user {
        Some(user) => become_user(user, config.group.as_deref()),
        None => Ok(()),
    }
}

fn find(name: &str, group: Option<&str>) -> Result<(Uid, Gid), PrivilegesError> {
    let refused = |why| PrivilegesError::Refused { name: name.to_owned(), why };
    let user = User::from_name(name).map_err(refused)?.ok_or_else(|| PrivilegesError::Unknown {
        key: "user",
        name: name.to_owned(),
        remedy: format!("useradd --system --no-create-home {name}"),
    })?;
    let gid = match group {
        None => user.gid,
        Some(wanted) => {
            let group = Group::from_name(wanted).map_err(refused)?;
            group.map(|group| group.gid).ok_or_else(|| PrivilegesError::Unknown {
                key: "group",
                name: wanted.to_owned(),
                remedy: format!("groupadd --system {wanted}"),
            })?
        }
    };
    Ok((user.uid, gid))
}

/// Switches all threads to a user for good, with the user's supplementary groups. `group` replaces
/// the user's primary group.
///
/// # Errors
/// If the user or group does not exist, or switching is not permitted.
fn become_user(name: &str, group: Option<&str>) -> Result<(), PrivilegesError> {
    let refused = |why| PrivilegesError::Refused { name: name.to_owned(), why };
    let (uid, gid) = find(name, group)?;
    if !is_root() {
        let already = geteuid() == uid;
        return if already { Ok(()) } else { Err(PrivilegesError::NotRoot(name.to_owned())) };
    }
    let c_name = CString::new(name).map_err(|_| refused(nix::Error::EINVAL))?;
    initgroups(&c_name, gid).map_err(refused)?;
    setgid(gid).map_err(refused)?;
    setuid(uid).map_err(refused)?;
    // Verify that root privileges cannot be regained.
    let comes_back = !uid.is_root() && setuid(Uid::from_raw(0)).is_ok();
    let group_comes_back = gid.as_raw() != 0 && setgid(Gid::from_raw(0)).is_ok();
    if comes_back || group_comes_back { Err(refused(nix::Error::EPERM)) } else { Ok(()) }
}
