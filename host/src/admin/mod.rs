//! What an administrator asks a running Reprieve, and tells it: HTTP over a Unix socket that
//! only its own user can open.

mod client;
mod routes;
mod socket;
mod status;

pub use client::{Client, CtlError};
pub use routes::serve;
pub use socket::{SocketError, listen};
pub use status::{NodeStatus, PolicyStatus, PoolStatus, Status, VirtualServerStatus};

/// Where the socket is looked for where nothing else is said.
pub const USUAL_SOCKET: &str = "/run/reprieve/admin.sock";
