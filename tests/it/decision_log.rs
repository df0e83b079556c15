//! The decision log: a line for each session, true, without secrets, and never in the way.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority};
use crate::support::dialogue::Dialogue;
use crate::support::farm::FarmNode;
use crate::support::running::{BINARY, Running};
use crate::support::scripted::Scripted;
use crate::support::setup::{NOON, Reprieve, Setup, mail_server};
use crate::support::{guests, until};

/// A folder with a log in it.
struct Log {
    folder: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("decisions.jsonl")
    }

    /// The section of the configuration, with more keys.
    fn section(&self, more: &str) -> String {
        format!("decision-log = {{ path = {:?}{more} }}", self.path())
    }

    /// Waits until so many sessions are told of.
    #[track_caller]
    fn lines(&self, count: usize) -> Vec<Value> {
        until("the lines are written", || text_of(&self.path()).lines().count() >= count);
        let lines: Vec<_> = parsed(&text_of(&self.path()));
        assert_eq!(lines.len(), count);
        lines
    }
}

fn text_of(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn parsed(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect()
}

/// Some members of an object, for comparing.
fn some(value: &Value, keys: &[&str]) -> Vec<Value> {
    keys.iter().map(|key| value.pointer(key).cloned().unwrap_or(Value::Null)).collect()
}

fn wrong_password(address: SocketAddr, password: &str) {
    let mut session = Dialogue::open(address);
    session.ok("USER alice");
    session.err(&format!("PASS {password}"));
    session.quit();
}

#[test]
fn each_session_is_a_line_with_what_its_decisions_needed() {
    let (mail, log) = (mail_server(2), Log::new());
    let reprieve = Setup { top: &log.section(""), ..Setup::default() }.before(&[mail.address()]);
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
    let lines = log.lines(6);

    let what = ["/v", "/virtual-server", "/ended", "/upgraded", "/relief", "/end"];
    let minute_later = NOON + 60_000;
    for (line, expected) in lines.iter().zip([
        serde_json::json!([1, "pop3", NOON, false, false, "quit"]),
        serde_json::json!([1, "pop3", minute_later, false, true, "quit"]),
        serde_json::json!([1, "pop3", minute_later, true, false, "quit"]),
        serde_json::json!([1, "pop3", minute_later, false, false, "quit"]),
        serde_json::json!([1, "pop3", minute_later, false, false, "quit"]),
        serde_json::json!([1, "pop3", minute_later + 600_000, false, false, "closed"]),
    ]) {
        assert_eq!(Value::from(some(line, &what)), expected, "{line}");
    }
    let node = mail.address().to_string();
    let login = [
        "/at",
        "/user",
        "/mechanism",
        "/standing",
        "/verdict",
        "/manner",
        "/reason",
        "/retry-after",
        "/became",
        "/why",
        "/outcome",
        "/outcome-at",
        "/node",
    ];
    for (line, expected) in lines.iter().zip([
        serde_json::json!([
            NOON,
            "alice",
            "user-pass",
            "unknown",
            "pass",
            null,
            null,
            null,
            "passed",
            null,
            "authenticated",
            NOON,
            node
        ]),
        serde_json::json!([
            minute_later,
            "alice",
            "user-pass",
            "known",
            "deny",
            "unchanged",
            "too-soon",
            540,
            "posed",
            null,
            null,
            null,
            null
        ]),
        serde_json::json!([
            minute_later,
            "alice",
            "user-pass",
            "known",
            "deny",
            "unchanged",
            "too-soon",
            540,
            "posed",
            null,
            null,
            null,
            null
        ]),
        serde_json::json!([
            minute_later,
            "alice",
            "user-pass",
            "changed",
            "deny",
            "unchanged",
            "too-soon",
            540,
            "passed",
            "unverified",
            "rejected",
            minute_later,
            node
        ]),
    ]) {
        assert_eq!(line["logins"].as_array().unwrap().len(), 1);
        assert_eq!(Value::from(some(&line["logins"][0], &login)), expected, "{line}");
    }
    assert_eq!(lines[4]["logins"], serde_json::json!([]), "nobody was judged");
    assert_eq!(lines[5]["logins"][0]["became"], "passed");
    assert_eq!(
        some(&lines[2], &["/upgrade-why", "/upgrade-outcome", "/upgrade-node"]),
        [Value::from("RETR"), "authenticated".into(), node.into()]
    );
    // What each of them has in common.
    let mut sequence: Vec<_> = lines.iter().filter_map(|line| line["logins"][0]["seq"].as_u64()).collect();
    let in_order = sequence.clone();
    sequence.sort_unstable();
    sequence.dedup();
    assert_eq!(sequence, in_order, "decisions are numbered in their order");
    for line in &lines {
        assert!(line["began"].as_u64() <= line["ended"].as_u64(), "{line}");
        assert_eq!(line["local"], reprieve.address().to_string());
        assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{line}");
        assert_eq!(line["id"].as_str().unwrap().len(), 16);
        assert!(line["octets-in"].as_u64() > Some(0) && line["octets-out"].as_u64() > Some(0), "{line}");
    }
    let first = &lines[0]["logins"][0];
    assert_eq!(
        first["backend"],
        serde_json::json!({ "pool": "mail", "nodes": 1, "healthy-nodes": 1, "sessions": 0, "waiting": 0 })
    );
    assert_eq!((&first["policy"]["component"], &first["policy"]["version"]), (&"interval".into(), &1.into()));
    assert_eq!(first["policy"]["sha256"].as_str().unwrap().len(), 64);
    assert!(lines[2]["logins"][0]["backend"]["login-latency-ms"].is_u64(), "the node is known by now");
    assert!(lines[0]["time"].as_str().unwrap().starts_with("2026-03-10T11:00:00"), "{}", lines[0]);
    let text = text_of(&log.path());
    for secret in [PASSWORD, "sesame", "hocus", "pocus"] {
        assert!(!text.contains(secret), "{secret} stands in the log");
    }
}

#[test]
fn a_denial_that_lets_nobody_in_is_told_as_it_was_shown() {
    for (manner, became, end) in
        [("refuse", "refused", "quit"), ("disconnect", "disconnected", "disconnected")]
    {
        let (mail, log) = (mail_server(1), Log::new());
        let policy = format!("settings = {{ manner = \"{manner}\" }}");
        let reprieve =
            Setup { top: &log.section(""), policy: &policy, ..Setup::default() }.before(&[mail.address()]);
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
        assert_eq!(some(login, &["/manner", "/became", "/why"]), [manner.into(), became.into(), Value::Null]);
        assert_eq!(some(&lines[1], &["/relief", "/end"]), [true.into(), Value::from(end)]);
    }
}

#[test]
fn several_logins_of_one_session_stand_in_their_order() {
    let (mail, log) = (mail_server(1), Log::new());
    let reprieve = Setup { top: &log.section(""), ..Setup::default() }.before(&[mail.address()]);
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
fn what_was_done_instead_of_the_verdict_has_its_reason() {
    // No snapshot: the mail server was lost in the session before.
    let (mail, log) = (mail_server(1), Log::new());
    let server = "on-unreachable = \"pose\"";
    let reprieve = Setup { top: &log.section(""), server, ..Setup::default() }.before(&[mail.address()]);
    let mut lost = Dialogue::log_in(&reprieve.account("alice"));
    lost.ok("STAT");
    reprieve.lose(mail.address(), lost);
    log.lines(1);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    log.lines(2);
    // The mail server is gone when the next one passes.
    reprieve.clock.advance(Duration::from_secs(600));
    drop(mail);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    let lines = log.lines(3);
    let what = ["/verdict", "/became", "/why", "/outcome"];
    let of = |line: &Value| Value::from(some(&line["logins"][0], &what));
    assert_eq!(of(&lines[1]), serde_json::json!(["deny", "passed", "no-snapshot", "authenticated"]));
    assert_eq!(of(&lines[2]), serde_json::json!(["pass", "posed", "unreachable", "unreachable"]));
}

#[test]
fn a_policy_that_fails_is_told_with_the_kind_of_its_failure() {
    for (on_failure, became) in [("pass", "passed"), ("deny", "refused")] {
        let (mail, log) = (mail_server(1), Log::new());
        let policy = format!(
            "component = {:?}\nsettings = {{ at = \"decide\", how = \"trap\" }}\non-failure = \"{on_failure}\"\n\
             breaker = {{ failures = 1, pause = \"1h\" }}",
            guests::hostile()
        );
        let reprieve =
            Setup { top: &log.section(""), policy: &policy, ..Setup::default() }.before(&[mail.address()]);
        for count in 1..=2 {
            let mut session = Dialogue::open(reprieve.address());
            session.ok("USER alice");
            session.send(&format!("PASS {PASSWORD}"));
            let answer = session.line();
            assert_eq!(answer.starts_with("+OK"), on_failure == "pass", "{answer}");
            session.quit();
            log.lines(count);
        }
        let what = ["/verdict", "/failure", "/became", "/why"];
        for (line, expected) in log.lines(2).iter().zip([
            serde_json::json!([null, "trap", became, "policy-failure"]),
            serde_json::json!([null, "paused", became, "policy-paused"]),
        ]) {
            assert_eq!(Value::from(some(&line["logins"][0], &what)), expected, "{line}");
            assert_eq!(line["relief"], false, "nobody knows what the policy would have said");
        }
    }
}

#[test]
fn tls_is_told_with_its_names() {
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
        Setup { top: &log.section(""), server: &server, ..Setup::default() }.before(&[mail.address()]);
    let mut session = Dialogue::open(reprieve.address());
    session.start_tls(&authority.trusted(Some(&client)), "localhost");
    session.give_password("alice", PASSWORD);
    session.quit();
    let tls = &log.lines(1)[0]["tls"];
    assert_eq!((&tls["version"], &tls["server-name"]), (&"TLSv1.3".into(), &"localhost".into()));
    assert!(tls["client-subject"].as_str().unwrap().contains("CN=alice"), "{tls}");
}

#[test]
fn a_login_whose_secret_nobody_sees_is_told_too() {
    let node = Scripted::start(|conversation| {
        conversation.say(b"+OK ready\r\n");
        while let Some(command) = conversation.hear() {
            let answer: &[u8] = match &*command {
                "AUTH CRAM-MD5" => {
                    conversation.say(b"+ PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2U+\r\n");
                    conversation.hear();
                    b"+OK in\r\n"
                }
                "STAT" => b"+OK 0 0\r\n",
                "LIST" | "UIDL" => b"+OK\r\n.\r\n",
                "QUIT" => {
                    conversation.say(b"+OK bye\r\n");
                    return;
                }
                _ => b"-ERR no\r\n",
            };
            conversation.say(answer);
        }
    });
    let (digest, encoded) =
        ("b913a602c7eda7a495b4e6e7334d3890", "YWxpY2UgYjkxM2E2MDJjN2VkYTdhNDk1YjRlNmU3MzM0ZDM4OTA=");
    for unverifiable in ["pass", "refuse"] {
        let log = Log::new();
        let server = format!("mechanisms = [\"CRAM-MD5\"]\nunverifiable = \"{unverifiable}\"");
        let reprieve =
            Setup { top: &log.section(""), server: &server, ..Setup::default() }.before(&[node.address()]);
        for count in 1..=2 {
            let mut session = Dialogue::open(reprieve.address());
            session.send("AUTH CRAM-MD5");
            assert!(session.line().starts_with("+ PDE4"));
            session.send(encoded);
            assert_eq!(session.line().starts_with("+OK"), count == 1 || unverifiable == "pass");
            session.quit();
            log.lines(count);
        }
        let what = ["/mechanism", "/standing", "/verdict", "/became", "/why", "/outcome"];
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

#[test]
fn hashed_names_are_the_same_after_a_restart_and_at_another_proxy() {
    let (mail, key) = (mail_server(1), tempfile::NamedTempFile::new().unwrap());
    crate::support::write_secret(key.path(), "PNMmnYO2pgJhVPDRpcfJfuGmkoDq\nwhat follows does not count\n");
    let mut seen = Vec::new();
    for _ in 0..2 {
        let log = Log::new();
        let more = format!(", users = \"hashed\", hash-key-file = {:?}", key.path());
        let reprieve = Setup { top: &log.section(&more), ..Setup::default() }.before(&[mail.address()]);
        Dialogue::log_in(&reprieve.account("alice")).quit();
        let line = log.lines(1).remove(0);
        assert!(!line.to_string().contains("alice"), "{line}");
        seen.push(line["logins"][0]["user-hash"].as_str().unwrap().to_owned());
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].len() == 32 && seen[0].bytes().all(|octet| octet.is_ascii_hexdigit()), "{seen:?}");
}

#[test]
fn a_name_that_turns_lines_around_or_ends_them_is_escaped_and_read_the_same() {
    let (mail, log) = (mail_server(0), Log::new());
    let reprieve = Setup { top: &log.section(""), ..Setup::default() }.before(&[mail.address()]);
    let names =
        ["a\u{202e}b", "a\u{2028}b", "a\u{2029}b", "a\u{200f}b", "a\u{2066}b", "a\u{61c}b", "a\u{feff}b"];
    for name in names {
        let mut session = Dialogue::open(reprieve.address());
        session.ok(&format!("USER {name}"));
        session.err("PASS wrong");
        session.quit();
    }
    let lines = log.lines(names.len());
    let read: Vec<_> = lines.iter().map(|line| line["logins"][0]["user"].as_str().unwrap()).collect();
    assert_eq!(read, names);
    let text = text_of(&log.path());
    assert!(text.is_ascii(), "{text}");
}

#[test]
fn mistakes_are_told_at_the_start_with_file_line_and_key() {
    let (mail, log) = (mail_server(0), Log::new());
    let short = log.folder.path().join("short");
    crate::support::write_secret(&short, "too short\n");
    let started =
        |section: String| match (Setup { top: &section, ..Setup::default() }).try_before(&[mail.address()]) {
            Ok(_) => panic!("it started: {section}"),
            Err(error) => format!("{error:#}"),
        };
    for (section, expected) in [
        (
            log.section(&format!(", users = \"hashed\", hash-key-file = {short:?}")),
            ["test.toml:3", "`decision-log.hash-key-file`", "fewer than 16 characters"],
        ),
        (
            format!("decision-log = {{ path = {:?} }}", log.folder.path().join("none/d.jsonl")),
            ["test.toml:3", "`decision-log.path`", "install -d"],
        ),
        (
            format!("decision-log = {{ path = {:?} }}", log.folder.path()),
            ["test.toml:3", "`decision-log.path`", "Is a directory"],
        ),
        (
            format!("decision-log = {{ journald = {:?} }}", log.path()),
            ["test.toml:3", "`decision-log.journald`", "cannot reach journald"],
        ),
    ] {
        let error = started(section);
        for part in expected {
            assert!(error.contains(part), "{error:?} lacks {part:?}");
        }
    }
    // A check leaves nothing behind.
    let text = format!(
        "{}\n[pool.mail]\nnodes = [{:?}]\n[[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n",
        log.section(""),
        mail.address().to_string()
    );
    let file = log.folder.path().join("reprieve.toml");
    std::fs::write(&file, text).unwrap();
    let output = Command::new(BINARY).arg("check").arg("--config").arg(&file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!log.path().exists());
}

#[test]
fn journald_gets_each_line_as_an_entry() {
    let (mail, log) = (mail_server(1), Log::new());
    let socket = log.folder.path().join("journal.socket");
    let journal = std::os::unix::net::UnixDatagram::bind(&socket).unwrap();
    let top = format!("decision-log = {{ journald = {socket:?} }}");
    let reprieve = Setup { top: &top, ..Setup::default() }.before(&[mail.address()]);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    let mut entry = vec![0; 65_536];
    let length = journal.recv(&mut entry).unwrap();
    let entry = String::from_utf8(entry[..length].to_vec()).unwrap();
    let fields: Vec<_> = entry.lines().filter_map(|field| field.split_once('=')).collect();
    assert_eq!(fields[..2], [("SYSLOG_IDENTIFIER", "reprieve-decisions"), ("PRIORITY", "6")]);
    assert_eq!(fields[2].0, "MESSAGE");
    assert_eq!(parsed(fields[2].1)[0]["logins"][0]["user"], "alice");
}

/// Sessions without a login, which need no mail server's time.
fn greet(address: SocketAddr, sessions: usize) {
    for _ in 0..sessions {
        Dialogue::open(address).quit();
    }
}

/// The lines of all files in a folder that begin with the log's name.
fn all_lines(log: &Log) -> (usize, Vec<Value>) {
    let files: Vec<_> =
        std::fs::read_dir(log.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let lines = files.iter().flat_map(|file| {
        let octets = std::fs::read(file).unwrap();
        let whole = if file.extension().is_some_and(|end| end == "zst") {
            zstd::decode_all(&*octets).unwrap()
        } else {
            octets
        };
        parsed(&String::from_utf8(whole).unwrap())
    });
    (files.len(), lines.collect())
}

#[test]
fn files_rotate_by_size_and_lose_no_line() {
    let (mail, log) = (mail_server(0), Log::new());
    let more = ", rotate-size = \"4KiB\", keep = 1000, compress = \"zstd\"";
    let reprieve = Setup { top: &log.section(more), ..Setup::default() }.before(&[mail.address()]);
    greet(reprieve.address(), 60);
    until("all are written", || reprieve.server.journal().unwrap().counts().written == 60);
    until("all are compressed", || {
        let plain = std::fs::read_dir(log.folder.path()).unwrap().map(|entry| entry.unwrap().path());
        plain.filter(|path| path.extension().is_none_or(|end| end != "zst")).count() == 1
    });
    let (files, lines) = all_lines(&log);
    assert!(files >= 4, "{files}");
    let ids: std::collections::BTreeSet<_> = lines.iter().map(|line| line["id"].as_str().unwrap()).collect();
    assert_eq!((lines.len(), ids.len()), (60, 60));
    assert!(std::fs::metadata(log.path()).unwrap().len() <= 4096);
}

#[test]
fn nothing_is_lost_when_it_ends_under_load() {
    let (node, log) = (FarmNode::start(), Log::new());
    let policy = "settings = { interval = \"0s\" }";
    let Reprieve { server, .. } =
        Setup { top: &log.section(""), policy, ..Setup::default() }.before(&[node.address()]);
    let (address, counters) = (server.address("pop3"), server.view());
    let polls = 4;
    std::thread::scope(|scope| {
        for client in 0..polls {
            scope.spawn(move || {
                // Until the server is gone: each of these sessions may be cut off anywhere.
                while let Ok(mut stream) = std::net::TcpStream::connect(address) {
                    use std::io::Write as _;
                    let said = format!("USER user{client}\r\nPASS {PASSWORD}\r\nSTAT\r\nQUIT\r\n");
                    if stream.write_all(said.as_bytes()).is_ok() {
                        let _ = stream.read_to_end(&mut Vec::new());
                    }
                }
            });
        }
        until("there is load", || counters.counters().sessions > 200);
        server.shutdown(Duration::ZERO);
    });
    let lines = parsed(&text_of(&log.path()));
    assert_eq!(lines.len() as u64, counters.counters().sessions);
    assert_eq!(counters.decision_log().unwrap().dropped, 0);
}

#[test]
fn a_reader_that_does_not_read_costs_lines_and_no_sessions() {
    let (mail, log) = (mail_server(0), Log::new());
    let made = Command::new("mkfifo").arg(log.path()).status().unwrap();
    assert!(made.success());
    let top = log.section(", buffer = \"64KiB\"");
    let reprieve = Setup { top: &top, ..Setup::default() }.before(&[mail.address()]);
    let journal = reprieve.server.journal().unwrap().clone();
    let mut sessions = 0;
    // More than the pipe and the buffer hold.
    while journal.counts().dropped < 10 {
        greet(reprieve.address(), 20);
        sessions += 20;
        assert!(sessions < 10_000, "{:?}", journal.counts());
    }
    // Somebody reads: what waited comes, and what comes from now on too.
    let mut pipe = std::fs::OpenOptions::new().read(true).write(true).open(log.path()).unwrap();
    let mut read = Vec::new();
    let mut some = [0; 4096];
    until("all that was not dropped is read", || {
        let counts = journal.counts();
        if read.iter().filter(|&&octet| octet == b'\n').count() as u64 + counts.dropped < sessions as u64 {
            let count = pipe.read(&mut some).unwrap();
            read.extend_from_slice(&some[..count]);
            return false;
        }
        counts.written + counts.dropped == sessions as u64
    });
    assert_eq!(parsed(&String::from_utf8(read).unwrap()).len() as u64, journal.counts().written);
}

fn binary(log: &Log, node: SocketAddr, path: &Path) -> Running {
    let text = format!(
        "policy-cache = \"off\"\ndecision-log = {{ path = {path:?} }}\n[pool.mail]\nnodes = [\"{node}\"]\ncheck = \"off\"\n\
         [[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n"
    );
    Running::with_configuration(log.folder.path(), &text)
}

#[test]
fn a_full_disk_is_told_and_the_log_goes_on_when_there_is_room() {
    let (mail, log) = (mail_server(1), Log::new());
    let path = log.folder.path().join("current.jsonl");
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    let mut reprieve = binary(&log, mail.address(), &path);
    let address = reprieve.address();
    greet(address, 2);
    let told = reprieve.line_with("the decision log cannot be written to");
    assert!(told.contains("No space left on device") && told.contains("\"level\":\"ERROR\""), "{told}");
    let mut session = Dialogue::open(address);
    session.give_password("alice", PASSWORD);
    session.quit();
    // Another disk.
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(log.path(), &path).unwrap();
    reprieve.line_with("is written to");
    assert_eq!(log.lines(3)[2]["logins"][0]["user"], "alice", "what waited meanwhile is there");
    reprieve.signal("-TERM");
    assert!(reprieve.ended().success());
}

#[test]
fn a_file_that_was_renamed_is_let_go_at_a_signal_and_by_itself() {
    let (mail, log) = (mail_server(0), Log::new());
    let mut reprieve = binary(&log, mail.address(), &log.path());
    let address = reprieve.address();
    greet(address, 2);
    log.lines(2);
    let old = log.folder.path().join("decisions.jsonl.1");
    std::fs::rename(log.path(), &old).unwrap();
    reprieve.signal("-HUP");
    reprieve.line_with("the decision log goes on in a new file");
    assert!(log.path().exists(), "before anything is written to it");
    greet(address, 3);
    log.lines(3);
    std::fs::remove_file(log.path()).unwrap();
    greet(address, 1);
    log.lines(1);
    assert_eq!(text_of(&old).lines().count(), 2);
    // All is written at the end, too.
    greet(address, 50);
    reprieve.signal("-TERM");
    assert!(reprieve.ended().success());
    log.lines(51);
}

#[test]
fn who_writes_after_root_owns_the_file_and_its_folder_or_is_told() {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        // Only root can become somebody else: tests/privileges.rs has what others are told.
        return;
    }
    let (mail, log) = (mail_server(0), Log::new());
    let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("nobody");
    let may = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(log.folder.path(), may(0o755)).unwrap();
    let text = |more: &str| {
        format!(
            "user = \"nobody\"\npolicy-cache = \"off\"\n{}\n[pool.mail]\nnodes = [\"{}\"]\ncheck = \"off\"\n\
             [[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n",
            log.section(more),
            mail.address()
        )
    };
    // A folder of root's: the user who writes can make no file there, and root makes none.
    let mut reprieve = Running::with_configuration(log.folder.path(), &text(""));
    let told = reprieve.line_with("cannot write to");
    assert!(told.contains("reprieve.toml:3") && told.contains("install -o reprieve"), "{told}");
    assert_eq!(reprieve.ended().code(), Some(2));
    assert!(!log.path().exists());
    // With a file of theirs, rotation cannot work, and that is not left for later to find out.
    std::fs::write(log.path(), "").unwrap();
    std::os::unix::fs::chown(log.path(), Some(nobody.uid.as_raw()), None).unwrap();
    std::fs::set_permissions(log.path(), may(0o640)).unwrap();
    let mut reprieve = Running::with_configuration(log.folder.path(), &text(""));
    let told = reprieve.line_with("cannot rotate");
    assert!(told.contains("reprieve.toml:3") && told.contains("rotate-size = \"off\""), "{told}");
    assert_eq!(reprieve.ended().code(), Some(2));
    let mut reprieve = Running::with_configuration(log.folder.path(), &text(", rotate-size = \"off\""));
    greet(reprieve.address(), 1);
    log.lines(1);
    let metadata = std::fs::metadata(log.path()).unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!((metadata.uid(), metadata.mode() & 0o777), (nobody.uid.as_raw(), 0o640));
    drop(reprieve);
    // A folder of that user's.
    std::os::unix::fs::chown(log.folder.path(), Some(nobody.uid.as_raw()), None).unwrap();
    let mut reprieve = Running::with_configuration(log.folder.path(), &text(", rotate-size = \"4KiB\""));
    greet(reprieve.address(), 40);
    until("it has rotated", || all_lines_of_user(&log) == 41);
}

/// Lines in the log and in what was put aside.
fn all_lines_of_user(log: &Log) -> usize {
    let files = std::fs::read_dir(log.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let ours: Vec<_> = files.filter(|path| path.to_string_lossy().contains(".jsonl")).collect();
    if ours.len() < 2 { 0 } else { ours.iter().map(|path| text_of(path).lines().count()).sum() }
}
