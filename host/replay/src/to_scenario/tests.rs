//! The rules about what a scenario expects. That it passes is tested end to end.

use jiff::tz::TimeZone;

use super::*;
use crate::run::Plan;
use crate::{LogSource, PolicySource, Selection};
use reprieve_policy_host::Rules;
use reprieve_policy_host::scenario::Scenario;

fn plan(log: LogSource) -> Plan {
    let settings = vec![("interval".to_owned(), "10m".to_owned())];
    Plan {
        logs: vec![log],
        format: None,
        zone: TimeZone::get("Europe/Berlin").unwrap(),
        year: None,
        selection: Selection::default(),
        policy: PolicySource { component: "interval".to_owned(), settings },
        baseline: None,
        rules: Rules { verify: Verify::Off, ..Rules::default() },
        pools: Vec::new(),
        login_cost: None,
        top_pollers: 0,
    }
}

/// The scenario of sessions with one login each, which are given without their common members.
fn written(logins: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("decisions.jsonl");
    let session = |login: &&str| {
        let login = login.replace('\n', "");
        format!(
            "{{\"v\":1,\"virtual_server\":\"pop3\",\"peer\":\"192.0.2.7:50000\",\"logins\":[{{{login}}}]}}\n"
        )
    };
    std::fs::write(&path, logins.iter().map(session).collect::<String>()).unwrap();
    let scenario = to_scenario(&plan(LogSource::Path(path)), &Progress::default()).unwrap();
    assert_eq!(scenario.logins, logins.len(), "{:?}", scenario.problems);
    let parsed = Scenario::parse(&scenario.text, "scenario.toml", "interval");
    parsed.unwrap_or_else(|error| panic!("{error}:\n{}", scenario.text));
    scenario.text
}

/// The comments about unchecked logins, in order; `-` for a login that is checked.
fn comments(text: &str) -> Vec<&str> {
    let steps = text.split("[[scenario.step]]\n");
    let before = steps.map(|step| step.rsplit("\n\n").next().unwrap_or_default());
    let comments = before.map(|text| text.strip_prefix("# Not checked: ").map_or("-", str::trim_end));
    let mut comments: Vec<_> = comments.collect();
    // After the last step.
    comments.pop();
    comments
}

#[test]
fn a_step_has_every_recorded_fact_and_decision() {
    let text = written(&[
        r#""at_ms":1773140400250,"user":"ro\"ot\u202e","authorization_id":"alice","mechanism":"plain","standing":"unknown",
           "backend":{"pool":"mail","nodes":2,"healthy_nodes":1,"sessions":3,"waiting":4,"login_latency_ms":5},
           "policy":{"component":"interval","sha256":"00ff","version":3},
           "verdict":"pass","to_pool":"archive","as_user":"bob","delay_ms":500,"disposition":"passed",
           "outcome":"authenticated","outcome_at_ms":1773140400790,"node":"10.0.0.5:110","latency_ms":30"#,
        r#""at_ms":1773140460000,"user":"carol","mechanism":"apop","standing":"unknown",
           "verdict":"deny","manner":"refuse","code":"in-use","retry_after_s":7,"reason":"a\"b","delay_ms":3,
           "disposition":"refused""#,
    ]);
    assert_eq!(
        text,
        r#"# Made from a decision log by: reprieve replay --to-scenario
# Decided by interval, sha256 00ff.
# Nothing is expected of 1 of 2 logins: a comment says why.
virtual-server = "pop3"
time-zone = "Europe/Berlin"
settings = { "interval" = "10m" }
pools = ["mail", "archive"]
verify = "off"
outcome = "none"

[[scenario]]
name = "ro\"ot\U0000202e as alice"
start = "2026-03-10T12:00:00.25+01:00"

[[scenario.step]]
login = { user = "ro\"ot\U0000202e", authorization-id = "alice", standing = "unknown", mechanism = "plain", peer = "192.0.2.7", port = 50000 }
backend = { nodes = 2, healthy-nodes = 1, sessions = 3, waiting = 4, login-latency-ms = 5 }
outcome = { ending = "authenticated", node = "10.0.0.5:110", latency-ms = 30, after = "40ms" }
expect = { verdict = "pass", pool = "archive", user = "bob", delay-ms = 500 }
disposition = "passed"

[[scenario]]
name = "carol"
start = "2026-03-10T12:01:00+01:00"

# Not checked: the user had logged in before, and the policy may remember it.
[[scenario.step]]
login = { user = "carol", standing = "unknown", mechanism = "apop", peer = "192.0.2.7", port = 50000 }
"#
    );
}

#[test]
fn a_known_user_is_checked_after_their_first_pass() {
    let login = |at_ms: u64, rest: &str| format!(r#""at_ms":{at_ms},"user":"alice",{rest}"#);
    let denied = r#""standing":"known","verdict":"deny","manner":"unchanged","disposition":"posed""#;
    let passed = r#""standing":"known","verdict":"pass","disposition":"passed","outcome":"authenticated""#;
    let rejected = r#""standing":"changed","verdict":"pass","disposition":"passed","outcome":"rejected""#;
    let no_snapshot = r#""standing":"known","verdict":"deny","manner":"unchanged","disposition":"passed","because":"no-snapshot","outcome":"authenticated""#;
    let failed = r#""standing":"known","failure":"store","disposition":"passed","because":"policy-failure","outcome":"authenticated""#;
    let rests = [denied, rejected, passed, denied, no_snapshot, denied, passed, failed, denied];
    let logins: Vec<_> = (1..).map(|n: u64| n * 1000).zip(rests).map(|(at, rest)| login(at, rest)).collect();
    let text = written(&logins.iter().map(String::as_str).collect::<Vec<_>>());
    let before = Unchecked::KnownBefore.why();
    let undecided = Unchecked::AfterException.why();
    let expected =
        [before, before, before, "-", "-", undecided, undecided, "-", Unchecked::AfterFailure.why()]
            .map(|why| if why == "-" { why.to_owned() } else { format!("{why}.") });
    assert_eq!(comments(&text), expected, "{text}");
    // What was done without a snapshot is not what a scenario does, but the verdict is expected.
    assert!(text.contains("expect = { verdict = \"deny\", manner = \"unchanged\" }\n\n"), "{text}");
    assert!(
        text.contains(
            "inject = \"store-unavailable\"\nexpect = { verdict = \"failure\", failure = \"store\" }"
        )
    );
}

#[test]
fn a_kind_of_failure_that_this_version_does_not_know_is_left_out() {
    let failed = r#""at_ms":1000,"user":"alice","standing":"unknown","failure":"gravity","disposition":"passed","because":"policy-failure""#;
    let text = written(&[failed]);
    assert!(text.contains("expect = { verdict = \"failure\" }"), "{text}");
}

#[test]
fn logins_of_a_user_that_overlap_are_not_checked_but_keep_their_times() {
    let pass = |at_ms: u64, outcome_ms: u64| {
        format!(
            r#""at_ms":{at_ms},"user":"alice","standing":"unknown","verdict":"pass","disposition":"passed","outcome":"authenticated","outcome_at_ms":{outcome_ms}"#
        )
    };
    let delayed = r#""at_ms":6000,"user":"alice","standing":"known","verdict":"deny","manner":"busy","delay_ms":2000,"disposition":"posed""#;
    let other = r#""at_ms":1100,"user":"bob","standing":"unknown","verdict":"pass","disposition":"passed","outcome":"authenticated","outcome_at_ms":9999"#;
    let logins = [
        pass(1000, 1500),
        other.to_owned(),
        // Not answered yet.
        pass(1400, 1600),
        pass(5000, 5100),
        pass(5200, 5300),
        delayed.to_owned(),
        // Still delayed.
        pass(7000, 7100),
        pass(9000, 9100),
        pass(9200, 9300),
    ];
    let text = written(&logins.iter().map(String::as_str).collect::<Vec<_>>());
    let (overlap, after) = (Unchecked::Overlap.why(), Unchecked::AfterOverlap.why());
    // Alice's logins, and bob's.
    let expected = ["-", overlap, after, "-", "-", overlap, after, "-", "-"]
        .map(|why| if why == "-" { why.to_owned() } else { format!("{why}.") });
    assert_eq!(comments(&text), expected, "{text}");
    let times: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("at = ")).collect();
    let at = |seconds: &str| format!("\"1970-01-01T01:00:{seconds}+01:00\"");
    assert_eq!(times, ["01.4", "05", "05.2", "06", "09", "09.2"].map(at), "{text}");
    // Alice's first outcome comes when she logs in again.
    assert!(text.contains("after = \"400ms\"") && text.contains("after = \"8899ms\""), "{text}");
}
