//! What a connection is promised, by where it comes from, how it is encrypted and what the
//! pool can do. Each combination is put into words once.

use std::sync::Arc;

use parking_lot::RwLock;

use reprieve_pop3::capability::{Capabilities, Learned, Offer};
use reprieve_pop3::credential::{Mechanism, Mechanisms};

/// What of a connection decides on the ways to log in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means {
    /// Nobody can listen, or it does not matter here.
    pub(super) may_show_secrets: bool,
    /// TLS can be begun.
    pub(super) stls: bool,
    /// The client has shown a certificate.
    pub(super) has_certificate: bool,
    /// The banner had a timestamp.
    pub(super) has_timestamp: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    top: bool,
    uidl: bool,
    stls: bool,
    mechanisms: Mechanisms,
}

/// The promises of a virtual server.
#[derive(Debug)]
pub struct Offers {
    login_delay: Option<u64>,
    mechanisms: Mechanisms,
    made: RwLock<Vec<(Key, Arc<Capabilities>)>>,
}

impl Offers {
    /// `login_delay`: seconds to announce. `mechanisms`: those that are configured.
    #[must_use]
    pub fn new(login_delay: Option<u64>, mechanisms: Mechanisms) -> Self {
        Self { login_delay, mechanisms, made: RwLock::default() }
    }

    /// What a connection is promised. `learned`: what the pool can do, where it was asked.
    pub(super) fn find(&self, learned: Option<Learned>, means: Means) -> Arc<Capabilities> {
        // A mail server's own doing: nothing replaces it where it is not there.
        let can = |mechanism| learned.is_none_or(|learned| learned.mechanisms.contains(mechanism));
        let mechanisms = self.mechanisms.without(|mechanism| {
            let possible = match mechanism {
                Mechanism::UserPass | Mechanism::Plain | Mechanism::Login => true,
                Mechanism::External => means.has_certificate,
                Mechanism::Apop => means.has_timestamp,
                Mechanism::Xoauth2 | Mechanism::OauthBearer | Mechanism::CramMd5 | Mechanism::ScramSha256 => {
                    can(mechanism)
                }
            };
            !possible || mechanism.shows_secret() && !means.may_show_secrets
        });
        let key = Key {
            top: learned.is_none_or(|learned| learned.top),
            uidl: learned.is_none_or(|learned| learned.uidl),
            stls: means.stls,
            mechanisms,
        };
        let known = |made: &[(Key, Arc<Capabilities>)]| {
            made.iter().find(|(other, _)| *other == key).map(|(_, capabilities)| capabilities.clone())
        };
        if let Some(capabilities) = known(&self.made.read()) {
            return capabilities;
        }
        let mut made = self.made.write();
        known(&made).unwrap_or_else(|| {
            let offer = Offer {
                login_delay: self.login_delay,
                top: key.top,
                uidl: key.uidl,
                stls: key.stls,
                mechanisms,
            };
            let capabilities = Arc::new(Capabilities::new(&offer));
            made.push((key, capabilities.clone()));
            capabilities
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(capabilities: &Capabilities) -> String {
        String::from_utf8_lossy(capabilities.before_login()).into_owned()
    }

    #[test]
    fn what_the_pool_lacks_and_what_anybody_could_overhear_is_not_promised() {
        use Mechanism::{CramMd5, External, Plain, UserPass, Xoauth2};
        let offers = Offers::new(None, Mechanisms::of(&[UserPass, Plain, Xoauth2, External, CramMd5]));
        let means =
            Means { may_show_secrets: true, stls: false, has_certificate: false, has_timestamp: false };
        assert!(text(&offers.find(None, means)).contains("SASL PLAIN XOAUTH2 CRAM-MD5\r\n"));
        let old = text(&offers.find(Some(Learned::OLD), means));
        assert!(old.contains("SASL PLAIN\r\n") && old.contains("USER\r\n") && old.contains("UIDL\r\n"));
        let poor = Learned { uidl: false, top: false, ..Learned::OLD };
        let poor = text(&offers.find(Some(poor), means));
        assert!(!poor.contains("UIDL") && !poor.contains("TOP"));
        let guarded = Means { may_show_secrets: false, stls: true, ..means };
        let guarded = text(&offers.find(None, guarded));
        assert!(guarded.contains("STLS\r\nSASL CRAM-MD5\r\n") && !guarded.contains("USER"), "{guarded}");
        let certified = text(&offers.find(None, Means { has_certificate: true, ..means }));
        assert!(certified.contains("EXTERNAL"));
    }

    #[test]
    fn each_promise_is_put_into_words_once() {
        let offers = Offers::new(None, Mechanisms::of(&[Mechanism::UserPass]));
        let means =
            Means { may_show_secrets: true, stls: false, has_certificate: false, has_timestamp: false };
        assert!(Arc::ptr_eq(&offers.find(None, means), &offers.find(None, means)));
    }
}
