//! The circuit breaker.

use std::sync::Mutex;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use breaker::{Admitted, Breaker, BreakerSettings, Change};

#[path = "../../../host/policy/src/breaker.rs"]
mod breaker;

const FAILURES: u32 = 3;
const PAUSE_MS: u64 = 1_000;

fn breaker() -> Breaker {
    Breaker::new(BreakerSettings {
        failures: FAILURES,
        pause: Duration::from_millis(PAUSE_MS),
        max_pause: Duration::from_millis(4 * PAUSE_MS),
    })
}

/// A call at this time that fails.
fn fail(breaker: &Breaker, now_ms: u64) -> Change {
    breaker.admit(|| now_ms).map_or(Change::None, |admitted| breaker.failed(admitted, now_ms))
}

/// As many threads fail once as failures open it.
pub fn failures_in_a_row_open_it_once() {
    let breaker = breaker();
    let changes = thread::scope(|scope| {
        let threads: Vec<_> = (0..FAILURES).map(|_| scope.spawn(|| fail(&breaker, 0))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    let opened = Change::Paused { pause: Duration::from_millis(PAUSE_MS), again: false };
    assert_eq!(changes.iter().filter(|change| **change == opened).count(), 1, "{changes:?}");
    assert!(breaker.is_paused());
    assert_eq!(breaker.admit(|| PAUSE_MS - 1), None);
}

/// The pause is over, and several calls come.
pub fn one_trial_follows_a_pause() {
    let breaker = breaker();
    for _ in 0..FAILURES {
        fail(&breaker, 0);
    }
    let admitted = thread::scope(|scope| {
        let call = || {
            let admitted = breaker.admit(|| PAUSE_MS);
            thread::yield_now();
            admitted.map(|admitted| breaker.failed(admitted, PAUSE_MS))
        };
        let threads: Vec<_> = (0..3).map(|_| scope.spawn(call)).collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    let extended = Change::Paused { pause: Duration::from_millis(2 * PAUSE_MS), again: true };
    assert_eq!(admitted, [extended], "one call, a trial, and it failed");
    assert_eq!(breaker.admit(|| 3 * PAUSE_MS - 1), None);
}

/// A call of before the pause fails while the trial succeeds: it says nothing new.
pub fn calls_of_before_the_pause_do_not_open_it_again() {
    let breaker = breaker();
    let late = breaker.admit(|| 0).expect("it is closed");
    for _ in 0..FAILURES {
        fail(&breaker, 0);
    }
    let trial = breaker.admit(|| PAUSE_MS).expect("the pause is over");
    assert_eq!((late, trial), (Admitted::AsUsual, Admitted::OnTrial));
    let (closed, unchanged) = thread::scope(|scope| {
        let trial = scope.spawn(|| breaker.succeeded(trial));
        let late = scope.spawn(|| breaker.failed(late, PAUSE_MS));
        (trial.join().expect("no panic"), late.join().expect("no panic"))
    });
    assert_eq!((closed, unchanged), (Change::Resumed, Change::None));
    assert!(!breaker.is_paused());
}

/// A trial succeeds, and then as many calls fail as open it: both leave their traces, or neither does.
pub fn failures_after_a_trial_open_it_again() {
    let breaker = breaker();
    for _ in 0..FAILURES {
        fail(&breaker, 0);
    }
    let trial = breaker.admit(|| PAUSE_MS).expect("the pause is over");
    let opened = thread::scope(|scope| {
        scope.spawn(|| assert_eq!(breaker.succeeded(trial), Change::Resumed));
        let calls = scope.spawn(|| (0..FAILURES).any(|_| fail(&breaker, PAUSE_MS) != Change::None));
        calls.join().expect("no panic")
    });
    assert_eq!(breaker.is_paused(), opened);
    assert_eq!(breaker.admit(|| PAUSE_MS).is_none(), opened);
}

/// Opened and closed again, and failures that were reported.
#[derive(Debug, Default)]
struct Seen {
    opened: u32,
    closed: u32,
    failures: u32,
}

pub fn calls_of_any_outcome_leave_it_consistent() {
    let (breaker, seen) = (breaker(), Mutex::new(Seen::default()));
    thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for round in 0..5 {
                    call(&breaker, &seen, round * PAUSE_MS);
                }
            });
        }
    });
    let seen = seen.into_inner().expect("no panic");
    let is_open = breaker.is_paused();
    assert_eq!(seen.opened, seen.closed + u32::from(is_open), "{seen:?}");
    assert!(seen.failures >= seen.opened * FAILURES, "{seen:?}");
    let later = 100 * PAUSE_MS;
    let trial = breaker.admit(|| later).expect("each pause ends");
    assert_eq!(breaker.admit(|| later).is_none(), is_open, "one trial at a time");
    assert_eq!(breaker.succeeded(trial) == Change::Resumed, is_open);
    assert!(!breaker.is_paused());
}

fn call(breaker: &Breaker, seen: &Mutex<Seen>, now_ms: u64) {
    let Some(admitted) = breaker.admit(|| now_ms) else { return };
    let fails = thread_rng().gen_bool(0.7);
    if fails {
        // Before the breaker knows it: what it counts must have happened.
        seen.lock().expect("no panic").failures += 1;
    }
    let change = if fails { breaker.failed(admitted, now_ms) } else { breaker.succeeded(admitted) };
    let mut seen = seen.lock().expect("no panic");
    match change {
        Change::Paused { again: false, .. } => seen.opened += 1,
        Change::Resumed => seen.closed += 1,
        Change::Paused { .. } | Change::None => {}
    }
}
