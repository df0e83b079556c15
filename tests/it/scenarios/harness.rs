//! The test harness for policies in Rust.

use reprieve_policy_host::Action;
use reprieve_policy_host::harness::{Attempt, Injection, Trial, Who};
use reprieve_policy_host::{Ending, Failure, Standing};

use crate::support::guests;

#[test]
fn the_harness_behaves_like_the_proxy() {
    let mut trial = Trial::of("interval")
        .setting("interval", "10m")
        .time_zone("Europe/Berlin")
        .unwrap()
        .start("2026-03-10T23:58:00")
        .unwrap()
        .build()
        .unwrap();
    assert_eq!(trial.login(Attempt::by(Who::new("alice")).ends(Ending::Rejected)).action(), Action::Passed);
    let first = trial.login("alice");
    assert_eq!((first.standing, first.action()), (Standing::Unknown, Action::Passed));
    assert!(first.store.iter().any(|access| access.starts_with("set \"alice\"")), "{:?}", first.store);
    assert!(first.memory > 0);
    let again = trial.login("alice");
    assert_eq!((again.standing, again.action()), (Standing::Known, Action::Posed));
    assert_eq!(again.deny().unwrap().retry_after, Some(120), "until midnight");
    let mut other = Who::new("alice");
    other.standing = Standing::Changed;
    assert_eq!(trial.login(other).action(), Action::Passed);
    let failed = trial.login(Attempt::by(Who::new("alice")).inject(Injection::StoreUnavailable));
    assert!(matches!(failed.failure(), Some(Failure::Store(_))));
    let failed = trial.login(Attempt::by(Who::new("alice")).inject(Injection::Time));
    assert!(matches!(failed.failure(), Some(Failure::Time(20))));
    trial.advance("2m").unwrap();
    trial.forget_instances();
    assert_eq!(trial.login("alice").action(), Action::Passed);
}

/// A harness for the policy that logs its arguments.
fn mirror(settings: &[(&str, &str)]) -> reprieve_policy_host::harness::Builder {
    let component = guests::mirror().display().to_string();
    settings.iter().fold(Trial::of(&component), |trial, (key, value)| trial.setting(key, value))
}

#[test]
fn the_note_returns_with_the_outcome_but_not_if_a_denied_login_passed() {
    let mut trial = mirror(&[("note", "a-b")]).build().unwrap();
    let told = |decision: &reprieve_policy_host::harness::Decision| {
        decision.log.last().expect("a line").text.clone()
    };
    let passed = trial.login("alice");
    assert_eq!(passed.expect_pass().note.as_deref(), Some("a-b"));
    assert!(told(&passed).contains("note: Some(\"a-b\")"), "{passed}");
    let mut trial = mirror(&[("manner", "busy"), ("note", "a-b")]).build().unwrap();
    let denied = trial.login("alice");
    denied.expect_deny();
    assert_eq!(denied.action(), Action::Passed);
    assert!(told(&denied).contains("note: None"), "{denied}");
}

#[test]
fn a_delay_passes_before_the_outcome_and_the_next_step() {
    for settings in [&[("delay-ms", "1500")][..], &[("delay-ms", "1500"), ("manner", "refuse")]] {
        let mut trial = mirror(settings).build().unwrap();
        let start = trial.now_ms();
        let slow = trial.login("alice");
        assert_eq!((slow.at_ms, trial.now_ms()), (start, start + 1500));
        if slow.action() == Action::Passed {
            let outcome = &slow.log.last().expect("a line").text;
            assert!(outcome.contains(&format!("unix-ms: {}", start + 1500)), "{outcome}");
        }
    }
}

#[test]
fn ten_thousand_logins_use_one_instance_and_constant_memory() {
    let mut trial = Trial::of("interval").build().unwrap();
    let before = trial.login("user-0").memory;
    for number in 1..10_000 {
        trial.login(format!("user-{number}").as_str()).expect_pass();
    }
    // One instance to check the settings, one for decisions.
    assert_eq!(trial.policy().metrics().started, 2);
    assert!(trial.login("user-1").memory <= before + (1 << 16));
    assert_eq!(trial.store().len(), 10_000);
}

#[test]
fn a_wrong_secret_does_not_make_the_known_one_unknown() {
    let mut trial = Trial::of("interval").build().unwrap();
    trial.login("alice").expect_pass();
    let other = Attempt::by(Who::new("alice")).standing(Standing::Changed).ends(Ending::Rejected);
    assert_eq!(trial.login(other).action(), Action::Passed);
    assert_eq!(trial.login("alice").action(), Action::Posed);
    // A known secret that is refused is no longer known.
    trial.forget("alice");
    trial.login(Attempt::from("alice").ends(Ending::Rejected)).expect_pass();
    assert_eq!(trial.login("alice").standing, Standing::Unknown);
}

#[test]
fn a_master_users_secret_is_known_per_maildrop() {
    let mut trial = Trial::of("interval").build().unwrap();
    let mut standing = |acting: Option<&str>| {
        let who = Who { authorization_id: acting.map(str::to_owned), ..Who::new("root") };
        trial.login(Attempt::by(who)).standing
    };
    for acting in [Some("alice"), Some("bob"), None] {
        assert_eq!(standing(acting), Standing::Unknown, "{acting:?}");
        assert_eq!(standing(acting), Standing::Known, "{acting:?}");
    }
}

#[test]
#[should_panic(expected = "decision: deny unchanged, retry-after 600, reason \"too-soon\" → posed")]
fn a_failed_assertion_shows_the_whole_login() {
    let mut trial = Trial::of("interval").build().unwrap();
    trial.login("alice");
    trial.login("alice").expect_pass();
}
