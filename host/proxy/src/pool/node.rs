//! A mail server, with what is known of it now. Everything that a login looks at is an atomic.

use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::{NodeConfig, NodeMode};
use reprieve_metrics::Family;
use reprieve_pop3::capability::BackendCapabilities;

/// What a login at a node came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoginResult {
    /// It let the user in.
    Accepted,
    /// It did not.
    Rejected,
    /// It could not be reached, or was lost before it had seen the secret.
    Unreachable,
    /// It was lost, or said nothing, after it had.
    Lost,
}

/// The words for [`LoginResult`], in its order.
const RESULTS: [&str; 4] = ["accepted", "rejected", "unreachable", "lost"];

/// Milliseconds since this process first asked; never 0.
pub(super) fn now_ms() -> u64 {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    let began = BEGAN.get_or_init(Instant::now);
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
}

/// A mail server, as one configuration has it.
#[derive(Debug)]
pub struct Node {
    /// `host:port`, as configured.
    pub name: Arc<str>,
    /// Its place in the pool.
    pub(super) index: usize,
    pub(super) host: Box<str>,
    pub(super) port: u16,
    /// Whether its host is a name that can change its addresses.
    pub(super) is_named: bool,
    pub(super) weight: u32,
    pub(super) backup: bool,
    most_sessions: u32,
    /// What the configuration wants; an administrator may have said otherwise since.
    configured_mode: NodeMode,
    condition: Arc<Condition>,
}

/// How a mail server is. It outlives a change of the configuration, and so do the sessions that
/// are open there.
#[derive(Debug)]
pub struct Condition {
    pub(super) addresses: ArcSwap<Vec<SocketAddr>>,
    mode: AtomicU8,
    sessions: AtomicU32,
    /// By checks.
    down: AtomicBool,
    /// By logins: until then it is tried last. 0 where it is not.
    pub(super) suspended_until_ms: AtomicU64,
    /// When it came back; 0 where it was never away.
    came_back_ms: AtomicU64,
    pub(super) failures: AtomicU32,
    pub(super) successes: AtomicU32,
    pub(super) last_error: Mutex<Option<Box<str>>>,
    learned: Mutex<Knowledge>,
    /// Tells the keeper that something may be wrong with it.
    pub(super) look: Notify,
    /// A login was lost there that had said whom it is for: the next check tells whether the node
    /// is to blame.
    pub(super) suspected: AtomicBool,
    relays: Mutex<Relays>,
    logins: Family<4>,
}

impl Deref for Node {
    type Target = Condition;

    fn deref(&self) -> &Condition {
        &self.condition
    }
}

/// What a node has said that it can do.
#[derive(Clone, Copy, Debug, Default)]
struct Knowledge {
    /// To its checks, which do not log in.
    before_login: Option<BackendCapabilities>,
    /// To a login.
    after_login: Option<BackendCapabilities>,
    /// When the next login may ask.
    ask_at_ms: u64,
}

impl Knowledge {
    fn all(self) -> Option<BackendCapabilities> {
        let before = self.before_login?;
        Some(self.after_login.map_or(before, |after| before.and_after_login(after)))
    }
}

/// How long an answer to CAPA after a login counts, in milliseconds.
const ASK_AGAIN_MS: u64 = 3_600_000;

/// Sessions that must hear of it when the node is disabled.
#[derive(Debug, Default)]
struct Relays {
    next: u64,
    wakers: HashMap<u64, Waker>,
}

/// A node at one moment, for whoever watches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeState {
    /// `host:port`, as configured.
    pub name: Arc<str>,
    /// Whether it is taken for reachable.
    pub healthy: bool,
    /// Whether it gets logins, as the administrator wants it.
    pub mode: NodeMode,
    /// Whether it is a backup.
    pub backup: bool,
    /// Sessions that are open.
    pub sessions: u32,
    /// What was wrong when it was last tried in vain.
    pub last_error: Option<Box<str>>,
    /// Logins there until now, by what they came to.
    pub logins: [(&'static str, u64); 4],
}

impl Node {
    pub(super) fn new(index: usize, config: &NodeConfig) -> Self {
        let (host, port) = config.address.rsplit_once(':').unwrap_or((&config.address, "110"));
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address: Option<SocketAddr> = config.address.parse().ok();
        let condition = Condition {
            addresses: ArcSwap::from_pointee(address.into_iter().collect()),
            mode: AtomicU8::new(config.mode as u8),
            sessions: AtomicU32::new(0),
            down: AtomicBool::new(false),
            suspended_until_ms: AtomicU64::new(0),
            came_back_ms: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            successes: AtomicU32::new(0),
            last_error: Mutex::new(None),
            learned: Mutex::default(),
            look: Notify::new(),
            suspected: AtomicBool::new(false),
            relays: Mutex::default(),
            logins: Family::default(),
        };
        Self {
            name: config.address.as_str().into(),
            index,
            host: host.into(),
            port: port.parse().unwrap_or(110),
            is_named: address.is_none(),
            weight: config.weight,
            backup: config.backup,
            most_sessions: config.max_sessions.unwrap_or(u32::MAX),
            configured_mode: config.mode,
            condition: Arc::new(condition),
        }
    }

    /// The same mail server in a configuration before this one: what is known of it stays. What
    /// an administrator has said of it stays too, unless the configuration says something new.
    pub(super) fn succeed(&mut self, before: &Self) {
        self.condition = before.condition.clone();
        if self.configured_mode != before.configured_mode {
            self.set_mode(self.configured_mode);
        }
    }

    /// Whether both are one mail server, in whichever configuration.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.condition, &other.condition)
    }

    pub(super) fn count(&self, result: LoginResult) {
        self.logins.count(result as usize);
    }

    /// Whether it gets logins, as the administrator wants it.
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
            let wakers: Vec<_> = self.relays.lock().wakers.drain().map(|(_, waker)| waker).collect();
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Has a session's task woken when the node is disabled. The number is for
    /// [`Node::unwatch`].
    pub(super) fn watch(&self, waker: Waker) -> u64 {
        let mut relays = self.relays.lock();
        relays.next += 1;
        let number = relays.next;
        relays.wakers.insert(number, waker);
        number
    }

    pub(super) fn unwatch(&self, number: u64) {
        self.relays.lock().wakers.remove(&number);
    }

    /// Sessions that are open or being opened.
    #[must_use]
    pub fn sessions(&self) -> u32 {
        self.sessions.load(Ordering::Relaxed)
    }

    pub(super) fn is_limited(&self) -> bool {
        self.most_sessions != u32::MAX
    }

    /// Counts a session, if it may have another one.
    pub(super) fn take_session(&self) -> bool {
        if !self.is_limited() {
            self.sessions.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let more = |sessions: u32| (sessions < self.most_sessions).then(|| sessions + 1);
        self.sessions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    pub(super) fn end_session(&self) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether it is taken for reachable.
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

    /// True where that changes something.
    pub(super) fn set_down(&self, down: bool) -> bool {
        self.down.swap(down, Ordering::Relaxed) != down
    }

    pub(super) fn comes_back(&self) {
        self.came_back_ms.store(now_ms(), Ordering::Relaxed);
    }

    /// Its weight now, in thousandths: less than its own while it starts slowly.
    pub(super) fn weight_now(&self, slow_start: Duration) -> u32 {
        let whole = self.weight.saturating_mul(1000);
        let back = self.came_back_ms.load(Ordering::Relaxed);
        let span = u64::try_from(slow_start.as_millis()).unwrap_or(u64::MAX);
        if back == 0 || span == 0 {
            return whole;
        }
        let since = now_ms().saturating_sub(back);
        if since >= span {
            return whole;
        }
        // Never nothing: somebody must find out whether it is well.
        let share = u64::from(whole) * since / span;
        u32::try_from(share).unwrap_or(whole).max(whole / 20).max(1)
    }

    /// What it can do, where it has been asked.
    #[must_use]
    pub fn learned(&self) -> Option<BackendCapabilities> {
        self.learned.lock().all()
    }

    /// Takes what it has said to a check. True if that is news.
    pub(super) fn learn(&self, learned: BackendCapabilities) -> bool {
        self.learned.lock().before_login.replace(learned) != Some(learned)
    }

    /// Whether this login is to ask what the node can do: one in an hour at the most, and none of
    /// a node that has promised everything to its check, or is not checked.
    pub(super) fn is_to_be_asked(&self) -> bool {
        let mut known = self.learned.lock();
        if !known.before_login.is_some_and(BackendCapabilities::lacks_offered) {
            return false;
        }
        let now = now_ms();
        if now < known.ask_at_ms {
            return false;
        }
        known.ask_at_ms = now + ASK_AGAIN_MS;
        true
    }

    /// Takes what it has said to a login; None if it did not survive the question: then it is not
    /// asked again.
    pub(super) fn learn_after_login(&self, learned: Option<BackendCapabilities>) {
        let mut known = self.learned.lock();
        known.after_login = learned;
        if learned.is_none() {
            known.ask_at_ms = u64::MAX;
        }
    }

    /// What can be told of it now.
    #[must_use]
    pub fn state(&self) -> NodeState {
        NodeState {
            name: self.name.clone(),
            healthy: self.is_healthy(),
            mode: self.mode(),
            backup: self.backup,
            sessions: self.sessions(),
            last_error: self.last_error.lock().clone(),
            logins: {
                let counts = self.logins.counts();
                std::array::from_fn(|result| (RESULTS[result], counts[result]))
            },
        }
    }
}
