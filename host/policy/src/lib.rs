//! Runs policies: WebAssembly components that decide about logins. This crate loads and compiles
//! them, calls them within limits, implements the host's side of the WIT, and decides the
//! [disposition](dispose) of a login. For policy authors it has the test [`harness`],
//! [`scenario`] files and generated logins ([`fuzz`]). It knows neither POP3 nor sockets.

mod backtrace;
mod breaker;
mod builtin;
mod cache;
mod ceiling;
mod compile;
mod component;
mod component_info;
mod contract;
mod diagnostics;
pub mod digest;
mod disposition;
mod engine;
mod evaluator;
mod failure;
pub mod fuzz;
mod guest_log;
pub mod harness;
mod instance;
mod limits;
mod load;
mod login;
mod lookups;
mod metrics;
mod names;
pub mod scenario;
mod settings;
mod shadow;
mod shadow_metrics;
mod size_limits;
mod stack;
mod verdict;
mod wasi;

pub use breaker::BreakerSettings;
pub use builtin::{names as builtin_names, source as load_source};
pub use cache::{Cache, CacheError};
pub use compile::compile_if_asked;
pub use component::{Identity, Isolation, Policy, PolicyOptions};
pub use component_info::{ComponentInfo, Kind, Module, Producer};
pub use contract::v0_2::bindings::reprieve::policy::answer::ResponseCode;
pub use contract::v0_2::bindings::reprieve::policy::types::{
    Date, Ending, Manner, Mechanism, Standing, Weekday,
};
pub use contract::v0_2::memory::remembered;
pub use disposition::{
    Action, Because, Decided, Disposition, Facts, OnFailure, OnUnreachable, Rules, Unverifiable, Verify,
    dispose, dispose_unreachable,
};
pub use engine::{Engine, EngineSize};
pub use evaluator::Evaluator;
pub use failure::Failure;
pub use guest_log::Lines;
pub use limits::Limits;
pub use load::{LoadError, Prepared};
pub use login::{
    Backend, Claim, Client, Freshness, Login, Maildrop, MemoryKey, Moment, Pools, Session, SnapshotFacts,
    TlsSession, moment,
};
pub use lookups::{Lookups, NoLookups};
pub use metrics::MetricsSnapshot;
pub use names::{ENDINGS, MANNERS, MECHANISMS, RESPONSE_CODES, STANDINGS, Worded};
pub use settings::{Kind as SettingKind, Setting};
pub use shadow::{Opinion, Shadow, Told};
pub use shadow_metrics::{Difference, ShadowMetricsSnapshot};
pub use verdict::{Cause, Deny, Outcome, Pass, SessionSummary, Verdict};
