//! Giving up root, as soon as what needs it is done.
//!
//! What a start does as root, and with which paths:
//!
//! | as root | what keeps it from being led astray |
//! | --- | --- |
//! | reads the configuration file | root names it on the command line |
//! | binds TCP ports: virtual servers, `admin.listen` | no paths |
//! | reads certificates, keys, passwords and tokens | [`reprieve_secrets::secret_file`]: reads only, no path that another user can change |
//! | looks up `user` and `group` | no paths of that user |
//!
//! Everything else is touched by the service user, after root is given up for good: the admin
//! socket, the take-over of another process and its socket, the decision log and what it puts
//! aside, the store's file, compiled policies, components of policies, journald and the service
//! manager. Whatever stands in their places, the kernel allows no more than that user may.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups, setgid, setuid};

use crate::config::Config;

/// Why the process cannot become somebody else.
#[derive(Debug, thiserror::Error)]
pub enum PrivilegesError {
    /// There is no such user or group.
    #[error("`{key}` is {name:?}, which this machine does not know; create it, for instance: {remedy}")]
    Unknown {
        /// The key that names it.
        key: &'static str,
        /// The name.
        name: String,
        /// How to create it.
        remedy: String,
    },
    /// Only root can become somebody else.
    #[error("`user` is {0:?}: only root can become that user; start as root, or as {0:?} without `user`")]
    NotRoot(String),
    /// The system does not let it.
    #[error("cannot become {name:?}: {why}")]
    Refused {
        /// Who.
        name: String,
        /// What the system says.
        why: nix::Error,
    },
}

/// Whether this process may do everything.
#[must_use]
pub fn is_root() -> bool {
    geteuid().is_root()
}

/// Becomes the user that a configuration names, if it names one.
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

/// Becomes a user, with his groups or with that one alone in front, on all threads of the
/// process and for ever.
///
/// # Errors
/// Where there is no such user or group, or the process may not.
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
    // Who can come back has not gone.
    let comes_back = !uid.is_root() && setuid(Uid::from_raw(0)).is_ok();
    let group_comes_back = gid.as_raw() != 0 && setgid(Gid::from_raw(0)).is_ok();
    if comes_back || group_comes_back { Err(refused(nix::Error::EPERM)) } else { Ok(()) }
}
