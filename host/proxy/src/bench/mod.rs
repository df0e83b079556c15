//! What a policy costs: its calls as the proxy makes them, on one thread, and the rest of a
//! denied poll beside them.

mod calls;
mod capacity;
mod histogram;
mod poll;

pub use calls::{Calls, Plan, measure};
pub use capacity::{Capacity, Site, Work, measure as measure_capacity};
pub use histogram::Percentiles;
pub use poll::{DeniedPoll, denied_poll};
