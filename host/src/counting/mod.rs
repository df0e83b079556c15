//! Counting on many threads, at next to no cost for whoever counts: relaxed atomics, each
//! thread's in cache lines of its own, put together by whoever looks. No locks, and no memory
//! beyond what a thread's first count takes. It knows nothing of what is counted.

mod family;
mod histogram;
mod sharded;

pub(crate) use family::Family;
pub(crate) use histogram::Histogram;
pub use histogram::HistogramSnapshot;
pub(crate) use sharded::Sharded;
