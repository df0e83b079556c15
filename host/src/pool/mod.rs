//! Groups of mail servers: which node a login goes to, whether it can be reached, and logging
//! in there. It knows no policies.

mod choice;
mod connection;
mod login;
mod node;

pub use connection::Connection;
pub use login::{LoginEnd, Rejection};
pub use node::{Node, Pool, PoolState};
