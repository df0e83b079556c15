//! Virtual servers: the settings, and the rules that concern several of them. The keys are in
//! [`keys`].

mod keys;

use std::net::SocketAddr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::lookup::LookupConfig;
use super::policy::PolicyConfig;
use super::store::OwnStore;
use super::tls::{ClientCertificates, ServerTls};
use reprieve_policy_host::{OnUnreachable, Unverifiable, Verify};
use reprieve_pop3::credential::{Mechanism, Mechanisms};
use reprieve_pop3::user_name::NameSpelling;
use reprieve_settings::{Error, Key, Section, Table};
use reprieve_store::StoreConfig;

/// Whether passwords and tokens are accepted without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleartextLogin {
    /// Yes.
    Allow,
    /// No.
    Deny,
    /// Only from this machine.
    Loopback,
}

/// A listener with its protocol settings, its policy and its default pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServerConfig {
    /// Its name in logs and metrics, and for policies.
    pub name: String,
    /// Listen addresses without TLS, where STLS may start it. Port 0 takes a free port.
    pub listen: Vec<SocketAddr>,
    /// Listen addresses with TLS from the first byte.
    pub listen_tls: Vec<SocketAddr>,
    /// TLS, if there is any.
    pub tls: Option<ServerTls>,
    /// Whether passwords and tokens are accepted without TLS; `None` for `Deny` if there is TLS,
    /// otherwise `Allow`.
    pub cleartext_login: Option<CleartextLogin>,
    /// Networks whose connections start with a PROXY header.
    pub proxy_from: Vec<IpNet>,
    /// The login mechanisms that are offered.
    pub mechanisms: Mechanisms,
    /// What happens to a denied login whose secret only the mail server can verify.
    pub unverifiable: Unverifiable,
    /// The character between a user's name and a master user's name.
    pub master_separator: Option<u8>,
    /// Name of its pool.
    pub pool: String,
    /// Text of the greeting, without `+OK`.
    pub banner: String,
    /// The time zone of the policy's days.
    pub time_zone: TimeZone,
    /// Whether posing needs proof that the client is the user.
    pub verify: Verify,
    /// What a user in good standing is shown if no node can be reached.
    pub on_unreachable: OnUnreachable,
    /// Delay between logins that CAPA announces.
    pub login_delay: Option<Duration>,
    /// Maximum duration of a login.
    pub login_timeout: Duration,
    /// Maximum time until the PROXY header of a connection from `proxy_from`.
    pub proxy_timeout: Duration,
    /// Maximum time between two commands of a client that has logged in.
    pub idle_timeout: Duration,
    /// Maximum time in which a client takes 1 KiB of a reply.
    pub stall_timeout: Duration,
    /// Bad commands after which the connection is closed.
    pub max_bad_commands: u32,
    /// Unknown commands before the login after which the connection is closed.
    pub max_bad_commands_before_login: u32,
    /// Failed logins after which the connection is closed.
    pub max_failed_logins: u32,
    /// Logins of one user that the mail server rejects in a row, after which the user is not posed
    /// to until it has accepted one.
    pub max_rejected_logins: u8,
    /// Whether names that differ only in case are one user.
    pub name_spelling: NameSpelling,
    /// Maximum number of connections from one client address.
    pub max_connections_per_address: u32,
    /// The policy.
    pub policy: PolicyConfig,
    /// The shadow policy, whose verdicts are only counted.
    pub shadow: Option<PolicyConfig>,
    /// Its lookup tables, in the order of the file.
    pub lookups: Vec<LookupConfig>,
    /// Its own store; `None` for the store of all virtual servers.
    pub store: Option<StoreConfig>,
    /// The namespace of its policy in the store; `None` for one with its own name.
    pub namespace: Option<String>,
}

impl VirtualServerConfig {
    /// A virtual server with default settings and the default policy.
    #[must_use]
    pub fn new(name: &str, listen: Vec<SocketAddr>, pool: &str) -> Self {
        Self {
            name: name.to_owned(),
            listen,
            listen_tls: Vec::new(),
            tls: None,
            cleartext_login: None,
            proxy_from: Vec::new(),
            mechanisms: Mechanisms::of(&[Mechanism::UserPass, Mechanism::Plain, Mechanism::Login]),
            unverifiable: Unverifiable::Pass,
            master_separator: None,
            pool: pool.to_owned(),
            banner: "POP3 server ready".to_owned(),
            time_zone: TimeZone::system(),
            verify: Verify::On,
            on_unreachable: OnUnreachable::Pose,
            login_delay: None,
            login_timeout: Duration::from_secs(180),
            idle_timeout: keys::MIN_IDLE_TIMEOUT,
            stall_timeout: Duration::from_secs(60),
            proxy_timeout: Duration::from_secs(5),
            max_bad_commands: 20,
            max_bad_commands_before_login: 3,
            max_failed_logins: 3,
            max_rejected_logins: 5,
            name_spelling: NameSpelling::default(),
            max_connections_per_address: 1000,
            policy: PolicyConfig::default(),
            shadow: None,
            lookups: Vec::new(),
            store: None,
            namespace: None,
        }
    }
}

/// `[[virtual-server]]`
pub(super) struct VirtualServerTable {
    config: VirtualServerConfig,
    store: OwnStore,
}

impl Table for VirtualServerTable {
    type Output = VirtualServerConfig;

    fn defaults() -> Self {
        Self { config: VirtualServerConfig::new("", Vec::new(), ""), store: OwnStore::default() }
    }

    fn keys() -> Vec<Key<Self>> {
        let config = keys::keys().into_iter().map(|key| key.within(|table: &mut Self| &mut table.config));
        config.chain([keys::store(|table: &mut Self| &mut table.store)]).collect()
    }

    fn build(self, section: &Section<'_, '_>) -> Result<VirtualServerConfig, Error> {
        let OwnStore { namespace, store } = self.store;
        let config = VirtualServerConfig { namespace, store, ..self.config };
        check_addresses(&config, section)?;
        check_cleartext_login(&config, section)?;
        check_mechanisms(&config, section)?;
        Ok(config)
    }
}

/// There is an address to listen on, and a certificate if it is for TLS.
fn check_addresses(config: &VirtualServerConfig, section: &Section<'_, '_>) -> Result<(), Error> {
    for (key, addresses) in [("listen", &config.listen), ("listen-tls", &config.listen_tls)] {
        if let Some(value) = section.value(key).filter(|_| addresses.is_empty()) {
            return Err(value.error("is empty; nothing would listen"));
        }
    }
    match section.value("listen-tls") {
        Some(value) if config.tls.is_none() => {
            Err(value.error("needs a certificate: add a table [virtual-server.tls]"))
        }
        None if config.listen.is_empty() => Err(section.missing("listen", keys::LISTEN)),
        _ => Ok(()),
    }
}

fn check_cleartext_login(config: &VirtualServerConfig, section: &Section<'_, '_>) -> Result<(), Error> {
    match section.value("cleartext-login") {
        Some(value) if config.tls.is_none() && config.cleartext_login != Some(CleartextLogin::Allow) => {
            Err(value.error("would let nobody log in: there is no TLS; add a table [virtual-server.tls]"))
        }
        _ => Ok(()),
    }
}

/// EXTERNAL needs client certificates.
fn check_mechanisms(config: &VirtualServerConfig, section: &Section<'_, '_>) -> Result<(), Error> {
    let Some(value) = section.value("mechanisms") else { return Ok(()) };
    let asks = config.tls.as_ref().is_some_and(|tls| tls.client_certificates != ClientCertificates::Off);
    match value.list()?.iter().find(|item| item.is(Mechanism::External.name())) {
        Some(external) if !asks => Err(external.error("has \"EXTERNAL\", which needs `tls.client-ca`")),
        _ => Ok(()),
    }
}
