//! Counting on many threads, at next to no cost for whoever counts: relaxed atomics, each
//! thread's in cache lines of its own, put together by whoever looks. No locks, and no memory
//! beyond what a thread's first count takes. It knows nothing of what is counted.

pub mod cpu_time;
mod family;
mod histogram;
mod sharded;
mod thread_cpu;

pub use family::Family;
pub use histogram::Histogram;
pub use histogram::HistogramSnapshot;
pub use sharded::Sharded;
pub use thread_cpu::ThreadCpu;
