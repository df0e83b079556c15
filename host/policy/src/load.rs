//! Loads a policy: checks, compiles, links and configures a component.

use std::sync::Arc;

use wasmtime::component::Linker;

use super::component::{Policy, PolicyOptions};
use super::component_info::one_line;
use super::contract::{Linked, Version};
use super::digest;
use super::engine::Engine;
use super::failure::Failure;
use super::guest_log::harmless;
use super::instance::{Instance, State};
use super::settings::{self, Setting};
use super::{ComponentInfo, compile, diagnostics, size_limits};

/// Bytes of a reason that are kept: the engine's own may quote names of the component.
const LONGEST_REASON: usize = 1024;

/// Why a policy could not be loaded, in one sentence for the administrator.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file is not a component that this host can run.
    #[error("policy {component}: {why}")]
    Component {
        /// The built-in name or path.
        component: String,
        /// The reason.
        why: String,
    },
    /// The policy refuses its settings.
    #[error("policy {component} refuses its settings: {why}")]
    Settings {
        /// The built-in name or path.
        component: String,
        /// The policy's own message.
        why: String,
    },
}

impl Policy {
    /// Compiles and links a component and configures it.
    ///
    /// # Errors
    /// If it does not have the pinned digest, is not a policy, or refuses its settings.
    pub async fn load(
        engine: Arc<Engine>,
        bytes: &[u8],
        options: PolicyOptions,
    ) -> Result<Arc<Self>, LoadError> {
        Prepared::new(engine, bytes, &options).await?.configure(options).await
    }
}

/// A compiled and linked component, which can be configured several times.
pub struct Prepared {
    engine: Arc<Engine>,
    linked: Linked,
    sha256: [u8; 32],
    needs_store: bool,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("sha256", &digest::hex(&self.sha256)).finish_non_exhaustive()
    }
}

impl Prepared {
    /// Compiles and links a component for these options; the settings are not used yet.
    ///
    /// # Errors
    /// If it does not have the pinned digest or is not a policy.
    pub async fn new(engine: Arc<Engine>, bytes: &[u8], options: &PolicyOptions) -> Result<Self, LoadError> {
        let refuse = |why: String| LoadError::Component {
            component: options.component.clone(),
            why: harmless(&one_line(&why), LONGEST_REASON),
        };
        let sha256 = digest::of(bytes);
        if options.sha256.is_some_and(|pinned| pinned != sha256) {
            return Err(refuse(format!(
                "it is not the component that `sha256` pins; its SHA-256 is {}",
                digest::hex(&sha256)
            )));
        }
        if bytes.len() as u64 > options.limits.component {
            return Err(refuse(format!(
                "it has {} bytes; the limit is {} (limits.component)",
                bytes.len(),
                options.limits.component
            )));
        }
        diagnostics::not_a_component(bytes).map_err(&refuse)?;
        let version = diagnostics::version(&ComponentInfo::of(bytes)).map_err(&refuse)?;
        let check = || size_limits::check(bytes);
        let component = compile::component(&engine, bytes, &sha256, check).await.map_err(&refuse)?;
        let imports = component.component_type();
        let imports_store =
            imports.imports(engine.wasmtime()).any(|(name, _)| name.starts_with("reprieve:policy/store"));
        // What is remembered about users is read for each call.
        let needs_store = imports_store || version == Version::V0_2;
        let linked = wasi_linker(engine.wasmtime())
            .and_then(|linker| {
                Linked::new(version, linker, &component, options.namespace.completes_immediately())
            })
            .map_err(|error| refuse(diagnostics::not_linked(&error)))?;
        Ok(Self { engine, linked, sha256, needs_store })
    }

    /// Configures it with the settings of these options.
    ///
    /// # Errors
    /// If it refuses its settings or cannot be started.
    pub async fn configure(&self, options: PolicyOptions) -> Result<Arc<Policy>, LoadError> {
        let (engine, linked) = (self.engine.clone(), self.linked.clone());
        let policy = Arc::new(Policy::new(options, engine, linked, self.sha256, self.needs_store));
        match start(&policy).await {
            Ok(()) => Ok(policy),
            Err(failure) => Err(LoadError::of(&policy, failure)),
        }
    }

    /// The settings that the policy describes; empty if it describes none.
    ///
    /// # Errors
    /// If it cannot be started.
    pub async fn describe(&self, options: PolicyOptions) -> Result<Vec<Setting>, LoadError> {
        let (engine, linked) = (self.engine.clone(), self.linked.clone());
        let policy = Policy::new(options, engine, linked, self.sha256, self.needs_store);
        let described = Instance::describe(&policy).await;
        described.map(Option::unwrap_or_default).map_err(|failure| LoadError::of(&policy, failure))
    }
}

/// Checks the settings against their description, if there is one, and starts an instance.
async fn start(policy: &Policy) -> Result<(), Failure> {
    if let Some(described) = Instance::describe(policy).await? {
        let checked = settings::check(&described, policy.settings());
        checked.map_err(|why| Failure::Settings(harmless(&why, LONGEST_REASON)))?;
    }
    Instance::start(policy).await.map(drop)
}

impl LoadError {
    fn of(policy: &Policy, failure: Failure) -> Self {
        let component = policy.component_name().to_owned();
        match failure {
            Failure::Settings(why) => Self::Settings { component, why },
            failure => Self::Component { component, why: failure.to_string() },
        }
    }
}

fn wasi_linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, EngineSize, Limits, load_source};
    use reprieve_store::Namespace;
    use reprieve_store::clock::ManualClock;

    const SIZE: EngineSize = EngineSize { memory: 16 << 20, stack: 512 << 10, instances: 2 };

    fn options(sha256: Option<[u8; 32]>) -> PolicyOptions {
        let clock = ManualClock::new(0);
        let namespace = Namespace::in_memory(1 << 20, clock.clone());
        PolicyOptions { sha256, ..PolicyOptions::new("pop3", "interval", namespace, clock) }
    }

    async fn load(cache: Option<&Cache>, sha256: Option<[u8; 32]>) -> Result<Arc<Policy>, LoadError> {
        let bytes = load_source("interval").unwrap();
        Policy::load(Engine::new(SIZE, cache).unwrap(), &bytes, options(sha256)).await
    }

    #[tokio::test]
    async fn a_component_without_the_pinned_digest_is_refused() {
        let policy = load(None, None).await.unwrap();
        load(None, Some(policy.sha256())).await.unwrap();
        let error = load(None, Some([0; 32])).await.unwrap_err().to_string();
        assert!(error.contains(&digest::hex(&policy.sha256())), "{error}");
    }

    /// A call on a stack of its own costs more than the decision itself.
    #[tokio::test]
    async fn built_in_policies_are_called_directly() {
        for name in crate::builtin_names() {
            let bytes = load_source(name).unwrap();
            let policy = Policy::load(Engine::new(SIZE, None).unwrap(), &bytes, options(None)).await.unwrap();
            assert!(policy.may_call_directly(), "{name}");
        }
    }

    #[tokio::test]
    async fn the_limit_of_strings_holds_before_a_policy_is_configured() {
        let bytes = include_bytes!("../../../tests/fuzz/corpus/components/early");
        let limits = Limits { strings: 64 << 10, ..Limits::default() };
        let options = PolicyOptions { limits, ..options(None) };
        let loaded = Policy::load(Engine::new(SIZE, None).unwrap(), bytes, options).await;
        let error = loaded.unwrap_err().to_string();
        assert!(error.contains("limits.strings"), "{error}");
    }

    #[tokio::test]
    async fn what_a_policy_does_wrong_is_said_without_a_backtrace() {
        let bytes = include_bytes!("../../../tests/fuzz/corpus/components/facts");
        let options = PolicyOptions { settings: vec![("a".to_owned(), "b".to_owned())], ..options(None) };
        let loaded = Policy::load(Engine::new(SIZE, None).unwrap(), bytes, options).await;
        assert_eq!(
            loaded.unwrap_err().to_string(),
            "policy interval: it could not be started: it calls claim outside decide and observe"
        );
    }

    #[tokio::test]
    async fn compiled_code_is_cached_and_damaged_code_recompiled() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("compiled")).unwrap();
        load(Some(&cache), None).await.unwrap();
        assert_eq!(cache.hits_and_misses(), (0, 1));
        load(Some(&cache), None).await.unwrap();
        assert_eq!(cache.hits_and_misses(), (1, 1));
        let mut damaged = 0;
        let mut folders = vec![folder.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|ending| ending == "code") {
                    let whole = std::fs::read(&path).unwrap();
                    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
                    damaged += 1;
                }
            }
        }
        assert_eq!(damaged, 1);
        load(Some(&cache), None).await.unwrap();
        assert_eq!(cache.hits_and_misses(), (1, 2), "it is not run");
    }
}
