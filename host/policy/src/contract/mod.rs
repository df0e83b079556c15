//! The versions of the contract between host and policies, `reprieve:policy` in `wit/`. Each version
//! has bindings and a linker of its own; the rest of the host uses the types of this crate.

#[cfg(test)]
mod growth;
pub(crate) mod v0_1;
pub(crate) mod v0_2;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime::component::{Component, Linker};
use wasmtime::{Error, Result, Store};

use crate::instance::State;
use crate::settings::Setting;
use crate::{Cause, Login, Outcome, SessionSummary, Verdict};

/// The versions of the package that this host has, as an author writes them.
pub(crate) const VERSIONS: [&str; 2] = [v0_1::VERSION, v0_2::VERSION];

/// A version of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    V0_1,
    V0_2,
}

/// A linked component.
#[derive(Clone)]
pub(crate) enum Linked {
    V0_1(v0_1::Linked),
    V0_2(v0_2::Linked),
}

/// The exports of an instance.
pub(crate) enum Exports {
    V0_1(v0_1::Exports),
    V0_2(v0_2::Exports),
}

impl Linked {
    /// `is_sync`: every operation of the store is ready at once.
    pub(crate) fn new(
        version: Version,
        linker: Linker<State>,
        component: &Component,
        is_sync: bool,
    ) -> Result<Self> {
        Ok(match version {
            Version::V0_1 => Self::V0_1(v0_1::Linked::new(linker, component, is_sync)?),
            Version::V0_2 => Self::V0_2(v0_2::Linked::new(linker, component, is_sync)?),
        })
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> Result<Exports> {
        Ok(match self {
            Self::V0_1(linked) => Exports::V0_1(linked.instantiate(store).await?),
            Self::V0_2(linked) => Exports::V0_2(linked.instantiate(store).await?),
        })
    }

    /// Whether it has the optional export that sessions are reported to when they end.
    pub(crate) fn has_sessions(&self) -> bool {
        match self {
            Self::V0_1(_) => false,
            Self::V0_2(linked) => linked.has_sessions(),
        }
    }

    /// Whether its imports are all answered at once, so that calls can be made on the thread's own stack.
    pub(crate) fn never_waits(&self) -> bool {
        match self {
            Self::V0_1(_) => false,
            Self::V0_2(linked) => linked.never_waits(),
        }
    }

    /// Whether outcomes with this cause are reported to it.
    pub(crate) fn observes(&self, cause: Cause) -> bool {
        match self {
            // When it was frozen, only logins had outcomes.
            Self::V0_1(_) => cause != Cause::Upgrade,
            Self::V0_2(_) => true,
        }
    }
}

impl Exports {
    /// The settings that the policy describes; None if it does not.
    pub(crate) async fn describe(&self, store: &mut Store<State>) -> Result<Option<Vec<Setting>>> {
        match self {
            Self::V0_1(_) => Ok(None),
            Self::V0_2(exports) => exports.describe(store).await,
        }
    }

    pub(crate) async fn ended(&self, store: &mut Store<State>, summary: &SessionSummary) -> Result<()> {
        match self {
            Self::V0_1(_) => Ok(()),
            Self::V0_2(exports) => exports.ended(store, summary).await,
        }
    }

    pub(crate) async fn configure(
        &self,
        store: &mut Store<State>,
        settings: &[(String, String)],
    ) -> Result<Result<(), String>> {
        match self {
            Self::V0_1(exports) => exports.configure(store, settings).await,
            Self::V0_2(exports) => exports.configure(store, settings).await,
        }
    }

    pub(crate) async fn decide(&self, store: &mut Store<State>, login: &Arc<Login>) -> Result<Verdict> {
        match self {
            Self::V0_1(exports) => exports.decide(store, login).await,
            Self::V0_2(exports) => exports.decide(store, login).await,
        }
    }

    pub(crate) async fn observe(&self, store: &mut Store<State>, outcome: &Arc<Outcome>) -> Result<()> {
        match self {
            Self::V0_1(exports) => exports.observe(store, outcome).await,
            Self::V0_2(exports) => exports.observe(store, outcome).await,
        }
    }
}

/// The result of a future that is ready, for host functions that are linked as synchronous ones.
pub(crate) fn ready<T>(operation: impl Future<Output = Result<T>>) -> Result<(T,)> {
    match pin!(operation).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result.map(|value| (value,)),
        Poll::Pending => Err(Error::msg("a function that should answer at once did not")),
    }
}
