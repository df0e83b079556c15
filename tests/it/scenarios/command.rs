//! The command: its report, its exit code and its settings.

use std::process::Command;

use reprieve_policy_host::harness::Harness;

use super::{Folder, play, root, run, text};
use crate::support::guests;

#[test]
fn the_default_policys_scenarios_hold() {
    let scenarios = root().join("policies/interval/scenarios");
    let mut files: Vec<_> = std::fs::read_dir(scenarios)
        .unwrap()
        .map(|entry| entry.unwrap().path().display().to_string())
        .collect();
    files.sort();
    assert!(files.len() >= 3);
    let mut arguments = vec!["interval"];
    arguments.extend(files.iter().map(String::as_str));
    let output = run(&arguments);
    assert!(output.status.success(), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains(" passed, 0 failed"));
}

#[test]
fn a_failed_expectation_is_reported_with_line_time_and_verdict() {
    let (code, report, _) = play(
        r#"
settings = { interval = "10m" }
[[step]]
login = "alice"
expect = "pass"

[[step]]
after = "1m"
login = "alice"
expect = { manner = "busy", retry-after = 541 }
disposition = "passed"
store = { forgot = ["alice"] }
"#,
        &[],
    );
    assert_eq!(code, Some(1));
    for expected in [
        "✗ one — 2 steps, 2 logins (1 passed), relief 50 %, 60 s of virtual time in ",
        "one.toml:7 at 2026-03-10 12:01:00, \"alice\"",
        "expected: busy",
        "got:      unchanged",
        "expected: 541",
        "got:      540",
        "expected: passed",
        "got:      posed",
        "decision: deny unchanged, retry-after 540, reason \"too-soon\" → posed",
        "store: get memory of \"alice\" → [1773",
        "store, memory of \"alice\"",
        "the store holds:\n        memory of \"alice\" = [1773",
        "0 passed, 1 failed",
    ] {
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
    }
}

#[test]
fn an_error_in_a_scenario_is_reported_with_line_key_and_remedy() {
    for (content, expected) in [
        ("[[step]]\nlogin = \"alice\"\nexpct = \"pass\"\n", &["one.toml:3", "expct", "`expect`"][..]),
        (
            "[[step]]\nlogin = \"a\"\nexpect = \"allow\"\n",
            &["one.toml:3", "`step.expect`", "\"pass\", \"deny\""],
        ),
        ("[[step]]\nlogin = \"a\"\nafter = 5\n", &["one.toml:3", "`step.after`", "10m"]),
        ("time-zone = \"Berlin\"\n[[step]]\nlogin = \"a\"\n", &["one.toml:1", "Europe/Berlin"]),
        ("[[step]]\nlogin = { standing = \"known\" }\n", &["one.toml:2", "`step.login.user`", "missing"]),
        ("[[step]]\nlogin = \"a\"\ncount = { passs = 1 }\n", &["one.toml:3", "passs", "posed"]),
        ("[[step]]\nusers = { count = 3, name = \"x\" }\n", &["one.toml:2", "{}"]),
        ("[[step]]\nafter = \"1m\"\n", &["one.toml:1", "does nothing", "login"]),
        ("name = \"empty\"\n", &["one.toml", "nothing is tested"]),
        ("[[step]]\nlogin = \"a\"\ninject = \"chaos\"\n", &["one.toml:3", "store-unavailable"]),
        ("store = { a = \"hex:0\" }\n[[step]]\nlogin = \"a\"\n", &["one.toml:1", "hexadecimal"]),
        ("refuses = \"x\"\n[[step]]\nlogin = \"a\"\n", &["one.toml:2", "refuses"]),
        ("[[step]]\nat = \"25:00\"\nlogin = \"a\"\n", &["one.toml:2", "`step.at`", "25:00", "12:30"]),
        (
            "[[step]]\nlogin = \"a\"\nexpect = { verdict = \"pass\", manner = \"busy\" }\n",
            &["one.toml:3", "`step.expect` expects a pass, but has keys that only a denial has"],
        ),
        (
            "[[step]]\nlogin = \"a\"\nexpect = { pool = \"x\", reason = \"y\" }\n",
            &["one.toml:3", "keys of a pass and keys of a denial"],
        ),
        (
            "[[step]]\nlogin = \"a\"\nexpect = { verdict = \"pass\", failure = \"time\" }\n",
            &["one.toml:3", "`step.expect.failure`"],
        ),
        ("[[step]]\nusers = []\n", &["one.toml:2", "`step.users`", "at least one user"]),
        ("[[step]]\nlogin = \"a\"\nusers = [\"b\"]\n", &["one.toml:2", "exclude each other"]),
        ("limits = { tim = \"1s\" }\n[[step]]\nlogin = \"a\"\n", &["one.toml:1", "`time`"]),
    ] {
        let (code, _, error) = play(content, &[]);
        assert_eq!(code, Some(2), "{content}: {error}");
        for part in expected {
            assert!(error.contains(part), "{content}: {error:?} lacks {part:?}");
        }
    }
    let output = run(&["interval", "nowhere.toml"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("cannot read the scenario nowhere.toml"));
}

#[test]
fn a_step_in_the_past_fails() {
    let (code, report, _) = play("[[step]]\nat = \"2026-03-09T00:00:00\"\nlogin = \"alice\"\n", &[]);
    assert_eq!(code, Some(1));
    assert!(report.contains("before the current time 2026-03-10 12:00:00"), "{report}");
}

#[test]
fn missing_settings_and_counts_fail_the_scenario() {
    for (content, expected) in [
        ("settings = { interval = \"soon\" }\n[[step]]\nlogin = \"a\"\n", "rejected: `interval` is \"soon\""),
        ("refuses = \"interval\"\n", "got:      accepted"),
        ("[[step]]\nrepeat = 3\nlogin = \"a\"\ncount = { pass = 2 }\n", "count of pass"),
        ("[[step]]\nlogin = \"a\"\nlog = [\"hello\"]\n", "expected: …hello…"),
        ("[[step]]\nlogin = \"a\"\ninject = \"time\"\n", "got:      time: it"),
        ("[[step]]\nstore = { has = [\"a\"] }\n", "store, \"a\""),
    ] {
        let (code, report, error) = play(content, &[]);
        assert_eq!(code, Some(1), "{content}: {error}");
        assert!(report.contains(expected), "{content}: {report}");
    }
}

#[test]
fn scenarios_have_groups_users_and_writes_of_other_proxies() {
    let (code, report, _) = play(
        r#"
settings = { interval = "1h", reset = "never" }
[[step]]
repeat = { times = 3, every = "1h" }
steps = [
  { users = ["alice", "bob"], expect = "pass" },
  { after = "1m", users = { count = 2, name = "user-{}" } },
  { login = "alice", expect = { retry-after = 3540 } },
]
[[step]]
at = "15:00"
forget = ["alice"]
write = { carol = "hex:00" }
store = { lacks = ["alice"], values = { carol = "hex:00" } }
"#,
        &[],
    );
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("15 logins (12 passed), relief 20 %, 3 h"), "{report}");
}

#[test]
fn reports_for_machines_are_json_and_xml() {
    let content = "name = \"a <b> & \\\"c\\\"\"\n[[step]]\nlogin = \"\\u001b[2J\"\nexpect = \"deny\"\n";
    let (code, report, _) = play(content, &["--format", "json"]);
    assert_eq!(code, Some(1));
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["ok"], false);
    assert_eq!(report["scenarios"][0]["failed"][0]["line"], 2);
    assert_eq!(report["scenarios"][0]["failed"][0]["differences"][0]["expected"], "deny");

    let folder = Folder::new();
    let path = folder.0.path().join("report.xml");
    let (_, report, _) = play(content, &["--format", "junit", "--output", &path.display().to_string()]);
    assert_eq!(report, "");
    // Checked with a real parser.
    let parsed = Command::new("python3")
        .args(["-c", "import sys, xml.etree.ElementTree as t; s = t.parse(sys.argv[1]).getroot()[0]; print(s.get('failures'), s[0].get('name'), s[0][0].get('message'))"])
        .arg(&path)
        .output()
        .expect("running python3");
    let expected = "1 a <b> & \"c\" verdict: expected deny, got pass\n";
    assert_eq!(text(&parsed.stdout), expected, "{}", text(&parsed.stderr));
}

#[test]
fn settings_on_the_command_line_replace_those_in_the_file() {
    let content =
        "settings = { interval = \"10m\" }\n[[step]]\nrepeat = 2\nlogin = \"alice\"\ncount = { pass = 2 }\n";
    assert_eq!(play(content, &[]).0, Some(1));
    assert_eq!(play(content, &["--set", "interval=0s"]).0, Some(0));
    let (code, _, error) = play(content, &["--set", "interval"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("KEY=VALUE"), "{error}");
}

#[test]
fn a_seed_gives_the_same_randomness_each_time() {
    let note = |seed| {
        let component = guests::hostile().display().to_string();
        let harness =
            Harness::of(&component).setting("at", "decide").setting("how", "random-note").seed(seed);
        let decision = harness.build().unwrap().login("alice");
        decision.pass().expect("a pass").note.clone().expect("a note")
    };
    assert_eq!(note(7), note(7));
    assert_ne!(note(7), note(8));
}

#[test]
fn a_seed_on_the_command_line_replaces_the_one_in_the_file() {
    let folder = Folder::new();
    let random = |seed: &str| {
        let content = format!(
            "{seed}\nsettings = {{ at = \"decide\", how = \"random-note\" }}\n[[step]]\nlogin = \"alice\"\nexpect = \"deny\"\n"
        );
        folder.file("random.toml", &content).display().to_string()
    };
    let component = guests::hostile().display().to_string();
    let note = |arguments: &[&str]| {
        let report = text(&run(&[&[component.as_str(), "--format", "json"], arguments].concat()).stdout);
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        let decision =
            report["scenarios"][0]["failed"][0]["decision"].as_str().expect("a verdict").to_owned();
        assert!(decision.contains("note"), "{decision}");
        decision
    };
    let of_file = note(&[&random("seed = 7")]);
    assert_eq!(note(&[&random("seed = 7")]), of_file);
    assert_eq!(note(&["--seed", "7", &random("")]), of_file);
    assert_ne!(note(&["--seed", "8", &random("seed = 7")]), of_file);
}

#[test]
fn an_expected_log_line_is_per_step_not_per_login() {
    let content = "settings = { memory-limit = \"1KiB\" }\n[[step]]\nusers = { count = 20, name = \"u{}\" }\n\
                   log = [\"memory-limit reached\"]\n";
    assert_eq!(play(content, &[]).0, Some(0));
    let (code, report, _) = play(&content.replace("count = 20", "count = 5"), &[]);
    assert_eq!(code, Some(1));
    assert_eq!(report.matches("no such line in any login of the step").count(), 1, "{report}");
}

#[test]
fn a_scenario_extends_the_files_settings_and_replaces_its_store() {
    let content = r#"
settings = { interval = "1m", manner = "busy" }
store = { a = "1" }
[[scenario]]
settings = { interval = "2m" }
store = { b = "2" }
[[scenario.step]]
store = { lacks = ["a"], values = { b = "2" } }
[[scenario.step]]
login = "alice"
[[scenario.step]]
login = "alice"
expect = { manner = "busy", retry-after = 120 }
[[scenario]]
[[scenario.step]]
store = { lacks = ["b"], values = { a = "1" } }
"#;
    let (code, report, error) = play(content, &[]);
    assert_eq!(code, Some(0), "{report}{error}");
}

#[test]
fn every_fact_of_a_step_reaches_the_policy() {
    let folder = Folder::new();
    let path = folder.file(
        "whole.toml",
        r#"
virtual-server = "pop3s"
time-zone = "Europe/Berlin"
pools = ["first", "second"]
[[step]]
at = "12:34:56"
backend = { nodes = 5, healthy-nodes = 4, sessions = 3, waiting = 2, login-latency-ms = 11, pool = "second" }
outcome = { ending = "abandoned", node = "10.0.0.5:110", latency-ms = 12, after = "3s" }
log = [
  'virtual-server: "pop3s"', 'address: "2001:db8::7", port: 40000', 'version: "TLSv1.2"',
  'server-name: Some("pop.example")', 'client-subject: Some("CN=x")', 'user: "alice"',
  'authorization-id: Some("bob")', 'Mechanism::Plain', 'Standing::Changed',
  'Date { year: 2026, month: 3, day: 10 }', 'Weekday::Tuesday', 'second-of-day: 45296',
  'pool: "second", nodes: 5, healthy-nodes: 4, sessions: 3, waiting: 2, login-latency-ms: Some(11)',
  'second-of-day: 45299', 'node: Some("10.0.0.5:110"), latency-ms: 12', 'Ending::Abandoned',
]
[step.login]
user = "alice"
peer = "2001:db8::7"
port = 40000
standing = "changed"
mechanism = "plain"
authorization-id = "bob"
tls = { version = "TLSv1.2", server-name = "pop.example", client-subject = "CN=x" }

[[step]]
login = "bob"
log = [
  'address: "192.0.2.1", port: 49152', 'tls: None', 'authorization-id: None', 'Mechanism::UserPass',
  'Standing::Unknown', 'pool: "first", nodes: 1, healthy-nodes: 1, sessions: 0, waiting: 0, login-latency-ms: None',
  'Ending::Authenticated',
]

[[step]]
login = "bob"
log = ['Standing::Known']
"#,
    );
    let output = run(&[&guests::mirror().display().to_string(), &path.display().to_string()]);
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
}
