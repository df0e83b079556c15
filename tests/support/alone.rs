//! One test at a time, for binaries that measure the process or the machine.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Waits until no other test of this binary measures; they wait for the guard to be dropped.
pub fn alone() -> MutexGuard<'static, ()> {
    static MEASURING: Mutex<()> = Mutex::new(());
    MEASURING.lock().unwrap_or_else(PoisonError::into_inner)
}
