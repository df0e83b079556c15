//! Measurements: the calls of a policy, a whole denied poll, and the capacity of a store.

mod calls;
mod capacity;
mod histogram;
mod poll;

pub use calls::{Calls, Plan, measure};
pub use capacity::{Capacity, Site, Work, measure as measure_capacity};
pub use histogram::Percentiles;
pub use poll::{DeniedPoll, denied_poll};
