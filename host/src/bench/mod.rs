//! What a policy costs: its calls as the proxy makes them, on one thread, and the rest of a
//! denied poll beside them.

mod calls;
mod histogram;
mod poll;

pub use calls::{Calls, Plan, measure};
pub use histogram::Percentiles;
pub use poll::{DeniedPoll, denied_poll};
