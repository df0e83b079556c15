//! A node: a mail server and its current state. Logins read it mostly through atomics.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use tokio::sync::Notify;

use crate::config::{NodeConfig, NodeMode};
use crate::time::since_first_call;
use reprieve_metrics::Family;
use reprieve_pop3::capability::BackendCapabilities;
use reprieve_sync::Mutex;
use reprieve_sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Result of a login at a node, for the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginResult {
    Accepted,
    Rejected,
    /// The node could not be reached, or the connection was lost before the password was verified.
    Unreachable,
    /// The connection was lost, or timed out, after the node received the password.
    Lost,
}

/// Metric labels of [`LoginResult`], in its order.
const RESULTS: [&str; 4] = ["accepted", "rejected", "unreachable", "lost"];

/// Milliseconds since the first call in this process; never 0, which means "not set".
pub(super) fn now_ms() -> u64 {
    u64::try_from(since_first_call().as_millis()).unwrap_or(u64::MAX - 1) + 1
}

/// A mail server as configured. Dereferences to its state.
#[derive(Debug)]
pub struct Node {
    /// `host:port`, as configured.
    pub name: Arc<str>,
    /// Its position in the pool's list.
    pub(super) index: usize,
    pub(super) host: Box<str>,
    pub(super) port: u16,
    /// Whether its host is a name, to be resolved by DNS.
    pub(super) has_host_name: bool,
    pub(super) weight: u32,
    pub(super) backup: bool,
    max_sessions: u32,
    /// The mode in the configuration, which an administrator may have overridden since.
    configured_mode: NodeMode,
    runtime: Arc<NodeRuntime>,
}

/// The state of a mail server. It is kept, with the open sessions, when the configuration is
/// reloaded.
#[derive(Debug)]
pub struct NodeRuntime {
    pub(super) addresses: ArcSwap<Vec<SocketAddr>>,
    mode: AtomicU8,
    sessions: AtomicU32,
    /// Set by health checks.
    down: AtomicBool,
    /// Set by failed logins: the node is tried last until then; 0 if it is not suspended.
    pub(super) suspended_until_ms: AtomicU64,
    /// When it last became healthy again; 0 if it was never unhealthy.
    recovered_ms: AtomicU64,
    pub(super) consecutive_failures: AtomicU32,
    pub(super) consecutive_successes: AtomicU32,
    pub(super) last_error: Mutex<Option<Box<str>>>,
    capabilities: Mutex<KnownCapabilities>,
    /// Requests a health check now.
    pub(super) check_now: Notify,
    /// A connection was lost after the node received the user's name or address: the next health
    /// check decides whether the node is at fault.
    pub(super) suspected: AtomicBool,
    session_wakers: Mutex<SessionWakers>,
    logins: Family<4>,
}

impl Deref for Node {
    type Target = NodeRuntime;

    fn deref(&self) -> &NodeRuntime {
        &self.runtime
    }
}

/// The capabilities that a node has announced.
#[derive(Clone, Copy, Debug, Default)]
struct KnownCapabilities {
    /// In health checks, which do not log in.
    before_login: Option<BackendCapabilities>,
    /// In a login's session.
    after_login: Option<BackendCapabilities>,
    /// When a login may query them next.
    next_query_ms: u64,
}

impl KnownCapabilities {
    fn combined(self) -> Option<BackendCapabilities> {
        let before = self.before_login?;
        Some(self.after_login.map_or(before, |after| before.and_after_login(after)))
    }
}

/// What is wrong with a node that announces no mechanism for a password or token.
pub(super) const TAKES_NO_PASSWORD: &str = "refuses passwords on this connection: it announces neither USER nor \
     SASL PLAIN; set `tls` in the pool, or let the mail server trust this machine (Dovecot: login_trusted_networks)";

/// Interval between queries of the capabilities after a login, in milliseconds.
const QUERY_INTERVAL_MS: u64 = 3_600_000;

/// Tasks of sessions, woken when the node is disabled.
#[derive(Debug, Default)]
struct SessionWakers {
    last_key: u64,
    wakers: HashMap<u64, Waker>,
}

/// Snapshot of a node's state, for status and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// `host:port`, as configured.
    pub name: Arc<str>,
    /// Whether it is neither down nor suspended.
    pub healthy: bool,
    /// Enabled, draining or disabled.
    pub mode: NodeMode,
    /// Whether it is used only if no other node is healthy.
    pub backup: bool,
    /// Open sessions.
    pub sessions: u32,
    /// The last error, until the node is healthy again; of a healthy node, that it takes no password.
    pub last_error: Option<Box<str>>,
    /// Number of logins by result.
    pub logins: [(&'static str, u64); 4],
}

impl Node {
    pub(super) fn new(index: usize, config: &NodeConfig) -> Self {
        let (host, port) = config.address.rsplit_once(':').unwrap_or((&config.address, "110"));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<SocketAddr> = config.address.parse().ok();
        let runtime = NodeRuntime {
            addresses: ArcSwap::from_pointee(address.into_iter().collect()),
            mode: AtomicU8::new(config.mode as u8),
            sessions: AtomicU32::new(0),
            down: AtomicBool::new(false),
            suspended_until_ms: AtomicU64::new(0),
            recovered_ms: AtomicU64::new(0),
            consecutive_failures: AtomicU32::new(0),
            consecutive_successes: AtomicU32::new(0),
            last_error: Mutex::new(None),
            capabilities: Mutex::default(),
            check_now: Notify::new(),
            suspected: AtomicBool::new(false),
            session_wakers: Mutex::default(),
            logins: Family::default(),
        };
        Self {
            name: config.address.as_str().into(),
            index,
            host: host.into(),
            port: port.parse().unwrap_or(110),
            has_host_name: address.is_none(),
            weight: config.weight,
            backup: config.backup,
            max_sessions: config.max_sessions.unwrap_or(u32::MAX),
            configured_mode: config.mode,
            runtime: Arc::new(runtime),
        }
    }

    /// Takes over the state of the same mail server in the previous configuration. A mode set by
    /// an administrator is kept unless the configured mode has changed.
    pub(super) fn inherit(&mut self, previous: &Self) {
        self.runtime = previous.runtime.clone();
        if self.configured_mode != previous.configured_mode {
            self.set_mode(self.configured_mode);
        }
    }

    /// Whether both share the state of one mail server, possibly in different configurations.
    pub(super) fn is_same_server(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.runtime, &other.runtime)
    }

    pub(super) fn count(&self, result: LoginResult) {
        self.logins.count(result as usize);
    }

    /// Enabled, draining or disabled.
    #[must_use]
    pub fn mode(&self) -> NodeMode {
        match self.mode.load(Ordering::Relaxed) {
            0 => NodeMode::Enabled,
            1 => NodeMode::Drain,
            _ => NodeMode::Disabled,
        }
    }

    pub(super) fn set_mode(&self, mode: NodeMode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
        if mode == NodeMode::Disabled {
            let mut wakers: Vec<_> = self.session_wakers.lock().wakers.drain().collect();
            // In the order of the sessions, not that of the table.
            wakers.sort_unstable_by_key(|(key, _)| *key);
            wakers.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }

    /// Registers a session's task to be woken when the node is disabled. Returns the key for
    /// [`Node::remove_waker`].
    pub(super) fn add_waker(&self, waker: Waker) -> u64 {
        let mut session_wakers = self.session_wakers.lock();
        session_wakers.last_key += 1;
        let key = session_wakers.last_key;
        session_wakers.wakers.insert(key, waker);
        key
    }

    pub(super) fn remove_waker(&self, key: u64) {
        self.session_wakers.lock().wakers.remove(&key);
    }

    /// Number of sessions that are open or being opened.
    #[must_use]
    pub fn sessions(&self) -> u32 {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(super) fn is_limited(&self) -> bool {
        self.max_sessions != u32::MAX
    }

    /// Whether it has more sessions than its limit, which a reload may have lowered.
    pub(super) fn is_over_limit(&self) -> bool {
        self.sessions() > self.max_sessions
    }

    /// Counts another session; false if the node is at its limit.
    pub(super) fn take_session(&self) -> bool {
        if !self.is_limited() {
            self.count_session();
            return true;
        }
        let increment = |sessions: u32| (sessions < self.max_sessions).then(|| sessions + 1);
        self.sessions.fetch_update(Ordering::SeqCst, Ordering::SeqCst, increment).is_ok()
    }

    /// Counts another session, whatever the limit.
    pub(super) fn count_session(&self) {
        self.sessions.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn end_session(&self) {
        self.sessions.fetch_sub(1, Ordering::SeqCst);
    }

    /// Whether it is neither down nor suspended.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        if self.down.load(Ordering::Relaxed) {
            return false;
        }
        let until = self.suspended_until_ms.load(Ordering::Relaxed);
        until == 0 || now_ms() >= until
    }

    pub(super) fn is_down(&self) -> bool {
        self.down.load(Ordering::Relaxed)
    }

    /// Returns whether that is a change.
    pub(super) fn set_down(&self, down: bool) -> bool {
        self.down.swap(down, Ordering::Relaxed) != down
    }

    pub(super) fn mark_recovered(&self) {
        self.recovered_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Its weight in thousandths, reduced during slow start.
    pub(super) fn effective_weight(&self, slow_start: Duration) -> u32 {
        let full = self.weight.saturating_mul(1000);
        let recovered = self.recovered_ms.load(Ordering::Relaxed);
        let duration = u64::try_from(slow_start.as_millis()).unwrap_or(u64::MAX);
        if recovered == 0 || duration == 0 {
            return full;
        }
        let elapsed = now_ms().saturating_sub(recovered);
        if elapsed >= duration {
            return full;
        }
        // At least a twentieth, so that some logins reach the node from the start.
        let share = u64::from(full) * elapsed / duration;
        u32::try_from(share).unwrap_or(full).max(full / 20).max(1)
    }

    /// Its capabilities before and after a login; None before the first health check.
    #[must_use]
    pub fn capabilities(&self) -> Option<BackendCapabilities> {
        self.capabilities.lock().combined()
    }

    /// Stores the capabilities announced in a health check. Returns whether they have changed.
    pub(super) fn set_capabilities_before_login(&self, capabilities: BackendCapabilities) -> bool {
        self.capabilities.lock().before_login.replace(capabilities) != Some(capabilities)
    }

    /// Whether the health check has found that the node takes no password or token from here.
    pub(super) fn takes_no_secrets(&self) -> bool {
        self.capabilities.lock().before_login.is_some_and(|known| !known.takes_secrets())
    }

    /// Whether this login should query the capabilities: at most one login per hour, and only if the
    /// health check has found capabilities missing that Reprieve could offer. A true result
    /// claims the query.
    pub(super) fn claim_capability_query(&self) -> bool {
        let mut known = self.capabilities.lock();
        if !known.before_login.is_some_and(BackendCapabilities::lacks_offered) {
            return false;
        }
        let now = now_ms();
        if now < known.next_query_ms {
            return false;
        }
        known.next_query_ms = now + QUERY_INTERVAL_MS;
        true
    }

    /// Stores the capabilities announced after a login. None if the connection was lost by the
    /// query, or the node does not support CAPA: then it is not queried again.
    pub(super) fn set_capabilities_after_login(&self, capabilities: Option<BackendCapabilities>) {
        let mut known = self.capabilities.lock();
        known.after_login = capabilities;
        if capabilities.is_none() {
            known.next_query_ms = u64::MAX;
        }
    }

    /// Takes a snapshot of its state.
    #[must_use]
    pub fn state(&self) -> NodeState {
        NodeState {
            name: self.name.clone(),
            healthy: self.is_healthy(),
            mode: self.mode(),
            backup: self.backup,
            sessions: self.sessions(),
            last_error: {
                let last = self.last_error.lock().clone();
                last.or_else(|| self.takes_no_secrets().then(|| TAKES_NO_PASSWORD.into()))
            },
            logins: {
                let counts = self.logins.counts();
                std::array::from_fn(|result| (RESULTS[result], counts[result]))
            },
        }
    }
}
