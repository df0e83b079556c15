//! The admin interface: HTTP on a Unix socket that only the service user can open, and over TCP
//! with tokens. The TCP listener also serves the dashboard.

mod auth;
mod client;
mod connection_slots;
mod control_routes;
mod dashboard;
mod listener;
mod metrics;
mod new_mail_routes;
mod new_mail_socket;
mod routes;
mod socket;
mod status;
mod takeover;
mod takeover_client;
mod tokens;
mod write_timeout;

pub(crate) use client::percent_encoded;
pub use client::{Client, ClientError, Remote};
pub use listener::{AdminKeys, AdminServer, Listeners};
pub use status::{NodeStatus, PolicyStatus, PoolStatus, ShadowStatus, Status, VirtualServerStatus};
pub use takeover_client::Predecessor;

/// Path of the admin socket unless a command line names another.
pub const DEFAULT_SOCKET: &str = "/run/reprieve/admin.sock";
/// The `Host` header that `reprieve ctl` sends through the socket.
const HOST: &str = "reprieve";
