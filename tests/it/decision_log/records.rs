//! The content of a record.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;

use super::{Log, some, text_of};
use reprieve_mailserver::MailServer;

use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority};
use crate::support::dialogue::Dialogue;
use crate::support::proxy::{NOON, Setup};
use crate::support::scripted::Scripted;
use crate::support::{guests, mail_server};

fn wrong_password(address: SocketAddr, password: &str) {
    let mut session = Dialogue::open(address);
    session.ok("USER alice");
    session.err(&format!("PASS {password}"));
    session.quit();
}

/// The values of these keys as words; `-` stands for one that is missing or null.
fn words(record: &Value, keys: &str) -> String {
    let word = |key| match &record[key] {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    keys.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

/// Six sessions of alice: passed, posed, upgraded, with a wrong password, without a login, and
/// without QUIT. Returns where they connected, and their records.
fn six_sessions(log: &Log, mail: &MailServer) -> (SocketAddr, Vec<Value>) {
    let reprieve = Setup { top: &log.section(""), ..Setup::default() }.in_front_of(&[mail.address()]);
    let alice = reprieve.account("alice");
    Dialogue::log_in(&alice).quit();
    log.lines(1);
    reprieve.clock.advance(Duration::from_secs(60));
    let mut posed = Dialogue::log_in(&alice);
    posed.lines("UIDL");
    posed.quit();
    log.lines(2);
    let mut upgraded = Dialogue::log_in(&alice);
    upgraded.lines("RETR 1");
    upgraded.quit();
    log.lines(3);
    wrong_password(reprieve.address(), "hocus pocus");
    log.lines(4);
    let mut silent = Dialogue::open(reprieve.address());
    silent.ok("NOOP");
    silent.quit();
    log.lines(5);
    reprieve.clock.advance(Duration::from_secs(600));
    let mut dropped = Dialogue::log_in(&alice);
    dropped.ok("STAT");
    drop(dropped);
    (reprieve.address(), log.lines(6))
}

#[test]
fn each_session_is_a_record_with_the_facts_of_its_decisions() {
    let (mail, log) = (mail_server(2), Log::new());
    let (_, lines) = six_sessions(&log, &mail);
    let session = "v virtual_server ended_ms upgraded relief end";
    let minute_later = NOON + 60_000;
    let node = mail.address().to_string();
    let login = "at_ms user mechanism standing verdict manner reason retry_after_s disposition because outcome outcome_at_ms \
         node";
    for (line, (of_session, of_login)) in lines.iter().zip([
        (
            format!("1 pop3 {NOON} false false quit"),
            format!("{NOON} alice user-pass unknown pass - - - passed - authenticated {NOON} {node}"),
        ),
        (
            format!("1 pop3 {minute_later} false true quit"),
            format!("{minute_later} alice user-pass known deny unchanged too-soon 540 posed - - - -"),
        ),
        (
            format!("1 pop3 {minute_later} true false quit"),
            format!("{minute_later} alice user-pass known deny unchanged too-soon 540 posed - - - -"),
        ),
        (
            format!("1 pop3 {minute_later} false false quit"),
            // The upgrade before has started the clock again.
            format!(
                "{minute_later} alice user-pass changed deny unchanged too-soon 600 passed unverified rejected \
                 {minute_later} {node}"
            ),
        ),
        (format!("1 pop3 {minute_later} false false quit"), String::new()),
        (format!("1 pop3 {} false false closed", minute_later + 600_000), String::new()),
    ]) {
        assert_eq!(words(line, session), of_session, "{line}");
        if !of_login.is_empty() {
            assert_eq!(line["logins"].as_array().unwrap().len(), 1);
            assert_eq!(words(&line["logins"][0], login), of_login, "{line}");
        }
    }
    assert_eq!(lines[4]["logins"], serde_json::json!([]), "there was no login");
    assert_eq!(lines[5]["logins"][0]["disposition"], "passed");
    assert_eq!(
        some(&lines[2], &["/upgrade_command", "/upgrade_outcome", "/upgrade_node"]),
        [Value::from("RETR"), "authenticated".into(), node.into()]
    );
}

#[test]
fn records_have_ids_times_addresses_and_sizes_and_no_secrets() {
    let (mail, log) = (mail_server(2), Log::new());
    let (address, lines) = six_sessions(&log, &mail);
    let mut sequence: Vec<_> = lines.iter().filter_map(|line| line["logins"][0]["seq"].as_u64()).collect();
    let in_order = sequence.clone();
    sequence.sort_unstable();
    sequence.dedup();
    assert_eq!(sequence, in_order, "decisions are numbered in their order");
    for line in &lines {
        assert!(line["began_ms"].as_u64() <= line["ended_ms"].as_u64(), "{line}");
        assert_eq!(line["local"], address.to_string());
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        assert_eq!(line["id"].as_str().unwrap().len(), 16);
        assert!(line["bytes_in"].as_u64() > Some(0) && line["bytes_out"].as_u64() > Some(0), "{line}");
    }
    let first = &lines[0]["logins"][0];
    assert_eq!(
        first["backend"],
        serde_json::json!({ "pool": "mail", "nodes": 1, "healthy_nodes": 1, "sessions": 0, "waiting": 0 })
    );
    assert_eq!((&first["policy"]["component"], &first["policy"]["version"]), (&"interval".into(), &1.into()));
    assert_eq!(first["policy"]["sha256"].as_str().unwrap().len(), 64);
    assert!(lines[2]["logins"][0]["backend"]["login_latency_ms"].is_u64(), "the node is known by now");
    assert!(lines[0]["time"].as_str().unwrap().starts_with("2026-03-10T11:00:00"), "{}", lines[0]);
    let text = text_of(&log.path());
    for secret in [PASSWORD, "sesame", "hocus", "pocus"] {
        assert!(!text.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn refused_and_disconnected_logins_are_recorded_as_such() {
    for (manner, became, end) in
        [("refuse", "refused", "quit"), ("disconnect", "disconnected", "disconnected")]
    {
        let (mail, log) = (mail_server(1), Log::new());
        let policy = format!("settings = {{ manner = \"{manner}\" }}");
        let reprieve = Setup { top: &log.section(""), policy: &policy, ..Setup::default() }
            .in_front_of(&[mail.address()]);
        Dialogue::log_in(&reprieve.account("alice")).quit();
        log.lines(1);
        let mut denied = Dialogue::open(reprieve.address());
        denied.ok("USER alice");
        denied.send(&format!("PASS {PASSWORD}"));
        if manner == "refuse" {
            assert!(denied.line().starts_with("-ERR [LOGIN-DELAY]"));
            denied.quit();
        } else {
            denied.closed();
        }
        let lines = log.lines(2);
        let login = &lines[1]["logins"][0];
        assert_eq!(
            some(login, &["/manner", "/disposition", "/because"]),
            [manner.into(), became.into(), Value::Null]
        );
        assert_eq!(some(&lines[1], &["/relief", "/end"]), [true.into(), Value::from(end)]);
    }
}

#[test]
fn several_logins_of_one_session_are_recorded_in_order() {
    let (mail, log) = (mail_server(1), Log::new());
    let reprieve = Setup { top: &log.section(""), ..Setup::default() }.in_front_of(&[mail.address()]);
    let mut session = Dialogue::open(reprieve.address());
    session.ok("USER alice");
    session.err("PASS not this one");
    session.give_password("alice", PASSWORD);
    session.quit();
    let line = &log.lines(1)[0];
    let outcomes: Vec<_> = line["logins"].as_array().unwrap().iter().map(|login| &login["outcome"]).collect();
    assert_eq!(outcomes, ["rejected", "authenticated"]);
    assert!(line["logins"][0]["seq"].as_u64() < line["logins"][1]["seq"].as_u64());
}

#[test]
fn a_disposition_other_than_the_verdict_is_recorded_with_its_reason() {
    // No snapshot: the previous session lost its mail server.
    let (mail, log) = (mail_server(1), Log::new());
    let server = "on-unreachable = \"pose\"";
    let reprieve = Setup { top: &log.section(""), server, ..Setup::default() }.in_front_of(&[mail.address()]);
    let mut lost = Dialogue::log_in(&reprieve.account("alice"));
    lost.ok("STAT");
    reprieve.lose(mail.address(), lost);
    log.lines(1);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    log.lines(2);
    // The mail server is down when the next one passes.
    reprieve.clock.advance(Duration::from_secs(600));
    drop(mail);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    let lines = log.lines(3);
    let what = ["/verdict", "/disposition", "/because", "/outcome"];
    let of = |line: &Value| Value::from(some(&line["logins"][0], &what));
    assert_eq!(of(&lines[1]), serde_json::json!(["deny", "passed", "no-snapshot", "authenticated"]));
    assert_eq!(of(&lines[2]), serde_json::json!(["pass", "posed", "unreachable", "unreachable"]));
}

#[test]
fn a_policy_failure_is_recorded_with_its_kind() {
    for (on_failure, became) in [("pass", "passed"), ("deny", "refused")] {
        let (mail, log) = (mail_server(1), Log::new());
        let policy = format!(
            "component = {:?}\nsettings = {{ at = \"decide\", how = \"trap\" }}\non-failure = \"{on_failure}\"\n\
             breaker = {{ failures = 1, pause = \"1h\" }}",
            guests::hostile()
        );
        let reprieve = Setup { top: &log.section(""), policy: &policy, ..Setup::default() }
            .in_front_of(&[mail.address()]);
        for count in 1..=2 {
            let mut session = Dialogue::open(reprieve.address());
            session.ok("USER alice");
            session.send(&format!("PASS {PASSWORD}"));
            let answer = session.line();
            assert_eq!(answer.starts_with("+OK"), on_failure == "pass", "{answer}");
            session.quit();
            log.lines(count);
        }
        let what = ["/verdict", "/failure", "/disposition", "/because"];
        for (line, expected) in log.lines(2).iter().zip([
            serde_json::json!([null, "trap", became, "policy-failure"]),
            serde_json::json!([null, "paused", became, "policy-paused"]),
        ]) {
            assert_eq!(Value::from(some(&line["logins"][0], &what)), expected, "{line}");
            assert_eq!(line["relief"], false, "there was no verdict");
        }
    }
}

#[test]
fn tls_sessions_are_recorded_with_their_names() {
    let (authority, mail, log) = (Authority::new(), mail_server(1), Log::new());
    let files = authority.server("front", &["localhost"], Age::Valid);
    let client = authority.client("alice");
    let server = format!(
        "mechanisms = [\"USER\", \"EXTERNAL\"]\n[virtual-server.tls]\ncertificate = {:?}\nkey = {:?}\nclient-ca = {:?}",
        files.chain,
        files.key,
        authority.file()
    );
    let reprieve =
        Setup { top: &log.section(""), server: &server, ..Setup::default() }.in_front_of(&[mail.address()]);
    let mut session = Dialogue::open(reprieve.address());
    session.start_tls(&authority.trusted(Some(&client)), "localhost");
    session.give_password("alice", PASSWORD);
    session.quit();
    let tls = &log.lines(1)[0]["tls"];
    assert_eq!((&tls["version"], &tls["server_name"]), (&"TLSv1.3".into(), &"localhost".into()));
    assert!(tls["client_subject"].as_str().unwrap().contains("CN=alice"), "{tls}");
}

#[test]
fn challenge_response_logins_are_recorded() {
    let node = Scripted::start(|conversation| {
        conversation.send(b"+OK ready\r\n");
        while let Some(command) = conversation.read_command() {
            let answer: &[u8] = match &*command {
                "AUTH CRAM-MD5" => {
                    conversation.send(b"+ PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2U+\r\n");
                    conversation.read_command();
                    b"+OK in\r\n"
                }
                "STAT" => b"+OK 0 0\r\n",
                "LIST" | "UIDL" => b"+OK\r\n.\r\n",
                "QUIT" => {
                    conversation.send(b"+OK bye\r\n");
                    return;
                }
                _ => b"-ERR no\r\n",
            };
            conversation.send(answer);
        }
    });
    let (digest, encoded) =
        ("b913a602c7eda7a495b4e6e7334d3890", "YWxpY2UgYjkxM2E2MDJjN2VkYTdhNDk1YjRlNmU3MzM0ZDM4OTA=");
    for unverifiable in ["pass", "refuse"] {
        let log = Log::new();
        let server = format!("mechanisms = [\"CRAM-MD5\"]\nunverifiable = \"{unverifiable}\"");
        let reprieve = Setup { top: &log.section(""), server: &server, ..Setup::default() }
            .in_front_of(&[node.address()]);
        for count in 1..=2 {
            let mut session = Dialogue::open(reprieve.address());
            session.send("AUTH CRAM-MD5");
            assert!(session.line().starts_with("+ PDE4"));
            session.send(encoded);
            assert_eq!(session.line().starts_with("+OK"), count == 1 || unverifiable == "pass");
            session.quit();
            log.lines(count);
        }
        let what = ["/mechanism", "/standing", "/verdict", "/disposition", "/because", "/outcome"];
        let line = &log.lines(2)[1];
        let expected = match unverifiable {
            "pass" => {
                serde_json::json!(["cram-md5", "unknown", "deny", "passed", "unverifiable", "authenticated"])
            }
            _ => serde_json::json!(["cram-md5", "unknown", "deny", "refused", "unverifiable", null]),
        };
        assert_eq!(Value::from(some(&line["logins"][0], &what)), expected, "{line}");
        let text = text_of(&log.path());
        assert!(!text.contains(digest) && !text.contains(encoded));
    }
}
