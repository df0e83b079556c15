//! What an administrator asks a running Reprieve, and tells it: HTTP over a Unix socket that
//! only its own user can open.

mod changes;
mod client;
mod hand_over;
mod metrics;
mod routes;
mod socket;
mod status;

pub use client::{Client, CtlError};
pub use hand_over::Arrival;
pub use routes::serve;
pub use socket::{AdminSocket, SocketError};
pub use status::{NodeStatus, PolicyStatus, PoolStatus, ShadowStatus, Status, VirtualServerStatus};

/// Where the socket is looked for where nothing else is said.
pub const USUAL_SOCKET: &str = "/run/reprieve/admin.sock";
