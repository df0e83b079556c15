//! Virtual servers: what can be set of them.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::policy::{PolicyConfig, policy, shadow};
use super::pool::PoolConfig;
use super::store::store;
use super::tls::{ClientCertificates, ServerTls, server_tls};
use reprieve_policy_host::Verify;
use reprieve_pop3::credential::{Mechanism, Mechanisms};
use reprieve_pop3::user_name::NameCase;
use reprieve_settings::{Error, Value};
use reprieve_store::StoreConfig;

/// What a user in good standing is shown when no node can be reached. Anybody else gets
/// `-ERR [SYS/TEMP]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnUnreachable {
    /// The maildrop unchanged; `busy` if there is no snapshot of it.
    Pose,
    /// The manner `busy`: no mail program takes it for a wrong password.
    Busy,
    /// `-ERR [SYS/TEMP]`; and while the health checks find no node, connections are closed
    /// before the greeting, as without a proxy.
    Close,
    /// `-ERR [SYS/TEMP]`, which many mail programs take for a wrong password.
    Error,
}

/// Where secrets may come in cleartext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CleartextLogin {
    /// Anywhere.
    Allow,
    /// Nowhere: TLS comes first.
    Deny,
    /// Only from this machine itself.
    Loopback,
}

/// What becomes of a denied login by a mechanism whose secret Reprieve never sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unverifiable {
    /// It passes.
    Pass,
    /// It is refused, as by the manner `refuse`.
    Refuse,
}

/// A listener with its protocol settings, its policy and its default pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualServerConfig {
    /// Its name in logs, metrics and to policies.
    pub name: String,
    /// Where it listens for cleartext, which STLS may encrypt. Port 0 takes a free one.
    pub listen: Vec<SocketAddr>,
    /// Where it listens for TLS from the first octet on.
    pub listen_tls: Vec<SocketAddr>,
    /// TLS, where there is any.
    pub tls: Option<ServerTls>,
    /// Where secrets may come in cleartext; None where TLS decides: nowhere with it, anywhere
    /// without.
    pub cleartext_login: Option<CleartextLogin>,
    /// Networks whose connections begin with a PROXY header.
    pub proxy_from: Vec<IpNet>,
    /// Ways to log in.
    pub mechanisms: Mechanisms,
    /// What becomes of a denied login whose secret nobody but the mail server can verify.
    pub unverifiable: Unverifiable,
    /// What stands between a user's name and a master user's.
    pub master_separator: Option<u8>,
    /// Name of its pool.
    pub pool: String,
    /// Text of the greeting, without `+OK`.
    pub banner: String,
    /// Where its days change.
    pub time_zone: TimeZone,
    /// Whether posing needs a proven user.
    pub verify: Verify,
    /// What a known user is shown when no node can be reached.
    pub on_unreachable: OnUnreachable,
    /// Delay between logins that CAPA announces.
    pub login_delay: Option<Duration>,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How long whoever is in `proxy_from` may take for the PROXY header.
    pub proxy_timeout: Duration,
    /// How long a client that is logged in may take for its next command.
    pub idle_timeout: Duration,
    /// How long a client may take for 1 KiB of a reply.
    pub stall_timeout: Duration,
    /// Commands that are none, before the connection is closed.
    pub max_bad_commands: u32,
    /// Commands that nobody knows, of a client that has not logged in, before the connection is
    /// closed.
    pub max_bad_commands_before_login: u32,
    /// Logins that fail, before the connection is closed.
    pub max_failed_logins: u32,
    /// Logins that the mail server has rejected in a row, after which a user is posed to only
    /// when it has accepted one.
    pub max_rejected_logins: u8,
    /// Whether the mail server takes names that differ in case only for one.
    pub name_case: NameCase,
    /// Connections from one address.
    pub max_connections_per_address: u32,
    /// Who decides.
    pub policy: PolicyConfig,
    /// Who judges beside, unfelt.
    pub shadow: Option<PolicyConfig>,
    /// Where its policy keeps its state; None where all keep theirs.
    pub store: Option<StoreConfig>,
    /// The part of the store that is its policy's, where that is not one of its own name.
    pub namespace: Option<String>,
}

impl VirtualServerConfig {
    /// A virtual server with the usual settings and the default policy.
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
            idle_timeout: Duration::from_secs(600),
            stall_timeout: Duration::from_secs(60),
            proxy_timeout: Duration::from_secs(5),
            max_bad_commands: 20,
            max_bad_commands_before_login: 3,
            max_failed_logins: 3,
            max_rejected_logins: 5,
            name_case: NameCase::Exact,
            max_connections_per_address: 1000,
            policy: PolicyConfig::default(),
            shadow: None,
            store: None,
            namespace: None,
        }
    }
}

pub(super) fn virtual_server(
    value: &Value<'_, '_>,
    pools: &[PoolConfig],
) -> Result<VirtualServerConfig, Error> {
    let mut section = value.section()?;
    let name = section.required("name", "\"pop3\"")?;
    let name_text = plain_name(&name)?;
    let tls = section.get("tls").map(|value| server_tls(&value)).transpose()?;
    let encrypted = section.get("listen-tls");
    let listen_tls = encrypted.as_ref().map(addresses).transpose()?.unwrap_or_default();
    if let (Some(value), None) = (&encrypted, &tls) {
        return Err(value.error("needs a certificate: add a table [virtual-server.tls]"));
    }
    // Either will do; where neither is there, the one that everybody has is missed.
    let listen = match section.get("listen") {
        Some(value) => addresses(&value)?,
        None if encrypted.is_some() => Vec::new(),
        None => addresses(&section.required("listen", "[\"0.0.0.0:110\", \"[::]:110\"]")?)?,
    };
    let pool = section.required("pool", "\"mail\"")?;
    let pool_text = pool.text()?;
    if !pools.iter().any(|known| known.name == pool_text) {
        let known: Vec<_> = pools.iter().map(|known| known.name.as_str()).collect();
        return Err(pool.error(format!(
            "is {pool_text:?}, which is not defined; defined are: {}. Add a table [pool.{pool_text}]",
            known.join(", ")
        )));
    }
    let mut server = VirtualServerConfig::new(name_text, listen, pool_text);
    server.listen_tls = listen_tls;
    server.tls = tls;
    if let Some(value) = section.get("banner") {
        let banner = value.text()?;
        if banner.len() > 400 || banner.chars().any(char::is_control) {
            return Err(value.error("must be one line of up to 400 octets"));
        }
        if banner.contains('<') {
            return Err(value.error("must not contain `<`: clients would take it for an APOP challenge"));
        }
        banner.clone_into(&mut server.banner);
    }
    if let Some(value) = section.get("time-zone") {
        let zone = value.text()?;
        server.time_zone = TimeZone::get(zone).map_err(|_| {
            value.error(format!(
                "is {zone:?}, which is no time zone; an example is \"Europe/Berlin\" or \"UTC\""
            ))
        })?;
    }
    if let Some(value) = section.get("verify") {
        server.verify = value.choice(&[("on", Verify::On), ("off", Verify::Off)])?;
    }
    if let Some(value) = section.get("on-unreachable") {
        server.on_unreachable = value.choice(&[
            ("pose", OnUnreachable::Pose),
            ("busy", OnUnreachable::Busy),
            ("close", OnUnreachable::Close),
            ("error", OnUnreachable::Error),
        ])?;
    }
    if let Some(value) = section.get("login-delay") {
        server.login_delay = Some(value.duration()?);
    }
    if let Some(value) = section.get("login-timeout") {
        server.login_timeout = value.positive_duration()?;
    }
    if let Some(value) = section.get("idle-timeout") {
        server.idle_timeout = value.duration()?;
        if server.idle_timeout < Duration::from_secs(600) {
            return Err(
                value.error("must be at least \"10m\": RFC 1939 gives a client as long between commands")
            );
        }
    }
    if let Some(value) = section.get("stall-timeout") {
        server.stall_timeout = value.positive_duration()?;
    }
    if let Some(value) = section.get("cleartext-login") {
        server.cleartext_login = Some(value.choice(&[
            ("allow", CleartextLogin::Allow),
            ("deny", CleartextLogin::Deny),
            ("loopback", CleartextLogin::Loopback),
        ])?);
        if server.tls.is_none() && server.cleartext_login != Some(CleartextLogin::Allow) {
            return Err(
                value.error("would let nobody log in: there is no TLS; add a table [virtual-server.tls]")
            );
        }
    }
    if let Some(value) = section.get("proxy-from") {
        for network in value.list()? {
            server.proxy_from.push(self::network(&network)?);
        }
    }
    if let Some(value) = section.get("proxy-timeout") {
        server.proxy_timeout = value.positive_duration()?;
    }
    if let Some(value) = section.get("mechanisms") {
        server.mechanisms = mechanisms(&value, server.tls.as_ref())?;
    }
    if let Some(value) = section.get("unverifiable") {
        server.unverifiable =
            value.choice(&[("pass", Unverifiable::Pass), ("refuse", Unverifiable::Refuse)])?;
    }
    if let Some(value) = section.get("master-separator") {
        server.master_separator = match value.text()?.as_bytes() {
            &[octet] if octet.is_ascii_graphic() => Some(octet),
            _ => return Err(value.expected("one character, such as \"*\"")),
        };
    }
    if let Some(value) = section.get("max-bad-commands") {
        server.max_bad_commands = value.count_u32(1, 1_000_000)?;
    }
    if let Some(value) = section.get("max-bad-commands-before-login") {
        server.max_bad_commands_before_login = value.count_u32(1, 1_000_000)?;
    }
    if let Some(value) = section.get("max-failed-logins") {
        server.max_failed_logins = value.count_u32(1, 1_000_000)?;
    }
    if let Some(value) = section.get("max-rejected-logins") {
        server.max_rejected_logins = u8::try_from(value.count(1, u8::MAX.into())?).unwrap_or(u8::MAX);
    }
    if let Some(value) = section.get("case") {
        server.name_case = value.choice(&[("exact", NameCase::Exact), ("fold", NameCase::Fold)])?;
    }
    if let Some(value) = section.get("max-connections-per-address") {
        server.max_connections_per_address = value.count_u32(1, 10_000_000)?;
    }
    if let Some(value) = section.get("policy") {
        server.policy = policy(&value)?;
    }
    server.shadow = section.get("shadow").map(|value| shadow(&value)).transpose()?;
    if let Some(value) = section.get("store") {
        let mut own = value.section()?;
        if let Some(value) = own.get("namespace") {
            server.namespace = Some(plain_name(&value)?.to_owned());
        }
        // A namespace alone is one in the store of all.
        let only_named = own.entries().iter().all(|(key, _)| *key == "namespace");
        let config = store(&mut own)?;
        if !only_named {
            server.store = Some(config);
        }
        own.finish()?;
    }
    section.finish()?;
    Ok(server)
}

/// What can stand in keys, logs and metrics as it is.
fn plain_name<'s>(value: &Value<'_, 's>) -> Result<&'s str, Error> {
    let name = value.text()?;
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_plain) {
        return Err(value.error("must be made of up to 64 letters, digits, dots, hyphens and underscores"));
    }
    Ok(name)
}

fn addresses(value: &Value<'_, '_>) -> Result<Vec<SocketAddr>, Error> {
    let mut addresses = Vec::new();
    for address in value.list()? {
        let text = address.text()?;
        addresses.push(text.parse().map_err(|_| {
            address.error(format!(
                "has {text:?}; an address to listen on is written with its port, such as \"0.0.0.0:110\" or \"[::]:110\""
            ))
        })?);
    }
    if addresses.is_empty() {
        return Err(value.error("is empty; nothing would listen"));
    }
    Ok(addresses)
}

fn network(value: &Value<'_, '_>) -> Result<IpNet, Error> {
    let text = value.text()?;
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address).ok_or_else(|| {
        value.error(format!(
            "has {text:?}; a network is written as \"10.0.0.0/8\", an address as \"10.0.0.7\""
        ))
    })
}

fn mechanisms(value: &Value<'_, '_>, tls: Option<&ServerTls>) -> Result<Mechanisms, Error> {
    let choices = Mechanism::ALL.map(|mechanism| (mechanism.name(), mechanism));
    let mut mechanisms = Mechanisms::default();
    for value in value.list()? {
        let mechanism = value.choice(&choices)?;
        let asks = tls.is_some_and(|tls| tls.client_certificates != ClientCertificates::Off);
        if mechanism == Mechanism::External && !asks {
            return Err(value.error("has \"EXTERNAL\", which needs `tls.client-ca`"));
        }
        mechanisms.insert(mechanism);
    }
    if mechanisms == Mechanisms::default() {
        return Err(value.error("is empty; nobody could log in"));
    }
    Ok(mechanisms)
}
