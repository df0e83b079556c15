//! Failures of a policy leave no memory behind.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::alone::alone;
use crate::resident;
use crate::support::guests;
use crate::support::setup::NOON;
use jiff::tz::TimeZone;
use reprieve_policy_host::harness::Who;
use reprieve_policy_host::{
    BreakerSettings, Cache, Engine, EngineSize, Judge, Limits, Policy, PolicyOptions,
};
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;

/// How often each kind fails: ten thousand times for the quick ones.
const MANY: [(&str, u32); 7] = [
    ("trap", 10_000),
    ("bad-pointer", 5_000),
    ("giant-note", 1_000),
    ("memory", 1_000),
    ("recurse", 1_000),
    ("spin", 300),
    ("sleep", 100),
];

async fn judge(at: &str, how: &str, clock: &Arc<ManualClock>, namespace: &Namespace) -> Judge {
    let octets = std::fs::read(guests::hostile()).unwrap();
    let limits = Limits {
        time: Duration::from_millis(1),
        wait: Duration::from_millis(5),
        memory: 4 << 20,
        ..Limits::default()
    };
    let size = EngineSize { memory: limits.memory, stack: limits.stack, instances: 4 };
    let cache = Cache::open(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")).unwrap();
    let options = PolicyOptions {
        settings: vec![("at".to_owned(), at.to_owned()), ("how".to_owned(), how.to_owned())],
        limits,
        breaker: BreakerSettings { failures: 0, ..BreakerSettings::default() },
        ..PolicyOptions::new("pop3", "hostile", namespace.clone(), clock.clone())
    };
    Judge::new(Policy::load(Engine::new(size, Some(&cache)).unwrap(), &octets, options).await.unwrap())
}

#[test]
fn many_thousand_failures_leave_no_memory_behind() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(fail_many_times());
}

async fn fail_many_times() {
    let clock = ManualClock::new(NOON);
    let login = Who::new("alice").login("pop3", "1", NOON, &TimeZone::UTC);
    for (how, times) in MANY {
        let namespace = Namespace::in_memory(1 << 20, clock.clone());
        let judge = judge("decide", how, &clock, &namespace).await;
        let mut early = 0;
        for number in 0..times {
            assert!(judge.decide(&login).await.is_err(), "{how}");
            if number == times / 5 {
                early = resident();
            }
        }
        let late = resident();
        assert!(late < early + (8 << 20), "{how}: {early} octets after a fifth, {late} at the end");
    }
}
