//! What all sessions of a virtual server share on one thread.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use super::counters::Counters;
use super::offers::Offers;
use super::pollers::Pollers;
use super::telling::Telling;
use super::unrelieved::UnrelievedUsers;
use crate::config::{CleartextLogin, OnUnreachable, Unverifiable};
use crate::maildrop::{Registry, Tagger};
use crate::net::TlsAcceptor;
use crate::pool::Pool;
use reprieve_policy_host::Verify;
use reprieve_policy_host::{Judge, OnFailure, Shadow};
use reprieve_pop3::user_name::NameCase;
use reprieve_store::clock::Clock;

/// The protocol settings of a virtual server, ready for use.
#[derive(Debug)]
pub struct Settings {
    /// Name of the virtual server.
    pub name: Arc<str>,
    /// The greeting, `+OK` included, without its line end.
    pub banner: Box<[u8]>,
    /// What CAPA and AUTH answer.
    pub offers: Offers,
    /// TLS, where there is any.
    pub tls: Option<Arc<TlsAcceptor>>,
    /// Where secrets may come in cleartext.
    pub cleartext_login: CleartextLogin,
    /// Networks whose connections begin with a PROXY header.
    pub proxy_from: Vec<IpNet>,
    /// How long they may take for it.
    pub proxy_timeout: Duration,
    /// Whether APOP is configured: then the greeting is a mail server's in part.
    pub apop: bool,
    /// What becomes of a denied login whose secret only the mail server can verify.
    pub unverifiable: Unverifiable,
    /// What stands between a user's name and a master user's.
    pub master_separator: Option<u8>,
    /// Where its days change.
    pub time_zone: TimeZone,
    /// Whether posing needs a proven user.
    pub verify: Verify,
    /// What happens when the policy fails.
    pub on_failure: OnFailure,
    /// What a known user is shown when no node can be reached.
    pub on_unreachable: OnUnreachable,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
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
    /// Whether two spellings of a name belong to one maildrop.
    pub name_case: NameCase,
    /// Name of its own pool.
    pub pool: String,
}

/// A virtual server on one thread.
#[derive(Debug)]
pub struct Context {
    /// Its settings.
    pub settings: Arc<Settings>,
    /// Who decides.
    pub judge: Arc<Judge>,
    /// Who judges beside, unfelt.
    pub shadow: Option<Arc<Shadow>>,
    /// All pools, by name.
    pub pools: Arc<HashMap<String, Arc<Pool>>>,
    /// Its own pool.
    pub pool: Arc<Pool>,
    /// What is remembered of users.
    pub registry: Arc<Registry>,
    /// Makes their keys and tags.
    pub tagger: Arc<Tagger>,
    /// The time of verdicts.
    pub clock: Arc<dyn Clock>,
    /// What has happened at this virtual server.
    pub counters: Arc<Counters>,
    /// Who is told of sessions.
    pub telling: Telling,
    /// Who polls most, where that is counted.
    pub pollers: Option<Arc<Pollers>>,
    /// Users whose denied logins pass all the same.
    pub unrelieved: Arc<UnrelievedUsers>,
    /// Cancelled when the server ends.
    pub drain: CancellationToken,
}
