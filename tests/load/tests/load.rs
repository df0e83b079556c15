//! `run` against `serve`, and against servers that misbehave.

mod support;

use serde_json::Value;
use support::{Reaction, Running, Stub, certificate, run, scripted, stub};

/// Messages that need several reads.
const KNOWN: [&str; 4] = ["--messages", "5", "--size", "70000"];

fn report(address: &str, more: &[&str]) -> (i32, Value) {
    let (code, output) = run(&[&["--connect", address, "--json"][..], more].concat());
    let last = output.lines().last().expect("a report");
    (code, serde_json::from_str(last).expect("JSON"))
}

fn checked(stub: &Stub, more: &[&str]) -> Value {
    let (code, report) = report(&stub.address, &[&KNOWN[..], more].concat());
    assert_eq!(code, 0, "{report}");
    report
}

#[test]
fn every_scenario_succeeds_with_the_stub() {
    let stub = stub(&KNOWN);
    for (scenario, sessions) in [("poll", "300"), ("poll-uidl", "100"), ("bulk", "10")] {
        let report = checked(&stub, &["--scenario", scenario, "--sessions", sessions, "--connections", "8"]);
        assert_eq!(report["real"].to_string(), sessions, "{report}");
        assert_eq!(report["errors"], 0);
        assert!(report["session-us"]["p50"].as_u64() >= report["login-us"]["p50"].as_u64());
    }
    assert_eq!(stub.counts(), "+OK connections=411 logins=410 retrieved=50");
}

#[test]
fn sessions_are_held_at_either_stage_and_from_many_addresses() {
    let stub = stub(&KNOWN);
    for (stage, logins) in [("banner", 0), ("login", 200)] {
        let args = ["--scenario", "hold", "--stage", stage, "--connections", "200", "--hold-for", "50ms"];
        let report = checked(&stub, &[&args[..], &["--source", "127.0.1.0/24"]].concat());
        assert_eq!(report["real"], 200, "{report}");
        assert!(stub.counts().contains(&format!("logins={logins} ")), "{}", stub.counts());
    }
}

#[test]
fn the_rate_is_not_exceeded() {
    let stub = stub(&KNOWN);
    let report = checked(&stub, &["--scenario", "poll", "--sessions", "50", "--rate", "100"]);
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(seconds >= 0.48, "50 sessions at 100 a second took {seconds} s");
}

#[test]
fn the_warm_up_logs_in_each_user_once_and_is_not_counted() {
    let stub = stub(&KNOWN);
    let args = ["--scenario", "bulk", "--sessions", "2", "--users", "30", "--warm-up"];
    let report = checked(&stub, &args);
    assert_eq!((&report["sessions"], &report["warm-up"]["real"]), (&2.into(), &30.into()), "{report}");
    assert_eq!(stub.counts(), "+OK connections=33 logins=32 retrieved=10");
}

#[test]
fn users_can_come_from_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("users");
    std::fs::write(&file, "# two\nanna:one\nbert:two:three\n").unwrap();
    let server = scripted(|line| match line {
        "" | "USER anna" | "USER bert" | "PASS one" | "PASS two:three" | "QUIT" => Reaction::say("+OK"),
        "STAT" => Reaction::say("+OK 3 900"),
        _ => Reaction::say("-ERR"),
    });
    let users = ["--users-file", file.to_str().unwrap()];
    let (code, report) = report(&server, &[&["--scenario", "poll", "--sessions", "4"][..], &users].concat());
    assert_eq!((code, &report["real"]), (0, &4.into()), "{report}");
}

#[test]
fn tls_requires_a_trusted_certificate_unless_insecure() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = certificate(folder.path());
    let stub = stub(&[&KNOWN[..], &["--tls-cert", &chain, "--tls-key", &key]].concat());
    let args = ["--scenario", "bulk", "--sessions", "3", "--tls"];
    for trust in [&["--ca", &chain][..], &["--insecure"]] {
        let report = checked_at(&stub.address, &[&args[..], trust].concat());
        assert_eq!(report["real"], 3, "{report}");
    }
    let other = tempfile::tempdir().unwrap();
    let (stranger, _) = certificate(other.path());
    let (code, report) = report(&stub.address, &[&args[..], &["--ca", &stranger]].concat());
    assert_eq!((code, &report["error-kinds"]["TLS failed at connect"]["count"]), (1, &3.into()), "{report}");
}

fn checked_at(address: &str, more: &[&str]) -> Value {
    let (code, report) = report(address, &[&KNOWN[..], more].concat());
    assert_eq!(code, 0, "{report}");
    report
}

/// A correct server with a maildrop of one message, in which one reply is replaced.
fn server_with(at: &'static str, act: Reaction) -> String {
    scripted(move |line| match line {
        _ if line == at || (!line.is_empty() && line.split(' ').next() == Some(at)) => act.clone(),
        "CAPA" => Reaction::say("+OK\r\nUSER\r\n."),
        "STAT" => Reaction::say("+OK 1 5"),
        "LIST" => Reaction::say("+OK\r\n1 5\r\n."),
        "UIDL" => Reaction::say("+OK\r\n1 a\r\n."),
        "RETR 1" => Reaction::say("+OK\r\nabc\r\n."),
        _ => Reaction::say("+OK"),
    })
}

#[test]
fn correct_replies_without_known_messages_are_no_error() {
    for scenario in ["poll", "poll-uidl", "bulk"] {
        let server = server_with("nothing", Reaction::Close);
        let (code, report) = report(&server, &["--scenario", scenario, "--sessions", "3"]);
        assert_eq!((code, &report["real"]), (0, &3.into()), "{report}");
    }
}

#[test]
fn every_wrong_reply_is_an_error() {
    for (scenario, at, act, class) in [
        ("poll", "", Reaction::say("220 mail.example"), "malformed at greeting"),
        ("poll", "", Reaction::Close, "closed at greeting"),
        ("poll", "PASS", Reaction::say("-ERR no"), "refused at PASS"),
        ("poll", "PASS", Reaction::Close, "closed at PASS"),
        ("poll", "USER", Reaction::say("+OK\r\n+OK"), "unsolicited bytes at USER"),
        ("poll", "STAT", Reaction::say("+OK lots"), "malformed at STAT"),
        ("poll", "STAT", Reaction::say("+OKAY"), "malformed at STAT"),
        ("poll", "STAT", Reaction::Hang, "timeout at STAT"),
        ("poll", "QUIT", Reaction::say_and_stay("+OK"), "timeout at close"),
        ("poll", "QUIT", Reaction::Close, "closed at QUIT"),
        ("poll-uidl", "CAPA", Reaction::say("-ERR"), "refused at CAPA"),
        ("poll-uidl", "LIST", Reaction::say("+OK\r\n1 6\r\n."), "wrong reply at LIST"),
        ("poll-uidl", "LIST", Reaction::say("+OK\r\n."), "wrong reply at LIST"),
        ("poll-uidl", "UIDL", Reaction::say("+OK\r\n2 a\r\n."), "wrong reply at UIDL"),
        ("poll-uidl", "UIDL", Reaction::say("+OK\r\n1 a"), "timeout at UIDL"),
        ("bulk", "RETR", Reaction::say("+OK\r\nabcd\r\n."), "wrong reply at RETR"),
        ("bulk", "RETR", Reaction::say("-ERR"), "refused at RETR"),
    ] {
        let server = server_with(at, act);
        let args = ["--scenario", scenario, "--sessions", "2", "--timeout", "400ms"];
        let (code, report) = report(&server, &args);
        assert_eq!(code, 1, "{class}: {report}");
        assert_eq!(report["real"], 0, "{class}: {report}");
        assert_eq!(report["errors"], 2, "{class}: {report}");
        let class_of = &report["error-kinds"][class];
        assert_eq!(class_of["count"], 2, "{class}: {report}");
        assert!(class_of["examples"][0].as_str().unwrap().starts_with(class), "{report}");
    }
}

#[test]
fn one_wrong_byte_in_a_known_message_is_found() {
    let stub = stub(&KNOWN);
    let address = stub.address.clone();
    // The proxy in between changes a character late in the message.
    let server = support::between(address, |bytes| {
        if let Some(at) = bytes.windows(5).position(|window| window == b"00007") {
            bytes[at] = b'1';
        }
    });
    let args = ["--scenario", "bulk", "--sessions", "1", "--connections", "1"];
    let (code, report) = report(&server, &[&KNOWN[..], &args].concat());
    assert_eq!(code, 1, "{report}");
    let example = report["error-kinds"]["wrong reply at RETR"]["examples"][0].as_str().unwrap();
    assert!(example.contains("is wrong"), "{example}");
}

#[test]
fn a_session_that_ends_while_it_is_held_is_an_error() {
    let server = server_with("STAT", Reaction::say_and_close("+OK 1 5"));
    let args = ["--scenario", "hold", "--connections", "3", "--hold-for", "300ms"];
    let (code, report) = report(&server, &args);
    assert_eq!((code, &report["real"], &report["errors"]), (1, &0.into(), &3.into()), "{report}");
    assert_eq!(report["error-kinds"]["closed at hold"]["count"], 3, "{report}");
}

#[test]
fn denials_are_errors_unless_expected() {
    let empty = || server_with("STAT", Reaction::say("+OK 0 0"));
    let refused = || server_with("PASS", Reaction::say("-ERR [LOGIN-DELAY] in 60 s"));
    let busy = || server_with("STAT", Reaction::say("-ERR [SYS/TEMP] later"));
    let known = ["--messages", "1", "--size", "64", "--scenario", "poll", "--sessions", "2"];
    for server in [empty, refused, busy] as [fn() -> String; 3] {
        let (code, json) = report(&server(), &[&known[..], &["--expect", "denied"]].concat());
        assert_eq!((code, &json["denied"]), (0, &2.into()), "{json}");
        let (code, json) = report(&server(), &[&known[..], &["--expect", "either"]].concat());
        assert_eq!((code, &json["denied"]), (0, &2.into()), "{json}");
        let (code, json) = report(&server(), &known);
        assert_eq!((code, &json["errors"]), (1, &2.into()), "{json}");
    }
    let (code, json) =
        report(&stub(&KNOWN).address, &[&KNOWN[..], &known[4..], &["--expect", "denied"]].concat());
    assert_eq!((code, &json["errors"]), (1, &2.into()), "the real maildrop is not a denial: {json}");
}

#[test]
fn if_nothing_listens_every_session_is_an_error() {
    let socket = support::bound_only();
    let address = socket.address.to_string();
    let (code, report) = report(&address, &["--scenario", "poll", "--sessions", "3"]);
    assert_eq!(
        (code, &report["error-kinds"]["no connection at connect"]["count"]),
        (1, &3.into()),
        "{report}"
    );
}

#[test]
fn without_json_the_report_is_a_table() {
    let stub = stub(&KNOWN);
    let (code, table) = run(&["--connect", &stub.address, "--scenario", "poll", "--sessions", "20"]);
    assert_eq!(code, 0);
    for part in ["scenario     poll, 64 connections", "real       20", "errors     0", "p99.9", "CPU"] {
        assert!(table.contains(part), "{part:?} is missing in\n{table}");
    }
}

#[test]
fn a_run_that_cannot_start_names_the_reason_and_exits_with_2() {
    for (args, says) in [
        (&["--connect", "127.0.0.1", "--scenario", "poll"][..], "HOST:PORT"),
        (&["--connect", "127.0.0.1:1", "--scenario", "poll", "--users-file", "/nowhere"], "/nowhere"),
        (&["--connect", "127.0.0.1:1", "--scenario", "poll", "--source", "::1"], "IPv6"),
        (&["--connect", "127.0.0.1:1", "--scenario", "hold", "--connections", "4000000000"], "open files"),
        (&["--connect", "127.0.0.1:1", "--scenario", "hold", "--rate", "5"], "--hold-for"),
        (&["--connect", "127.0.0.1:1", "--scenario", "dance"], "poll-uidl"),
    ] {
        let (code, output) = run(args);
        assert_eq!(code, 2, "{output}");
        assert!(output.contains(says), "{says:?} is missing in {output}");
    }
}

#[test]
fn the_stub_ends_at_sigterm_with_its_counts() {
    let stub = stub(&KNOWN);
    checked(&stub, &["--scenario", "poll", "--sessions", "7"]);
    assert_eq!(stub.end(), (0, "connections=7 logins=7 retrieved=0\n".to_string()));
}

#[test]
fn a_signal_ends_the_run_early_with_a_report() {
    let stub = stub(&KNOWN);
    let args = ["--scenario", "hold", "--connections", "20", "--hold-for", "1h", "--json"];
    let mut running = Running::start(&[&["run", "--connect", &stub.address][..], &KNOWN, &args].concat());
    assert_eq!(running.line(), "{\"connections\":20,\"event\":\"holding\"}\n");
    let (code, rest) = running.end("INT");
    let report: Value = serde_json::from_str(&rest).unwrap();
    assert_eq!((code, &report["real"], &report["errors"]), (0, &20.into(), &0.into()), "{report}");
}

/// The README's commands that begin with the program, with continued lines joined.
fn commands_of_the_readme() -> Vec<Vec<String>> {
    let page = include_str!("../README.md");
    let blocks = page.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default());
    blocks
        .filter_map(|block| block.strip_prefix("target/release/reprieve-load "))
        .map(|command| command.replace("\\\n", " ").split_whitespace().map(str::to_string).collect())
        .collect()
}

#[test]
fn the_commands_of_the_readme_work() {
    let folder = tempfile::tempdir().unwrap();
    let (chain, key) = certificate(folder.path());
    let users = folder.path().join("users.txt");
    std::fs::write(&users, "anna:one\nbert:two\n").unwrap();
    let secured = stub(&["--tls-cert", &chain, "--tls-key", &key]);
    let mut served = None;
    let mut run_for = Vec::new();
    for command in commands_of_the_readme() {
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        match command[..] {
            // On a free port instead.
            ["serve", "--listen", "127.0.0.1:1100", ref more @ ..] => served = Some(stub(more)),
            ["run", ref more @ ..] => {
                let stub = served.as_ref().expect("`serve` comes before `run` in the README");
                let mut args: Vec<_> = more
                    .iter()
                    .map(|word| match *word {
                        "127.0.0.1:1100" => &stub.address,
                        "mail.example:995" => &secured.address,
                        "users.txt" => users.to_str().unwrap(),
                        // Shorter, for the test.
                        "1m" => "500ms",
                        word => word,
                    })
                    .collect();
                if args.contains(&"--tls") {
                    args.extend(["--ca", &chain]);
                }
                let (code, output) = run(&args);
                assert_eq!(code, 0, "{command:?}: {output}");
                run_for.push(command[2].to_string());
            }
            _ => panic!("{command:?} has no test"),
        }
    }
    assert_eq!(run_for, ["127.0.0.1:1100", "mail.example:995"]);
}
