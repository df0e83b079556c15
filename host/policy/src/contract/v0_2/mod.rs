//! `reprieve:policy@0.2.0`. A call is a transaction: what it writes and remembers takes effect
//! when it has returned, and it is made again if another login has changed meanwhile what it read.

mod answer;
mod facts;
mod handler;
pub(crate) mod memory;
mod optional;
mod store;
mod transaction;

use std::sync::Arc;

use wasmtime::component::{Component, HasSelf, InstancePre, Linker};
use wasmtime::{Result, Store};

use crate::instance::State;
use crate::settings::Setting;
use crate::wasi::at_once;
use crate::{Login, Outcome, Verdict};
use crate::{SessionSummary, diagnostics};
use answer::Answer;
use bindings::reprieve::policy::types;
use handler::{Handler, HandlerIndices};
use optional::{OptionalExports, OptionalIndices};
use transaction::Transaction;

#[allow(missing_docs)]
pub(crate) mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.2",
        world: "policy",
        imports: {
            "reprieve:policy/store.get": async | trappable,
            "reprieve:policy/store.get-many": async | trappable,
            "reprieve:policy/store.get-number": async | trappable,
            "reprieve:policy/store.time-to-live": async | trappable,
            "reprieve:policy/store.increment": async | trappable,
            "reprieve:policy/store.delete": async | trappable,
            "reprieve:policy/store.usage": async | trappable,
            default: trappable,
        },
        additional_derives: [PartialEq, Eq],
        require_store_data_send: true,
    });
}

/// The version of the package.
pub(crate) const VERSION: &str = "0.2.0";
/// Calls that are made for one login or outcome if other logins keep changing what they read.
const ATTEMPTS: usize = 16;

/// The policy's calls kept losing against others.
#[derive(Debug, thiserror::Error)]
#[error("in {ATTEMPTS} attempts, other logins have changed what it had read from the store")]
pub(crate) struct Contended;

/// A linked component.
#[derive(Clone)]
pub(crate) struct Linked {
    component: InstancePre<State>,
    handler: HandlerIndices,
    optional: OptionalIndices,
    /// Whether its imports are all answered at once.
    never_waits: bool,
}

/// The exports of an instance.
pub(crate) struct Exports {
    handler: Handler,
    optional: OptionalExports,
}

/// The host's state of one call.
#[derive(Debug, Default)]
pub(crate) struct Call {
    /// The login that is decided about, or whose outcome it is; None outside a call.
    login: Option<Arc<Login>>,
    /// The outcome that is reported; None while a login is decided about.
    outcome: Option<Arc<Outcome>>,
    answer: Answer,
    transaction: Transaction,
}

impl Linked {
    /// `is_sync`: every operation of the store is ready at once.
    pub(crate) fn new(mut linker: Linker<State>, component: &Component, is_sync: bool) -> Result<Self> {
        bindings::Policy::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        let component_type = component.component_type();
        let engine = component.engine();
        let never_waits = is_sync && at_once::suffices(&component_type, engine);
        if is_sync {
            store::link_sync(&mut linker)?;
        }
        if never_waits {
            at_once::link(&mut linker)?;
        }
        let exports = |interface: &str| {
            component_type
                .exports(engine)
                .any(|(name, _)| name.split_once('@').is_some_and(|(exported, _)| exported == interface))
        };
        let component = linker.instantiate_pre(component)?;
        let handler = HandlerIndices::new(&component)?;
        let optional = OptionalIndices::new(&component, exports)?;
        Ok(Self { component, handler, optional, never_waits })
    }

    /// Whether its imports are all answered at once, so that calls can be made on the thread's own stack.
    pub(crate) fn never_waits(&self) -> bool {
        self.never_waits
    }

    /// Whether it has the optional export that sessions are reported to when they end.
    pub(crate) fn has_sessions(&self) -> bool {
        self.optional.has_sessions()
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> Result<Exports> {
        let instance = self.component.instantiate_async(&mut *store).await?;
        let handler =
            self.handler.load(&mut *store, &instance).map_err(|error| wrong_types("handler", &error))?;
        Ok(Exports { handler, optional: self.optional.load(store, &instance)? })
    }
}

/// An error that names the exported interface; wasmtime's names neither it nor the function.
fn wrong_types(interface: &str, error: &wasmtime::Error) -> wasmtime::Error {
    wasmtime::Error::msg(diagnostics::wrong_types(interface, error))
}

impl Exports {
    pub(crate) async fn describe(&self, store: &mut Store<State>) -> Result<Option<Vec<Setting>>> {
        self.optional.describe(store).await
    }

    pub(crate) async fn configure(
        &self,
        store: &mut Store<State>,
        settings: &[(String, String)],
    ) -> Result<Result<(), String>> {
        let answer = self.handler.configure(&mut *store, settings).await?;
        // A policy cannot write before it has decided about anything.
        store.data_mut().call.end();
        Ok(answer)
    }

    pub(crate) async fn decide(&self, store: &mut Store<State>, login: &Arc<Login>) -> Result<Verdict> {
        for _ in 0..ATTEMPTS {
            let before = begin(store, login, None).await?;
            let verdict = self.handler.decide(&mut *store, login.as_ref().into(), before).await?;
            if transaction::commit(store, verdict.remember).await? {
                let call = &mut store.data_mut().call;
                let verdict = call.answer.verdict(verdict);
                call.end();
                return Ok(verdict);
            }
        }
        Err(wasmtime::Error::new(Contended))
    }

    pub(crate) async fn observe(&self, store: &mut Store<State>, outcome: &Arc<Outcome>) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let before = begin(store, &outcome.login, Some(outcome)).await?;
            let remember = self.handler.observe(&mut *store, outcome.as_ref().into(), before).await?;
            if transaction::commit(store, remember).await? {
                store.data_mut().call.end();
                return Ok(());
            }
        }
        Err(wasmtime::Error::new(Contended))
    }
}

impl Exports {
    /// Reports the end of a session.
    pub(crate) async fn ended(&self, store: &mut Store<State>, summary: &SessionSummary) -> Result<()> {
        for _ in 0..ATTEMPTS {
            let before = begin(store, &summary.login, None).await?;
            let remember = self.optional.ended(&mut *store, summary, before).await?;
            if transaction::commit(store, remember).await? {
                store.data_mut().call.end();
                return Ok(());
            }
        }
        Err(wasmtime::Error::new(Contended))
    }
}

/// Begins a call: reads what is remembered about the user.
async fn begin(
    store: &mut Store<State>,
    login: &Arc<Login>,
    outcome: Option<&Arc<Outcome>>,
) -> Result<types::Memory> {
    let state = store.data_mut();
    state.call.begin(login, outcome);
    let before = memory::read(&state.namespace, &state.meter, &login.claim.key).await?;
    state.call.transaction.remembered(before);
    Ok(before.numbers())
}

impl Call {
    fn begin(&mut self, login: &Arc<Login>, outcome: Option<&Arc<Outcome>>) {
        self.end();
        self.login = Some(login.clone());
        self.outcome = outcome.cloned();
    }

    fn end(&mut self) {
        self.login = None;
        self.outcome = None;
        self.answer.clear();
        self.transaction.clear();
    }
}

impl From<&Login> for types::Login {
    fn from(login: &Login) -> Self {
        Self {
            standing: login.claim.standing,
            mechanism: login.claim.mechanism,
            encrypted: login.client.tls.is_some(),
            freshness: login.maildrop.freshness.into(),
            time: login.time.into(),
        }
    }
}

impl From<crate::Freshness> for types::Freshness {
    fn from(freshness: crate::Freshness) -> Self {
        match freshness {
            crate::Freshness::Unknown => Self::Unknown,
            crate::Freshness::Unchanged => Self::Unchanged,
            crate::Freshness::NewMail => Self::NewMail,
        }
    }
}

impl From<&Outcome> for types::Outcome {
    fn from(outcome: &Outcome) -> Self {
        Self {
            ending: outcome.ending,
            standing: outcome.login.claim.standing,
            upgrade: outcome.cause == crate::Cause::Upgrade,
            time: outcome.time.into(),
            latency_ms: outcome.latency_ms,
        }
    }
}

impl From<crate::Moment> for types::Moment {
    fn from(moment: crate::Moment) -> Self {
        Self {
            unix: u32::try_from(moment.unix_ms / 1000).unwrap_or(u32::MAX),
            // The remainder is below 1,000.
            millisecond: (moment.unix_ms % 1000) as u16,
            date: moment.date,
            weekday: moment.weekday,
            second_of_day: moment.second_of_day,
        }
    }
}
