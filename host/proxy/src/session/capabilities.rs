//! The capabilities that a connection is offered: they depend on its encryption and address and on
//! what the pool supports. Each combination is rendered once.

use std::sync::Arc;

use parking_lot::RwLock;

use reprieve_pop3::capability::{BackendCapabilities, Capabilities, Offer};
use reprieve_pop3::credential::{Mechanism, Mechanisms};

/// The properties of a connection that decide which mechanisms it is offered.
#[derive(Clone, Copy, Debug)]
pub(super) struct OfferConditions {
    /// Secrets may be sent: the connection is encrypted, or cleartext logins are allowed here.
    pub(super) may_show_secrets: bool,
    /// STLS is possible.
    pub(super) stls: bool,
    /// The client has presented a certificate.
    pub(super) has_certificate: bool,
    /// The greeting had a timestamp for APOP.
    pub(super) has_timestamp: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    top: bool,
    uidl: bool,
    stls: bool,
    mechanisms: Mechanisms,
}

/// The capabilities of a virtual server, by combination.
#[derive(Debug)]
pub struct OfferedCapabilities {
    login_delay: Option<u64>,
    mechanisms: Mechanisms,
    made: RwLock<Vec<(Key, Arc<Capabilities>)>>,
}

impl OfferedCapabilities {
    /// `login_delay`: seconds to announce. `mechanisms`: those that are configured.
    #[must_use]
    pub fn new(login_delay: Option<u64>, mechanisms: Mechanisms) -> Self {
        Self { login_delay, mechanisms, made: RwLock::default() }
    }

    /// The capabilities of a connection. `learned`: what the pool supports, if it has been asked.
    pub(super) fn find(
        &self,
        learned: Option<BackendCapabilities>,
        conditions: OfferConditions,
    ) -> Arc<Capabilities> {
        // Only the mail server can carry out these mechanisms.
        let can = |mechanism| learned.is_none_or(|learned| learned.mechanisms.contains(mechanism));
        let mechanisms = self.mechanisms.without(|mechanism| {
            let possible = match mechanism {
                Mechanism::UserPass | Mechanism::Plain | Mechanism::Login => true,
                Mechanism::External => conditions.has_certificate,
                Mechanism::Apop => conditions.has_timestamp,
                Mechanism::Xoauth2 | Mechanism::OauthBearer | Mechanism::CramMd5 | Mechanism::ScramSha256 => {
                    can(mechanism)
                }
            };
            !possible || mechanism.reveals_secret() && !conditions.may_show_secrets
        });
        let key = Key {
            top: learned.is_none_or(|learned| learned.top),
            uidl: learned.is_none_or(|learned| learned.uidl),
            stls: conditions.stls,
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
    fn unsupported_and_insecure_mechanisms_are_not_offered() {
        use Mechanism::{CramMd5, External, Plain, UserPass, Xoauth2};
        let offers =
            OfferedCapabilities::new(None, Mechanisms::of(&[UserPass, Plain, Xoauth2, External, CramMd5]));
        let conditions = OfferConditions {
            may_show_secrets: true,
            stls: false,
            has_certificate: false,
            has_timestamp: false,
        };
        assert!(text(&offers.find(None, conditions)).contains("SASL PLAIN XOAUTH2 CRAM-MD5\r\n"));
        let old = text(&offers.find(Some(BackendCapabilities::WITHOUT_CAPA), conditions));
        assert!(old.contains("SASL PLAIN\r\n") && old.contains("USER\r\n") && old.contains("UIDL\r\n"));
        let poor = BackendCapabilities { uidl: false, top: false, ..BackendCapabilities::WITHOUT_CAPA };
        let poor = text(&offers.find(Some(poor), conditions));
        assert!(!poor.contains("UIDL") && !poor.contains("TOP"));
        let guarded = OfferConditions { may_show_secrets: false, stls: true, ..conditions };
        let guarded = text(&offers.find(None, guarded));
        assert!(guarded.contains("STLS\r\nSASL CRAM-MD5\r\n") && !guarded.contains("USER"), "{guarded}");
        let certified = text(&offers.find(None, OfferConditions { has_certificate: true, ..conditions }));
        assert!(certified.contains("EXTERNAL"));
    }

    #[test]
    fn each_combination_is_rendered_once() {
        let offers = OfferedCapabilities::new(None, Mechanisms::of(&[Mechanism::UserPass]));
        let conditions = OfferConditions {
            may_show_secrets: true,
            stls: false,
            has_certificate: false,
            has_timestamp: false,
        };
        assert!(Arc::ptr_eq(&offers.find(None, conditions), &offers.find(None, conditions)));
    }
}
