//! The test harness for policies in Rust.

use reprieve_policy_host::Action;
use reprieve_policy_host::harness::{Harness, InjectedFault, LoginFacts, TestLogin};
use reprieve_policy_host::{Ending, Failure, Standing};

use crate::support::guests;

#[test]
fn the_harness_behaves_like_the_proxy() {
    let mut harness = Harness::of("interval")
        .setting("interval", "10m")
        .time_zone("Europe/Berlin")
        .unwrap()
        .start("2026-03-10T23:58:00")
        .unwrap()
        .build()
        .unwrap();
    assert_eq!(harness.login(TestLogin::from("alice").outcome(Ending::Rejected)).action(), Action::Passed);
    let first = harness.login("alice");
    assert_eq!((first.standing, first.action()), (Standing::Unknown, Action::Passed));
    assert!(
        first.store.iter().any(|access| access.starts_with("commit: set memory of \"alice\"")),
        "{:?}",
        first.store
    );
    assert!(first.memory_bytes > 0);
    let again = harness.login("alice");
    assert_eq!((again.standing, again.action()), (Standing::Known, Action::Posed));
    assert_eq!(again.deny().unwrap().retry_after, Some(120), "until midnight");
    let mut other = LoginFacts::new("alice");
    other.standing = Standing::Changed;
    assert_eq!(harness.login(other).action(), Action::Passed);
    let failed = harness.login(TestLogin::from("alice").inject(InjectedFault::StoreUnavailable));
    assert!(matches!(failed.failure(), Some(Failure::Store(_))));
    let failed = harness.login(TestLogin::from("alice").inject(InjectedFault::Time));
    assert!(matches!(failed.failure(), Some(Failure::Time(20))));
    harness.advance("2m").unwrap();
    harness.forget_instances();
    assert_eq!(harness.login("alice").action(), Action::Passed);
}

/// A harness for the policy that logs its arguments.
fn mirror(settings: &[(&str, &str)]) -> reprieve_policy_host::harness::HarnessBuilder {
    let component = guests::mirror().display().to_string();
    settings.iter().fold(Harness::of(&component), |harness, (key, value)| harness.setting(key, value))
}

#[test]
fn the_note_returns_with_the_outcome_but_not_if_a_denied_login_passed() {
    let mut harness = mirror(&[("note", "a-b")]).build().unwrap();
    let last_line = |decision: &reprieve_policy_host::harness::Decision| {
        decision.log.last().expect("a line").text.clone()
    };
    let passed = harness.login("alice");
    assert_eq!(passed.expect_pass().note.as_deref(), Some("a-b"));
    assert!(last_line(&passed).contains("note: Some(\"a-b\")"), "{passed}");
    let mut harness = mirror(&[("manner", "busy"), ("note", "a-b")]).build().unwrap();
    let denied = harness.login("alice");
    denied.expect_deny();
    assert_eq!(denied.action(), Action::Passed);
    assert!(last_line(&denied).contains("note: None"), "{denied}");
}

#[test]
fn a_delay_passes_before_the_outcome_and_the_next_step() {
    for settings in [&[("delay-ms", "1500")][..], &[("delay-ms", "1500"), ("manner", "refuse")]] {
        let mut harness = mirror(settings).build().unwrap();
        let start = harness.now_ms();
        let slow = harness.login("alice");
        assert_eq!((slow.at_ms, harness.now_ms()), (start, start + 1500));
        if slow.action() == Action::Passed {
            let outcome = &slow.log.last().expect("a line").text;
            assert!(outcome.contains(&format!("unix-ms: {}", start + 1500)), "{outcome}");
        }
    }
}

#[test]
fn ten_thousand_logins_use_one_instance_and_constant_memory() {
    let mut harness = Harness::of("interval").build().unwrap();
    let before = harness.login("user-0").memory_bytes;
    for number in 1..10_000 {
        harness.login(format!("user-{number}").as_str()).expect_pass();
    }
    // One instance to check the settings, one for decisions.
    assert_eq!(harness.policy().metrics().started, 2);
    assert!(harness.login("user-1").memory_bytes <= before + (1 << 16));
    assert_eq!(harness.store().len(), 10_000);
}

#[test]
fn a_wrong_secret_does_not_make_the_known_one_unknown() {
    let mut harness = Harness::of("interval").build().unwrap();
    harness.login("alice").expect_pass();
    let other = TestLogin::from("alice").standing(Standing::Changed).outcome(Ending::Rejected);
    assert_eq!(harness.login(other).action(), Action::Passed);
    assert_eq!(harness.login("alice").action(), Action::Posed);
    // A known secret that is rejected is no longer known.
    harness.delete("~alice");
    harness.login(TestLogin::from("alice").outcome(Ending::Rejected)).expect_pass();
    assert_eq!(harness.login("alice").standing, Standing::Unknown);
}

#[test]
fn a_master_users_secret_is_known_per_maildrop() {
    let mut harness = Harness::of("interval").build().unwrap();
    let mut standing = |acting: Option<&str>| {
        let facts = LoginFacts { authorization_id: acting.map(str::to_owned), ..LoginFacts::new("root") };
        harness.login(TestLogin::new(facts)).standing
    };
    for acting in [Some("alice"), Some("bob"), None] {
        assert_eq!(standing(acting), Standing::Unknown, "{acting:?}");
        assert_eq!(standing(acting), Standing::Known, "{acting:?}");
    }
}

#[test]
#[should_panic(expected = "decision: deny unchanged, retry-after 600, reason \"too-soon\" → posed")]
fn a_failed_assertion_shows_the_whole_login() {
    let mut harness = Harness::of("interval").build().unwrap();
    harness.login("alice");
    harness.login("alice").expect_pass();
}
