//! Time limits and pauses: tokio's. Unit tests can simulate them, so what is simulated uses this module.

use std::sync::OnceLock;
use std::time::Duration;

#[cfg(not(test))]
pub(crate) use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout, timeout_at};

#[cfg(test)]
pub(crate) use crate::simulation::time::{Instant, Sleep, sleep, sleep_until, timeout, timeout_at};

/// Time since the first call in this process.
pub(crate) fn since_first_call() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    #[cfg(test)]
    if let Some(passed) = crate::simulation::time::passed() {
        return passed;
    }
    FIRST.get_or_init(Instant::now).elapsed()
}
