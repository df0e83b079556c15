//! Full disks: whatever cannot be written is said, nothing half-written is left or used, and service
//! goes on. A limit on the size of files looks like a full disk to a process.

use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::farm::FarmNode;
use crate::support::proxy::Setup;
use crate::support::running::{BINARY, Running};
use crate::support::until;

/// Runs the binary with files that cannot grow beyond a number of bytes.
fn limited(bytes: u64) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--fsize={bytes}:unlimited")).arg(BINARY).stdin(Stdio::null());
    command
}

/// Sets the limit of a running process.
fn limit(running: &Running, bytes: &str) {
    let process = running.id().to_string();
    let done =
        Command::new("prlimit").args([&format!("--fsize={bytes}:unlimited"), "--pid", &process]).status();
    assert!(done.unwrap().success());
}

fn names(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_part_of_a_cached_policy_is_not_used() {
    let node = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("cache");
    let top = format!("policy-cache = {cache:?}");
    let text = Setup { top: &top, ..Setup::default() }.text(&[node.address()]);
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, text).unwrap();
    let check = |what: &str| {
        let output = Command::new(BINARY).args(["check", "--config"]).arg(&file).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{what}: {}", said(&output));
    };
    check("without a cache");
    let files = names(&cache);
    assert_eq!(files.len(), 1, "{files:?}");
    let cached = cache.join(&files[0]);
    let bytes = std::fs::read(&cached).unwrap();
    // What a crash or a full disk may have left.
    for length in [0, 33, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&cached, &bytes[..length]).unwrap();
        check(&format!("{length} bytes"));
        assert_eq!(std::fs::read(&cached).unwrap().len(), bytes.len(), "{length} bytes");
    }
}

#[test]
fn an_export_that_does_not_fit_is_an_error_and_leaves_the_old_one() {
    let node = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let top = format!("admin = {{ socket = {:?} }}", folder.path().join("admin.sock"));
    let text = Setup { top: &top, policy: "settings = { interval = \"1h\" }", ..Setup::default() }
        .text(&[node.address()]);
    let mut running = Running::with_configuration(folder.path(), &text);
    let server = running.address();
    running.line_with("admin socket ready");
    for number in 0..200 {
        let mut session = Dialogue::open(server);
        session.give_password(&format!("user{number}"), PASSWORD);
        session.quit();
    }
    let export = folder.path().join("export");
    std::fs::write(&export, "the old export").unwrap();
    let before = names(folder.path());
    let file = folder.path().join("reprieve.toml");
    // The running process has the store, and no limit.
    let output = limited(5000).args(["store", "export"]).arg(&export).arg("--config").arg(&file).output();
    let output = output.unwrap();
    let said = said(&output);
    assert!(output.status.code().is_some_and(|code| code != 0), "{said}");
    assert!(said.contains(&export.display().to_string()), "{said}");
    assert_eq!(std::fs::read_to_string(&export).unwrap(), "the old export");
    assert_eq!(names(folder.path()), before, "{said}");
}

#[test]
fn the_decision_log_continues_with_whole_lines_when_there_is_space_again() {
    let node = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("decisions.jsonl");
    let top = format!("decision-log = {{ path = {log:?} }}");
    let text = Setup { top: &top, ..Setup::default() }.text(&[node.address()]);
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, text).unwrap();
    let mut running = Running::start(&["run", "--log-format", "json", "--config", file.to_str().unwrap()]);
    let server = running.address();
    let poll = || {
        let mut session = Dialogue::open(server);
        session.give_password("alice", PASSWORD);
        session.quit();
    };
    let size = || std::fs::metadata(&log).map_or(0, |data| data.len());
    poll();
    until("a line is written", || size() > 0);
    // In the middle of the third line from now.
    let space = size() * 7 / 2;
    limit(&running, &space.to_string());
    for _ in 0..10 {
        poll();
    }
    let line = running.line_with("the decision log cannot be written");
    assert!(line.contains("decisions.jsonl"), "{line}");
    assert!(size() <= space);
    limit(&running, "unlimited");
    running.line_with("is written to");
    poll();
    running.signal("-TERM");
    assert!(running.ended().success());
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    assert_eq!(lines.len(), 12);
}

#[test]
fn a_position_in_a_log_that_cannot_be_written_is_said_once() {
    let node = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let (mail_log, position) = (folder.path().join("mail.log"), folder.path().join("log.position"));
    std::fs::write(&mail_log, "").unwrap();
    let pool = format!(
        "health-check = \"off\"\n[pool.mail.new-mail]\nlog = {{ path = {mail_log:?}, position = {position:?} }}"
    );
    let text = Setup { pool: &pool, ..Setup::default() }.text(&[node.address()]);
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, text).unwrap();
    let mut running = Running::start(&["run", "--log-format", "json", "--config", file.to_str().unwrap()]);
    let server = running.address();
    until("the position is written", || position.exists());
    limit(&running, "0");
    let append = |number: usize| {
        use std::io::Write as _;
        let mut log = std::fs::OpenOptions::new().append(true).open(&mail_log).unwrap();
        writeln!(
            log,
            "Nov 27 22:07:{number:02} mail dovecot: lmtp(alice)<1><a>: Info: msgid=<{number}@x>: saved mail to INBOX"
        )
        .unwrap();
    };
    for number in 0..3 {
        append(number);
        // The position is written once a second at most.
        std::thread::sleep(std::time::Duration::from_millis(1100));
    }
    let line = running.line_with("cannot write the position");
    assert!(line.contains("log.position"), "{line}");
    let mut session = Dialogue::open(server);
    session.give_password("alice", PASSWORD);
    session.quit();
    limit(&running, "unlimited");
    let before = std::fs::read(&position).unwrap();
    append(3);
    until("the position is written again", || std::fs::read(&position).unwrap() != before);
    running.signal("-TERM");
    let rest = running.rest_of_log();
    assert!(!rest.contains("cannot write the position"), "{rest}");
    assert!(running.ended().success());
    assert!(!names(folder.path()).iter().any(|name| name.contains("unfinished")));
}
