//! The policies in `policies/`, each in front of a mail server. `policies/build` builds them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::proxy::{Proxy, Setup};
use crate::support::{DEADLINE, mail_server};
use reprieve_mailserver::MailServer;

fn component(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    let path = root.join("target/policies").join(format!("{name}.wasm"));
    assert!(path.exists(), "{} is not built; build it with: policies/build", path.display());
    path
}

/// A mail server with one message for alice, behind Reprieve with a policy.
fn proxied(name: &str, settings: &str, server: &str) -> (MailServer, Proxy) {
    let mail = mail_server(1);
    // Generous limits, for busy machines.
    let policy = format!(
        "component = {:?}\nlimits = {{ start = \"20s\", time = \"2s\" }}\n[virtual-server.policy.settings]\n{settings}",
        component(name)
    );
    let reprieve = Setup { policy: &policy, server, ..Setup::default() }.in_front_of(&[mail.address()]);
    (mail, reprieve)
}

/// Logs in, sees the message and quits.
fn poll(reprieve: &Proxy) {
    let mut session = Dialogue::log_in(&reprieve.account("alice"));
    assert!(session.ok("STAT").starts_with("1 "));
    session.quit();
}

/// The error reply to a login.
fn answer(reprieve: &Proxy) -> String {
    let mut session = Dialogue::open(reprieve.address());
    session.ok("USER alice");
    session.err("PASS open sesame")
}

#[test]
fn quota_poses_when_the_tokens_are_used_up() {
    let (mail, reprieve) = proxied("quota", "burst = 2", "");
    (0..5).for_each(|_| poll(&reprieve));
    assert_eq!(mail.stats().logins, 2);
    reprieve.clock.advance(Duration::from_secs(60));
    poll(&reprieve);
    assert_eq!(mail.stats().logins, 3);
}

/// A denied login that continues at the mail server.
fn upgrade(reprieve: &Proxy) {
    let mut session = Dialogue::log_in(&reprieve.account("alice"));
    session.lines("TOP 1 0");
    session.quit();
}

#[test]
fn quota_takes_a_token_for_an_upgrade_unless_upgrades_are_ignored() {
    for (upgrades, logins) in [("count", 2), ("ignore", 3)] {
        let settings = format!("burst = 1\nupgrades = {upgrades:?}");
        let (mail, reprieve) = proxied("quota", &settings, "");
        poll(&reprieve);
        upgrade(&reprieve);
        assert_eq!(mail.stats().logins, 2);
        reprieve.clock.advance(Duration::from_secs(60));
        poll(&reprieve);
        assert_eq!(mail.stats().logins, logins, "{upgrades}");
    }
}

#[test]
fn quota_can_show_busy_to_clients_that_upgrade_at_each_poll() {
    let (mail, reprieve) = proxied("quota", "burst = 1\nbusy-after = 2", "");
    poll(&reprieve);
    (0..2).for_each(|_| upgrade(&reprieve));
    let mut session = Dialogue::log_in(&reprieve.account("alice"));
    assert!(session.err("STAT").starts_with("-ERR [SYS/TEMP]"));
    session.quit();
    assert_eq!(mail.stats().logins, 3);
}

#[test]
fn stress_poses_only_while_the_pool_is_stressed() {
    let (mail, reprieve) = proxied("stress", "sessions = \"0 to 1\"\nlatency = \"1h to 2h\"", "");
    (0..3).for_each(|_| poll(&reprieve));
    assert_eq!(mail.stats().logins, 3, "a quiet server relieves nobody");
    let mut busy = Dialogue::log_in(&reprieve.account("alice"));
    busy.ok("NOOP");
    // The busy session has discarded the snapshot; the next denied one has none either.
    assert_eq!(mail.stats().logins, 4);
    busy.quit();
    mail.add_user("bob", PASSWORD);
    let bob = reprieve.account("bob");
    let mut open = Dialogue::log_in(&bob);
    open.ok("NOOP");
    poll(&reprieve);
    assert_eq!(mail.logins("alice"), 4, "she was answered while the server was busy");
    open.quit();
}

#[test]
fn office_hours_poses_by_local_time() {
    let (mail, reprieve) = proxied("office-hours", "hours = \"11:00-13:00 1h, otherwise 0s\"", "");
    (0..3).for_each(|_| poll(&reprieve));
    assert_eq!(mail.stats().logins, 1);
    reprieve.clock.advance(Duration::from_secs(3600));
    (0..3).for_each(|_| poll(&reprieve));
    assert_eq!(mail.stats().logins, 4, "after one o'clock everybody passes");
}

#[test]
fn plans_answers_busy_to_abusers_and_refuses_robots() {
    let settings = "\"plan.abuse\" = \"interval=1h, manner=busy\"\n\"user.alice\" = \"abuse\"";
    let (mail, reprieve) = proxied("plans", settings, "");
    poll(&reprieve);
    let mut session = Dialogue::log_in(&reprieve.account("alice"));
    assert!(session.err("STAT").starts_with("-ERR [SYS/TEMP]"));
    session.quit();
    assert_eq!(mail.stats().logins, 1);
    let settings = "\"plan.robots\" = \"interval=1h, manner=refuse\"\ndefault = \"robots\"";
    let (_mail, reprieve) = proxied("plans", settings, "");
    poll(&reprieve);
    let answer = answer(&reprieve);
    assert!(answer.starts_with("-ERR [LOGIN-DELAY]") && answer.contains("3600"), "{answer}");
}

#[test]
fn networks_passes_refuses_or_delays_by_the_clients_network() {
    let (mail, reprieve) = proxied("networks", "pass = \"127.0.0.0/8\"", "");
    (0..3).for_each(|_| poll(&reprieve));
    assert_eq!(mail.stats().logins, 3);
    let (mail, reprieve) = proxied("networks", "pass = \"10.0.0.0/8\"", "");
    (0..3).for_each(|_| poll(&reprieve));
    assert_eq!(mail.stats().logins, 1);
    let (mail, reprieve) = proxied("networks", "refuse = \"127.0.0.1\"", "");
    assert!(answer(&reprieve).starts_with("-ERR [SYS/PERM]"));
    assert_eq!(mail.stats().logins, 0);
}

#[test]
fn article_behaves_as_the_article() {
    let (mail, reprieve) = proxied("article", "", "verify = \"off\"");
    poll(&reprieve);
    let mut session = Dialogue::open(reprieve.address());
    session.ok("USER alice");
    // Any password is accepted, and the maildrop is empty.
    session.ok("PASS wrong");
    assert!(session.ok("STAT").starts_with("0 0"));
    session.quit();
    assert_eq!(mail.stats().logins, 1);
}

#[test]
fn adaptive_waits_longer_while_the_maildrop_is_unchanged() {
    let (mail, reprieve) = proxied("adaptive", "divisor = \"1\"", "");
    let poll_after = |seconds| {
        reprieve.clock.advance(Duration::from_secs(seconds));
        poll(&reprieve);
        mail.stats().logins
    };
    assert_eq!([poll_after(0), poll_after(119), poll_after(1)], [1, 1, 2]);
    // Unchanged for two minutes at the second login, for four at the third.
    assert_eq!([poll_after(119), poll_after(1)], [2, 3]);
    assert_eq!([poll_after(120), poll_after(119), poll_after(1)], [3, 3, 4]);
}

/// The replies to a login from this address, which a PROXY header names.
fn log_in_from(reprieve: &Proxy, address: &str, password: &str) -> String {
    let mut client = TcpStream::connect(reprieve.address()).expect("a connection");
    client.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let commands =
        format!("PROXY TCP4 {address} 198.51.100.1 4711 110\r\nUSER alice\r\nPASS {password}\r\nQUIT\r\n");
    client.write_all(commands.as_bytes()).expect("sending");
    let mut replies = String::new();
    client.read_to_string(&mut replies).expect("replies until the server closes");
    replies
}

#[test]
fn devices_refuses_a_further_address_until_another_is_free() {
    let (mail, reprieve) = proxied("devices", "addresses = \"1\"", "proxy-from = [\"127.0.0.0/8\"]");
    // A wrong password uses up no address.
    assert!(log_in_from(&reprieve, "192.0.2.9", "wrong").contains("-ERR"));
    assert!(log_in_from(&reprieve, "192.0.2.1", PASSWORD).ends_with("+OK bye\r\n"));
    let refused = log_in_from(&reprieve, "192.0.2.2", PASSWORD);
    assert!(refused.contains("-ERR [IN-USE]"), "{refused}");
    assert_eq!(mail.stats().logins, 2, "with the one that it rejected");
    reprieve.clock.advance(Duration::from_secs(3600));
    assert!(log_in_from(&reprieve, "192.0.2.2", PASSWORD).ends_with("+OK bye\r\n"));
    assert_eq!(mail.stats().logins, 3);
}

#[test]
fn guessing_refuses_a_network_but_not_a_known_password() {
    let settings = "refuse-after = \"2\"\ndelay-ms = \"0\"";
    let (mail, reprieve) = proxied("guessing", settings, "proxy-from = [\"127.0.0.0/8\"]");
    assert!(log_in_from(&reprieve, "192.0.2.1", PASSWORD).ends_with("+OK bye\r\n"));
    for _ in 0..2 {
        assert!(log_in_from(&reprieve, "203.0.113.7", "wrong").contains("-ERR [AUTH]"));
    }
    let refused = log_in_from(&reprieve, "203.0.113.8", "another");
    assert!(refused.contains("-ERR [SYS/TEMP] too many failed logins"), "{refused}");
    assert!(log_in_from(&reprieve, "203.0.113.8", PASSWORD).ends_with("+OK bye\r\n"));
    assert_eq!(mail.stats().logins, 4, "with the two that it rejected");
}

#[test]
fn maintenance_keeps_the_mail_server_free_except_for_testers() {
    let settings = "windows = \"daily 12:00-13:00\"\nexcept = \"tester\"";
    let (mail, reprieve) = proxied("maintenance", settings, "");
    mail.add_user("tester", PASSWORD);
    assert!(answer(&reprieve).starts_with("-ERR [SYS/TEMP] maintenance"));
    Dialogue::log_in(&reprieve.account("tester")).quit();
    assert_eq!(mail.stats().logins, 1);
    reprieve.clock.advance(Duration::from_secs(3600));
    poll(&reprieve);
    reprieve.clock.advance(Duration::from_secs(23 * 3600 - 1));
    poll(&reprieve);
    assert_eq!(mail.logins("alice"), 2);
    reprieve.clock.advance(Duration::from_secs(1));
    poll(&reprieve);
    assert_eq!(mail.logins("alice"), 2, "the third poll was answered during maintenance");
}

#[test]
fn wrong_settings_stop_the_start_with_the_policys_message() {
    for (name, settings, expected) in [
        ("quota", "per-hour = 0", "`per-hour`"),
        ("stress", "sessions = \"5\"", "`sessions`"),
        ("office-hours", "hours = \"always\"", "`hours`"),
        ("plans", "default = \"gold\"", "\"gold\", which is not defined"),
        ("networks", "pass = \"office\"", "\"office\""),
        ("article", "interval = \"1m\"", "the article has none"),
        ("adaptive", "divisor = 0", "`divisor`"),
        ("devices", "addresses = 0", "`addresses`"),
        ("guessing", "ipv4-prefix = 33", "`ipv4-prefix`"),
        ("maintenance", "windows = \"always\"", "`windows`"),
    ] {
        let mail = mail_server(0);
        let policy = format!(
            "component = {:?}\nlimits = {{ start = \"20s\" }}\nsettings = {{ {settings} }}",
            component(name)
        );
        let error = match (Setup { policy: &policy, ..Setup::default() }).try_in_front_of(&[mail.address()]) {
            Ok(_) => panic!("{name}: it started"),
            Err(error) => format!("{error:#}"),
        };
        assert!(error.contains(expected) && error.contains("refuses its settings"), "{name}: {error}");
    }
}
