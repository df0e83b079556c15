//! How a login is presented to a mail server: by which commands, with what in them.

use zeroize::Zeroizing;

use super::state::PoolError;
use crate::config::{MasterConfig, NodeLogin};
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::sasl;
use reprieve_secrets::secret_file;

/// Who logs in for users that are known by their certificates.
#[derive(Debug)]
pub struct MasterUser {
    user: Box<[u8]>,
    secret: Secret,
}

impl MasterUser {
    /// Reads the password.
    ///
    /// # Errors
    /// Where the file cannot be read or holds nothing.
    pub fn load(config: &MasterConfig) -> Result<Self, PoolError> {
        let fail = |why: String| PoolError::Master { location: config.location.to_string(), why };
        let secret = secret_file::first_line(&config.password_file).map_err(fail)?;
        Ok(Self { user: config.user.as_bytes().into(), secret })
    }
}

/// The commands of a login.
#[derive(Debug)]
pub(super) enum Presentation {
    /// `USER` and `PASS`.
    UserPass {
        /// What USER carries.
        name: Vec<u8>,
        /// What PASS carries.
        secret: Secret,
    },
    /// `AUTH`, and one message.
    Sasl {
        /// Which.
        mechanism: Mechanism,
        /// The message, not encoded.
        message: Zeroizing<Vec<u8>>,
    },
}

/// Puts a login into commands. `user`: the name in place of the client's, where a policy wants
/// another one. None where the pool has no way for it.
pub(super) fn present(
    credentials: &Credentials,
    user: Option<&[u8]>,
    by: NodeLogin,
    master: Option<&MasterUser>,
) -> Option<Presentation> {
    let user = user.unwrap_or(&credentials.user);
    let secret = credentials.secret.expose();
    let acting = credentials.authorization_id.as_deref().filter(|_| credentials.separator.is_none());
    let plain = |acting: &[u8], user: &[u8], secret: &[u8]| Presentation::Sasl {
        mechanism: Mechanism::Plain,
        message: sasl::write_plain(acting, user, secret),
    };
    Some(match credentials.mechanism {
        Mechanism::UserPass | Mechanism::Plain | Mechanism::Login => match (acting, by) {
            // Only PLAIN has a place for whom somebody acts as.
            (Some(acting), _) => plain(acting, user, secret),
            (None, NodeLogin::Plain) => plain(b"", &credentials.user_argument(user), secret),
            (None, NodeLogin::User) => Presentation::UserPass {
                name: credentials.user_argument(user),
                secret: credentials.secret.clone(),
            },
        },
        mechanism @ (Mechanism::Xoauth2 | Mechanism::OauthBearer) => {
            Presentation::Sasl { mechanism, message: sasl::write_token(mechanism, user, secret) }
        }
        Mechanism::External => {
            let master = master?;
            plain(user, &master.user, master.secret.expose())
        }
        Mechanism::Apop | Mechanism::CramMd5 | Mechanism::ScramSha256 => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(credentials: &Credentials, user: Option<&[u8]>, by: NodeLogin) -> String {
        let master = MasterUser { user: b"reprieve"[..].into(), secret: Secret::new(b"m") };
        match present(credentials, user, by, Some(&master)).unwrap() {
            Presentation::UserPass { name, secret } => {
                format!("USER {} PASS {}", name.escape_ascii(), secret.expose().escape_ascii())
            }
            Presentation::Sasl { mechanism, message } => {
                format!("{} {}", mechanism.name(), message.escape_ascii())
            }
        }
    }

    #[test]
    fn each_mechanism_has_its_commands() {
        let by_name =
            Credentials::new(b"alice*root", Secret::new(b"s"), Mechanism::UserPass).split_master_user(Some(b'*'));
        let mut by_plain = Credentials::new(b"root", Secret::new(b"s"), Mechanism::Plain);
        by_plain.authorization_id = Some(b"alice"[..].into());
        let login = Credentials::new(b"alice", Secret::new(b"s"), Mechanism::Login);
        let token = Credentials::new(b"alice", Secret::new(b"t"), Mechanism::Xoauth2);
        let external = Credentials::new(b"alice", Secret::new(b"fingerprint"), Mechanism::External);
        for (credentials, user, by, expected) in [
            (&login, None, NodeLogin::User, r"USER alice PASS s"),
            (&login, Some(&b"a2"[..]), NodeLogin::User, r"USER a2 PASS s"),
            (&login, None, NodeLogin::Plain, r"PLAIN \x00alice\x00s"),
            (&by_name, None, NodeLogin::User, r"USER alice*root PASS s"),
            (&by_plain, None, NodeLogin::User, r"PLAIN alice\x00root\x00s"),
            (&token, None, NodeLogin::User, r"XOAUTH2 user=alice\x01auth=Bearer t\x01\x01"),
            (&external, None, NodeLogin::User, r"PLAIN alice\x00reprieve\x00m"),
        ] {
            assert_eq!(shown(credentials, user, by), expected);
        }
        assert!(present(&external, None, NodeLogin::User, None).is_none());
    }
}
