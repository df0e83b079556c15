//! What an administrator asks a running Reprieve, and tells it: HTTP by a Unix socket that only
//! its own user can open, and over TCP with tokens, where the dashboard is too.

mod changes;
mod client;
mod dashboard;
mod guard;
mod hand_over;
mod listener;
mod metrics;
mod patient;
mod places;
mod predecessor;
mod routes;
mod socket;
mod status;
mod tokens;

pub use client::{Client, CtlError, Remote};
pub use listener::{AdminKeys, Doors, Open};
pub use predecessor::Predecessor;
pub use socket::SocketError;
pub use status::{NodeStatus, PolicyStatus, PoolStatus, ShadowStatus, Status, VirtualServerStatus};

/// Where the socket is looked for where nothing else is said.
pub const USUAL_SOCKET: &str = "/run/reprieve/admin.sock";
/// The host that `reprieve ctl` asks for by the socket.
const HOST: &str = "reprieve";
