//! An active virtual server: its shared part, and its per-thread parts.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio_util::sync::CancellationToken;

use super::listener::Listener;
use super::loading::{Component, PolicySource};
use super::stores::OpenedStore;
use crate::config::{CleartextLogin, VirtualServerConfig};
use crate::net::{Admission, TlsAcceptor};
use crate::pool::Pool;
use crate::session::{
    AllPools, Context, ContextHandle, Counters, Evaluator, OfferedCapabilities, Pollers, Settings, Sinks,
    UnrelievedUsers,
};
use reprieve_lookup::Tables;
use reprieve_policy_host::{Policy, Rules, Shadow, Verify};
use reprieve_pop3::credential::Mechanism;
use reprieve_store::Namespace;
use reprieve_store::clock::Clock;

/// The pools of a configuration, by name.
pub(super) type Pools = Arc<AllPools>;

/// The part of a virtual server that all threads share.
#[derive(Clone, Debug)]
pub(super) struct VirtualServer {
    pub(super) config: VirtualServerConfig,
    pub(super) settings: Arc<Settings>,
    pub(super) tls: Option<Arc<TlsAcceptor>>,
    pub(super) policy: Arc<Policy>,
    /// The bytes of its component.
    pub(super) component: Component,
    /// The policy that was replaced last, for `swap --back`.
    pub(super) previous_policy: Option<PolicySource>,
    pub(super) shadow: Option<Arc<Shadow>>,
    pub(super) pool: Arc<Pool>,
    pub(super) store: OpenedStore,
    pub(super) namespace: Namespace,
    pub(super) admission: Arc<Admission>,
    pub(super) counters: Arc<Counters>,
    pub(super) lookups: Tables,
    /// Poll counts per user, if `admin.top-pollers` is on.
    pub(super) pollers: Option<Arc<Pollers>>,
    /// Users whose denied logins pass nevertheless.
    pub(super) unrelieved: Arc<UnrelievedUsers>,
}

impl VirtualServer {
    /// What the active policy was loaded from.
    pub(super) fn policy_source(&self) -> PolicySource {
        PolicySource { config: self.config.policy.clone(), component: self.component.clone() }
    }

    /// Builds the context for the sessions of one thread.
    pub(super) fn context(
        &self,
        evaluator: Arc<Evaluator>,
        pools: &Pools,
        (clock, sinks): (&Arc<dyn Clock>, &Sinks),
        (drain, handed_over): (&CancellationToken, &Arc<AtomicBool>),
    ) -> Arc<Context> {
        Arc::new(Context {
            settings: self.settings.clone(),
            evaluator,
            shadow: self.shadow.clone(),
            pools: pools.clone(),
            pool: self.pool.clone(),
            registry: self.store.registry.clone(),
            tagger: self.store.tagger.clone(),
            clock: clock.clone(),
            counters: self.counters.clone(),
            sinks: sinks.clone(),
            pollers: self.pollers.clone(),
            unrelieved: self.unrelieved.clone(),
            drain: drain.clone(),
            handed_over: handed_over.clone(),
        })
    }
}

/// A virtual server that accepts connections.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) shared: VirtualServer,
    /// One for each thread.
    pub(super) handles: Vec<Arc<ContextHandle>>,
    pub(super) listeners: Vec<Arc<Listener>>,
}

/// Builds the protocol settings of a virtual server.
pub(super) fn settings(server: &VirtualServerConfig, tls: Option<Arc<TlsAcceptor>>) -> Settings {
    if server.verify == Verify::Off {
        tracing::warn!(server = server.name, "{}", crate::config::VERIFY_OFF);
    }
    let by_default = if tls.is_some() { CleartextLogin::Deny } else { CleartextLogin::Allow };
    Settings {
        name: server.name.as_str().into(),
        banner: format!("+OK {}", server.banner).into_bytes().into_boxed_slice(),
        offers: OfferedCapabilities::new(server.login_delay.map(|delay| delay.as_secs()), server.mechanisms),
        cleartext_login: server.cleartext_login.unwrap_or(by_default),
        tls,
        proxy_from: server.proxy_from.clone(),
        proxy_timeout: server.proxy_timeout,
        apop: server.mechanisms.contains(Mechanism::Apop),
        master_separator: server.master_separator,
        time_zone: server.time_zone.clone(),
        rules: rules(server),
        on_unreachable: server.on_unreachable,
        login_timeout: server.login_timeout,
        idle_timeout: server.idle_timeout,
        stall_timeout: server.stall_timeout,
        max_bad_commands: server.max_bad_commands,
        max_bad_commands_before_login: server.max_bad_commands_before_login,
        max_failed_logins: server.max_failed_logins,
        max_rejected_logins: server.max_rejected_logins,
        name_spelling: server.name_spelling.clone(),
        pool: server.pool.clone(),
    }
}

/// Settings that determine the disposition of verdicts.
pub(super) fn rules(server: &VirtualServerConfig) -> Rules {
    Rules { verify: server.verify, on_failure: server.policy.on_failure, unverifiable: server.unverifiable }
}
