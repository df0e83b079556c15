//! Groups of mail servers: which node a login goes to, whether it can be reached, connecting
//! to it, and logging in there. It knows no policies.

mod choice;
mod connect;
mod connection;
mod health;
mod keeper;
mod login;
mod names;
mod node;
mod present;
mod queue;
mod state;

pub use connect::{Caller, Greeting};
pub use connection::Connection;
pub use keeper::Keeper;
pub use login::{LoginEnd, Reached, Rejection};
pub(crate) use node::LoginResult;
pub use node::{Node, NodeState};
pub use present::MasterUser;
pub use state::{Pool, PoolError, PoolState};
