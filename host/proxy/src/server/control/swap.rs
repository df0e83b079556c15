//! Another policy for one virtual server.

use serde::{Deserialize, Serialize};

use super::{Control, NotChanged};
use crate::config::{PolicyConfig, VirtualServerConfig};
use crate::server::core::{Changing, Present};
use crate::server::loading::{Component, Seat};
use crate::server::runtime;
use crate::server::virtual_server::VirtualServer;
use reprieve_policy_host::digest;

/// A policy that is to judge at a virtual server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// A built-in policy's name or a file's path, as the server's process sees it.
    pub component: String,
    /// Its settings; without them it gets those of the policy that it takes the place of.
    #[serde(default)]
    pub settings: Option<Vec<(String, String)>>,
    /// SHA-256 that the component must have, in hexadecimal.
    #[serde(default)]
    pub sha256: Option<String>,
}

impl Change {
    /// What comes of a policy's configuration.
    fn of(&self, before: &PolicyConfig, place: &str) -> Result<PolicyConfig, NotChanged> {
        let pinned = self.sha256.as_deref().map(|text| {
            digest::from_hex(text).ok_or_else(|| {
                NotChanged::Refused(format!("{text:?} is no SHA-256 in 64 hexadecimal digits"))
            })
        });
        Ok(PolicyConfig {
            component: self.component.clone(),
            sha256: pinned.transpose()?,
            settings: self.settings.clone().unwrap_or_else(|| before.settings.clone()),
            place: place.into(),
            ..before.clone()
        })
    }
}

impl Control {
    /// Has another policy judge at a virtual server. It is compiled, configured and tried before;
    /// then all logins that come are judged by it, and sessions that were judged by the one
    /// before end with that one.
    ///
    /// # Errors
    /// Why it cannot judge; the one before goes on.
    pub fn swap(&self, server: &str, change: &Change) -> Result<(), NotChanged> {
        let changing = self.core.change().ok_or(NotChanged::Ending)?;
        let present = self.core.present.load_full();
        let index = self.find(&present, server)?;
        let policy = change.of(&present.servers[index].shared.config.policy, "swap")?;
        self.judge_by(&changing, &present, index, (policy, None))
    }

    /// Has the policy judge again that was swapped out last, byte for byte as it ran.
    ///
    /// # Errors
    /// If there is none, or it cannot be loaded any more.
    pub fn swap_back(&self, server: &str) -> Result<(), NotChanged> {
        let changing = self.core.change().ok_or(NotChanged::Ending)?;
        let present = self.core.present.load_full();
        let index = self.find(&present, server)?;
        let before = present.servers[index].shared.before.clone();
        let before = before.ok_or_else(|| {
            NotChanged::Refused(format!(
                "virtual server {server} has had no policy but this one since the start"
            ))
        })?;
        self.judge_by(&changing, &present, index, (before.config, Some(before.component)))
    }

    /// `component`: its bytes, if they are not read from where the configuration says.
    fn judge_by(
        &self,
        changing: &Changing,
        present: &Present,
        index: usize,
        (policy, component): (PolicyConfig, Option<Component>),
    ) -> Result<(), NotChanged> {
        let before = &present.servers[index].shared;
        let config = VirtualServerConfig { policy, ..before.config.clone() };
        let version = before.policy.version() + 1;
        let engine = changing.engines.succeeding(Some(&before.policy), &config.policy.limits)?;
        let seat =
            Seat { engine, server: &config, version, config: &present.config, clock: &self.core.clock };
        let namespace = before.namespace.clone();
        let (policy, component) = runtime()?.block_on(async {
            match component {
                Some(component) => seat.load_from(component, namespace).await,
                None => seat.load(namespace).await,
            }
        })?;
        let replaced = Some(before.running());
        tracing::info!(
            server = config.name,
            from = before.policy.component_name(),
            to = policy.component_name(),
            sha256 = digest::hex(&policy.sha256()),
            version,
            "policy swapped"
        );
        self.replace(
            present,
            index,
            VirtualServer { policy, component, before: replaced, config, ..before.clone() },
        )
    }

    /// Has a policy judge beside the one in force, unfelt; None ends that.
    ///
    /// # Errors
    /// Why it cannot judge; what was there before goes on.
    pub fn shadow(&self, server: &str, change: Option<&Change>) -> Result<(), NotChanged> {
        let changing = self.core.change().ok_or(NotChanged::Ending)?;
        let present = self.core.present.load_full();
        let index = self.find(&present, server)?;
        let before = &present.servers[index].shared;
        let mut config = before.config.clone();
        config.shadow = match change {
            Some(change) => {
                // What it is not told it has as the policy in force.
                let like = before.config.shadow.as_ref().unwrap_or(&before.config.policy);
                Some(change.of(like, "shadow")?)
            }
            None => None,
        };
        let shadow = match &config.shadow {
            Some(shadow) => {
                let engine = changing.engines.for_shadow(&shadow.limits)?;
                let version = before.shadow.as_ref().map_or(0, |shadow| shadow.policy().version()) + 1;
                let seat = Seat {
                    engine,
                    server: &config,
                    version,
                    config: &present.config,
                    clock: &self.core.clock,
                };
                Some(runtime()?.block_on(seat.load_shadow(shadow, &before.store))?)
            }
            None => None,
        };
        match &shadow {
            Some(shadow) => {
                tracing::info!(server, policy = shadow.policy().component_name(), "in the shadow");
            }
            None => tracing::info!(server, "nothing in the shadow any more"),
        }
        self.replace(&present, index, VirtualServer { shadow, config, ..before.clone() })
    }
}

/// Whether two policies would be one: the same octets, with the same settings.
pub(super) fn is_same(
    running: &reprieve_policy_host::Policy,
    of: &PolicyConfig,
    wanted: &PolicyConfig,
) -> bool {
    of == wanted
        && reprieve_policy_host::load_source(&wanted.component)
            .is_ok_and(|octets| digest::of(&octets) == running.sha256())
}
