use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::*;
use crate::decision_log::session_events::{self, Upgrade};
use crate::net::{ClientCertificate, TlsSession};
use reprieve_policy_host::{
    self as policy, Action, Because, Claim, Disposition, Ending, Identity, Manner, Mechanism, ResponseCode,
    Standing,
};
use reprieve_secrets::Secret;

fn policy() -> Arc<Identity> {
    Arc::new(Identity { component: "interval".to_owned(), sha256: "ab".repeat(32), version: 3 })
}

fn decision(verdict: Result<Verdict, &'static str>) -> Decision {
    Decision {
        seq: 17,
        at_ms: 1_795_817_243_200,
        claim: Claim {
            user: "alice".to_owned(),
            authorization_id: Some("root\n\"\u{0}".to_owned()),
            key: policy::MemoryKey::new("alice", Some("root\n\"\u{0}")),
            mechanism: Mechanism::UserPass,
            standing: Standing::Known,
        },
        freshness: policy::Freshness::Unchanged,
        backend: policy::Backend {
            pool: "mail".into(),
            nodes: 2,
            healthy_nodes: 1,
            sessions: 3,
            waiting: 4,
            login_latency_ms: Some(12),
        },
        policy: policy(),
        verdict,
        disposition: Some(Disposition::instead(Action::Passed, Because::Unverified)),
        outcome: Some(session_events::ObservedOutcome {
            ending: Ending::Authenticated,
            at_ms: 1_795_817_243_240,
            node: Some("10.0.0.5:110".to_owned()),
            latency_ms: 40,
            began: Instant::now(),
            ended: Instant::now(),
        }),
        shadow: None,
        asked: Instant::now(),
        took: Duration::from_micros(3),
    }
}

/// A session in which everything happens that can.
fn eventful() -> SessionEvents {
    let passed = policy::Pass {
        pool: Some("slow".to_owned()),
        user: Some("alice2".to_owned()),
        note: Some(String::new()),
        delay_ms: 5,
        ..policy::Pass::default()
    };
    let denied = policy::Deny {
        code: Some(ResponseCode::LoginDelay),
        retry_after: Some(540),
        ..policy::Deny::new(Manner::Refuse, "interval")
    };
    let now = Instant::now();
    let upgrade = Upgrade {
        command: "RETR",
        outcome: Ending::Authenticated,
        node: Some("10.0.0.5:110".into()),
        began: now,
        ended: now,
    };
    let shadowed = |verdict, own| {
        let told = policy::Told::default();
        told.set(own).unwrap();
        let decision = decision(verdict);
        Decision { shadow: Some((told, decision.policy.clone())), ..decision }
    };
    let would_deny =
        Opinion::Deny { manner: Manner::Unchanged, reason: "night".into(), retry_after: Some(60) };
    SessionEvents {
        decisions: vec![
            shadowed(Ok(Verdict::Pass(passed)), would_deny),
            shadowed(Ok(Verdict::Deny(denied)), Opinion::Failed("memory")),
            Decision { shadow: Some((policy::Told::default(), policy())), ..decision(Err("time")) },
        ],
        left_out: 1,
        upgrade: Some(upgrade),
    }
}

fn written(events: Option<&SessionEvents>, names: &Names) -> Value {
    let tls = TlsSession {
        version: "TLSv1.3",
        server_name: Some("mail.example".to_owned()),
        client: Some(ClientCertificate {
            subject: "CN=alice".to_owned(),
            user: Some("alice".to_owned()),
            fingerprint: None,
        }),
    };
    let ended = Instant::now();
    let session = EndedSession {
        id: "a1b2c3d400000001",
        virtual_server: "pop3",
        peer: "[::ffff:192.0.2.7]:50312".parse().unwrap(),
        local: "[2001:db8::1]:110".parse().unwrap(),
        tls: Some(&tls),
        ended_ms: 1_795_817_243_456,
        began: ended.checked_sub(Duration::from_millis(333)).unwrap(),
        ended,
        upgraded: true,
        relief: false,
        bytes_in: 80,
        bytes_out: 230,
        end: "quit",
    };
    let line = line(&session, events, names);
    assert_eq!(memchr::memchr_iter(b'\n', &line).count(), 1, "one line, whatever is in it");
    serde_json::from_slice(&line).unwrap()
}

fn hashed() -> Names {
    Names::hashed(&Secret::new(b"a key of enough characters"))
}

#[test]
fn a_line_has_every_detail_in_the_words_of_the_contract() {
    let line = written(Some(&eventful()), &Names::Plain);
    for (key, expected) in [
        ("/time", Value::from("2026-11-27T22:07:23.456Z")),
        ("/began_ms", 1_795_817_243_123_u64.into()),
        ("/peer", "192.0.2.7:50312".into()),
        ("/local", "[2001:db8::1]:110".into()),
        ("/tls/client_subject", "CN=alice".into()),
        ("/logins/0/user", "alice".into()),
        ("/logins/0/authorization_id", "root\n\"\u{0}".into()),
        ("/logins/0/verdict", "pass".into()),
        ("/logins/0/as_user", "alice2".into()),
        ("/logins/0/has_note", true.into()),
        ("/logins/1/manner", "refuse".into()),
        ("/logins/1/code", "login-delay".into()),
        ("/logins/2/failure", "time".into()),
        ("/logins/2/decide_us", 3.into()),
        ("/logins/0/shadow/verdict", "deny".into()),
        ("/logins/0/shadow/difference", "would-deny".into()),
        ("/logins/1/shadow/differs", true.into()),
        ("/logins_left_out", 1.into()),
        ("/upgrade_command", "RETR".into()),
    ] {
        assert_eq!(line.pointer(key), Some(&expected), "{key}");
    }
    assert_eq!(line.pointer("/logins/2/verdict"), None, "there was none");
    assert_eq!(line.pointer("/logins/2/shadow"), None, "it has no verdict yet");
    let silent = written(None, &Names::Plain);
    assert_eq!(silent["logins"], Value::Array(Vec::new()));
}

#[test]
fn hashed_names_appear_nowhere_in_plain_text() {
    let line = written(Some(&eventful()), &hashed());
    let text = line.to_string();
    for name in ["alice", "root"] {
        assert!(!text.contains(name), "{text}");
    }
    assert_eq!(line["logins"][0]["user_hash"], line["logins"][1]["user_hash"]);
    assert_ne!(line["logins"][0]["user_hash"], line["logins"][0]["as_user_hash"]);
}

/// Each key from the top, as docs/decision-log.md writes it.
fn keys(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                keys(value, &path, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, path, found)),
        _ => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn each_key_that_is_written_is_documented_and_each_documented_key_is_written() {
    let mut keys_written = BTreeSet::new();
    for names in [Names::Plain, hashed()] {
        keys(&written(Some(&eventful()), &names), "", &mut keys_written);
    }
    let page = include_str!("../../../../../docs/decision-log.md");
    let table = page.split("| key of a line |").nth(1).expect("the table of the decision log's keys");
    let rows = table.lines().skip(2).take_while(|row| row.starts_with('|'));
    // A row may have several keys.
    let documented: BTreeSet<String> = rows
        .flat_map(|row| {
            let cell = row.split('|').nth(1).expect("a cell");
            cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let missing: Vec<_> = keys_written.difference(&documented).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
    let stale: Vec<_> = documented.difference(&keys_written).collect();
    assert!(stale.is_empty(), "documented, and not written: {stale:?}");
}
