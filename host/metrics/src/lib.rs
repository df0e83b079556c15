//! Counters and histograms for many threads, and CPU times.
//!
//! Counting must cost a login next to nothing: each thread increments relaxed atomics in cache
//! lines of its own, and reading adds them up. There are no locks, and memory is allocated only by a
//! thread's first count. `cargo bench --package reprieve-metrics` compares the cost with that of
//! one shared atomic; [`Sharded`] states the figures.
//!
//! This crate knows nothing about what is counted, and nothing about Prometheus: names, labels and
//! the text format are in the proxy's `admin::metrics`. A new kind of metric (a gauge, say) belongs
//! here; a new counter belongs to the code that counts.

pub mod cpu_time;
mod family;
mod histogram;
mod labels;
mod sharded;
mod thread_cpu;

pub use family::Family;
pub use histogram::{Histogram, HistogramSnapshot};
pub use sharded::Sharded;
pub use thread_cpu::ThreadCpu;
