//! `reprieve replay --to-scenario`: what the proxy decided becomes a scenario that passes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use reprieve_mailserver::MailServer;

use super::{Log, text_of};
use crate::support::account::{Account, PASSWORD};
use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::proxy::{NOON, Proxy, Setup};
use crate::support::running::{BINARY, Running};

fn run(command: &str, arguments: &[&str]) -> Output {
    Command::new(BINARY).args(command.split(' ')).args(arguments).output().expect("running reprieve")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn convert(log: &Path, arguments: &[&str]) -> Output {
    let common = ["--to-scenario", "--time-zone", "Europe/Berlin"];
    run("replay", &[&[log.to_str().expect("a path")], &common[..], arguments].concat())
}

/// Converts a log; returns the scenario and its file.
#[track_caller]
fn scenario(log: &Log, arguments: &[&str]) -> (String, PathBuf) {
    let path = log.folder.path().join("scenario.toml");
    let output = convert(&log.path(), &[arguments, &["-o", path.to_str().expect("a path")]].concat());
    assert!(output.status.success() && said(&output).is_empty(), "{}", said(&output));
    (text_of(&path), path)
}

/// Plays a scenario with `interval`; returns the exit code and the report.
fn test(path: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run("policy test interval", &[&[path.to_str().expect("a path")], arguments].concat());
    (output.status.code(), said(&output))
}

fn wrong_password(account: &Account) {
    let mut session = Dialogue::open(account.server);
    session.ok(&format!("USER {}", account.user));
    session.err("PASS wrong");
    session.quit();
}

/// Ten sessions of alice and bob within half an hour.
fn ten_sessions(log: &Log, mail: &MailServer, users: &str) -> Proxy {
    mail.add_user("bob", PASSWORD);
    let top = log.section(users);
    let policy = "settings = { interval = \"10m\" }";
    let reprieve = Setup { top: &top, policy, ..Setup::default() }.in_front_of(&[mail.address()]);
    let (alice, bob) = (reprieve.account("alice"), reprieve.account("bob"));
    let mut count = 0;
    let mut after = |millis: u64, session: &dyn Fn()| {
        reprieve.clock.advance(Duration::from_millis(millis));
        session();
        count += 1;
        log.lines(count);
    };
    after(0, &|| wrong_password(&alice));
    after(1_000, &|| Dialogue::log_in(&alice).quit());
    after(250, &|| Dialogue::log_in(&bob).quit());
    after(60_000, &|| Dialogue::log_in(&alice).quit());
    after(0, &|| wrong_password(&bob));
    after(538_749, &|| Dialogue::log_in(&alice).quit());
    after(1_001, &|| Dialogue::log_in(&alice).quit());
    after(1, &|| Dialogue::log_in(&alice).quit());
    after(0, &|| Dialogue::log_in(&bob).quit());
    after(1_200_000, &|| Dialogue::log_in(&bob).quit());
    reprieve
}

#[test]
fn a_scenario_from_the_decision_log_passes_with_the_policy_and_settings_of_that_time() {
    let (mail, log) = (mail_server(1), Log::new());
    let _reprieve = ten_sessions(&log, &mail, "");
    let (text, path) = scenario(&log, &["--set", "interval=10m"]);
    assert_eq!(text.matches("[[scenario.step]]").count(), 10, "{text}");
    assert_eq!(text.matches("\nexpect = ").count(), 10, "{text}");
    let denied = "expect = { verdict = \"deny\", manner = \"unchanged\", reason = \"too-soon\", retry-after = 540 }\n\
        disposition = \"posed\"\n";
    assert!(text.contains(denied) && text.contains("start = \"2026-03-10T12:00:01.25+01:00\"\n"), "{text}");
    let (code, report) = test(&path, &[]);
    assert!(
        code == Some(0) && report.contains("6 logins") && report.contains("2 passed, 0 failed"),
        "{report}"
    );
    // The expectations are checked: with another interval, they fail.
    let (code, report) = test(&path, &["--set", "interval=5m"]);
    assert!(code == Some(1) && report.contains("expected: 540"), "{report}");
    // Standard output has the same text.
    let output = convert(&log.path(), &["--set", "interval=10m"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), text);
}

#[test]
fn a_scenario_has_the_selected_logins_and_expects_nothing_of_users_who_were_known_before() {
    let (mail, log) = (mail_server(1), Log::new());
    let _reprieve = ten_sessions(&log, &mail, "");
    // From alice's second denial on; her next login passes.
    let selected = ["--set", "interval=10m", "--user", "alice", "--since", "2026-03-10T12:01"];
    let (text, path) = scenario(&log, &selected);
    assert_eq!(text.matches("[[scenario.step]]").count(), 4, "{text}");
    assert_eq!(text.matches("# Not checked: the user had logged in before").count(), 3, "{text}");
    assert!(!text.contains("bob"), "{text}");
    let (code, report) = test(&path, &[]);
    assert!(code == Some(0) && report.contains("4 logins"), "{report}");
    let (text, path) = scenario(&log, &["--user", "alice", "--until", "2026-03-10 12:01:00+01:00"]);
    assert_eq!(text.matches("[[scenario.step]]").count(), 2, "{text}");
    assert_eq!(test(&path, &[]).0, Some(0));
    let none = convert(&log.path(), &["--user", "carol"]);
    assert_eq!(none.status.code(), Some(1));
    assert!(said(&none).contains("no login is selected by --user"), "{}", said(&none));
    // A report is of the selected logins too.
    let report = run("replay", &[log.path().to_str().unwrap(), "--user", "bob", "--output-format", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).expect("a report");
    assert_eq!(report["totals"]["logins"], 4, "{report}");
}

#[test]
fn a_scenario_from_a_log_with_hashed_names_has_the_hashes() {
    let (mail, log) = (mail_server(1), Log::new());
    let key = tempfile::NamedTempFile::new().unwrap();
    crate::support::write_secret(key.path(), "PNMmnYO2pgJhVPDRpcfJfuGmkoDq\n");
    let _reprieve =
        ten_sessions(&log, &mail, &format!(", users = \"hashed\", hash-key-file = {:?}", key.path()));
    let (text, path) = scenario(&log, &["--set", "interval=10m"]);
    assert!(!text.contains("alice") && !text.contains("bob"), "{text}");
    assert_eq!(test(&path, &[]).0, Some(0));
}

/// Logins of different users overlap; those of one user come one after the other.
#[test]
fn a_scenario_from_a_busy_proxy_passes() {
    let (mail, log) = (mail_server(1), Log::new());
    let users = ["alice", "bob", "carol", "dave"];
    for user in &users[1..] {
        mail.add_user(user, PASSWORD);
    }
    let mut reprieve = Running::with_configuration(
        log.folder.path(),
        &format!(
            "{}\n[[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n\
             [virtual-server.policy]\nsettings = {{ interval = \"20ms\", reset = \"never\" }}\n\
             [pool.mail]\nnodes = [\"{}\"]\nhealth-check = \"off\"\n",
            log.section(""),
            mail.address()
        ),
    );
    let server = reprieve.address();
    let polls = 40;
    std::thread::scope(|scope| {
        for user in users {
            scope.spawn(move || {
                for poll in 0..polls {
                    let mut session = Dialogue::open(server);
                    session.ok(&format!("USER {user}"));
                    session.send(&format!("PASS {}", if poll % 7 == 3 { "wrong" } else { PASSWORD }));
                    session.line();
                    session.quit();
                }
            });
        }
    });
    log.lines(4 * polls);
    let (text, path) = scenario(&log, &["--set", "interval=20ms", "--set", "reset=never"]);
    assert_eq!(text.matches("[[scenario.step]]").count(), 4 * polls);
    assert!(text.matches("\nexpect = ").count() > polls, "{text}");
    let (code, report) = test(&path, &[]);
    assert_eq!(code, Some(0), "{report}\n{text}");
}

#[test]
fn only_a_decision_log_of_one_virtual_server_becomes_a_scenario() {
    let log = Log::new();
    let session = |server: &str, at_ms: u64| {
        format!(
            "{{\"v\":1,\"virtual_server\":\"{server}\",\"logins\":[{{\"at_ms\":{at_ms},\"user\":\"alice\",\
             \"standing\":\"unknown\",\"verdict\":\"pass\",\"disposition\":\"passed\",\"outcome\":\"authenticated\"}}]}}\n"
        )
    };
    std::fs::write(log.path(), session("inside", NOON) + &session("outside", NOON + 1)).unwrap();
    let several = convert(&log.path(), &[]);
    assert_eq!(several.status.code(), Some(2));
    assert!(
        said(&several).contains("inside and outside; choose one with --virtual-server"),
        "{}",
        said(&several)
    );
    let (text, _) = scenario(&log, &["--virtual-server", "outside"]);
    assert!(
        text.contains("virtual-server = \"outside\"") && text.matches("[[scenario.step]]").count() == 1,
        "{text}"
    );
    std::fs::write(log.path(), "Nov 27 00:00:01 mx pop3d: LOGIN, user=alice, ip=[::ffff:192.0.2.7]\n")
        .unwrap();
    let other = convert(&log.path(), &[]);
    assert_eq!(other.status.code(), Some(2));
    assert!(said(&other).contains("this log is of Courier"), "{}", said(&other));
    for (arguments, expected) in [
        (&["--since", "noon"][..], "--since noon: not a date and time"),
        (&["--policy", "interval"], "cannot be used with"),
    ] {
        let wrong = convert(&log.path(), arguments);
        assert_eq!(wrong.status.code(), Some(2));
        assert!(said(&wrong).contains(expected), "{}", said(&wrong));
    }
}
