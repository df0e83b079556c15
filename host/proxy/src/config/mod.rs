//! The configuration: its settings, their defaults, and the keys of the file.
//!
//! Each key is declared once, as a [`Key`](reprieve_settings::Key) of a table. The declaration
//! serves the parser, the manual page, docs/configuration.md, the example file and the JSON Schema.
//! To add a key: add a field to the struct of its table, with its default, and a `Key` to the
//! table's `keys`; then run `cargo run --package reprieve -- generate`.

mod admin;
mod command_line;
mod decision_log;
mod file;
mod lookup;
mod new_mail;
mod node;
mod policy;
mod pool;
pub(crate) mod reference;
mod store;
mod tls;
mod traces;
mod virtual_server;

/// The warning about a virtual server with `verify = "off"`.
pub(crate) const VERIFY_OFF: &str =
    "verify = \"off\": anybody who knows a user's name is shown the posed maildrop, with any password";

pub(crate) use admin::{AdminConfig, TokenFile, exposed_warning, missing_directory};
pub(crate) use decision_log::{DecisionLogConfig, LogTarget, LogUsers, Rotation};
pub use file::Config;
pub(crate) use file::PolicyCache;
pub(crate) use new_mail::NewMailConfig;
#[cfg(test)]
pub(crate) use new_mail::NotificationsConfig;
pub(crate) use node::NodeConfig;
pub use node::NodeMode;
pub(crate) use policy::PolicyConfig;
#[cfg(test)]
pub(crate) use pool::HealthCheckConfig;
pub use pool::ProxyHeader;
pub(crate) use pool::{Balance, MasterConfig, NodeLogin, PoolConfig};
pub(crate) use tls::{CertificateUser, ClientCertificates, MinVersion, NodeTls, NodeTlsMode, ServerTls};
pub(crate) use traces::TracesConfig;
pub(crate) use virtual_server::{CleartextLogin, VirtualServerConfig};

pub(crate) use command_line::CommandLine;

#[cfg(test)]
mod tests;
