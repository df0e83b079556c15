//! Policy failures leak no memory.

use jiff::tz::TimeZone;
use reprieve_policy_host::harness::LoginFacts;
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;

use crate::alone::alone;
use crate::support::proxy::NOON;
use crate::{evaluator, resident};

/// Kinds of failure, and how often each is repeated.
const MANY: [(&str, u32); 7] = [
    ("trap", 10_000),
    ("bad-pointer", 5_000),
    ("giant-note", 1_000),
    ("memory", 1_000),
    ("recurse", 1_000),
    ("spin", 300),
    ("sleep", 100),
];

#[test]
fn many_thousand_failures_leak_no_memory() {
    let _alone = alone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(fail_many_times());
}

async fn fail_many_times() {
    let clock = ManualClock::new(NOON);
    let login = LoginFacts::new("alice").login("pop3", "1", NOON, &TimeZone::UTC);
    for (how, times) in MANY {
        let namespace = Namespace::in_memory(1 << 20, clock.clone());
        let evaluator = evaluator::hostile(how, &clock, &namespace, |_| {}).await;
        let mut early = 0;
        for number in 0..times {
            assert!(evaluator.decide(&login).await.is_err(), "{how}");
            if number == times / 5 {
                early = resident();
            }
        }
        let late = resident();
        assert!(late < early + (8 << 20), "{how}: {early} bytes after a fifth, {late} at the end");
    }
}
