//! What the sessions of a virtual server share on one thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use super::Evaluator;
use super::all_pools::AllPools;
use super::capabilities::OfferedCapabilities;
use super::counters::Counters;
use super::sinks::Sinks;
use super::top_pollers::Pollers;
use super::unrelieved::UnrelievedUsers;
use crate::config::CleartextLogin;
use crate::maildrop::{Registry, Route, Tagger};
use crate::net::TlsAcceptor;
use crate::pool::Pool;
#[cfg(test)]
use crate::simulation::{Fault, planted};
use reprieve_policy_host::{OnUnreachable, Rules, Shadow};
use reprieve_pop3::user_name::NameSpelling;
use reprieve_store::clock::Clock;

/// The protocol settings of a virtual server, ready for use.
#[derive(Debug)]
pub struct Settings {
    /// Name of the virtual server.
    pub name: Arc<str>,
    /// The greeting, `+OK` included, without its line end.
    pub banner: Box<[u8]>,
    /// What CAPA and AUTH answer.
    pub offers: OfferedCapabilities,
    /// TLS, if it is configured.
    pub tls: Option<Arc<TlsAcceptor>>,
    /// Whether clients may send secrets in cleartext.
    pub cleartext_login: CleartextLogin,
    /// Networks whose connections begin with a PROXY header.
    pub proxy_from: Vec<IpNet>,
    /// How long a client may take to send the PROXY header.
    pub proxy_timeout: Duration,
    /// Whether APOP is configured: then the greeting contains a mail server's challenge.
    pub apop: bool,
    /// The separator between a user's name and a master user's.
    pub master_separator: Option<u8>,
    /// The time zone whose days policies see.
    pub time_zone: TimeZone,
    /// The settings that decide the disposition of a verdict.
    pub rules: Rules,
    /// What users in good standing are shown if no node can be reached.
    pub on_unreachable: OnUnreachable,
    /// How long a client may take to log in.
    pub login_timeout: Duration,
    /// How long a client that is logged in may stay idle.
    pub idle_timeout: Duration,
    /// How long a client may take to read 1 KiB of a reply.
    pub stall_timeout: Duration,
    /// Bad commands before the connection is closed.
    pub max_bad_commands: u32,
    /// Unknown commands that a client may send before it logs in; then the connection is closed.
    pub max_bad_commands_before_login: u32,
    /// Failed logins before the connection is closed.
    pub max_failed_logins: u32,
    /// Logins that the mail server rejected in a row, after which the user is not posed to until it
    /// accepts one.
    pub max_rejected_logins: u8,
    /// Which user names the mail server treats as one.
    pub name_spelling: NameSpelling,
    /// Name of the default pool.
    pub pool: String,
}

/// A virtual server on one thread.
#[derive(Debug)]
pub struct Context {
    /// The protocol settings.
    pub settings: Arc<Settings>,
    /// Evaluates the policy in force.
    pub evaluator: Arc<Evaluator>,
    /// The shadow policy, whose verdicts have no consequences.
    pub shadow: Option<Arc<Shadow>>,
    /// All pools, by name.
    pub pools: Arc<AllPools>,
    /// The default pool.
    pub pool: Arc<Pool>,
    /// What is remembered per user: standing and snapshots.
    pub registry: Arc<Registry>,
    /// Computes user keys and credential tags.
    pub tagger: Arc<Tagger>,
    /// The clock of verdicts; timeouts use the system's.
    pub clock: Arc<dyn Clock>,
    /// The counters of this virtual server.
    pub counters: Arc<Counters>,
    /// The decision log and the traces.
    pub sinks: Sinks,
    /// The top pollers, if they are counted.
    pub pollers: Option<Arc<Pollers>>,
    /// Users whose denied logins pass anyway.
    pub unrelieved: Arc<UnrelievedUsers>,
    /// Cancelled when the server shuts down.
    pub drain: CancellationToken,
    /// Whether another process has taken over: it may have shown users newer maildrops.
    pub handed_over: Arc<AtomicBool>,
}

impl Context {
    /// Whether this process still knows what users' clients saw last.
    #[must_use]
    pub fn is_authoritative(&self) -> bool {
        #[cfg(test)]
        if planted(Fault::PosesAfterTakeOver) {
            return true;
        }
        !self.drain.is_cancelled() && !self.handed_over.load(Ordering::SeqCst)
    }

    /// The pool that a route leads to.
    #[must_use]
    pub fn pool_of(&self, route: Option<&Route>) -> &Arc<Pool> {
        let name = route.and_then(|route| route.pool.as_ref());
        name.and_then(|name| self.pools.get(name)).unwrap_or(&self.pool)
    }
}
