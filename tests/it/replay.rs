//! `reprieve replay`: logs of real servers, and the running proxy beside them.

mod new_mail;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::support::browser::{pictures, run, script};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::Dovecot;
use crate::support::running::{BINARY, Running};
use crate::support::until;
use serde_json::Value;

/// The interval of the policy in real time, because Dovecot's clock cannot be set.
const INTERVAL: Duration = Duration::from_secs(2);
/// No login may be closer to the end of the interval than this: the proxy and Dovecot read the clock
/// one after the other, and a busy machine may take long in between.
const MARGIN: Duration = Duration::from_millis(600);

fn replay(arguments: &[&str]) -> Output {
    let output = Command::new(BINARY).arg("replay").args(arguments).output().expect("running reprieve");
    assert!(output.status.code().is_some_and(|code| code < 3), "{}", said(&output));
    output
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn json(arguments: &[&str]) -> Value {
    let output = replay(&[arguments, &["--output-format", "json"]].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

fn write(folder: &Path, name: &str, text: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The verdict in a session's log line, or in a line of `--decisions`: they have the same keys.
fn verdict(line: &Value) -> String {
    let keys = ["user", "verdict", "manner", "disposition", "because"];
    keys.map(|key| line[key].as_str().unwrap_or_default()).join(" ")
}

/// Sessions of several users through the proxy, all of which reach Dovecot: denied clients ask for a
/// message, so that the session continues at Dovecot.
fn sessions(dovecot: &Dovecot, reprieve: &mut Running) -> Vec<Value> {
    let server = reprieve.address();
    let mut passed: BTreeMap<&str, Instant> = BTreeMap::new();
    let mut told = Vec::new();
    let script = [
        "alice",
        "alice",
        "bob",
        "bob wrong",
        "carol wrong",
        "alice",
        "carol",
        "carol wrong",
        "bob",
        "carol",
        "alice later",
        "alice",
        "bob wrong",
        "bob later",
        "alice wrong",
        "bob",
        "carol later",
        "carol",
        "alice",
    ];
    for step in script {
        let (user, what) = step.split_once(' ').unwrap_or((step, ""));
        let since = passed.get(user).map(Instant::elapsed);
        let near = (INTERVAL - MARGIN)..(INTERVAL + MARGIN);
        match since {
            Some(since) if what == "later" || near.contains(&since) => {
                // The binary uses the system clock, so the test has to wait for the time to pass.
                std::thread::sleep((INTERVAL + MARGIN).saturating_sub(since));
            }
            _ => {}
        }
        let lets_pass = passed.get(user).is_none_or(|at| at.elapsed() >= INTERVAL);
        let mut session = Dialogue::open(server);
        session.ok(&format!("USER {user}"));
        if what == "wrong" {
            session.err("PASS wrong");
        } else {
            session.ok(&format!("PASS {}", dovecot.account_at(server, user).password));
            if lets_pass {
                passed.insert(user, Instant::now());
            }
            session.lines("RETR 1");
        }
        session.quit();
        told.push(serde_json::from_str(&reprieve.line_with("\"message\":\"session\"")).expect("a JSON line"));
    }
    told
}

/// The verdicts of the decision log in the order of decisions.
fn verdicts_of_decision_log(text: &str) -> Vec<String> {
    let mut logins: Vec<Value> =
        lines(text).iter().flat_map(|session| session["logins"].as_array().unwrap().clone()).collect();
    logins.sort_by_key(|login| login["seq"].as_u64());
    logins.iter().map(whole_verdict).collect()
}

/// A verdict with all details that the decision log and `--decisions` share.
fn whole_verdict(line: &Value) -> String {
    let keys = ["user", "standing", "verdict", "manner", "reason", "retry_after_s", "disposition", "because"];
    keys.map(|key| format!("{key}={}", line[key])).join(" ")
}

#[test]
fn replay_of_dovecots_log_gives_the_proxys_verdicts_line_for_line() {
    let users = ["alice", "bob", "carol"];
    let dovecot = Dovecot::start(&users);
    for user in users {
        dovecot.deliver(user);
    }
    let folder = tempfile::tempdir().unwrap();
    let decision_log = folder.path().join("decision-log.jsonl");
    let interval = format!("interval={}s", INTERVAL.as_secs());
    let mut reprieve = Running::with_configuration(
        folder.path(),
        &format!(
            "decision-log = {{ path = {decision_log:?} }}\n\
             [[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n\
             [virtual-server.policy]\nsettings = {{ interval = \"{}s\", reset = \"never\" }}\n\
             [pool.mail]\nnodes = [\"{}\"]\nhealth-check = \"off\"\n",
            INTERVAL.as_secs(),
            dovecot.address()
        ),
    );
    let told = sessions(&dovecot, &mut reprieve);
    let proxy: Vec<_> = told.iter().map(verdict).collect();

    // The test itself logs in to Dovecot as `marker`, to find the end of the log.
    let mut log = dovecot.log_lines(&[]);
    log.retain(|line| !line.contains("user=<marker>"));
    let log = write(folder.path(), "dovecot.log", &(log.join("\n") + "\n"));
    let decisions = folder.path().join("decisions.jsonl");
    let written = || std::fs::read_to_string(&decisions).unwrap();
    let settings = ["--set", &interval, "--set", "reset=never", "--decisions", decisions.to_str().unwrap()];
    let report = json(&[&[&*log][..], &settings].concat());
    let replayed: Vec<_> = lines(&written()).iter().map(verdict).collect();

    assert_eq!(replayed, proxy, "replayed on the left; the log:\n{}", std::fs::read_to_string(&log).unwrap());
    for kind in ["pass  passed ", "deny unchanged posed ", "deny unchanged passed unverified"] {
        assert!(proxy.iter().any(|line| line.ends_with(kind)), "no {kind} in {proxy:#?}");
    }
    assert_eq!(report["logs"]["formats"], serde_json::json!(["dovecot"]));
    assert_eq!(report["totals"]["logins"], proxy.len());
    let posed = proxy.iter().filter(|line| line.contains(" posed")).count();
    assert_eq!(report["totals"]["relieved"], posed);

    // The replay of the proxy's own log gives the same verdicts, and reports that they are equal.
    let own: String = told.iter().fold(String::new(), |mut all, line| {
        writeln!(all, "{line}").unwrap();
        all
    });
    let own = write(folder.path(), "reprieve.log", &own);
    let report = json(&[&[&*own][..], &settings].concat());
    let difference = &report["comparison"]["differences"];
    assert_eq!(difference["compared"], proxy.len());
    assert_eq!(difference["same"], proxy.len(), "{difference}");
    // The log also has that each posed session continued at Dovecot.
    assert_eq!((&report["totals"]["posed"], &report["totals"]["upgraded"]), (&posed.into(), &posed.into()));
    assert_eq!(report["recorded"]["relieved"], 0);

    // The replay of the decision log gives the same verdicts including retry-after.
    let text = || std::fs::read_to_string(&decision_log).unwrap();
    until("the decision log is written", || text().matches('\n').count() == proxy.len());
    let report = json(&[&[decision_log.to_str().unwrap()][..], &settings].concat());
    assert_eq!(report["logs"]["formats"], serde_json::json!(["decision-log"]));
    let replayed: Vec<_> = lines(&written()).iter().map(whole_verdict).collect();
    assert_eq!(replayed, verdicts_of_decision_log(&text()));
    let difference = &report["comparison"]["differences"];
    assert_eq!((&difference["same"], &difference["different_retry_after"]), (&proxy.len().into(), &0.into()));
    assert_eq!(report["saved_time"]["cost_source"], "measured");
}

/// A day of Dovecot's log: a robot that polls every minute, and people who poll every ten.
fn a_day() -> String {
    let mut log = String::new();
    for minute in 0..24 * 60 {
        let (hour, minute_of_hour) = (minute / 60, minute % 60);
        let mut login = |second: u32, user: &str| {
            writeln!(
                log,
                "Nov 26 {hour:02}:{minute_of_hour:02}:{second:02} mx dovecot: pop3-login: Login: user=<{user}>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1, mpid=812, TLS, session=<x>"
            )
            .unwrap();
        };
        login(5, "robot@example.org");
        if minute % 10 == 0 {
            login(20, "<b>alice</b>@example.org");
            login(30, "bob@example.org");
        }
    }
    log
}

#[test]
fn a_report_adds_up_in_every_form() {
    let folder = tempfile::tempdir().unwrap();
    let log = write(
        folder.path(),
        "mail.log",
        &(a_day()
            + "Nov 26 23:59:59 mx postfix/smtpd[1]: connect from unknown\n\
               Nov 31 00:00:00 mx dovecot: pop3-login: Login: user=<eve>, method=PLAIN, rip=192.0.2.7\n"),
    );
    let page = folder.path().join("relief.html");
    let page = page.to_str().unwrap();
    let common = ["--year", "2026", "--time-zone", "Europe/Berlin", "--login-cost", "10ms", "--report", page];
    let human = replay(&[&[&*log][..], &common].concat());
    let table = said(&human);
    // One poll in ten minutes passes: 144 of the robot's 1440 polls, and all of the people's.
    for expected in [
        "1,730 lines, 1,728 logins of 3 users",
        "reach the mail server                432   25.0 %",
        "relieved                           1,296   75.0 %   unchanged, too-soon",
        "server time saved                   13 s            at 10.0 ms per login, set with --login-cost",
        "2026-11-26 13:00            72    75.0 %   ",
        "robot@example.org              1,440       1 min         144    90.0 %",
        "<b>alice</b>@example.org         144      10 min         144     0.0 %",
        "1 line could not be read",
        "mail.log:1730: no such date: Nov 31",
    ] {
        assert!(table.contains(expected), "{expected:?} is not in:\n{table}");
    }
    assert!(!table.contains('\u{1b}'), "escapes in what is piped");
    let report = json(&[&[&*log][..], &common].concat());
    let sum = |key: &str| -> u64 {
        report["hours"].as_array().unwrap().iter().map(|hour| hour[key].as_u64().unwrap()).sum()
    };
    assert_eq!((sum("logins"), sum("passed"), sum("relieved")), (1728, 432, 1296));
    assert_eq!(report["hours"].as_array().unwrap().len(), 24);
    assert_eq!(report["totals"]["relieved"], 1296);
    assert_eq!(report["top_pollers"][0]["user"], "robot@example.org");
    assert_eq!(report["logs"]["problems"]["malformed_lines"], 1);
    let html = std::fs::read_to_string(page).unwrap();
    for expected in ["<!doctype html>", "75.0 %", "1,296", "&lt;b&gt;alice&lt;/b&gt;@example.org", "<svg"] {
        assert!(html.contains(expected), "{expected:?} is not in the page");
    }
    for forbidden in ["<b>alice", "http:", "https:", "src=", "<script", "<link", "url("] {
        assert!(!html.contains(forbidden), "{forbidden:?} is in the page");
    }
    let printed = replay(&[&[&*log, "--output-format", "html"][..], &common].concat());
    let printed = String::from_utf8(printed.stdout).unwrap();
    let without_time = |page: &str| page.split("<footer>").next().unwrap().to_owned();
    assert_eq!(without_time(&printed), without_time(&html));
}

#[test]
fn the_report_page_is_accessible() {
    let folder = tempfile::tempdir().unwrap();
    let log = write(folder.path(), "mail.log", &a_day());
    let page = |name: &str, more: &[&str]| {
        let path = folder.path().join(name);
        let report = ["--year", "2026", "--login-cost", "10ms", "--report", path.to_str().unwrap()];
        replay(&[&[&*log][..], &report, more].concat());
        format!("file://{}", path.display())
    };
    let alone = page("alone.html", &[]);
    let compared = page("compared.html", &["--against", "interval", "--against-set", "interval=1h"]);
    let pictures = pictures();
    run(script("report.mjs", &[&alone, "report", "75.0 %", "1,296", pictures.to_str().unwrap()]));
    run(script("report.mjs", &[&compared, "report-compared", "75.0 %", "1,296", pictures.to_str().unwrap()]));
}

#[test]
fn two_policies_are_compared_login_by_login() {
    let folder = tempfile::tempdir().unwrap();
    let log = write(folder.path(), "mail.log", &a_day());
    let report = json(&[&log, "--year", "2026", "--set", "interval=10m", "--against-set", "interval=5m"]);
    let comparison = &report["comparison"];
    assert_eq!(comparison["policy"]["settings"], serde_json::json!([["interval", "5m"]]));
    assert_eq!(comparison["totals"]["relieved"], 1440 - 288);
    // Of ten polls in ten minutes, one passes with both policies and one only with the second.
    let kinds = comparison["differences"]["kinds"].as_array().unwrap();
    let kind = |here: &str, there: &str| {
        let found = kinds.iter().find(|kind| kind["policy"] == here && kind["other"] == there);
        found.map_or(0, |kind| kind["count"].as_u64().unwrap())
    };
    assert_eq!(kind("deny unchanged", "pass"), 144);
    assert_eq!(kinds.len(), 1);
    // The retry-after differs in the first half of each interval.
    assert_eq!(comparison["differences"]["different_retry_after"], 4 * 144);
    let human =
        said(&replay(&[&log, "--year", "2026", "--against", "interval", "--against-set", "interval=5m"]));
    assert!(human.contains("compared with policy interval, interval = 5m"), "{human}");
    assert!(
        human.contains("144  deny unchanged instead of pass; first: 2026-11-26 00:05:05 robot@example.org"),
        "{human}"
    );
}

#[test]
fn the_virtual_servers_settings_decide_about_denied_logins() {
    let folder = tempfile::tempdir().unwrap();
    let rejected = "Disconnected (auth failed, 1 attempts in 1 secs)";
    let log = dovecot("Nov 27 22:11:26", "Login", "alice") + &dovecot("Nov 27 22:12:26", rejected, "alice");
    let apop = dovecot("Nov 27 22:13:26", "Login", "alice").replace("method=PLAIN", "method=APOP");
    let log = write(folder.path(), "mail.log", &(log + &apop));
    for (settings, expected) in
        [(&[][..], (3, 0, 0)), (&["--verify", "off"], (2, 1, 0)), (&["--unverifiable", "refuse"], (2, 0, 1))]
    {
        let totals = &json(&[&[&*log, "--year", "2026"], settings].concat())["totals"];
        let count = |key: &str| totals[key].as_u64().unwrap();
        assert_eq!((count("passed"), count("posed"), count("refused")), expected, "{settings:?}");
    }
}

#[test]
fn logs_may_be_compressed_and_come_from_standard_input() {
    let folder = tempfile::tempdir().unwrap();
    let plain = write(folder.path(), "mail.log", &a_day());
    let packed = folder.path().join("no-name-tells");
    std::fs::write(&packed, zstd::encode_all(a_day().as_bytes(), 3).unwrap()).unwrap();
    for file in [Path::new(&plain), &packed] {
        let mut child = Command::new(BINARY)
            .args(["replay", "-", "--year", "2026", "--output-format", "json"])
            .stdin(std::fs::File::open(file).unwrap())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let report: Value = serde_json::from_reader(child.stdout.take().unwrap()).unwrap();
        assert!(child.wait().unwrap().success());
        assert_eq!(report["totals"]["relieved"], 1296, "{}", file.display());
    }
}

/// A line of Dovecot's log.
fn dovecot(when: &str, words: &str, user: &str) -> String {
    format!(
        "{when} mx dovecot: pop3-login: {words}: user=<{user}>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1, session=<{user}>\n"
    )
}

#[test]
fn logins_of_dovecot_2_4_and_every_refusal_count() {
    let folder = tempfile::tempdir().unwrap();
    let log: String = [
        ("Logged in", "alice"),
        ("Logged in", "bob"),
        ("Login aborted: Connection closed (auth failed, 2 attempts in 3 secs) (auth_failed)", "eve"),
        ("Login aborted: Logged out (user disabled, 1 attempts in 3 secs) (user_disabled)", "dan"),
        ("Aborted login (password expired)", "pam"),
        ("Disconnected (authorization failed, 1 attempts in 3 secs)", "zoe"),
        ("Disconnected (proxy dest auth failed)", "ray"),
        ("Disconnected (no auth attempts in 3 secs)", ""),
    ]
    .map(|(words, user)| dovecot("Nov 27 22:11:26", words, user))
    .concat();
    let counts = &json(&[&write(folder.path(), "mail.log", &log), "--year", "2026"])["totals"];
    assert_eq!((&counts["logins"], &counts["rejected"]), (&8.into(), &6.into()));
}

#[test]
fn a_leap_day_is_accepted_whatever_the_files_date() {
    let folder = tempfile::tempdir().unwrap();
    let log = ["Feb 28 22:00:00", "Feb 29 22:00:00", "Mar  1 22:00:00"]
        .map(|when| dovecot(when, "Login", "alice"))
        .concat();
    let log = write(folder.path(), "mail.log", &log);
    let file = std::fs::File::options().write(true).open(&log).unwrap();
    let copied: jiff::Timestamp = "2026-11-27T22:00:00Z".parse().unwrap();
    file.set_modified(copied.into()).unwrap();
    let days = |arguments: &[&str]| -> Vec<String> {
        let report = json(&[&[&*log, "--time-zone", "UTC"], arguments].concat());
        let start = |hour: &Value| {
            jiff::Timestamp::from_millisecond(hour["start_ms"].as_i64().unwrap()).unwrap().to_string()
        };
        assert_eq!(report["totals"]["logins"], 3);
        let with_logins = report["hours"].as_array().unwrap().iter().filter(|hour| hour["logins"] == 1);
        with_logins.map(start).collect()
    };
    let expected = ["2024-02-28T22:00:00Z", "2024-02-29T22:00:00Z", "2024-03-01T22:00:00Z"];
    assert_eq!(days(&[]), expected);
    assert_eq!(days(&["--year", "2024"]), expected);
    // A wrong year: all logins count, and the report says that the year is wrong.
    assert_eq!(
        days(&["--year", "2026"]),
        ["2026-02-28T22:00:00Z", "2026-03-01T22:00:00Z", "2026-03-02T22:00:00Z"]
    );
    let told = said(&replay(&[&log, "--year", "2026"]));
    assert!(told.contains("mail.log has a 29 February, but 2026 is not a leap year"), "{told}");
}

#[test]
fn repeated_messages_count_as_often_as_they_were_logged() {
    let folder = tempfile::tempdir().unwrap();
    for (program, message) in [
        ("dovecot: ", "pop3-login: Login: user=<alice>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.1"),
        ("courierpop3d: ", "LOGIN, user=alice, ip=[::ffff:192.0.2.7], port=[50312]"),
        ("cyrus/pop3[812]: ", "login: localhost [127.0.0.1] alice plaintext User logged in SESSIONID=<x>"),
    ] {
        for time in ["Nov 27 22:11:26 mx ", "<22>Nov 27 22:11:26 mx ", "2026-11-27T22:11:26.123456+01:00 mx "]
        {
            let log = format!(
                "{time}{program}{message}\n\
                 {time}{program}message repeated 3 times: [ {message}]\n\
                 {time}last message repeated 5 times\n\
                 {time}systemd[1]: Started.\n\
                 {time}last message repeated 7 times\n"
            );
            let report = json(&[&write(folder.path(), "mail.log", &log), "--year", "2026"]);
            assert_eq!(report["totals"]["logins"], 1 + 3 + 5, "{log}");
            // The first line of a log may be a repetition.
            let log = format!("{time}{program}message repeated 2 times: [ {message}]\n");
            let report = json(&[&write(folder.path(), "mail.log", &log), "--year", "2026"]);
            assert_eq!(report["totals"]["logins"], 2, "{log}");
        }
    }
}

#[test]
fn a_log_that_is_mostly_unreadable_is_an_error_with_its_first_such_line() {
    let folder = tempfile::tempdir().unwrap();
    let good = dovecot("Nov 27 22:11:26", "Login", "alice");
    let unknown = dovecot("Nov 27 22:11:27", "Disconnected: Sunk", "bob");
    let no_time = "27.11.2026 22:11:28 mx something of another time\n";
    let json = "{\"v\":1,\"logins\":[{\"at_ms\":1000,\"user\":\"alice\",\"verdict\":\"pass\"}]}\n";
    let page = folder.path().join("page.html");
    for (log, expected) in [
        // A log of a newer version: most lines are unknown.
        (
            unknown.repeat(3) + &good + &unknown,
            "mail.log: 4 of 5 lines about logins could not be read, the first:\n  ",
        ),
        (good.clone() + &no_time.repeat(3), "mail.log: 3 of 4 lines could not be read, the first:\n  "),
        (json.to_owned() + &"not JSON\n".repeat(2), "mail.log: 2 of 3 lines about logins could not be read"),
        (unknown.clone(), "mail.log: 1 of 1 lines about logins could not be read"),
    ] {
        let path = write(folder.path(), "mail.log", &log);
        let output = replay(&[&path, "--year", "2026", "--report", page.to_str().unwrap()]);
        let told = said(&output);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(output.stdout.is_empty() && !page.exists(), "{told}");
        assert!(told.contains("no report") && told.contains(expected), "{told}");
        let first = log.lines().find(|line| !line.contains("alice")).unwrap();
        assert!(told.contains(&first[..first.len().min(60)]), "{told}");
    }
    // If half of the lines can be read, the report counts the others.
    let path = write(folder.path(), "mail.log", &(good + &unknown));
    let told = said(&replay(&[&path, "--year", "2026"]));
    assert!(told.contains("1 line could not be read, the first:\n"), "{told}");
    // Also those in front of the first readable line.
    assert!(told.contains("mail.log:2: a login that failed for an unknown reason"), "{told}");
}

#[test]
fn errors_say_how_to_correct_them() {
    let folder = tempfile::tempdir().unwrap();
    let log = write(folder.path(), "mail.log", &a_day());
    let none = write(folder.path(), "syslog", "Nov 26 00:00:00 mx systemd[1]: Started.\n");
    for (arguments, code, expected) in [
        (&["/nowhere.log"][..], 2, "cannot read the log /nowhere.log: No such file"),
        (&[folder.path().to_str().unwrap()], 2, "it is a directory; name the log files in it"),
        (&[&none], 1, "no POP3 login was found; is it the log of a POP3 server?"),
        (&[&none], 1, "syslog has 1 line: 1 of systemd; the first: Nov 26 00:00:00 mx systemd[1]: Started."),
        (&[&log, &none], 0, "syslog has no POP3 logins; it has 1 line: 1 of systemd; the first: Nov 26"),
        (&[&log, "--format", "courier"], 1, "is --format right?"),
        (&[&log, "--policy", "mine"], 2, "there is no built-in policy `mine`"),
        (&[&log, "--set", "intervall=5m"], 2, "unknown setting `intervall`"),
        (&[&log, "--set", "interval"], 2, "KEY=VALUE"),
        (&[&log, "--time-zone", "Berlin"], 2, "an example is Europe/Berlin"),
        (&[&log, "--verify", "maybe"], 2, "must be on or off"),
        (&[&log, "--login-cost", "14"], 2, "use a duration such as 14ms or 1s"),
        (&[&log, "--decisions", "/nowhere/x"], 2, "cannot write /nowhere/x"),
        (&["-", "-"], 2, "standard input can be given only once"),
        (&[], 2, "<LOG>"),
    ] {
        let output = replay(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{arguments:?}: {}", said(&output));
    }
    let help = said(&replay(&["--help"]));
    for taught in
        ["reprieve replay /var/log/mail.log", "journalctl -u dovecot", "--against", "decision-log", "nginx"]
    {
        assert!(help.contains(taught), "{help}");
    }
}
