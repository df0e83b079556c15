//! Pools of mail servers (nodes): load balancing, health checks, connecting and logging in.
//! Independent of policies.

mod balancing;
mod connect;
mod connection;
mod dns;
mod health;
mod health_checker;
mod login;
mod login_commands;
mod node;
#[expect(clippy::module_inception, reason = "the file is named for its type, `Pool`")]
mod pool;
mod queue;

pub use connect::ClientInfo;
pub use connection::Connection;
pub use health_checker::HealthChecker;
#[cfg(test)]
pub(crate) use health_checker::watch_nodes;
pub use login::{ConnectOutcome, LoginOutcome, Rejection};
pub(crate) use node::LoginResult;
pub(crate) use pool::PoolState;
pub use pool::{Pool, PoolError};
