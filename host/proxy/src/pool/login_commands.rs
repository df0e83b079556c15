//! The commands with which a login is forwarded to a mail server.

use zeroize::Zeroizing;

use super::pool::PoolError;
use crate::config::{MasterConfig, NodeLogin};
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::sasl;
use reprieve_secrets::secret_file;

/// The master user, which logs in on behalf of users authenticated by client certificates.
#[derive(Debug)]
pub struct MasterUser {
    user: Box<[u8]>,
    secret: Secret,
}

impl MasterUser {
    /// Reads the password file.
    ///
    /// # Errors
    /// If the file cannot be read or is empty.
    pub fn load(config: &MasterConfig) -> Result<Self, PoolError> {
        let fail = |reason: String| PoolError::Master { location: config.location.to_string(), reason };
        let secret = secret_file::first_line(&config.password_file).map_err(fail)?;
        Ok(Self { user: config.user.as_bytes().into(), secret })
    }
}

/// The commands of a login.
#[derive(Debug)]
pub(super) enum LoginCommands {
    /// `USER` and `PASS` (RFC 1939).
    UserPass {
        /// Argument of USER.
        name: Vec<u8>,
        /// Argument of PASS.
        secret: Secret,
    },
    /// `AUTH` and its initial response (RFC 5034).
    Sasl {
        /// PLAIN, XOAUTH2 or OAUTHBEARER.
        mechanism: Mechanism,
        /// The response before base64 encoding.
        message: Zeroizing<Vec<u8>>,
    },
}

/// Chooses the commands for a login. `user` replaces the client's user name if the policy routes
/// the login to another one. None if the pool cannot forward such a login.
pub(super) fn login_commands(
    credentials: &Credentials,
    user: Option<&[u8]>,
    method: NodeLogin,
    master: Option<&MasterUser>,
) -> Option<LoginCommands> {
    let user = user.unwrap_or(&credentials.user);
    let secret = credentials.secret.expose();
    let acting = credentials.authorization_id.as_deref().filter(|_| credentials.separator.is_none());
    let plain = |acting: &[u8], user: &[u8], secret: &[u8]| LoginCommands::Sasl {
        mechanism: Mechanism::Plain,
        message: sasl::write_plain(acting, user, secret),
    };
    Some(match credentials.mechanism {
        Mechanism::UserPass | Mechanism::Plain | Mechanism::Login => match (acting, method) {
            // Only PLAIN can carry an authorization identity.
            (Some(acting), _) => plain(acting, user, secret),
            (None, NodeLogin::Plain) => plain(b"", &credentials.user_argument(user), secret),
            (None, NodeLogin::User) => LoginCommands::UserPass {
                name: credentials.user_argument(user),
                secret: credentials.secret.clone(),
            },
        },
        mechanism @ (Mechanism::Xoauth2 | Mechanism::OauthBearer) => {
            LoginCommands::Sasl { mechanism, message: sasl::write_token(mechanism, user, secret) }
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

    fn commands(credentials: &Credentials, user: Option<&[u8]>, method: NodeLogin) -> String {
        let master = MasterUser { user: b"reprieve"[..].into(), secret: Secret::new(b"m") };
        match login_commands(credentials, user, method, Some(&master)).unwrap() {
            LoginCommands::UserPass { name, secret } => {
                format!("USER {} PASS {}", name.escape_ascii(), secret.expose().escape_ascii())
            }
            LoginCommands::Sasl { mechanism, message } => {
                format!("{} {}", mechanism.name(), message.escape_ascii())
            }
        }
    }

    #[test]
    fn each_mechanism_is_forwarded_by_its_commands() {
        let master_in_name = Credentials::new(b"alice*root", Secret::new(b"s"), Mechanism::UserPass)
            .split_master_user(Some(b'*'));
        let mut acting_by_plain = Credentials::new(b"root", Secret::new(b"s"), Mechanism::Plain);
        acting_by_plain.authorization_id = Some(b"alice"[..].into());
        let login = Credentials::new(b"alice", Secret::new(b"s"), Mechanism::Login);
        let token = Credentials::new(b"alice", Secret::new(b"t"), Mechanism::Xoauth2);
        let external = Credentials::new(b"alice", Secret::new(b"fingerprint"), Mechanism::External);
        for (credentials, user, method, expected) in [
            (&login, None, NodeLogin::User, r"USER alice PASS s"),
            (&login, Some(&b"a2"[..]), NodeLogin::User, r"USER a2 PASS s"),
            (&login, None, NodeLogin::Plain, r"PLAIN \x00alice\x00s"),
            (&master_in_name, None, NodeLogin::User, r"USER alice*root PASS s"),
            (&acting_by_plain, None, NodeLogin::User, r"PLAIN alice\x00root\x00s"),
            (&token, None, NodeLogin::User, r"XOAUTH2 user=alice\x01auth=Bearer t\x01\x01"),
            (&external, None, NodeLogin::User, r"PLAIN alice\x00reprieve\x00m"),
        ] {
            assert_eq!(commands(credentials, user, method), expected);
        }
        assert!(login_commands(&external, None, NodeLogin::User, None).is_none());
    }
}
