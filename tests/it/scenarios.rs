//! `reprieve policy test`: scenarios in virtual time.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::Receiver;

use crate::support::{DEADLINE, guests, until};
use reprieve_policy_host::harness::{Attempt, Becomes, Injection, Trial, Who};
use reprieve_policy_host::{Ending, Failure, Standing};

const BINARY: &str = env!("CARGO_BIN_EXE_reprieve");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace")
}

fn run(arguments: &[&str]) -> Output {
    Command::new(BINARY).args(["policy", "test"]).args(arguments).output().expect("running reprieve")
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).expect("writing a scenario");
        path
    }
}

/// Plays one scenario for `interval`: exit code and report.
fn play(content: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let folder = Folder::new();
    let path = folder.file("one.toml", content);
    let output = run(&[&["interval", &path.display().to_string()], more].concat());
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

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
fn what_differs_is_told_with_line_time_and_what_the_policy_did() {
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
becomes = "passed"
store = { lacks = ["alice"] }
"#,
        &[],
    );
    assert_eq!(code, Some(1));
    for expected in [
        "✗ one — 2 steps, 2 logins, 1 went on, relief 50 %, 60 s in ",
        "one.toml:7 at 2026-03-10 12:01:00, \"alice\"",
        "expected: busy",
        "got:      unchanged",
        "expected: 541",
        "got:      540",
        "expected: passed",
        "got:      posed",
        "decision: deny unchanged, retry-after 540, reason \"too-soon\" → posed",
        "store: get \"alice\" → hex:",
        "store, \"alice\"",
        "the store holds:\n        \"alice\" = hex:",
        "0 passed, 1 failed",
    ] {
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
    }
}

#[test]
fn a_mistake_in_a_scenario_is_named_with_line_key_and_remedy() {
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
            &["one.toml:3", "`step.expect` expects of a pass what only a denial has"],
        ),
        ("[[step]]\nlogin = \"a\"\nexpect = { note = \"x\", reason = \"y\" }\n", &["one.toml:3", "at once"]),
        (
            "[[step]]\nlogin = \"a\"\nexpect = { verdict = \"pass\", failure = \"time\" }\n",
            &["one.toml:3", "`step.expect.failure`"],
        ),
        ("[[step]]\nusers = []\n", &["one.toml:2", "`step.users`", "nobody"]),
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
fn a_time_that_is_past_fails_the_step() {
    let (code, report, _) = play("[[step]]\nat = \"2026-03-09T00:00:00\"\nlogin = \"alice\"\n", &[]);
    assert_eq!(code, Some(1));
    assert!(report.contains("2026-03-10 12:00:00 already"), "{report}");
}

#[test]
fn settings_and_counts_that_do_not_come_fail_it() {
    for (content, expected) in [
        ("settings = { interval = \"soon\" }\n[[step]]\nlogin = \"a\"\n", "refused: `interval` is \"soon\""),
        ("refuses = \"interval\"\n", "got:      taken"),
        ("[[step]]\nrepeat = 3\nlogin = \"a\"\ncount = { pass = 2 }\n", "count of pass"),
        ("[[step]]\nlogin = \"a\"\nlog = [\"hello\"]\n", "expected: …hello…"),
        ("[[step]]\nlogin = \"a\"\ninject = \"time\"\n", "time: it took longer"),
        ("[[step]]\nstore = { has = [\"a\"] }\n", "store, \"a\""),
    ] {
        let (code, report, error) = play(content, &[]);
        assert_eq!(code, Some(1), "{content}: {error}");
        assert!(report.contains(expected), "{content}: {report}");
    }
}

#[test]
fn groups_users_and_writes_of_other_proxies_are_played() {
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
    assert!(report.contains("15 logins, 12 went on, relief 20 %, 3 h"), "{report}");
}

#[test]
fn reports_for_machines_are_json_and_xml() {
    let content = "name = \"a <b> & \\\"c\\\"\"\n[[step]]\nlogin = \"\\u001b[2J\"\nexpect = \"deny\"\n";
    let (code, report, _) = play(content, &["--format", "json"]);
    assert_eq!(code, Some(1));
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["good"], false);
    assert_eq!(report["scenarios"][0]["failed"][0]["line"], 2);
    assert_eq!(report["scenarios"][0]["failed"][0]["differences"][0]["expected"], "deny");

    let folder = Folder::new();
    let path = folder.0.path().join("report.xml");
    let (_, report, _) = play(content, &["--format", "junit", "--output", &path.display().to_string()]);
    assert_eq!(report, "");
    // A real parser's word for it.
    let parsed = Command::new("python3")
        .args(["-c", "import sys, xml.etree.ElementTree as t; s = t.parse(sys.argv[1]).getroot()[0]; print(s.get('failures'), s[0].get('name'), s[0][0].get('message'))"])
        .arg(&path)
        .output()
        .expect("running python3");
    let expected = "1 a <b> & \"c\" verdict: expected deny, got pass\n";
    assert_eq!(text(&parsed.stdout), expected, "{}", text(&parsed.stderr));
}

#[test]
fn settings_of_the_command_line_replace_those_of_the_file() {
    let content =
        "settings = { interval = \"10m\" }\n[[step]]\nrepeat = 2\nlogin = \"alice\"\ncount = { pass = 2 }\n";
    assert_eq!(play(content, &[]).0, Some(1));
    assert_eq!(play(content, &["--set", "interval=0s"]).0, Some(0));
    let (code, _, error) = play(content, &["--set", "interval"]);
    assert_eq!(code, Some(2));
    assert!(error.contains("KEY=VALUE"), "{error}");
}

/// A test that is repeated on each change; ended with the test at the latest.
struct Watching {
    child: Child,
    lines: Receiver<String>,
}

impl Watching {
    fn start(policy: &Path, scenario: &Path) -> Self {
        // Whoever starts the tests in the background may have them ignore Ctrl-C, and so would it.
        let mut child = Command::new("env")
            .args(["--default-signal=INT", BINARY, "policy", "test", "--watch"])
            .args([policy, scenario])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting reprieve");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let errors = BufReader::new(child.stderr.take().expect("its errors"));
        let (tell, lines) = std::sync::mpsc::channel();
        let tell_errors = tell.clone();
        // Reading has no time-out; waiting for a line has.
        std::thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        std::thread::spawn(move || {
            errors.lines().map_while(Result::ok).try_for_each(|line| tell_errors.send(line))
        });
        Self { child, lines }
    }

    #[track_caller]
    fn line_with(&self, part: &str) -> String {
        loop {
            let line = self.lines.recv_timeout(DEADLINE).expect("it tests again");
            if line.contains(part) {
                return line;
            }
        }
    }

    #[track_caller]
    fn summary(&self) -> String {
        self.line_with(" passed, ")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_watched_test_is_repeated_when_the_scenario_or_the_policy_changes_until_ctrl_c() {
    let folder = Folder::new();
    let good = "settings = { note = \"a\" }\n[[step]]\nlogin = \"alice\"\nexpect = { note = \"a\" }\n";
    let (scenario, policy) = (folder.0.path().join("one.toml"), folder.0.path().join("policy.wasm"));
    let new = folder.0.path().join("new");
    // As editors and builds do it: the new file takes the place of the old.
    let become_scenario = |content: &str| {
        std::fs::write(&new, content).unwrap();
        std::fs::rename(&new, &scenario).unwrap();
    };
    let become_policy = |component: &Path| {
        std::fs::copy(component, &new).unwrap();
        std::fs::rename(&new, &policy).unwrap();
    };
    become_scenario(good);
    become_policy(guests::mirror());
    let mut watching = Watching::start(&policy, &scenario);
    assert_eq!(watching.summary(), "1 passed, 0 failed");
    become_scenario(&good.replace("{ note = \"a\" }\n[[", "{ note = \"longer\" }\n[["));
    assert_eq!(watching.summary(), "0 passed, 1 failed");
    // What cannot be read is told and waited for; the next test is of what can be read again.
    become_scenario("[[step");
    watching.line_with("one.toml:1");
    become_scenario(good);
    assert_eq!(watching.summary(), "1 passed, 0 failed");
    // Others empty a file before they write it, and take their time: that is one change.
    std::fs::write(&scenario, "").unwrap();
    std::fs::write(&scenario, good.replace("expect = { note = \"a\" }", "expect = \"deny\"")).unwrap();
    assert_eq!(watching.summary(), "0 passed, 1 failed");
    become_scenario(good);
    assert_eq!(watching.summary(), "1 passed, 0 failed");
    // This one takes any settings and gives no note.
    become_policy(guests::hostile());
    assert_eq!(watching.summary(), "0 passed, 1 failed");
    let signalled = Command::new("kill").args(["-INT", &watching.child.id().to_string()]).status();
    assert!(signalled.expect("running kill").success());
    let mut ended = None;
    until("it has ended", || {
        ended = watching.child.try_wait().expect("its state");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|ended| std::os::unix::process::ExitStatusExt::signal(&ended)), Some(2));
}

#[test]
fn a_seed_gives_the_same_randomness_each_time() {
    let note = |seed| {
        let component = guests::hostile().display().to_string();
        let trial = Trial::of(&component).setting("at", "decide").setting("how", "random-note").seed(seed);
        let decision = trial.build().unwrap().login("alice");
        decision.pass().expect("a pass").note.clone().expect("a note")
    };
    assert_eq!(note(7), note(7));
    assert_ne!(note(7), note(8));
}

#[test]
fn the_command_lines_seed_takes_the_place_of_the_files() {
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
fn the_library_plays_the_hosts_part() {
    let mut trial = Trial::of("interval")
        .setting("interval", "10m")
        .time_zone("Europe/Berlin")
        .unwrap()
        .start("2026-03-10T23:58:00")
        .unwrap()
        .build()
        .unwrap();
    assert_eq!(trial.login(Attempt::by(Who::new("alice")).ends(Ending::Rejected)).becomes, Becomes::Passed);
    let first = trial.login("alice");
    assert_eq!((first.standing, first.becomes), (Standing::Unknown, Becomes::Passed));
    assert!(first.store.iter().any(|access| access.starts_with("set \"alice\"")), "{:?}", first.store);
    assert!(first.memory > 0);
    let again = trial.login("alice");
    assert_eq!((again.standing, again.becomes), (Standing::Known, Becomes::Posed));
    assert_eq!(again.deny().unwrap().retry_after, Some(120), "until midnight");
    let mut other = Who::new("alice");
    other.standing = Standing::Changed;
    assert_eq!(trial.login(other).becomes, Becomes::Passed);
    let failed = trial.login(Attempt::by(Who::new("alice")).inject(Injection::StoreUnavailable));
    assert!(matches!(failed.failure(), Some(Failure::Store(_))));
    let failed = trial.login(Attempt::by(Who::new("alice")).inject(Injection::Time));
    assert!(matches!(failed.failure(), Some(Failure::Time(20))));
    trial.advance("2m").unwrap();
    trial.forget_instances();
    assert_eq!(trial.login("alice").becomes, Becomes::Passed);
}

#[test]
fn a_line_of_the_log_is_expected_of_a_step_not_of_each_of_its_logins() {
    let content = "settings = { memory-limit = \"1KiB\" }\n[[step]]\nusers = { count = 20, name = \"u{}\" }\n\
                   log = [\"memory-limit reached\"]\n";
    assert_eq!(play(content, &[]).0, Some(0));
    let (code, report, _) = play(&content.replace("count = 20", "count = 5"), &[]);
    assert_eq!(code, Some(1));
    assert_eq!(report.matches("no such line at any login of the step").count(), 1, "{report}");
}

#[test]
fn a_scenario_adds_to_the_files_settings_and_replaces_its_store() {
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

/// The reference for authors.
fn reference() -> String {
    std::fs::read_to_string(root().join("policies/SCENARIOS.md")).expect("the reference")
}

#[test]
fn the_references_examples_hold_and_its_report_is_the_real_one() {
    let page = reference();
    let folder = Folder::new();
    let mut reports = Vec::new();
    for (number, block) in page.split("```toml\n").skip(1).enumerate() {
        let content = block.split("```").next().unwrap();
        let name = if number == 0 { "first.toml".to_owned() } else { format!("{number}.toml") };
        let path = folder.file(&name, content);
        let output = run(&["interval", &path.display().to_string()]);
        assert!(output.status.success(), "{content}{}{}", text(&output.stdout), text(&output.stderr));
        reports.push(text(&output.stdout));
    }
    assert!(reports.len() >= 5);
    // How long it took is the machine's.
    let shown = |report: &str| {
        report.lines().map(|line| line.split(" s in ").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let quoted = page.split("$ reprieve policy test interval first.toml\n").nth(1).unwrap();
    assert_eq!(shown(&reports[0]), shown(quoted.split("```").next().unwrap()));
}

#[test]
fn the_reference_names_every_key_that_is_read() {
    let page = reference();
    let folder = root().join("host/policy/src/scenario");
    let mut keys = 0;
    for file in ["file.rs", "file/step.rs", "file/login.rs", "file/expectation.rs"] {
        let source = std::fs::read_to_string(folder.join(file)).unwrap();
        for call in ["get(\"", "need(\""] {
            for rest in source.split(call).skip(1) {
                let key = rest.split('"').next().unwrap();
                let whole = |&(before, after): &(Option<char>, Option<char>)| {
                    let within = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || c == '-');
                    !within(before) && !within(after)
                };
                let mut places = page
                    .match_indices(key)
                    .map(|(at, _)| (page[..at].chars().next_back(), page[at + key.len()..].chars().next()));
                assert!(places.any(|place| whole(&place)), "`{key}` of {file} is not explained");
                keys += 1;
            }
        }
    }
    assert!(keys > 40, "{keys}");
}

/// A trial of the policy that tells the log what it is given.
fn mirror(settings: &[(&str, &str)]) -> reprieve_policy_host::harness::Builder {
    let component = guests::mirror().display().to_string();
    settings.iter().fold(Trial::of(&component), |trial, (key, value)| trial.setting(key, value))
}

#[test]
fn the_note_comes_back_with_the_outcome_but_not_where_a_denial_passed_after_all() {
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
    assert_eq!(denied.becomes, Becomes::Passed);
    assert!(told(&denied).contains("note: None"), "{denied}");
}

#[test]
fn a_delay_passes_before_the_outcome_and_before_whatever_comes_next() {
    for settings in [&[("delay-ms", "1500")][..], &[("delay-ms", "1500"), ("manner", "refuse")]] {
        let mut trial = mirror(settings).build().unwrap();
        let start = trial.now_ms();
        let slow = trial.login("alice");
        assert_eq!((slow.at_ms, trial.now_ms()), (start, start + 1500));
        if slow.becomes == Becomes::Passed {
            let outcome = &slow.log.last().expect("a line").text;
            assert!(outcome.contains(&format!("unix-ms: {}", start + 1500)), "{outcome}");
        }
    }
}

#[test]
fn ten_thousand_logins_keep_to_one_instance_and_a_flat_memory() {
    let mut trial = Trial::of("interval").build().unwrap();
    let before = trial.login("user-0").memory;
    for number in 1..10_000 {
        trial.login(format!("user-{number}").as_str()).expect_pass();
    }
    // One to try the settings, one that judges.
    assert_eq!(trial.policy().metrics().started, 2);
    assert!(trial.login("user-1").memory <= before + (1 << 16));
    assert_eq!(trial.store().len(), 10_000);
}

#[test]
fn that_another_secret_is_wrong_leaves_the_known_one_known() {
    let mut trial = Trial::of("interval").build().unwrap();
    trial.login("alice").expect_pass();
    let other = Attempt::by(Who::new("alice")).standing(Standing::Changed).ends(Ending::Rejected);
    assert_eq!(trial.login(other).becomes, Becomes::Passed);
    assert_eq!(trial.login("alice").becomes, Becomes::Posed);
    // But where the known one is refused, it is known no more.
    trial.forget("alice");
    trial.login(Attempt::from("alice").ends(Ending::Rejected)).expect_pass();
    assert_eq!(trial.login("alice").standing, Standing::Unknown);
}

#[test]
fn a_master_users_secret_is_known_for_each_maildrop_by_itself() {
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
fn what_an_author_expects_in_vain_is_told_whole() {
    let mut trial = Trial::of("interval").build().unwrap();
    trial.login("alice");
    trial.login("alice").expect_pass();
}

#[test]
fn all_that_a_step_says_of_a_login_reaches_the_policy() {
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
