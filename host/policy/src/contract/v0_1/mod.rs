//! `reprieve:policy@0.1.0`: frozen. Components that were built for it keep loading; what it has no
//! words for is left out.

mod imports;
mod sync_store;

use wasmtime::component::{Component, HasSelf, Linker};
use wasmtime::{Result, Store};

use crate::instance::State;
use crate::{Login, Outcome, Verdict};
use bindings::reprieve::policy::types;

#[allow(missing_docs)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit/v0.1",
        world: "policy",
        imports: { "reprieve:policy/store": async | trappable, default: trappable },
        exports: { default: async },
        require_store_data_send: true,
    });
}

/// The version of the package.
pub(crate) const VERSION: &str = "0.1.0";

/// A linked component.
#[derive(Clone)]
pub(crate) struct Linked(bindings::PolicyPre<State>);

/// The exports of an instance.
pub(crate) struct Exports(bindings::Policy);

impl Linked {
    /// `is_sync`: every operation of the store is ready at once.
    pub(crate) fn new(mut linker: Linker<State>, component: &Component, is_sync: bool) -> Result<Self> {
        bindings::Policy::add_to_linker::<_, HasSelf<_>>(&mut linker, |state| state)?;
        if is_sync {
            sync_store::link(&mut linker)?;
        }
        Ok(Self(bindings::PolicyPre::new(linker.instantiate_pre(component)?)?))
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<State>) -> Result<Exports> {
        Ok(Exports(self.0.instantiate_async(store).await?))
    }
}

impl Exports {
    pub(crate) async fn configure(
        &self,
        store: &mut Store<State>,
        settings: &[(String, String)],
    ) -> Result<Result<(), String>> {
        self.0.call_configure(store, settings).await
    }

    pub(crate) async fn decide(&self, store: &mut Store<State>, login: &Login) -> Result<Verdict> {
        Ok(self.0.call_decide(store, &login.into()).await?.into())
    }

    pub(crate) async fn observe(&self, store: &mut Store<State>, outcome: &Outcome) -> Result<()> {
        self.0.call_observe(store, &outcome.into()).await
    }
}

/// Converts between enumerations whose values have the same names.
macro_rules! same_values {
    ($($from:ty => $to:ty { $($value:ident),+ $(,)? })+) => {
        $(impl From<$from> for $to {
            fn from(value: $from) -> Self {
                match value {
                    $(<$from>::$value => Self::$value),+
                }
            }
        })+
    };
}

same_values! {
    crate::Standing => types::Standing { Known, Changed, Unknown }
    crate::Mechanism => types::Mechanism {
        UserPass, Plain, Login, Xoauth2, Oauthbearer, External, Apop, CramMd5, ScramSha256, Other
    }
    crate::Weekday => types::Weekday { Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday }
    crate::Ending => types::Ending { Authenticated, Rejected, Unreachable, Abandoned }
    types::Manner => crate::Manner { Unchanged, Empty, Busy, Refuse, Disconnect }
    types::ResponseCode => crate::ResponseCode { LoginDelay, InUse, SysTemp, SysPerm, Auth }
}

impl From<&Login> for types::Login {
    fn from(login: &Login) -> Self {
        Self {
            session: (&login.session).into(),
            client: (&login.client).into(),
            claim: (&login.claim).into(),
            time: login.time.into(),
            backend: types::Backend {
                pool: login.backend.pool.to_string(),
                nodes: login.backend.nodes,
                healthy_nodes: login.backend.healthy_nodes,
                sessions: login.backend.sessions,
                waiting: login.backend.waiting,
                login_latency_ms: login.backend.login_latency_ms,
            },
        }
    }
}

impl From<&Outcome> for types::Outcome {
    fn from(outcome: &Outcome) -> Self {
        let login = &outcome.login;
        Self {
            session: (&login.session).into(),
            client: (&login.client).into(),
            claim: (&login.claim).into(),
            time: outcome.time.into(),
            node: outcome.node.as_deref().map(str::to_owned),
            latency_ms: outcome.latency_ms,
            ending: outcome.ending.into(),
            note: outcome.note.clone(),
        }
    }
}

impl From<&crate::Session> for types::Session {
    fn from(session: &crate::Session) -> Self {
        Self { virtual_server: session.virtual_server.to_string(), id: session.id.to_string() }
    }
}

impl From<&crate::Client> for types::Client {
    fn from(client: &crate::Client) -> Self {
        let endpoint = |address: std::net::SocketAddr| types::Endpoint {
            address: crate::login::address_text(address),
            port: address.port(),
        };
        Self {
            peer: endpoint(client.peer),
            local: endpoint(client.local),
            tls: client.tls.as_ref().map(|tls| types::TlsSession {
                version: tls.version.clone(),
                server_name: tls.server_name.clone(),
                client_subject: tls.client_subject.clone(),
            }),
        }
    }
}

impl From<&crate::Claim> for types::Claim {
    fn from(claim: &crate::Claim) -> Self {
        Self {
            user: claim.user.clone(),
            authorization_id: claim.authorization_id.clone(),
            mechanism: claim.mechanism.into(),
            standing: claim.standing.into(),
        }
    }
}

impl From<crate::Moment> for types::Moment {
    fn from(moment: crate::Moment) -> Self {
        let crate::Date { year, month, day } = moment.date;
        Self {
            unix_ms: moment.unix_ms,
            date: types::Date { year, month, day },
            weekday: moment.weekday.into(),
            second_of_day: moment.second_of_day,
        }
    }
}

impl From<types::Verdict> for Verdict {
    fn from(verdict: types::Verdict) -> Self {
        match verdict {
            types::Verdict::Pass(pass) => Self::Pass(crate::Pass {
                pool: pass.pool,
                user: pass.user,
                note: pass.note,
                reason: String::new(),
                delay_ms: pass.delay_ms,
            }),
            types::Verdict::Deny(deny) => Self::Deny(crate::Deny {
                code: deny.code.map(Into::into),
                retry_after: deny.retry_after,
                delay_ms: deny.delay_ms,
                ..crate::Deny::new(deny.manner.into(), deny.reason)
            }),
        }
    }
}
