//! `policy decide` and `policy bench` with any login: by options, or from a scenario.

use super::{assert_says, json, run};
use crate::support::guests;

#[test]
fn every_fact_of_a_login_can_be_given() {
    let mirror = guests::mirror().display().to_string();
    for (options, expected) in [
        (&["--mechanism", "scram-sha-256"][..], "Mechanism::ScramSha256"),
        (&["--authorization-id", "bob"], "authorization-id: Some(\"bob\")"),
        (&["--standing", "changed"], "Standing::Changed"),
        (&["--peer", "2001:db8::7"], "address: \"2001:db8::7\""),
        (&["--tls"], "version: \"TLSv1.3\""),
        (&["--tls=TLSv1.2", "--server-name", "pop.example"], "server-name: Some(\"pop.example\")"),
        (&["--tls", "--client-subject", "CN=x"], "client-subject: Some(\"CN=x\")"),
        (&["--nodes", "5", "--healthy-nodes", "4"], "nodes: 5, healthy-nodes: 4"),
        (
            &["--sessions", "3", "--waiting", "2", "--latency", "11"],
            "sessions: 3, waiting: 2, login-latency-ms: Some(11)",
        ),
        (&["--outcome", "rejected"], "Ending::Rejected"),
        (&["--freshness", "unchanged"], "freshness unchanged"),
    ] {
        let output = run(&[&["decide", &mirror, "--user", "alice"], options].concat());
        assert_says(&output, 0, &[expected]);
    }
    for (options, expected) in [
        (&["--mechanism", "kerberos"][..], "scram-sha-256"),
        (&["--server-name", "pop.example"], "--tls"),
        (&["--tls=SSLv3"], "TLSv1.2"),
        (&["--freshness", "stale"], "new-mail"),
        (&["--scenario", "one.toml"], "FILE:LINE"),
        (&["--scenario", "one.toml:3"], "cannot be used with"),
    ] {
        let output = run(&[&["decide", &mirror, "--user", "alice"], options].concat());
        assert_says(&output, 2, &[expected]);
    }
}

/// A scenario of `interval` whose second login is in a group.
const SCENARIO: &str = r#"settings = { interval = "10m" }
[[step]]
login = "alice"
[[step]]
repeat = 2
steps = [
  { after = "1m", login = { user = "alice", mechanism = "plain" } },
]
"#;

#[test]
fn a_login_of_a_scenario_is_explained_after_the_earlier_steps() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.toml");
    std::fs::write(&path, SCENARIO).unwrap();
    let decide = |line: &str, more: &[&str]| {
        let place = format!("{}:{line}", path.display());
        run(&[&["decide", "interval", "--scenario", &place], more].concat())
    };
    let expected = ["2026-03-10 12:01:00", "secret known", "deny unchanged, retry-after 540"];
    assert_says(&decide("7", &[]), 0, &expected);
    assert_says(&decide("2", &[]), 0, &["12:00:00", "secret unknown", "verdict    pass"]);
    assert_says(&decide("7", &["--set", "interval=2m"]), 0, &["retry-after 60"]);
    assert_says(&decide("4", &[]), 2, &["no login begins in this line; logins begin in: 2, 7"]);
}

#[test]
fn bench_polls_with_the_login_that_is_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("one.toml");
    std::fs::write(&path, SCENARIO.replace("10m", "0s")).unwrap();
    let place = format!("{}:7", path.display());
    let few = ["--calls", "200", "--users", "10", "--fresh", "0"];
    let (_, report) = json(&[&["bench", "interval"], &few[..]].concat());
    assert_eq!(report["passed"], 20);
    let (_, report) = json(&[&["bench", "interval", "--scenario", &place], &few[..]].concat());
    assert_eq!(report["passed"], 200, "with the scenario's interval");
    // `mirror` denies only challenge-response logins.
    let mirror = guests::mirror().display().to_string();
    let denied = ["bench", &mirror, "--set", "digests=denied", "--mechanism", "apop"];
    let (_, report) = json(&[&denied, &few[..]].concat());
    assert_eq!(report["passed"], 0);
}

#[test]
fn a_trap_names_the_functions_of_a_policy_with_names() {
    let set = ["--user", "alice", "--set", "at=decide", "--set", "how=divide"];
    let named = guests::hostile_with_names().display().to_string();
    assert_says(
        &run(&[&["decide", &named], &set[..]].concat()),
        1,
        &["(in `hostile::misbehave`, called by `decide`)"],
    );
}
