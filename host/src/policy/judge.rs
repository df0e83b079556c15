//! A virtual server's policy: loaded once, and asked on each thread by a judge with instances
//! of its own.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Semaphore;
use wasmtime::component::{Component, Linker};

use super::engine::Engine;
use super::failure::Failure;
use super::guestlog::GuestLog;
use super::instance::{Instance, State};
use super::limits::{self, Limits};
use super::{Login, Outcome, Verdict, bindings};
use crate::clock::Clock;
use crate::store::Namespace;

/// What happens to a login that a failed policy has not judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It passes: mail must flow.
    Pass,
    /// It is refused for now.
    Deny,
}

/// Everything that a policy is loaded with.
#[derive(Debug)]
pub struct PolicyOptions {
    /// Name of the virtual server, for log lines.
    pub server: String,
    /// A built-in policy's name or a file's path, for messages.
    pub component: String,
    /// Settings in their order.
    pub settings: Vec<(String, String)>,
    /// What it may use.
    pub limits: Limits,
    /// Its part of the store.
    pub namespace: Namespace,
    /// The time that it is started with.
    pub clock: Arc<dyn Clock>,
    /// Names of the pools that it may choose.
    pub pools: Vec<String>,
}

/// Why a policy could not be loaded: one sentence for the administrator.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The octets are no component that this host can run.
    #[error("policy {component}: {why}")]
    Component {
        /// What was to be loaded.
        component: String,
        /// What is wrong with it.
        why: String,
    },
    /// It refuses its settings, in its own words.
    #[error("policy {component} refuses its settings: {why}")]
    Settings {
        /// What was to be loaded.
        component: String,
        /// What it says.
        why: String,
    },
}

/// A policy that is compiled, linked and was configured once.
pub struct Policy {
    options: PolicyOptions,
    engine: Arc<Engine>,
    component: bindings::PolicyPre<State>,
    log: Arc<GuestLog>,
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policy").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Policy {
    /// Compiles and links a component and tries it with its settings.
    ///
    /// # Errors
    /// Where it is no policy, or refuses its settings.
    pub async fn load(
        engine: Arc<Engine>,
        octets: &[u8],
        options: PolicyOptions,
    ) -> Result<Arc<Self>, LoadError> {
        let refuse = |why: String| LoadError::Component { component: options.component.clone(), why };
        if octets.len() >= 8 && octets.starts_with(b"\0asm") && octets[4..8] == [1, 0, 0, 0] {
            return Err(refuse(
                "it is a core WebAssembly module, not a component; make one of it with wasm-tools component new"
                    .to_owned(),
            ));
        }
        if !octets.starts_with(b"\0asm") {
            return Err(refuse("it is not WebAssembly".to_owned()));
        }
        let component = Component::from_binary(engine.wasmtime(), octets)
            .map_err(|error| refuse(format!("it cannot be compiled: {error:#}")))?;
        let mut linker = Linker::new(engine.wasmtime());
        let link = |linker: &mut Linker<State>| -> wasmtime::Result<()> {
            wasmtime_wasi::p2::add_to_linker_async(linker)?;
            bindings::Policy::add_to_linker::<_, wasmtime::component::HasSelf<_>>(linker, |state| state)
        };
        link(&mut linker).map_err(|error| refuse(format!("{error:#}")))?;
        let component = linker
            .instantiate_pre(&component)
            .and_then(bindings::PolicyPre::new)
            .map_err(|error| refuse(format!("it is no policy for this host: {error:#}")))?;
        let log = Arc::new(GuestLog::new(options.server.as_str().into()));
        let policy = Arc::new(Self { options, engine, component, log });
        match Instance::start(&policy).await {
            Ok(_) => Ok(policy),
            Err(Failure::Settings(why)) => {
                Err(LoadError::Settings { component: policy.options.component.clone(), why })
            }
            Err(failure) => Err(LoadError::Component {
                component: policy.options.component.clone(),
                why: failure.to_string(),
            }),
        }
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.engine
    }

    pub(super) fn component(&self) -> &bindings::PolicyPre<State> {
        &self.component
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

    pub(super) fn now_ms(&self) -> u64 {
        self.options.clock.now_ms()
    }

    /// What it may use.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.options.limits
    }

    /// A built-in policy's name or a file's path.
    #[must_use]
    pub fn component_name(&self) -> &str {
        &self.options.component
    }
}

/// Asks a policy, on one thread. Instances are made when they are needed, and kept.
pub struct Judge {
    policy: Arc<Policy>,
    idle: Mutex<Vec<Instance>>,
    places: Semaphore,
}

impl std::fmt::Debug for Judge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Judge").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Judge {
    /// A judge for one thread.
    #[must_use]
    pub fn new(policy: Arc<Policy>) -> Self {
        let places = Semaphore::new(policy.limits().instances);
        Self { policy, idle: Mutex::new(Vec::new()), places }
    }

    /// Has an instance ready, so that the first login pays nothing for it.
    ///
    /// # Errors
    /// Where the policy cannot be started.
    pub async fn warm_up(&self) -> Result<(), Failure> {
        let instance = Instance::start(&self.policy).await?;
        self.idle.lock().push(instance);
        Ok(())
    }

    /// Asks for a verdict.
    ///
    /// # Errors
    /// Where the call failed, or its verdict cannot be carried out.
    pub async fn decide(&self, login: &Login) -> Result<Verdict, Failure> {
        let _place = self.place().await?;
        let mut instance = self.instance().await?;
        let verdict = instance.decide(&self.policy, login).await?;
        self.keep(instance);
        self.check(verdict)
    }

    /// Tells what became of a passed login.
    ///
    /// # Errors
    /// Where the call failed.
    pub async fn observe(&self, outcome: &Outcome) -> Result<(), Failure> {
        let _place = self.place().await?;
        let mut instance = self.instance().await?;
        instance.observe(&self.policy, outcome).await?;
        self.keep(instance);
        Ok(())
    }

    async fn place(&self) -> Result<tokio::sync::SemaphorePermit<'_>, Failure> {
        if let Ok(place) = self.places.try_acquire() {
            return Ok(place);
        }
        let limits = self.policy.limits();
        match tokio::time::timeout(limits.wait, self.places.acquire()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err(Failure::Busy(limits.instances)),
        }
    }

    async fn instance(&self) -> Result<Instance, Failure> {
        let idle = self.idle.lock().pop();
        match idle {
            Some(instance) => Ok(instance),
            None => Instance::start(&self.policy).await,
        }
    }

    fn keep(&self, instance: Instance) {
        if !instance.is_worn(&self.policy) {
            self.idle.lock().push(instance);
        }
    }

    /// A verdict comes from a stranger: what cannot be carried out safely is a failure.
    fn check(&self, mut verdict: Verdict) -> Result<Verdict, Failure> {
        let most = u32::try_from(self.policy.limits().delay.as_millis()).unwrap_or(u32::MAX);
        match &mut verdict {
            Verdict::Pass(pass) => {
                pass.delay_ms = pass.delay_ms.min(most);
                if let Some(pool) = &pass.pool
                    && !self.policy.options.pools.contains(pool)
                {
                    return Err(Failure::Verdict(format!("there is no pool {}", excerpt(pool))));
                }
                if let Some(user) = &pass.user
                    && (user.trim().is_empty() || user.len() > 248 || user.chars().any(char::is_control))
                {
                    return Err(Failure::Verdict(format!("{} cannot be a user name", excerpt(user))));
                }
                if pass.note.as_ref().is_some_and(|note| note.len() > limits::NOTE) {
                    return Err(Failure::Verdict(format!("its note is longer than {} octets", limits::NOTE)));
                }
            }
            Verdict::Deny(deny) => {
                deny.delay_ms = deny.delay_ms.min(most);
                let fits = |reason: &str| {
                    reason.len() <= limits::REASON
                        && reason.bytes().all(|octet| matches!(octet, b'a'..=b'z' | b'0'..=b'9' | b'-'))
                };
                if !fits(&deny.reason) {
                    return Err(Failure::Verdict(format!(
                        "its reason {} is not made of lower-case letters, digits and hyphens",
                        excerpt(&deny.reason)
                    )));
                }
            }
        }
        Ok(verdict)
    }
}

fn excerpt(text: &str) -> String {
    format!("{:?}", text.chars().take(40).collect::<String>())
}
