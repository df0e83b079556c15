//! The circuit breaker: after a run of failures a policy is not called for a while, then once
//! on trial. Each trial that fails makes the next pause longer. It does no I/O and takes the
//! time from its caller.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// When a policy is paused, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row after which it is paused. 0 never pauses it.
    pub failures: u32,
    /// The first pause. Each trial that fails doubles it.
    pub pause: Duration,
    /// The longest pause.
    pub max_pause: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 10, pause: Duration::from_secs(1), max_pause: Duration::from_secs(300) }
    }
}

/// What a success or a failure has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The policy is paused, for this long. `again`: a trial has failed.
    Paused { pause: Duration, again: bool },
    /// The policy is called again as usual.
    Resumed,
}

/// How a call was admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    AsUsual,
    OnTrial,
}

#[derive(Debug)]
struct Pause {
    length: Duration,
    /// Milliseconds since 1970 from which a trial is allowed.
    until_ms: u64,
    began_ms: u64,
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    /// Failures since the last success.
    run: AtomicU32,
    paused: AtomicBool,
    pause: Mutex<Option<Pause>>,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        Self { settings, run: AtomicU32::new(0), paused: AtomicBool::new(false), pause: Mutex::new(None) }
    }

    /// Whether the policy may be called now. While it is paused one call a pause is, on trial:
    /// one that never ends, because its client has left, is followed by another.
    pub(super) fn admit(&self, now_ms: impl FnOnce() -> u64) -> Option<Admitted> {
        if !self.paused.load(Ordering::Acquire) {
            return Some(Admitted::AsUsual);
        }
        let now_ms = now_ms();
        let mut pause = self.pause.lock();
        let Some(pause) = pause.as_mut() else { return Some(Admitted::AsUsual) };
        // A clock that was set back does not prolong a pause.
        if now_ms < pause.until_ms && now_ms >= pause.began_ms {
            return None;
        }
        pause.began_ms = now_ms;
        pause.until_ms = after(now_ms, pause.length);
        Some(Admitted::OnTrial)
    }

    pub(super) fn succeeded(&self, admitted: Admitted) -> Change {
        if self.run.load(Ordering::Relaxed) != 0 {
            self.run.store(0, Ordering::Relaxed);
        }
        if admitted == Admitted::AsUsual {
            return Change::None;
        }
        let mut pause = self.pause.lock();
        self.paused.store(false, Ordering::Release);
        if pause.take().is_some() { Change::Resumed } else { Change::None }
    }

    pub(super) fn failed(&self, admitted: Admitted, now_ms: u64) -> Change {
        if self.settings.failures == 0 {
            return Change::None;
        }
        let run = self.run.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let mut pause = self.pause.lock();
        let (length, again) = match (&*pause, admitted) {
            (Some(pause), Admitted::OnTrial) => ((pause.length * 2).min(self.settings.max_pause), true),
            (None, Admitted::AsUsual) if run >= self.settings.failures => (self.settings.pause, false),
            // A call that began before the pause or the recovery tells nothing new.
            _ => return Change::None,
        };
        *pause = Some(Pause { length, began_ms: now_ms, until_ms: after(now_ms, length) });
        self.paused.store(true, Ordering::Release);
        Change::Paused { pause: length, again }
    }

    /// Whether the policy is paused now.
    pub(super) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }
}

fn after(now_ms: u64, pause: Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(BreakerSettings {
            failures: 3,
            pause: Duration::from_secs(1),
            max_pause: Duration::from_secs(3),
        })
    }

    fn fail(breaker: &Breaker, now_ms: u64) -> Change {
        let admitted = breaker.admit(|| now_ms).expect("it is admitted");
        breaker.failed(admitted, now_ms)
    }

    fn fail_thrice(breaker: &Breaker, now_ms: u64) {
        for _ in 0..3 {
            fail(breaker, now_ms);
        }
    }

    #[test]
    fn a_run_of_failures_pauses_and_a_success_between_them_does_not() {
        let breaker = breaker();
        for _ in 0..5 {
            assert_eq!(fail(&breaker, 0), Change::None);
            assert_eq!(fail(&breaker, 0), Change::None);
            breaker.succeeded(Admitted::AsUsual);
        }
        fail(&breaker, 0);
        fail(&breaker, 0);
        assert_eq!(fail(&breaker, 0), Change::Paused { pause: Duration::from_secs(1), again: false });
        assert_eq!(breaker.admit(|| 999), None);
    }

    #[test]
    fn each_failed_trial_doubles_the_pause_up_to_the_longest() {
        let breaker = breaker();
        fail_thrice(&breaker, 0);
        let mut now = 1000;
        for seconds in [2, 3, 3] {
            let pause = Duration::from_secs(seconds);
            assert_eq!(fail(&breaker, now), Change::Paused { pause, again: true });
            assert_eq!(breaker.admit(|| now + seconds * 1000 - 1), None);
            now += seconds * 1000;
        }
        assert_eq!(breaker.admit(|| now), Some(Admitted::OnTrial));
        assert_eq!(breaker.admit(|| now), None, "one trial at a time");
        assert_eq!(breaker.succeeded(Admitted::OnTrial), Change::Resumed);
        assert_eq!(breaker.admit(|| now), Some(Admitted::AsUsual));
        assert_eq!(fail(&breaker, now), Change::None, "the run begins anew");
    }

    #[test]
    fn calls_that_were_under_way_when_it_paused_change_nothing() {
        let breaker = breaker();
        let admitted = breaker.admit(|| 0).expect("it is admitted");
        fail_thrice(&breaker, 0);
        assert_eq!(breaker.failed(admitted, 500), Change::None);
        assert_eq!(breaker.succeeded(admitted), Change::None);
        assert!(breaker.is_paused());
        assert_eq!(breaker.admit(|| 1000), Some(Admitted::OnTrial));
    }

    #[test]
    fn a_trial_that_never_ends_is_followed_by_another_and_a_clock_set_back_prolongs_nothing() {
        let breaker = breaker();
        fail_thrice(&breaker, 10_000);
        assert_eq!(breaker.admit(|| 11_000), Some(Admitted::OnTrial));
        assert_eq!(breaker.admit(|| 11_999), None);
        assert_eq!(breaker.admit(|| 12_000), Some(Admitted::OnTrial));
        assert_eq!(breaker.admit(|| 5), Some(Admitted::OnTrial));
    }

    #[test]
    fn where_it_is_off_nothing_pauses() {
        let breaker = Breaker::new(BreakerSettings { failures: 0, ..BreakerSettings::default() });
        (0..100).for_each(|now| assert_eq!(fail(&breaker, now), Change::None));
    }
}
