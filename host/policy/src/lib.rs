//! Policies: WebAssembly components that decide. Loading and compiling them, running their
//! calls within limits, and the host's side of the WIT. Nothing here knows POP3 or sockets.

mod anatomy;
mod at_once;
mod breaker;
mod builtin;
mod cache;
mod compile;
mod component;
pub mod digest;
mod disposition;
mod endpoint;
mod engine;
mod extent;
mod failure;
mod guestlog;
pub mod harness;
mod imports;
mod instance;
mod judge;
mod limits;
mod load;
mod metrics;
mod misfit;
mod moment;
pub mod scenario;
mod shadow;
mod tally;
mod wasi;
mod words;

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

pub use anatomy::{Anatomy, Kind, Module, Producer};
pub use bindings::reprieve::policy::types::{
    Backend, Claim, Client, Date, Deny, Ending, Endpoint, Login, Manner, Mechanism, Moment, Outcome, Pass,
    ResponseCode, Session, Standing, TlsSession, Verdict, Weekday,
};
pub use breaker::BreakerSettings;
pub use builtin::{names as builtin_names, source as load_source};
pub use cache::{Cache, CacheError};
pub use compile::compile_if_asked;
pub use component::{Identity, Isolation, OnFailure, Policy, PolicyOptions};
pub use disposition::Verify;
pub use endpoint::endpoint;
pub use engine::{Engine, EngineSize};
pub use failure::Failure;
pub use guestlog::Lines;
pub use judge::Judge;
pub use limits::{Limits, limits};
pub use load::{LoadError, Prepared};
pub use metrics::MetricsSnapshot;
pub use moment::moment;
pub use shadow::{Opinion, Shadow, Told};
pub use tally::{Difference, TallySnapshot};
pub use words::{ENDINGS, MANNERS, MECHANISMS, RESPONSE_CODES, STANDINGS, Worded};
