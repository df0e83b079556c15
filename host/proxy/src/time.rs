//! Time limits and pauses: tokio's. Unit tests can simulate them, so what is simulated uses this module.

use std::sync::OnceLock;
use std::time::Duration;

pub(crate) use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout, timeout_at};

/// Time since the first call in this process.
pub(crate) fn since_first_call() -> Duration {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    FIRST.get_or_init(Instant::now).elapsed()
}
