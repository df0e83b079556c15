//! A virtual server's policy: compiled once, shared by the evaluators of all threads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::breaker::{Admitted, Breaker, BreakerSettings, Change};
use super::contract::Linked;
use super::digest;
use super::disposition::OnFailure;
use super::engine::Engine;
use super::failure::Failure;
use super::guest_log::{GuestLog, Lines};
use super::limits::Limits;
use super::lookups::{Lookups, NoLookups};
use super::metrics::{Metrics, MetricsSnapshot};
use super::stack;
use reprieve_store::Namespace;
use reprieve_store::clock::Clock;

/// Largest `limits.time` of a policy that is called without a stack of its own: until it is known to be
/// slow, other sessions wait that long for it.
const LONGEST_DIRECT: Duration = Duration::from_millis(50);
/// Default of `credential-ttl`.
const MEMORY_TTL: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an instance lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Isolation {
    /// For many calls: until it fails, grows, or has had `limits.calls`.
    #[default]
    Reuse,
    /// For one call. Calls can share state only through the store.
    Call,
}

/// Options for loading a policy.
#[derive(Debug)]
pub struct PolicyOptions {
    /// Name of the virtual server, for log lines.
    pub server: String,
    /// A built-in policy's name or a file's path, for messages.
    pub component: String,
    /// SHA-256 that the component must have.
    pub sha256: Option<[u8; 32]>,
    /// Settings, in order.
    pub settings: Vec<(String, String)>,
    /// Resource limits.
    pub limits: Limits,
    /// How long an instance lives.
    pub isolation: Isolation,
    /// Settings of the circuit breaker.
    pub breaker: BreakerSettings,
    /// What happens to logins while it is paused, for the log line.
    pub on_failure: OnFailure,
    /// Its namespace of the store.
    pub namespace: Namespace,
    /// Read-only tables that it can look into.
    pub lookups: Arc<dyn Lookups>,
    /// How long what it remembers about a user is kept without a write.
    pub memory_ttl: Duration,
    /// The clock that it sees.
    pub clock: Arc<dyn Clock>,
    /// Names of the pools that verdicts may name.
    pub pools: Vec<String>,
    /// Version: the number of policies that the virtual server has had, including this one.
    pub version: u64,
    /// Seed of its random numbers; None for the system's randomness.
    pub seed: Option<u64>,
    /// Receiver of its log lines; None for the host's log.
    pub lines: Option<Arc<dyn Lines>>,
}

impl PolicyOptions {
    /// Options without settings and with default limits.
    #[must_use]
    pub fn new(server: &str, component: &str, namespace: Namespace, clock: Arc<dyn Clock>) -> Self {
        Self {
            server: server.to_owned(),
            component: component.to_owned(),
            sha256: None,
            settings: Vec::new(),
            limits: Limits::default(),
            isolation: Isolation::default(),
            breaker: BreakerSettings::default(),
            on_failure: OnFailure::Pass,
            namespace,
            lookups: Arc::new(NoLookups),
            memory_ttl: MEMORY_TTL,
            clock,
            pools: Vec::new(),
            version: 1,
            seed: None,
            lines: None,
        }
    }
}

/// The identity of a policy, for logs of its decisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A built-in policy's name or a file's path.
    pub component: String,
    /// SHA-256 of the component, in hexadecimal.
    pub sha256: String,
    /// Version: the number of policies that the virtual server has had, including this one.
    pub version: u64,
}

/// The exported functions that are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Decide,
    Observe,
    Ended,
}

impl Call {
    pub(super) const COUNT: usize = 3;

    fn name(self) -> &'static str {
        match self {
            Self::Decide => "decide",
            Self::Observe => "observe",
            Self::Ended => "ended",
        }
    }
}

/// A policy that is compiled, linked and configured.
pub struct Policy {
    options: PolicyOptions,
    engine: Arc<Engine>,
    linked: Linked,
    sha256: [u8; 32],
    identity: Arc<Identity>,
    log: Arc<GuestLog>,
    metrics: Arc<Metrics>,
    /// Whether it imports the store.
    needs_store: bool,
    /// Whether its calls never wait and are short enough to be made directly.
    is_direct: bool,
    /// Whether such a call has taken long.
    was_slow: Arc<AtomicBool>,
    /// One circuit breaker per function, so that a function that always fails is noticed even if the
    /// other never fails.
    breakers: [Breaker; Call::COUNT],
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Policy {
    pub(super) fn new(
        options: PolicyOptions,
        engine: Arc<Engine>,
        linked: Linked,
        sha256: [u8; 32],
        needs_store: bool,
    ) -> Self {
        let metrics = Arc::<Metrics>::default();
        let log = Arc::new(GuestLog::new(
            &options.server,
            &options.component,
            &options.limits,
            metrics.clone(),
            options.lines.clone(),
        ));
        let breakers = std::array::from_fn(|_| Breaker::new(options.breaker.clone()));
        let identity = Arc::new(Identity {
            component: options.component.clone(),
            sha256: digest::hex(&sha256),
            version: options.version,
        });
        let is_direct = linked.never_waits() && options.limits.time <= LONGEST_DIRECT;
        let was_slow = Arc::default();
        Self {
            options,
            engine,
            linked,
            sha256,
            identity,
            log,
            metrics,
            needs_store,
            is_direct,
            was_slow,
            breakers,
        }
    }

    /// The engine that it runs in.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(super) fn linked(&self) -> &Linked {
        &self.linked
    }

    /// Whether its next call may be made on the thread's own stack, which costs less than a stack of its
    /// own, but cannot yield to other sessions: not if a call has once taken long.
    pub(super) fn may_call_directly(&self) -> bool {
        self.is_direct && !self.was_slow.load(Ordering::Relaxed) && stack::remaining() >= self.engine.stack()
    }

    pub(super) fn was_slow(&self) -> &Arc<AtomicBool> {
        &self.was_slow
    }

    pub(super) fn lookups(&self) -> &Arc<dyn Lookups> {
        &self.options.lookups
    }

    pub(super) fn memory_ttl(&self) -> Duration {
        self.options.memory_ttl
    }

    pub(super) fn settings(&self) -> &[(String, String)] {
        &self.options.settings
    }

    pub(super) fn namespace(&self) -> &Namespace {
        &self.options.namespace
    }

    pub(super) fn log(&self) -> &Arc<GuestLog> {
        &self.log
    }

    pub(super) fn metrics_now(&self) -> &Metrics {
        &self.metrics
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.options.clock.now_ms()
    }

    pub(super) fn seed(&self) -> Option<u64> {
        self.options.seed
    }

    pub(super) fn isolation(&self) -> Isolation {
        self.options.isolation
    }

    pub(super) fn has_pool(&self, name: &str) -> bool {
        self.options.pools.iter().any(|pool| pool == name)
    }

    /// Whether it may be called now.
    pub(super) fn admit(&self, call: Call) -> Result<Admitted, Failure> {
        // Without its store the call could only fail.
        if self.needs_store
            && let Err(why) = self.options.namespace.ready()
        {
            let failure = Failure::Store(why.to_string());
            // The store has already logged it.
            let _ = self.metrics.failed(&failure);
            return Err(failure);
        }
        self.breakers[call as usize].admit(|| self.now_ms()).ok_or(Failure::Paused)
    }

    /// Counts and logs how a call ended.
    pub(super) fn ended<T>(
        &self,
        call: Call,
        admitted: Admitted,
        session: &str,
        result: &Result<T, Failure>,
    ) {
        let breaker = &self.breakers[call as usize];
        let (server, policy) = (&*self.options.server, &*self.options.component);
        let change = match result {
            Ok(_) => breaker.succeeded(admitted),
            Err(failure) => {
                if let Some(count) = self.metrics.failed(failure) {
                    tracing::warn!(
                        target: "policy",
                        server,
                        policy,
                        call = call.name(),
                        kind = failure.kind(),
                        count,
                        id = session,
                        "policy failed: {failure}"
                    );
                }
                if !failure.counts_for_breaker() {
                    return;
                }
                breaker.failed(admitted, self.now_ms())
            }
        };
        match (change, result) {
            (Change::Paused { pause, again }, Err(failure)) => {
                self.metrics.paused();
                let meanwhile = match self.options.on_failure {
                    OnFailure::Pass => "logins pass meanwhile",
                    OnFailure::Deny => "logins are refused meanwhile",
                };
                let (pause_s, call) = (pause.as_secs_f64(), call.name());
                if again {
                    tracing::warn!(target: "policy", server, policy, call, pause_s, "a trial call failed too; the pause is extended: {failure}");
                } else {
                    tracing::error!(
                        target: "policy",
                        server,
                        policy,
                        call,
                        pause_s,
                        "POLICY PAUSED: it failed {} times in a row, the last time because {failure}; {meanwhile}",
                        self.options.breaker.failures
                    );
                }
            }
            (Change::Resumed, _) => {
                tracing::info!(target: "policy", server, policy, call = call.name(), "a trial call succeeded; the policy is active again");
            }
            _ => {}
        }
    }

    /// Resource limits.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// A built-in policy's name or a file's path.
    #[must_use]
    pub fn component_name(&self) -> &str {
        &self.options.component
    }

    /// SHA-256 of the component.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        self.sha256
    }

    /// Its identity, which may outlive the policy.
    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// Version: the number of policies that the virtual server has had, including this one.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.options.version
    }

    /// Whether the circuit breaker for `decide` is open.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.breakers[Call::Decide as usize].is_paused()
    }

    /// The metrics of all threads.
    #[must_use]
    pub fn metrics(&self) -> MetricsSnapshot {
        self.metrics.snapshot()
    }
}
