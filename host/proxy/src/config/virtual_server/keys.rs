//! The keys of `[[virtual-server]]`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::{CleartextLogin, VirtualServerConfig as Server};
use crate::config::lookup::lookups;
use crate::config::policy::{PolicyConfig, ShadowTable};
use crate::config::store::{OwnStore, OwnStoreTable, plain_name};
use crate::config::tls::ServerTlsTable;
use reprieve_policy_host::{OnUnreachable, Unverifiable, Verify};
use reprieve_pop3::credential::{Mechanism, Mechanisms};
use reprieve_pop3::user_name::NameCase;
use reprieve_settings::format::{
    Format, Type, count, custom, duration, list, optional, positive_duration, quoted, table, text, word,
};
use reprieve_settings::{Error, Key, Value, print_duration};

/// RFC 1939, section 3: "Such a timer MUST be of at least 10 minutes' duration."
pub(super) const MIN_IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// An example of `listen`.
pub(super) const LISTEN: &str = "[\"0.0.0.0:110\", \"[::]:110\"]";

/// All keys but `store`.
pub(super) fn keys() -> Vec<Key<Server>> {
    let keys = [listen_keys(), login_keys(), posing_keys(), timeout_keys(), limit_keys(), table_keys()];
    keys.into_iter().flatten().collect()
}

fn listen_keys() -> Vec<Key<Server>> {
    vec![
        Key::new(
            "name",
            |server: &mut Server| &mut server.name,
            plain_name(),
            "Its name in logs and metrics, and for policies.",
        )
        .required("\"pop3\""),
        Key::new(
            "listen",
            |server: &mut Server| &mut server.listen,
            list(address()),
            "Listen addresses without TLS. If there is a certificate, clients can start TLS with STLS.",
        )
        .default_text("required, unless `listen-tls` is set")
        .example(LISTEN),
        Key::new(
            "listen-tls",
            |server: &mut Server| &mut server.listen_tls,
            list(address()),
            "Listen addresses with TLS from the start (POP3S).",
        )
        .example("[\"0.0.0.0:995\", \"[::]:995\"]"),
        Key::new(
            "pool",
            |server: &mut Server| &mut server.pool,
            text(),
            "Name of the pool that logins go to.",
        )
        .required("\"mail\""),
        Key::new(
            "banner",
            |server: &mut Server| &mut server.banner,
            banner(),
            "Text of the greeting, after `+OK`.",
        ),
        Key::new(
            "proxy-from",
            |server: &mut Server| &mut server.proxy_from,
            list(network()),
            "Networks whose connections start with a PROXY header, such as those of a load balancer.",
        )
        .example("[\"10.0.0.0/8\"]"),
        Key::new(
            "proxy-timeout",
            |server: &mut Server| &mut server.proxy_timeout,
            positive_duration(),
            "Maximum time until the PROXY header of such a connection.",
        ),
    ]
}

fn login_keys() -> Vec<Key<Server>> {
    vec![
        Key::new(
            "cleartext-login",
            |server: &mut Server| &mut server.cleartext_login,
            optional(word(&[
                ("allow", CleartextLogin::Allow),
                ("deny", CleartextLogin::Deny),
                ("loopback", CleartextLogin::Loopback),
            ])),
            "Whether passwords and tokens are accepted without TLS. `\"loopback\"`: only from this machine.",
        )
        .default_text("`\"deny\"` if there is TLS, otherwise `\"allow\"`")
        .example("\"deny\""),
        Key::new(
            "mechanisms",
            |server: &mut Server| &mut server.mechanisms,
            mechanisms(),
            "Login mechanisms that are offered. `EXTERNAL` needs `tls.client-ca`.",
        ),
        Key::new(
            "unverifiable",
            |server: &mut Server| &mut server.unverifiable,
            word(&[("pass", Unverifiable::Pass), ("refuse", Unverifiable::Refuse)]),
            "What happens to a denied login with APOP, CRAM-MD5 or SCRAM-SHA-256, whose secret only the mail \
             server can verify.",
        ),
        Key::new(
            "master-separator",
            |server: &mut Server| &mut server.master_separator,
            optional(separator()),
            "The character between a user's name and a master user's name.",
        )
        .example("\"*\""),
        Key::new(
            "user-name-case",
            |server: &mut Server| &mut server.name_spelling.case,
            word(&[("exact", NameCase::Exact), ("fold", NameCase::Fold)]),
            "`\"fold\"` treats names that differ only in the case of ASCII letters as one user. Set it only if \
             the mail server does so too: otherwise one user is shown another user's maildrop.",
        ),
        Key::new(
            "default-domain",
            |server: &mut Server| &mut server.name_spelling.default_domain,
            optional(domain()),
            "Domain that the mail server adds to user names without `@`: with `\"example.org\"`, `alice` and \
             `alice@example.org` are one user. The mail server still gets the name as the client sent it.",
        )
        .example("\"example.org\""),
        Key::new(
            "login-delay",
            |server: &mut Server| &mut server.login_delay,
            optional(duration()),
            "Delay between logins that CAPA announces as LOGIN-DELAY (RFC 2449).",
        )
        .example("\"10m\""),
    ]
}

fn posing_keys() -> Vec<Key<Server>> {
    vec![
        Key::new(
            "time-zone",
            |server: &mut Server| &mut server.time_zone,
            time_zone(),
            "Time zone in which the policy's days start.",
        )
        .default_text("the machine's time zone")
        .example("\"Europe/Berlin\""),
        Key::new(
            "verify",
            |server: &mut Server| &mut server.verify,
            word(&[("on", Verify::On), ("off", Verify::Off)]),
            "`\"off\"` shows the posed maildrop to anybody who knows a user's name, with any password. Read \
             docs/security.md before you set it.",
        ),
        Key::new(
            "on-unreachable",
            |server: &mut Server| &mut server.on_unreachable,
            word(&[
                ("pose", OnUnreachable::Pose),
                ("busy", OnUnreachable::Busy),
                ("close", OnUnreachable::Close),
                ("error", OnUnreachable::Error),
            ]),
            "What users in good standing see while no node can be reached: `\"pose\"`, their maildrop \
             unchanged, or `busy` if Reprieve does not remember it; `\"busy\"`, a busy maildrop; `\"close\"`, \
             connections are closed before the greeting while the health checks find no node; `\"error\"`, \
             `-ERR [SYS/TEMP]` to the login, which many mail programs take for a wrong password. All others \
             get `-ERR [SYS/TEMP]`.",
        ),
    ]
}

fn timeout_keys() -> Vec<Key<Server>> {
    vec![
        Key::new(
            "login-timeout",
            |server: &mut Server| &mut server.login_timeout,
            positive_duration(),
            "Maximum time until a client has logged in.",
        ),
        Key::new(
            "idle-timeout",
            |server: &mut Server| &mut server.idle_timeout,
            idle_timeout(),
            "Maximum time between two commands of a client that has logged in; at least `\"10m\"` (RFC 1939).",
        ),
        Key::new(
            "stall-timeout",
            |server: &mut Server| &mut server.stall_timeout,
            positive_duration(),
            "Maximum time in which a client takes 1 KiB of a reply.",
        ),
    ]
}

fn limit_keys() -> Vec<Key<Server>> {
    vec![
        Key::new(
            "max-connections-per-address",
            |server: &mut Server| &mut server.max_connections_per_address,
            count(1..=10_000_000),
            "Maximum number of connections from one client address. All addresses of an IPv6 network of 64 \
             bits (`/64`) count as one, because one client can use all of them.",
        ),
        Key::new(
            "max-bad-commands",
            |server: &mut Server| &mut server.max_bad_commands,
            count(1..=1_000_000),
            "Bad commands after which the connection is closed.",
        ),
        Key::new(
            "max-bad-commands-before-login",
            |server: &mut Server| &mut server.max_bad_commands_before_login,
            count(1..=1_000_000),
            "Unknown commands that a client may send before it logs in; then the connection is closed.",
        ),
        Key::new(
            "max-failed-logins",
            |server: &mut Server| &mut server.max_failed_logins,
            count(1..=1_000_000),
            "Failed logins after which the connection is closed. Logins that no mail server judged do not \
             count; 20 of those close the connection.",
        ),
        Key::new(
            "max-rejected-logins",
            |server: &mut Server| &mut server.max_rejected_logins,
            count(1..=u64::from(u8::MAX)),
            "Logins of one user that the mail server rejects in a row, after which the user is not posed to \
             until the mail server has accepted a login. Otherwise Reprieve would bypass its lockout.",
        ),
    ]
}

fn table_keys() -> Vec<Key<Server>> {
    vec![
        Key::new(
            "tls",
            |server: &mut Server| &mut server.tls,
            optional(table::<ServerTlsTable>()),
            "TLS with clients. Without this table there is none.",
        ),
        Key::new(
            "policy",
            |server: &mut Server| &mut server.policy,
            table::<PolicyConfig>(),
            "The policy, which decides for each login whether it is passed.",
        ),
        Key::new(
            "shadow",
            |server: &mut Server| &mut server.shadow,
            optional(table::<ShadowTable>()),
            "A shadow policy: its verdicts are counted and logged next to those of the policy, without \
             effect on logins.",
        ),
        Key::new(
            "lookups",
            |server: &mut Server| &mut server.lookups,
            lookups(),
            "Lookup tables that the policy can read: their names, and the paths of their files. A file that \
             changes is read again. See docs/lookup-tables.md.",
        )
        .example("{ premium = \"/etc/reprieve/premium.txt\", plans = \"/etc/reprieve/plans.tbl\" }"),
    ]
}

/// The key `store`, of the table that contains the virtual server.
pub(super) fn store<T: 'static>(field: fn(&mut T) -> &mut OwnStore) -> Key<T> {
    Key::new(
        "store",
        field,
        table::<OwnStoreTable>(),
        "A store of its own, or a namespace in the store of all virtual servers.",
    )
}

fn address() -> impl Format<SocketAddr> {
    custom(
        Type::String("address:port"),
        |value| {
            let text = value.text()?;
            text.parse().map_err(|_| {
                value.error(format!(
                    "has {text:?}; a listen address has a port, such as \"0.0.0.0:110\" or \"[::]:110\""
                ))
            })
        },
        |_| None,
    )
}

fn network() -> impl Format<IpNet> {
    custom(
        Type::String("network"),
        |value| {
            let text = value.text()?;
            let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
            text.parse().ok().or_else(address).ok_or_else(|| {
                value.error(format!(
                    "has {text:?}; a network is written as \"10.0.0.0/8\", an address as \"10.0.0.7\""
                ))
            })
        },
        |_| None,
    )
}

fn banner() -> impl Format<String> {
    fn parse(value: &Value<'_, '_>) -> Result<String, Error> {
        let banner = value.text()?;
        if banner.len() > 400 || banner.chars().any(char::is_control) {
            return Err(value.error("must be one line of up to 400 bytes"));
        }
        if banner.contains('<') {
            return Err(value.error("must not contain `<`: clients would take it for an APOP challenge"));
        }
        Ok(banner.to_owned())
    }
    custom(Type::String("string"), parse, |banner| Some(quoted(banner)))
}

fn separator() -> impl Format<u8> {
    custom(
        Type::String("character"),
        |value| match value.text()?.as_bytes() {
            &[byte] if byte.is_ascii_graphic() => Ok(byte),
            _ => Err(value.expected("one character, such as \"*\"")),
        },
        |byte| Some(quoted(&char::from(*byte).to_string())),
    )
}

fn domain() -> impl Format<String> {
    custom(
        Type::String("domain"),
        |value| match value.text()? {
            domain
                if domain.is_empty()
                    || !domain.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'@') =>
            {
                Err(value.expected("a domain without \"@\", such as \"example.org\""))
            }
            domain => Ok(domain.to_owned()),
        },
        |domain: &String| Some(quoted(domain)),
    )
}

fn time_zone() -> impl Format<TimeZone> {
    custom(
        Type::String("time zone"),
        |value| {
            let zone = value.text()?;
            TimeZone::get(zone).map_err(|_| {
                value.error(format!(
                    "is {zone:?}, which is not a time zone; examples are \"Europe/Berlin\" and \"UTC\""
                ))
            })
        },
        |_| None,
    )
}

fn idle_timeout() -> impl Format<Duration> {
    custom(
        Type::Duration { zero: false },
        |value| match value.duration()? {
            timeout if timeout < MIN_IDLE_TIMEOUT => {
                Err(value.error("must be at least \"10m\", because RFC 1939 requires it"))
            }
            timeout => Ok(timeout),
        },
        |timeout| Some(quoted(&print_duration(*timeout))),
    )
}

fn mechanisms() -> impl Format<Mechanisms> {
    fn parse(value: &Value<'_, '_>) -> Result<Mechanisms, Error> {
        let choices = Mechanism::ALL.map(|mechanism| (mechanism.name(), mechanism));
        let mut mechanisms = Mechanisms::default();
        for item in value.list()? {
            mechanisms.insert(item.choice(&choices)?);
        }
        if mechanisms == Mechanisms::default() {
            return Err(value.error("is empty; nobody could log in"));
        }
        Ok(mechanisms)
    }
    let names = Mechanism::ALL.iter().map(|mechanism| mechanism.name()).collect();
    custom(Type::List(Box::new(Type::Word(names))), parse, |mechanisms| {
        let names: Vec<_> = mechanisms.iter().map(|mechanism| quoted(mechanism.name())).collect();
        Some(format!("[{}]", names.join(", ")))
    })
}
