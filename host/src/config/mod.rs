//! The configuration: what can be set, what is right, and errors that tell the file, the
//! line, the key and the remedy. It knows neither sockets nor Wasm.

mod admin;
mod command_line;
mod decision_log;
mod place;
mod policy;
mod pool;
mod reader;
pub(crate) mod reference;
mod schema;
mod store;
mod tls;
mod traces;
mod values;
mod virtual_server;

/// What is said of a virtual server with `verify = "off"`.
pub(crate) const VERIFY_OFF: &str =
    "verify = \"off\": whoever knows a user's name is shown the posed maildrop, with any password";

pub(crate) use admin::exposed_warning;
pub use admin::{AdminConfig, TokenFile};
pub use decision_log::{DecisionLogConfig, LogTarget, LogUsers, Rotation};
pub use place::Place;
pub use policy::PolicyConfig;
pub(crate) use policy::limits;
pub use pool::{
    Balance, CheckConfig, MasterConfig, NodeConfig, NodeLogin, NodeMode, PoolConfig, ProxyHeader,
};
pub use reader::Error;
pub(crate) use reader::{Section, Source, Value};
pub use schema::{Config, PolicyCache};
pub use store::{FileHome, RedisHome, RedisKind, Share, StoreConfig, StoreHome};
pub use tls::{
    CertificateFiles, CertificateUser, ClientCertificates, LeastVersion, NodeTls, NodeTlsMode, ServerTls,
};
pub use traces::TracesConfig;
pub use values::{duration, size};
pub use virtual_server::{CleartextLogin, OnUnreachable, Unverifiable, Verify, VirtualServerConfig};

pub use command_line::CommandLine;
