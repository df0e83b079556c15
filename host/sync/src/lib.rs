//! The locks and atomics of code that `tests/schedules` runs: `parking_lot`'s and the standard library's.
//! Compiled with `--cfg shuttle`, they are those of [Shuttle], which chooses at each of them the thread
//! that goes on, so that a test can try thousands of orders and repeat one.
//!
//! Code that threads share uses this crate if it decides something by more than one atomic, or by an
//! atomic and a lock. Counters, and values behind a single lock, need not.
//!
//! Shuttle does not model weak memory: for it, each atomic operation is sequentially consistent.
//!
//! [Shuttle]: https://docs.rs/shuttle

#[cfg(shuttle)]
mod lock;

#[cfg(not(shuttle))]
pub use parking_lot::{Mutex, MutexGuard};
#[cfg(not(shuttle))]
pub use std::hash::RandomState;
#[cfg(not(shuttle))]
pub use std::sync::atomic;

#[cfg(shuttle)]
pub use lock::{Mutex, MutexGuard};
#[cfg(shuttle)]
pub use shuttle::sync::atomic;

/// Hashes in the same way in each run, so that a schedule can be repeated.
#[cfg(shuttle)]
pub type RandomState = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;
