//! Loads a configured policy: reads, compiles, configures and tries it.

use std::borrow::Cow;
use std::sync::Arc;

use anyhow::Context as _;

use super::lookups::ForPolicies;
use super::stores::OpenedStore;
use super::virtual_server::rules;
use crate::config::{Config, PolicyConfig, VirtualServerConfig};
use reprieve_lookup::Tables;
use reprieve_policy_host::{self as policy, Engine, Policy, PolicyOptions, Shadow};
use reprieve_store::clock::Clock;
use reprieve_store::{Namespace, NamespaceConfig};

/// What a policy was loaded from: its configuration and the component's bytes.
#[derive(Clone)]
pub(super) struct PolicySource {
    pub(super) config: PolicyConfig,
    pub(super) component: Component,
}

impl std::fmt::Debug for PolicySource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PolicySource").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Bytes of a component, kept for `swap --back`, because the file may have changed by then.
pub(super) type Component = Arc<Cow<'static, [u8]>>;

/// Loads the policies of one virtual server.
pub(super) struct PolicyLoader<'a> {
    pub(super) engine: Arc<Engine>,
    pub(super) server: &'a VirtualServerConfig,
    /// 1 for the first policy; each replacement adds 1.
    pub(super) version: u64,
    pub(super) config: &'a Config,
    pub(super) clock: &'a Arc<dyn Clock>,
    /// The virtual server's tables.
    pub(super) lookups: &'a Tables,
}

impl PolicyLoader<'_> {
    /// Loads the virtual server's policy from its configured source.
    pub(super) async fn load(self, namespace: Namespace) -> anyhow::Result<(Arc<Policy>, Component)> {
        let component = Arc::new(self.bytes(&self.server.policy)?);
        self.load_from(component, namespace).await
    }

    /// Loads the virtual server's policy from these bytes.
    pub(super) async fn load_from(
        self,
        component: Component,
        namespace: Namespace,
    ) -> anyhow::Result<(Arc<Policy>, Component)> {
        let policy = &self.server.policy;
        let loaded = self.load_as(&self.server.name, policy, &component, namespace).await?;
        Ok((loaded, component))
    }

    /// Loads and starts a shadow policy.
    pub(super) async fn load_shadow(
        self,
        policy: &PolicyConfig,
        store: &OpenedStore,
    ) -> anyhow::Result<Arc<Shadow>> {
        let bytes = self.bytes(policy)?;
        // A namespace per component, so that a shadow policy never reads another one's data.
        let digest = policy::digest::hex(&policy::digest::of(&bytes));
        let name = format!("shadow:{}:{}", self.server.name, &digest[..16]);
        let namespace = store.store.namespace(NamespaceConfig::for_policies(&name, policy.store_quota));
        let named = format!("{} (shadow)", self.server.name);
        let loaded = self.load_as(&named, policy, &bytes, namespace).await?;
        Shadow::start(loaded, &self.server.name, rules(self.server))
            .context("cannot start a thread for a shadow policy")
    }

    fn bytes(&self, policy: &PolicyConfig) -> anyhow::Result<Cow<'static, [u8]>> {
        let source = policy::load_source(&policy.component);
        source.map_err(|why| anyhow::anyhow!("{}: {why}", self.location(policy)))
    }

    fn location(&self, policy: &PolicyConfig) -> String {
        format!("{}: virtual server {}", policy.location, self.server.name)
    }

    async fn load_as(
        &self,
        name: &str,
        policy: &PolicyConfig,
        bytes: &[u8],
        namespace: Namespace,
    ) -> anyhow::Result<Arc<Policy>> {
        let options = PolicyOptions {
            sha256: policy.sha256,
            settings: policy.settings.clone(),
            limits: policy.limits.clone(),
            isolation: policy.isolation,
            breaker: policy.breaker.clone(),
            on_failure: policy.on_failure,
            pools: self.config.pools.iter().map(|pool| pool.name.clone()).collect(),
            version: self.version,
            lookups: Arc::new(ForPolicies(self.lookups.clone())),
            memory_ttl: self.config.credential_ttl,
            ..PolicyOptions::new(name, &policy.component, namespace, self.clock.clone())
        };
        Policy::load(self.engine.clone(), bytes, options)
            .await
            .map_err(|error| anyhow::anyhow!("{}: {error}", self.location(policy)))
    }
}
