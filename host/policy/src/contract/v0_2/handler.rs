//! The interface `handler`, which every policy exports.
//!
//! Its functions are not called through the bindings because these know only one way to call: on a stack of
//! its own (a fiber), so that the call can wait. Most calls do not wait, and for them the fiber costs more
//! than the policy.

use wasmtime::component::{
    ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, TypedFunc,
};
use wasmtime::{Error, Result, Store};

use super::VERSION;
use super::types::{Login, Memory, Outcome, Verdict};
use crate::instance::State;

type Configured = (Result<(), String>,);

/// Where a component has the functions.
#[derive(Clone)]
pub(super) struct HandlerIndices {
    configure: ComponentExportIndex,
    decide: ComponentExportIndex,
    observe: ComponentExportIndex,
}

/// Those of an instance.
pub(super) struct Handler {
    configure: TypedFunc<(Vec<(String, String)>,), Configured>,
    decide: TypedFunc<(Login, Memory), (Verdict,)>,
    observe: TypedFunc<(Outcome, Memory), (Option<Memory>,)>,
}

impl HandlerIndices {
    pub(super) fn new(component: &InstancePre<State>) -> Result<Self> {
        let component = component.component();
        let interface = format!("reprieve:policy/handler@{VERSION}");
        let handler = component
            .get_export_index(None, &*interface)
            .ok_or_else(|| Error::msg(format!("no exported instance named `{interface}`")))?;
        let function = |name: &str| {
            component.get_export_index(Some(&handler), name).ok_or_else(|| {
                Error::msg(format!("instance export `{interface}` does not have export `{name}`"))
            })
        };
        Ok(Self {
            configure: function("configure")?,
            decide: function("decide")?,
            observe: function("observe")?,
        })
    }

    /// Fails if the functions have other types than those of the contract.
    pub(super) fn load(&self, store: &mut Store<State>, instance: &Instance) -> Result<Handler> {
        Ok(Handler {
            configure: instance.get_typed_func(&mut *store, self.configure)?,
            decide: instance.get_typed_func(&mut *store, self.decide)?,
            observe: instance.get_typed_func(&mut *store, self.observe)?,
        })
    }
}

impl Handler {
    pub(super) async fn configure(
        &self,
        store: &mut Store<State>,
        settings: &[(String, String)],
    ) -> Result<Result<(), String>> {
        Ok(self.configure.call_async(store, (settings.to_vec(),)).await?.0)
    }

    pub(super) async fn decide(
        &self,
        store: &mut Store<State>,
        login: Login,
        memory: Memory,
    ) -> Result<Verdict> {
        Ok(call(&self.decide, store, (login, memory)).await?.0)
    }

    pub(super) async fn observe(
        &self,
        store: &mut Store<State>,
        outcome: Outcome,
        memory: Memory,
    ) -> Result<Option<Memory>> {
        Ok(call(&self.observe, store, (outcome, memory)).await?.0)
    }
}

/// Calls on the thread's stack if the call must not wait, and otherwise on a stack of its own.
async fn call<P, R>(function: &TypedFunc<P, R>, store: &mut Store<State>, parameters: P) -> Result<R>
where
    P: ComponentNamedList + Lower,
    R: ComponentNamedList + Lift + 'static,
{
    match store.data().is_direct {
        true => function.call(store, parameters),
        false => function.call_async(store, parameters).await,
    }
}
