//! From octets to a policy that was tried: checked, compiled, linked, configured once.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::component::{Component, Linker};

use super::bindings;
use super::component::{Policy, PolicyOptions};
use super::digest;
use super::engine::Engine;
use super::failure::Failure;
use super::instance::{Instance, State};
use super::misfit;

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
        let refuse = |why: String| LoadError::Component { component: options.component.clone(), why };
        let sha256: [u8; 32] = Sha256::digest(octets).into();
        if options.sha256.is_some_and(|pinned| pinned != sha256) {
            return Err(refuse(format!(
                "it is not the component that `sha256` pins; its SHA-256 is {}",
                digest::hex(&sha256)
            )));
        }
        misfit::not_a_component(octets).map_err(&refuse)?;
        let component = Component::from_binary(engine.wasmtime(), octets)
            .map_err(|error| refuse(misfit::not_compiled(&error)))?;
        misfit::not_linked(engine.wasmtime(), &component).map_err(&refuse)?;
        let component = linker(engine.wasmtime())
            .and_then(|linker| linker.instantiate_pre(&component))
            .and_then(bindings::PolicyPre::new)
            .map_err(|error| refuse(format!("it is no policy for this host: {error:#}")))?;
        let policy = Arc::new(Self::new(options, engine, component, sha256));
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

fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    bindings::Policy::add_to_linker::<_, wasmtime::component::HasSelf<_>>(&mut linker, |state| state)?;
    Ok(linker)
}
