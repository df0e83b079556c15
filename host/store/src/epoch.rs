//! Which writes a store can still have.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Changes whenever a store may have lost writes that it had confirmed: after a crash of the process that
/// wrote the file, and when the Redis server is another process than before (a restart, a failover to
/// a replica that lagged behind). What was read in one epoch must not be trusted in another.
#[derive(Clone, Debug, Default)]
pub struct StoreEpoch(Arc<AtomicU64>);

impl StoreEpoch {
    /// One that stays the same.
    #[must_use]
    pub fn fixed(value: u64) -> Self {
        Self(Arc::new(AtomicU64::new(value)))
    }

    /// The current one.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Begins another one.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Release);
    }
}

/// The epoch of a server with this identification.
#[cfg(feature = "redis")]
pub(crate) fn of(identification: &[u8]) -> u64 {
    // FNV-1a: the same in all proxies of a site, whatever they were built with.
    identification
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
