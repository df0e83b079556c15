//! Replaces the policy, or the shadow policy, of a virtual server.

use serde::{Deserialize, Serialize};

use super::{ChangeError, Control};
use crate::config::{PolicyConfig, VirtualServerConfig};
use crate::server::core::{ActiveConfig, ChangeResources};
use crate::server::loading::{Component, PolicyLoader};
use crate::server::runtime;
use crate::server::virtual_server::VirtualServer;
use reprieve_policy_host::digest;

/// A new policy for a virtual server: body of the admin routes for swap and shadow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyChange {
    /// Name of a built-in policy, or path of a component as seen by the server process.
    pub component: String,
    /// Settings; if None, those of the policy that is replaced.
    #[serde(default)]
    pub settings: Option<Vec<(String, String)>>,
    /// Expected SHA-256 of the component, in hexadecimal.
    #[serde(default)]
    pub sha256: Option<String>,
}

impl PolicyChange {
    /// Applies the change to the configuration of the policy that is replaced.
    fn apply_to(&self, before: &PolicyConfig, location: &str) -> Result<PolicyConfig, ChangeError> {
        let pinned = self.sha256.as_deref().map(|text| {
            digest::from_hex(text).ok_or_else(|| {
                ChangeError::Refused(format!("{text:?} is not a SHA-256 of 64 hexadecimal digits"))
            })
        });
        Ok(PolicyConfig {
            component: self.component.clone(),
            sha256: pinned.transpose()?,
            settings: self.settings.clone().unwrap_or_else(|| before.settings.clone()),
            location: location.into(),
            ..before.clone()
        })
    }
}

impl Control {
    /// Replaces the policy of a virtual server. The new policy is compiled, configured and tried
    /// first. Sessions that were judged by the old policy report their outcome to it.
    ///
    /// # Errors
    /// If the new policy cannot be used; the old one stays active.
    pub fn swap(&self, server: &str, change: &PolicyChange) -> Result<(), ChangeError> {
        let resources = self.core.begin_change().ok_or(ChangeError::Draining)?;
        let active = self.core.active.load_full();
        let index = self.find(&active, server)?;
        let policy = change.apply_to(&active.servers[index].shared.config.policy, "swap")?;
        self.swap_to(&resources, &active, index, (policy, None))
    }

    /// Restores the policy that was replaced last, from the bytes that ran.
    ///
    /// # Errors
    /// If there is none, or it cannot be loaded.
    pub fn swap_back(&self, server: &str) -> Result<(), ChangeError> {
        let resources = self.core.begin_change().ok_or(ChangeError::Draining)?;
        let active = self.core.active.load_full();
        let index = self.find(&active, server)?;
        let before = active.servers[index].shared.previous_policy.clone();
        let before = before.ok_or_else(|| {
            ChangeError::Refused(format!(
                "the policy of virtual server {server} has not been swapped since the start"
            ))
        })?;
        self.swap_to(&resources, &active, index, (before.config, Some(before.component)))
    }

    /// `component`: its bytes; if None, they are read from the configured source.
    fn swap_to(
        &self,
        resources: &ChangeResources,
        active: &ActiveConfig,
        index: usize,
        (policy, component): (PolicyConfig, Option<Component>),
    ) -> Result<(), ChangeError> {
        let before = &active.servers[index].shared;
        let config = VirtualServerConfig { policy, ..before.config.clone() };
        let version = before.policy.version() + 1;
        let engine = resources.engines.for_successor(Some(&before.policy), &config.policy.limits)?;
        let loader = PolicyLoader {
            engine,
            server: &config,
            version,
            config: &active.config,
            clock: &self.core.clock,
            lookups: &before.lookups,
        };
        let namespace = before.namespace.clone();
        let (policy, component) = runtime()?.block_on(async {
            match component {
                Some(component) => loader.load_from(component, namespace).await,
                None => loader.load(namespace).await,
            }
        })?;
        let replaced = Some(before.policy_source());
        tracing::info!(
            server = config.name,
            from = before.policy.component_name(),
            to = policy.component_name(),
            sha256 = digest::hex(&policy.sha256()),
            version,
            "policy swapped"
        );
        self.replace(
            active,
            index,
            VirtualServer { policy, component, previous_policy: replaced, config, ..before.clone() },
        )
    }

    /// Sets the shadow policy of a virtual server; None removes it.
    ///
    /// # Errors
    /// If the policy cannot be used; nothing is changed then.
    pub fn shadow(&self, server: &str, change: Option<&PolicyChange>) -> Result<(), ChangeError> {
        let resources = self.core.begin_change().ok_or(ChangeError::Draining)?;
        let active = self.core.active.load_full();
        let index = self.find(&active, server)?;
        let before = &active.servers[index].shared;
        let mut config = before.config.clone();
        config.shadow = match change {
            Some(change) => {
                // Settings and limits default to those of the current shadow or active policy.
                let like = before.config.shadow.as_ref().unwrap_or(&before.config.policy);
                Some(change.apply_to(like, "shadow")?)
            }
            None => None,
        };
        let shadow = match &config.shadow {
            Some(shadow) => {
                let engine = resources.engines.for_shadow(&shadow.limits)?;
                let version = before.shadow.as_ref().map_or(0, |shadow| shadow.policy().version()) + 1;
                let loader = PolicyLoader {
                    engine,
                    server: &config,
                    version,
                    config: &active.config,
                    clock: &self.core.clock,
                    lookups: &before.lookups,
                };
                Some(runtime()?.block_on(loader.load_shadow(shadow, &before.store))?)
            }
            None => None,
        };
        match &shadow {
            Some(shadow) => {
                tracing::info!(server, policy = shadow.policy().component_name(), "shadow policy set");
            }
            None => tracing::info!(server, "shadow policy removed"),
        }
        self.replace(&active, index, VirtualServer { shadow, config, ..before.clone() })
    }
}

/// Whether a running policy is the wanted one: same configuration and same bytes.
pub(super) fn is_same(
    running: &reprieve_policy_host::Policy,
    of: &PolicyConfig,
    wanted: &PolicyConfig,
) -> bool {
    of == wanted
        && reprieve_policy_host::load_source(&wanted.component)
            .is_ok_and(|bytes| digest::of(&bytes) == running.sha256())
}
