//! The default policy's rule on the wire, with a clock that the test owns: nobody waits.

mod support;

use std::time::Duration;

use support::dialogue::Dialogue;
use support::setup::{Reprieve, Setup, mail_server};

use reprieve::demo::mailserver::MailServer;

/// 1 July 2026, 23:59:00 in Berlin, which is 21:59:00 UTC.
const A_MINUTE_TO_MIDNIGHT: u64 = 1_782_943_140_000;

fn polled(mail: &MailServer, reprieve: &Reprieve) -> &'static str {
    let before = mail.stats().logins;
    Dialogue::log_in(&reprieve.account("alice")).quit();
    if mail.stats().logins > before { "passed" } else { "denied" }
}

#[test]
fn the_day_change_in_the_servers_time_zone_lets_everybody_through_once() {
    let mail = mail_server(1);
    let reprieve =
        Setup { policy: "settings = { interval = \"6h\" }", ..Setup::default() }.before(&[mail.address()]);
    reprieve.clock.set(A_MINUTE_TO_MIDNIGHT);
    assert_eq!(polled(&mail, &reprieve), "passed");
    reprieve.clock.advance(Duration::from_secs(59));
    assert_eq!(polled(&mail, &reprieve), "denied");
    reprieve.clock.advance(Duration::from_secs(1));
    assert_eq!(polled(&mail, &reprieve), "passed");
    assert_eq!(polled(&mail, &reprieve), "denied");
    // Midnight in UTC is no midnight here.
    reprieve.clock.advance(Duration::from_secs(2 * 3600));
    assert_eq!(polled(&mail, &reprieve), "denied");
}

#[test]
fn without_the_daily_reset_only_the_interval_counts() {
    let mail = mail_server(1);
    let policy = "settings = { interval = \"10m\", reset = \"never\" }";
    let reprieve = Setup { policy, ..Setup::default() }.before(&[mail.address()]);
    reprieve.clock.set(A_MINUTE_TO_MIDNIGHT);
    assert_eq!(polled(&mail, &reprieve), "passed");
    reprieve.clock.advance(Duration::from_secs(599));
    assert_eq!(polled(&mail, &reprieve), "denied");
    reprieve.clock.advance(Duration::from_secs(1));
    assert_eq!(polled(&mail, &reprieve), "passed");
}

#[test]
fn over_the_memory_limit_everybody_is_forgotten_and_it_goes_on() {
    let mail = mail_server(1);
    for user in 0..30 {
        mail.add_user(&format!("user{user}"), support::account::PASSWORD);
    }
    let policy = "settings = { interval = \"10m\", memory-limit = \"1KiB\" }";
    let reprieve = Setup { policy, ..Setup::default() }.before(&[mail.address()]);
    assert_eq!(polled(&mail, &reprieve), "passed");
    assert_eq!(polled(&mail, &reprieve), "denied");
    for user in 0..30 {
        Dialogue::log_in(&reprieve.account(&format!("user{user}"))).quit();
    }
    assert_eq!(polled(&mail, &reprieve), "passed", "alice was forgotten");
    assert_eq!(polled(&mail, &reprieve), "denied", "and is remembered again");
}

#[test]
fn the_clock_starts_when_the_mail_server_accepts_the_login() {
    let mail = mail_server(1);
    let reprieve =
        Setup { policy: "settings = { interval = \"10m\" }", ..Setup::default() }.before(&[mail.address()]);
    let mut wrong = Dialogue::open(reprieve.address());
    wrong.ok("USER alice");
    wrong.err("PASS wrong");
    wrong.quit();
    assert_eq!(polled(&mail, &reprieve), "passed");
    // A session that goes on for long does not move the clock.
    assert_eq!(polled(&mail, &reprieve), "denied");
    reprieve.clock.advance(Duration::from_secs(600));
    assert_eq!(polled(&mail, &reprieve), "passed");
}

#[test]
fn user_names_are_folded_or_exact_as_set() {
    for (case, denied) in [("fold", 1), ("exact", 0)] {
        let mail = mail_server(1);
        mail.add_user("Alice", support::account::PASSWORD);
        let policy = format!("settings = {{ interval = \"10m\", case = \"{case}\" }}");
        let reprieve = Setup { policy: &policy, ..Setup::default() }.before(&[mail.address()]);
        Dialogue::log_in(&reprieve.account("alice")).quit();
        Dialogue::log_in(&reprieve.account("Alice")).quit();
        assert_eq!(reprieve.server.counters().denied, denied, "{case}");
        // The secret is known of the other spelling only: the mail server judges it.
        assert_eq!(mail.stats().logins, 2, "{case}");
    }
}
