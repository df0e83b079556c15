//! The circuit breaker: after several failures in a row a policy is paused, then called once as a
//! trial. Each failed trial doubles the next pause. Without I/O; the caller supplies the time.

use std::time::Duration;

use reprieve_sync::Mutex;
use reprieve_sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Settings of the circuit breaker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures in a row that open the circuit breaker; 0 disables it.
    pub failures: u32,
    /// The first pause. Each failed trial doubles it.
    pub pause: Duration,
    /// Upper limit of the pause.
    pub max_pause: Duration,
}

impl Default for BreakerSettings {
    fn default() -> Self {
        Self { failures: 10, pause: Duration::from_secs(1), max_pause: Duration::from_secs(300) }
    }
}

/// What the result of a call changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    None,
    /// The policy is paused for this long. `again`: after a failed trial.
    Paused { pause: Duration, again: bool },
    /// The circuit breaker is closed again.
    Resumed,
}

/// Whether a call is admitted, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    AsUsual,
    OnTrial,
}

#[derive(Debug)]
struct Pause {
    length: Duration,
    /// Unix time in milliseconds from which a trial is allowed.
    until_ms: u64,
    began_ms: u64,
}

#[derive(Debug)]
pub(super) struct Breaker {
    settings: BreakerSettings,
    /// Failures in a row.
    run: AtomicU32,
    paused: AtomicBool,
    pause: Mutex<Option<Pause>>,
}

impl Breaker {
    pub(super) fn new(settings: BreakerSettings) -> Self {
        Self { settings, run: AtomicU32::new(0), paused: AtomicBool::new(false), pause: Mutex::new(None) }
    }

    /// Whether the policy may be called now. After a pause one call is admitted as a trial; if that
    /// never ends, because its client disconnected, another follows after the next pause.
    pub(super) fn admit(&self, now_ms: impl FnOnce() -> u64) -> Option<Admitted> {
        if !self.paused.load(Ordering::Acquire) {
            return Some(Admitted::AsUsual);
        }
        let now_ms = now_ms();
        let mut pause = self.pause.lock();
        let Some(pause) = pause.as_mut() else { return Some(Admitted::AsUsual) };
        // A clock that is set back does not prolong a pause.
        if now_ms < pause.until_ms && now_ms >= pause.began_ms {
            return None;
        }
        pause.began_ms = now_ms;
        pause.until_ms = after(now_ms, pause.length);
        Some(Admitted::OnTrial)
    }

    pub(super) fn succeeded(&self, admitted: Admitted) -> Change {
        if admitted == Admitted::AsUsual {
            if self.run.load(Ordering::Relaxed) != 0 {
                self.run.store(0, Ordering::Relaxed);
            }
            return Change::None;
        }
        let mut pause = self.pause.lock();
        self.run.store(0, Ordering::Relaxed);
        self.paused.store(false, Ordering::Release);
        if pause.take().is_some() { Change::Resumed } else { Change::None }
    }

    pub(super) fn failed(&self, admitted: Admitted, now_ms: u64) -> Change {
        if self.settings.failures == 0 {
            return Change::None;
        }
        let mut pause = self.pause.lock();
        // Under the lock, like the new run after a trial: what was counted before does not open it again.
        let run = self.run.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let (length, again) = match (&*pause, admitted) {
            (Some(pause), Admitted::OnTrial) => ((pause.length * 2).min(self.settings.max_pause), true),
            (None, Admitted::AsUsual) if run >= self.settings.failures => (self.settings.pause, false),
            // A call that began before the pause or the recovery says nothing new.
            _ => return Change::None,
        };
        *pause = Some(Pause { length, began_ms: now_ms, until_ms: after(now_ms, length) });
        self.paused.store(true, Ordering::Release);
        Change::Paused { pause: length, again }
    }

    /// Whether the circuit breaker is open.
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
    fn only_failures_in_a_row_pause_the_policy() {
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
    fn each_failed_trial_doubles_the_pause_up_to_the_limit() {
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
    fn calls_in_progress_when_it_pauses_change_nothing() {
        let breaker = breaker();
        let admitted = breaker.admit(|| 0).expect("it is admitted");
        fail_thrice(&breaker, 0);
        assert_eq!(breaker.failed(admitted, 500), Change::None);
        assert_eq!(breaker.succeeded(admitted), Change::None);
        assert!(breaker.is_paused());
        assert_eq!(breaker.admit(|| 1000), Some(Admitted::OnTrial));
    }

    #[test]
    fn another_trial_follows_one_that_never_ends() {
        let breaker = breaker();
        fail_thrice(&breaker, 10_000);
        assert_eq!(breaker.admit(|| 11_000), Some(Admitted::OnTrial));
        assert_eq!(breaker.admit(|| 11_999), None);
        assert_eq!(breaker.admit(|| 12_000), Some(Admitted::OnTrial));
        assert_eq!(breaker.admit(|| 5), Some(Admitted::OnTrial));
    }

    #[test]
    fn zero_failures_disable_it() {
        let breaker = Breaker::new(BreakerSettings { failures: 0, ..BreakerSettings::default() });
        (0..100).for_each(|now| assert_eq!(fail(&breaker, now), Change::None));
    }
}
