//! Signals of new mail from the sources of a pool, and what follows from their absence.
//!
//! A *signal* says that a user has new mail. The registry notes it with the user, so that their
//! snapshot is no longer shown (see [`maildrop`](crate::maildrop)). This module has what belongs to a
//! pool: whether its signals are complete, since when, and what was counted.

mod deliveries;
mod journal;
mod log_follower;
mod pool_signals;
mod position;
mod rate_limit;
mod request;

pub(crate) use deliveries::{Deliveries, Gap, LoggedDelivery, NotWritten};
pub(crate) use journal::JournalFollower;
pub(crate) use log_follower::LogFollower;
pub use pool_signals::PoolSignals;
pub(crate) use pool_signals::{Missed, SignalCounts, Source};
pub(crate) use rate_limit::RateLimit;
pub use request::{MAX_REQUEST_BYTES, MAX_REQUEST_USERS, Request, RequestError, bodies};
