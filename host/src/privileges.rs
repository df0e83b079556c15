//! Giving up root, once what needs it is done.

use std::ffi::CString;

use nix::unistd::{Gid, Group, Uid, User, geteuid, initgroups, setgid, setuid};

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

/// The user and group ids that [`become_user`] would lead to.
///
/// # Errors
/// Where there is no such user or group.
pub fn ids_of(name: &str, group: Option<&str>) -> Result<(u32, u32), PrivilegesError> {
    find(name, group).map(|(uid, gid)| (uid.as_raw(), gid.as_raw()))
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
pub fn become_user(name: &str, group: Option<&str>) -> Result<(), PrivilegesError> {
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
