//! Runs policies: WebAssembly components that decide about logins. This crate loads and compiles
//! them, calls them within limits, implements the host's side of the WIT, and decides the
//! [disposition](dispose) of a login. For policy authors it has the test [`harness`] and
//! [`scenario`] files. It knows neither POP3 nor sockets.

mod breaker;
mod builtin;
mod cache;
mod compile;
mod component;
mod component_info;
mod diagnostics;
pub mod digest;
mod disposition;
mod endpoint;
mod engine;
mod evaluator;
mod failure;
mod guest_log;
pub mod harness;
mod imports;
mod instance;
mod limits;
mod load;
mod metrics;
mod moment;
mod names;
pub mod scenario;
mod shadow;
mod shadow_metrics;
mod size_limits;
mod sync_store;
mod wasi;

/// The types of the WIT, `reprieve:policy@0.1.0`.
#[allow(missing_docs)]
mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "policy",
        imports: { "reprieve:policy/store": async | trappable, default: trappable },
        exports: { default: async },
        require_store_data_send: true,
    });
}

pub use bindings::reprieve::policy::types::{
    Backend, Claim, Client, Date, Deny, Ending, Endpoint, Login, Manner, Mechanism, Moment, Outcome, Pass,
    ResponseCode, Session, Standing, TlsSession, Verdict, Weekday,
};
pub use breaker::BreakerSettings;
pub use builtin::{names as builtin_names, source as load_source};
pub use cache::{Cache, CacheError};
pub use compile::compile_if_asked;
pub use component::{Identity, Isolation, Policy, PolicyOptions};
pub use component_info::{ComponentInfo, Kind, Module, Producer};
pub use disposition::{
    Action, Because, Decided, Disposition, Facts, OnFailure, OnUnreachable, Rules, Unverifiable, Verify,
    dispose, dispose_unreachable,
};
pub use endpoint::endpoint;
pub use engine::{Engine, EngineSize};
pub use evaluator::Evaluator;
pub use failure::Failure;
pub use guest_log::Lines;
pub use limits::Limits;
pub use load::{LoadError, Prepared};
pub use metrics::MetricsSnapshot;
pub use moment::moment;
pub use names::{ENDINGS, MANNERS, MECHANISMS, RESPONSE_CODES, STANDINGS, Worded};
pub use shadow::{Opinion, Shadow, Told};
pub use shadow_metrics::{Difference, ShadowMetricsSnapshot};
