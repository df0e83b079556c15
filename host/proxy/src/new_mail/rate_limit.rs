//! Limits the signals per sender, so that a flood cannot keep the proxy busy.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Instant;

use parking_lot::Mutex;

/// Signals per second and sender over a longer time: about 1 % of a core with a store in memory, and
/// more than a mail server delivers.
const SIGNALS_PER_S: f64 = 2_000.0;
/// Signals of a sender at once: the queue of a mail server after an outage.
const BURST: f64 = 20_000.0;
/// Senders that are kept apart. Only those with the token are counted, so they are few.
const MAX_SENDERS: usize = 1_024;

/// Counts the signals of each sender.
#[derive(Debug, Default)]
pub(crate) struct RateLimit {
    senders: Mutex<HashMap<Option<IpAddr>, Allowance>>,
}

#[derive(Clone, Copy, Debug)]
struct Allowance {
    signals: f64,
    at: Instant,
}

impl Allowance {
    /// The allowance at a later time.
    fn at(self, now: Instant) -> f64 {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        (self.signals + passed * SIGNALS_PER_S).min(BURST)
    }
}

impl RateLimit {
    /// Whether a sender may send this many signals now. `sender`: its address; None for this machine's
    /// sockets.
    pub(crate) fn admit(&self, sender: Option<IpAddr>, signals: usize, now: Instant) -> bool {
        let signals = f64::from(u32::try_from(signals).unwrap_or(u32::MAX));
        let mut senders = self.senders.lock();
        if senders.len() >= MAX_SENDERS && !senders.contains_key(&sender) {
            senders.retain(|_, allowance| allowance.at(now) < BURST);
        }
        let left = senders.get(&sender).map_or(BURST, |allowance| allowance.at(now));
        if left < signals || (senders.len() >= MAX_SENDERS && !senders.contains_key(&sender)) {
            return false;
        }
        senders.insert(sender, Allowance { signals: left - signals, at: now });
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_sender_gets_its_burst_and_then_its_rate() {
        let limit = RateLimit::default();
        let (sender, other) = (Some([192, 0, 2, 1].into()), Some([192, 0, 2, 2].into()));
        let start = Instant::now();
        for _ in 0..20 {
            assert!(limit.admit(sender, 1_000, start));
        }
        assert!(!limit.admit(sender, 1, start));
        assert!(limit.admit(other, 1_000, start), "another sender is not affected");
        let later = start + Duration::from_millis(500);
        assert!(!limit.admit(sender, 1_001, later));
        assert!(limit.admit(sender, 1_000, later));
    }

    #[test]
    fn the_number_of_senders_is_limited() {
        let limit = RateLimit::default();
        let start = Instant::now();
        let sender = |number: u32| Some(IpAddr::from(number.to_be_bytes()));
        for number in 0..1_024 {
            assert!(limit.admit(sender(number), 1, start));
        }
        assert!(!limit.admit(sender(2_000), 1, start));
        assert!(limit.admit(sender(2_000), 1, start + Duration::from_secs(1)), "idle senders are forgotten");
        assert_eq!(limit.senders.lock().len(), 1);
    }
}
