//! A virtual server as it is now: what all threads share of it, and what each has of its own.

use std::collections::HashMap;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::listening::Listening;
use super::loading::{Component, Running};
use super::stores::Store;
use crate::config::{CleartextLogin, VirtualServerConfig};
use crate::net::{Admission, TlsAcceptor};
use crate::pool::Pool;
use crate::session::{Context, Counters, Door, Offers, Pollers, Settings, Telling, UnrelievedUsers};
use reprieve_policy_host::Verify;
use reprieve_policy_host::{Judge, Policy, Shadow};
use reprieve_pop3::credential::Mechanism;
use reprieve_store::Namespace;
use reprieve_store::clock::Clock;

/// The pools of a configuration, by name.
pub(super) type Pools = Arc<HashMap<String, Arc<Pool>>>;

/// What all threads share of a virtual server.
#[derive(Clone, Debug)]
pub(super) struct VirtualServer {
    pub(super) config: VirtualServerConfig,
    pub(super) settings: Arc<Settings>,
    pub(super) tls: Option<Arc<TlsAcceptor>>,
    pub(super) policy: Arc<Policy>,
    /// The bytes of its component.
    pub(super) component: Component,
    /// What was in force before, for going back to it.
    pub(super) before: Option<Running>,
    pub(super) shadow: Option<Arc<Shadow>>,
    pub(super) pool: Arc<Pool>,
    pub(super) store: Store,
    pub(super) namespace: Namespace,
    pub(super) admission: Arc<Admission>,
    pub(super) counters: Arc<Counters>,
    /// Who polls most, where that is counted.
    pub(super) pollers: Option<Arc<Pollers>>,
    /// Users whose denied logins pass all the same.
    pub(super) unrelieved: Arc<UnrelievedUsers>,
}

impl VirtualServer {
    /// Its policy, to go back to.
    pub(super) fn running(&self) -> Running {
        Running { config: self.config.policy.clone(), component: self.component.clone() }
    }

    /// What sessions of one thread have of it.
    pub(super) fn context(
        &self,
        judge: Arc<Judge>,
        pools: &Pools,
        (clock, telling): (&Arc<dyn Clock>, &Telling),
        drain: &CancellationToken,
    ) -> Arc<Context> {
        Arc::new(Context {
            settings: self.settings.clone(),
            judge,
            shadow: self.shadow.clone(),
            pools: pools.clone(),
            pool: self.pool.clone(),
            registry: self.store.registry.clone(),
            tagger: self.store.tagger.clone(),
            clock: clock.clone(),
            counters: self.counters.clone(),
            telling: telling.clone(),
            pollers: self.pollers.clone(),
            unrelieved: self.unrelieved.clone(),
            drain: drain.clone(),
        })
    }
}

/// A virtual server that is served.
#[derive(Clone, Debug)]
pub(super) struct Served {
    pub(super) shared: VirtualServer,
    /// One for each thread.
    pub(super) doors: Vec<Arc<Door>>,
    pub(super) listening: Vec<Arc<Listening>>,
}

/// The protocol settings of a virtual server, ready for use.
pub(super) fn settings(server: &VirtualServerConfig, tls: Option<Arc<TlsAcceptor>>) -> Settings {
    if server.verify == Verify::Off {
        tracing::warn!(server = server.name, "{}", crate::config::VERIFY_OFF);
    }
    let by_default = if tls.is_some() { CleartextLogin::Deny } else { CleartextLogin::Allow };
    Settings {
        name: server.name.as_str().into(),
        banner: format!("+OK {}", server.banner).into_bytes().into_boxed_slice(),
        offers: Offers::new(server.login_delay.map(|delay| delay.as_secs()), server.mechanisms),
        cleartext_login: server.cleartext_login.unwrap_or(by_default),
        tls,
        proxy_from: server.proxy_from.clone(),
        proxy_timeout: server.proxy_timeout,
        apop: server.mechanisms.contains(Mechanism::Apop),
        unverifiable: server.unverifiable,
        master_separator: server.master_separator,
        time_zone: server.time_zone.clone(),
        verify: server.verify,
        on_failure: server.policy.on_failure,
        on_unreachable: server.on_unreachable,
        login_timeout: server.login_timeout,
        idle_timeout: server.idle_timeout,
        stall_timeout: server.stall_timeout,
        max_bad_commands: server.max_bad_commands,
        max_bad_commands_before_login: server.max_bad_commands_before_login,
        max_failed_logins: server.max_failed_logins,
        max_rejected_logins: server.max_rejected_logins,
        name_case: server.name_case,
        pool: server.pool.clone(),
    }
}
