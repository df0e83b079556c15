//! The configuration: what can be set, what is right, and errors that tell the file, the
//! line, the key and the remedy. It knows neither sockets nor Wasm.

mod admin;
mod command_line;
mod decision_log;
mod policy;
mod pool;
pub(crate) mod reference;
mod schema;
mod store;
mod tls;
mod traces;
mod virtual_server;

/// What is said of a virtual server with `verify = "off"`.
pub(crate) const VERIFY_OFF: &str =
    "verify = \"off\": whoever knows a user's name is shown the posed maildrop, with any password";

pub(crate) use admin::exposed_warning;
pub use admin::{AdminConfig, TokenFile};
pub use decision_log::{DecisionLogConfig, LogTarget, LogUsers, Rotation};
pub use policy::PolicyConfig;
pub use pool::{
    Balance, CheckConfig, MasterConfig, NodeConfig, NodeLogin, NodeMode, PoolConfig, ProxyHeader,
};
pub use reprieve_settings::Error;
pub use schema::{Config, PolicyCache};
pub use tls::{CertificateUser, ClientCertificates, LeastVersion, NodeTls, NodeTlsMode, ServerTls};
pub use traces::TracesConfig;
pub use virtual_server::{CleartextLogin, OnUnreachable, Unverifiable, VirtualServerConfig};

pub use command_line::CommandLine;
