//! From octets to a policy that was tried: checked, compiled, linked, configured once.

use std::sync::Arc;

use wasmtime::component::Linker;

use super::component::{Policy, PolicyOptions};
use super::digest;
use super::engine::Engine;
use super::failure::Failure;
use super::instance::{Instance, State};
use super::{ComponentInfo, sync_store, bindings, compile, extent, diagnostics};

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

impl Policy {
    /// Compiles and links a component and tries it with its settings.
    ///
    /// # Errors
    /// Where it is not the one that was pinned, is no policy, or refuses its settings.
    pub async fn load(
        engine: Arc<Engine>,
        octets: &[u8],
        options: PolicyOptions,
    ) -> Result<Arc<Self>, LoadError> {
        Prepared::new(engine, octets, &options).await?.configure(options).await
    }
}

/// A component that is compiled and linked, and can be tried with several settings.
pub struct Prepared {
    engine: Arc<Engine>,
    component: bindings::PolicyPre<State>,
    sha256: [u8; 32],
    needs_store: bool,
}

impl std::fmt::Debug for Prepared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prepared").field("sha256", &digest::hex(&self.sha256)).finish_non_exhaustive()
    }
}

impl Prepared {
    /// Compiles and links a component for policies with these options, whatever their settings.
    ///
    /// # Errors
    /// Where it is not the one that was pinned, or is no policy.
    pub async fn new(engine: Arc<Engine>, octets: &[u8], options: &PolicyOptions) -> Result<Self, LoadError> {
        let refuse = |why: String| LoadError::Component { component: options.component.clone(), why };
        let sha256 = digest::of(octets);
        if options.sha256.is_some_and(|pinned| pinned != sha256) {
            return Err(refuse(format!(
                "it is not the component that `sha256` pins; its SHA-256 is {}",
                digest::hex(&sha256)
            )));
        }
        if octets.len() as u64 > options.limits.component {
            return Err(refuse(format!(
                "it has {} octets, more than its {} (limits.component)",
                octets.len(),
                options.limits.component
            )));
        }
        diagnostics::not_a_component(octets).map_err(&refuse)?;
        let check = || {
            diagnostics::not_a_policy(&ComponentInfo::of(octets))?;
            extent::check(octets)
        };
        let component = compile::component(&engine, octets, &sha256, check).await.map_err(&refuse)?;
        let imports = component.component_type();
        let needs_store =
            imports.imports(engine.wasmtime()).any(|(name, _)| name.starts_with("reprieve:policy/store"));
        let component = linker(engine.wasmtime(), options.namespace.completes_immediately())
            .and_then(|linker| linker.instantiate_pre(&component))
            .and_then(bindings::PolicyPre::new)
            .map_err(|error| refuse(format!("it is no policy for this host: {error:#}")))?;
        Ok(Self { engine, component, sha256, needs_store })
    }

    /// Tries it with the settings of these options.
    ///
    /// # Errors
    /// Where it refuses its settings, or cannot be started.
    pub async fn configure(&self, options: PolicyOptions) -> Result<Arc<Policy>, LoadError> {
        let (engine, component) = (self.engine.clone(), self.component.clone());
        let policy = Arc::new(Policy::new(options, engine, component, self.sha256, self.needs_store));
        match Instance::start(&policy).await {
            Ok(_) => Ok(policy),
            Err(Failure::Settings(why)) => {
                Err(LoadError::Settings { component: policy.component_name().to_owned(), why })
            }
            Err(failure) => Err(LoadError::Component {
                component: policy.component_name().to_owned(),
                why: failure.to_string(),
            }),
        }
    }
}

/// `is_sync`: every operation of the store is ready at once.
fn linker(engine: &wasmtime::Engine, is_sync: bool) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    bindings::Policy::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |state| state)?;
    if is_sync {
        sync_store::link(&mut linker)?;
    }
    Ok(linker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cache, EngineSize, load_source};
    use reprieve_store::Namespace;
    use reprieve_store::clock::ManualClock;

    const SIZE: EngineSize = EngineSize { memory: 16 << 20, stack: 512 << 10, instances: 2 };

    fn options(sha256: Option<[u8; 32]>) -> PolicyOptions {
        let clock = ManualClock::new(0);
        let namespace = Namespace::in_memory(1 << 20, clock.clone());
        PolicyOptions { sha256, ..PolicyOptions::new("pop3", "interval", namespace, clock) }
    }

    async fn load(cache: Option<&Cache>, sha256: Option<[u8; 32]>) -> Result<Arc<Policy>, LoadError> {
        let octets = load_source("interval").unwrap();
        Policy::load(Engine::new(SIZE, cache).unwrap(), &octets, options(sha256)).await
    }

    #[tokio::test]
    async fn a_component_that_is_not_the_pinned_one_is_refused_with_its_digest() {
        let policy = load(None, None).await.unwrap();
        load(None, Some(policy.sha256())).await.unwrap();
        let error = load(None, Some([0; 32])).await.unwrap_err().to_string();
        assert!(error.contains(&digest::hex(&policy.sha256())), "{error}");
    }

    #[tokio::test]
    async fn compiled_code_is_kept_and_damaged_code_is_made_anew() {
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
