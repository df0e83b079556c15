//! The circuit breaker around a policy that fails.

use std::time::Duration;

use jiff::tz::TimeZone;
use reprieve_policy_host::Action;
use reprieve_policy_host::harness::{Harness, LoginFacts};
use reprieve_policy_host::{BreakerSettings, Failure, Verdict};
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;

use super::log::lines_of;
use super::pair::{Pair, hostile};
use crate::evaluator;
use crate::support::mail_server;
use crate::support::proxy::NOON;

#[test]
fn a_policy_that_fails_occasionally_is_not_paused() {
    let mail = mail_server(1);
    let pair = Pair::start(
        "now-and-then",
        &hostile("decide", "fail-each-third", "breaker = { failures = 2 }"),
        mail.address(),
    )
    .unwrap();
    for _ in 0..12 {
        assert!(pair.answer().starts_with("+OK"));
    }
    let metrics = pair.metrics();
    assert_eq!((metrics.failed("trap"), metrics.pauses), (4, 0), "{metrics:?}");
}

#[test]
fn a_policy_that_always_fails_is_paused_for_longer_each_time_until_a_trial_succeeds() {
    let mail = mail_server(1);
    let more = "on-failure = \"deny\"\nbreaker = { failures = 3, pause = \"10s\", max-pause = \"15s\" }";
    let pair = Pair::start("always", &hostile("decide", "trap", more), mail.address()).unwrap();
    let failed = || pair.metrics().failed("trap");
    for _ in 0..6 {
        assert!(pair.answer().starts_with("-ERR [SYS/TEMP]"));
    }
    assert_eq!(
        (failed(), pair.server.counters().policy_pauses),
        (3, 3),
        "it is not called while it is paused"
    );
    // A trial after ten seconds, the next one after fifteen.
    for (seconds, expected) in [(9, 3), (1, 4), (14, 4), (1, 5), (15, 6)] {
        pair.clock.advance(Duration::from_secs(seconds));
        pair.answer();
        pair.answer();
        assert_eq!(failed(), expected, "after {seconds} s");
    }
    pair.neighbour_is_served();
    let loud: Vec<_> = lines_of("always").into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(loud.len(), 1, "it is said once, loudly: {loud:?}");
    let words = loud[0]["message"].as_str().unwrap();
    assert!(words.contains("3 times in a row") && words.contains("logins are refused meanwhile"), "{words}");
    assert_eq!(loud[0]["call"], "decide");
}

#[tokio::test]
async fn a_trial_that_succeeds_ends_the_pause() {
    let clock = ManualClock::new(NOON);
    let namespace = Namespace::in_memory(1 << 20, clock.clone());
    let evaluator = evaluator::hostile("fail-until-allowed", &clock, &namespace, |options| {
        options.breaker = BreakerSettings { failures: 2, ..BreakerSettings::default() };
    })
    .await;
    let login = LoginFacts::new("alice").login("pop3", "1", NOON, &TimeZone::UTC);
    for _ in 0..2 {
        assert!(matches!(evaluator.decide(&login).await, Err(Failure::Trap(_))));
    }
    assert!(evaluator.policy().is_paused());
    assert_eq!(evaluator.decide(&login).await.unwrap_err(), Failure::Paused);
    namespace.set("allowed", b"", None).await.unwrap().unwrap();
    assert_eq!(evaluator.decide(&login).await.unwrap_err(), Failure::Paused, "not before its time");
    clock.advance(Duration::from_secs(1));
    assert!(matches!(evaluator.decide(&login).await, Ok(Verdict::Pass(_))));
    assert!(!evaluator.policy().is_paused());
    assert!(evaluator.decide(&login).await.is_ok());
}

#[test]
fn failures_at_the_outcome_count_although_decisions_succeed() {
    let mail = mail_server(1);
    let pair =
        Pair::start("outcome", &hostile("observe", "trap", "breaker = { failures = 3 }"), mail.address())
            .unwrap();
    for _ in 0..6 {
        assert!(pair.answer().starts_with("+OK"));
    }
    let metrics = pair.metrics();
    assert_eq!((metrics.failed("trap"), metrics.pauses), (3, 1), "{metrics:?}");
    let mut harness = Harness::of("interval").build().unwrap();
    assert_eq!(harness.login("alice").action(), Action::Passed);
}
