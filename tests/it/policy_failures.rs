//! Policies that fail: logins get their fallback, other sessions are not affected, and the log says
//! why.

use std::process::Command;

use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::proxy::{Proxy, Setup};
use crate::support::running::{BINARY, Running};
use crate::support::{components, guests};

use reprieve_mailserver::MailServer;

fn hostile(at: &str, how: &str, more: &str) -> (MailServer, anyhow::Result<Proxy>) {
    let mail = mail_server(1);
    let component = guests::hostile();
    let policy =
        format!("component = {component:?}\nsettings = {{ at = \"{at}\", how = \"{how}\" }}\n{more}");
    let reprieve = Setup { policy: &policy, ..Setup::default() }.try_in_front_of(&[mail.address()]);
    (mail, reprieve)
}

/// Failures and invalid verdicts.
const FAILURES: [&str; 9] = [
    "trap",
    "spin",
    "memory",
    "recurse",
    "sleep",
    "long-note",
    "giant-note",
    "unknown-pool",
    "smuggling-user",
];

#[test]
fn if_the_policy_fails_the_login_passes() {
    for how in FAILURES.into_iter().chain(["forged-reason"]) {
        let (mail, reprieve) = hostile("decide", how, "");
        let reprieve = reprieve.unwrap();
        let mut session = Dialogue::log_in(&reprieve.account("alice"));
        assert!(session.ok("STAT").starts_with("1 "), "{how}");
        session.quit();
        assert_eq!(mail.stats().logins, 1, "{how}");
        assert_eq!(reprieve.server.counters().policy_failures, 1, "{how}");
    }
}

#[test]
fn if_configured_a_login_without_a_verdict_is_refused() {
    let (mail, reprieve) = hostile("decide", "trap", "on-failure = \"deny\"");
    let reprieve = reprieve.unwrap();
    let mut session = Dialogue::open(reprieve.address());
    session.ok("USER alice");
    assert!(session.err("PASS open sesame").starts_with("-ERR [SYS/TEMP]"));
    session.quit();
    assert_eq!(mail.stats().logins, 0);
}

#[test]
fn a_policy_that_fails_at_the_outcome_changes_nothing_for_the_client() {
    for how in ["trap", "spin", "memory", "recurse"] {
        let (_mail, reprieve) = hostile("observe", how, "");
        let reprieve = reprieve.unwrap();
        Dialogue::log_in(&reprieve.account("alice")).quit();
        Dialogue::log_in(&reprieve.account("alice")).quit();
        assert_eq!(reprieve.server.counters().policy_failures, 2, "{how}");
    }
}

#[test]
fn limits_hold_for_a_policy_that_fills_the_store_or_floods_the_log() {
    for how in ["fill-store", "flood-log"] {
        let (_mail, reprieve) =
            hostile("decide", how, "store-quota = \"1MiB\"\nlimits = { time = \"500ms\" }");
        let reprieve = reprieve.unwrap();
        Dialogue::log_in(&reprieve.account("alice")).quit();
        assert_eq!(reprieve.server.counters().policy_failures, 0, "{how}");
    }
}

#[test]
fn a_policy_that_cannot_start_or_refuses_its_settings_stops_the_start() {
    for (how, expected) in [
        ("refuse-settings", "the setting `at` is refused by the test"),
        ("trap", "it could not be started"),
        ("memory", "bytes of memory"),
        ("spin", "CPU time"),
    ] {
        let (_mail, reprieve) = hostile("configure", how, "");
        let error = match reprieve {
            Ok(_) => panic!("{how}: it started"),
            Err(error) => format!("{error:#}"),
        };
        assert!(error.contains(expected), "{how}: {error}");
        assert!(error.contains("test.toml:") && error.contains("pop3"), "{how}: {error}");
    }
}

#[test]
fn a_file_that_is_no_policy_is_refused_with_an_explanation() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, expected) in [
        ("text.wasm", &b"hello"[..], "it is not WebAssembly"),
        ("core.wasm", b"\0asm\x01\0\0\0", "core WebAssembly module"),
        ("cut.wasm", b"\0asm\x0d\0\x01\0\x07\xff", "truncated or damaged"),
        ("nothing.wasm", b"\0asm\x0d\0\x01\0", "it exports nothing"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let mail = mail_server(0);
        let policy = format!("component = {path:?}");
        let error = match (Setup { policy: &policy, ..Setup::default() }).try_in_front_of(&[mail.address()]) {
            Ok(_) => panic!("{name}: it started"),
            Err(error) => format!("{error:#}"),
        };
        assert!(error.contains(expected), "{name}: {error}");
    }
}

#[test]
fn a_thousand_failures_do_not_affect_the_policy_host() {
    let (_mail, reprieve) = hostile("decide", "trap", "breaker = { failures = 0 }");
    let reprieve = reprieve.unwrap();
    let account = reprieve.account("alice");
    for _ in 0..1000 {
        Dialogue::log_in(&account).quit();
    }
    assert_eq!(reprieve.server.counters().policy_failures, 1000);
}

#[test]
fn a_denied_login_that_passes_goes_to_the_users_last_server() {
    let (mail, reprieve) = hostile("decide", "reroute-once-then-deny", "");
    let reprieve = reprieve.unwrap();
    mail.add_user("alice@home", crate::support::account::PASSWORD);
    mail.deliver("alice@home", b"Subject: routed\r\n\r\nhello\r\n");
    mail.deliver("alice@home", b"Subject: routed\r\n\r\nhello again\r\n");
    let mut lost = Dialogue::log_in(&reprieve.account("alice"));
    assert!(lost.ok("STAT").starts_with("2 "));
    reprieve.lose(mail.address(), lost);
    // Without a snapshot it passes, to the same maildrop.
    let mut session = Dialogue::log_in(&reprieve.account("alice"));
    assert!(session.ok("STAT").starts_with("2 "));
    session.quit();
    assert_eq!(reprieve.server.counters().no_snapshot, 1);
    // Posed and upgraded, it is the same maildrop too.
    let mut session = Dialogue::log_in(&reprieve.account("alice"));
    assert!(session.ok("STAT").starts_with("2 "));
    assert!(session.lines("RETR 1").contains(&"Subject: routed".to_owned()));
    session.quit();
    assert_eq!((mail.logins("alice@home"), mail.logins("alice")), (3, 0));
}

/// Bytes of a process that are in physical memory.
fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("its memory");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
}

#[test]
fn twenty_swaps_leak_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let interval = reprieve_policy_host::load_source("interval").unwrap();
    // Two components that take a hundred times their size to compile.
    let paths = [3_000, 3_001].map(|functions| {
        let path = folder.path().join(format!("{functions}.wasm"));
        let component = components::with_functions(&interval, &vec![vec![0, 0x0b]; functions]);
        std::fs::write(&path, component).unwrap();
        path.to_str().unwrap().to_owned()
    });
    let socket = folder.path().join("admin.sock");
    let mut reprieve = Running::with_configuration(
        folder.path(),
        &format!(
            r#"
threads = 1
policy-cache = "off"
admin.socket = {socket:?}
[[virtual-server]]
name = "pop3"
listen = ["127.0.0.1:0"]
pool = "mail"
[pool.mail]
nodes = ["127.0.0.1:1"]
health-check = "off"
"#
        ),
    );
    reprieve.address();
    let socket = socket.to_str().unwrap();
    let before = resident(reprieve.id());
    for number in 0..20 {
        let output = Command::new(BINARY)
            .args(["ctl", "--socket", socket, "swap", "pop3", &paths[number % 2]])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let after = resident(reprieve.id());
    // The active policy, and the previous one for `--back`.
    assert!(after < before + (12 << 20), "{before} bytes before, {after} after");
}
