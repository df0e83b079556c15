//! Where the log is written: files that rotate, pipes, journald.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Log, parsed, text_of};
use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::farm::FarmNode;
use crate::support::proxy::{Proxy, Setup};
use crate::support::running::{BINARY, Running};
use crate::support::{mail_server, until};

#[test]
fn configuration_errors_are_reported_at_the_start_with_file_line_and_key() {
    let (mail, log) = (mail_server(0), Log::new());
    let short = log.folder.path().join("short");
    crate::support::write_secret(&short, "too short\n");
    let started = |section: String| match (Setup { top: &section, ..Setup::default() })
        .try_in_front_of(&[mail.address()])
    {
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
    // `check` creates no file.
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
    let reprieve = Setup { top: &top, ..Setup::default() }.in_front_of(&[mail.address()]);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    let mut entry = vec![0; 65_536];
    let length = journal.recv(&mut entry).unwrap();
    let entry = String::from_utf8(entry[..length].to_vec()).unwrap();
    let fields: Vec<_> = entry.lines().filter_map(|field| field.split_once('=')).collect();
    assert_eq!(fields[..2], [("SYSLOG_IDENTIFIER", "reprieve-decisions"), ("PRIORITY", "6")]);
    assert_eq!(fields[2].0, "MESSAGE");
    assert_eq!(parsed(fields[2].1)[0]["logins"][0]["user"], "alice");
}

/// Opens and closes sessions without a login.
fn greet(address: SocketAddr, sessions: usize) {
    for _ in 0..sessions {
        Dialogue::open(address).quit();
    }
}

/// The number of files in the log's folder, and the records in all of them.
fn all_lines(log: &Log) -> (usize, Vec<Value>) {
    let files: Vec<_> =
        std::fs::read_dir(log.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let lines = files.iter().flat_map(|file| {
        let bytes = std::fs::read(file).unwrap();
        let whole = if file.extension().is_some_and(|end| end == "zst") {
            zstd::decode_all(&*bytes).unwrap()
        } else {
            bytes
        };
        parsed(&String::from_utf8(whole).unwrap())
    });
    (files.len(), lines.collect())
}

#[test]
fn files_rotate_by_size_without_losing_a_line() {
    let (mail, log) = (mail_server(0), Log::new());
    let more = ", rotate-size = \"4KiB\", keep = 1000, compress = \"zstd\"";
    let reprieve = Setup { top: &log.section(more), ..Setup::default() }.in_front_of(&[mail.address()]);
    greet(reprieve.address(), 60);
    until("all are written", || reprieve.server.decision_log().unwrap().counts().written == 60);
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
fn a_shutdown_under_load_loses_no_line() {
    let (node, log) = (FarmNode::start(), Log::new());
    let policy = "settings = { interval = \"0s\" }";
    let Proxy { server, .. } =
        Setup { top: &log.section(""), policy, ..Setup::default() }.in_front_of(&[node.address()]);
    let (address, counters) = (server.address("pop3"), server.view());
    let polls = 4;
    std::thread::scope(|scope| {
        for client in 0..polls {
            scope.spawn(move || {
                // Until the server is gone, which may cut off a session anywhere.
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
fn a_reader_that_stalls_costs_lines_but_no_sessions() {
    let (mail, log) = (mail_server(0), Log::new());
    let made = Command::new("mkfifo").arg(log.path()).status().unwrap();
    assert!(made.success());
    let top = log.section(", buffer = \"64KiB\"");
    let reprieve = Setup { top: &top, ..Setup::default() }.in_front_of(&[mail.address()]);
    let journal = reprieve.server.decision_log().unwrap().clone();
    let mut sessions = 0;
    // More than the pipe and the buffer hold.
    while journal.counts().dropped < 10 {
        greet(reprieve.address(), 20);
        sessions += 20;
        assert!(sessions < 10_000, "{:?}", journal.counts());
    }
    // Once there is a reader, buffered and new records arrive.
    let mut pipe = std::fs::OpenOptions::new().read(true).write(true).open(log.path()).unwrap();
    let mut read = Vec::new();
    let mut some = [0; 4096];
    until("all that was not dropped is read", || {
        let counts = journal.counts();
        if read.iter().filter(|&&byte| byte == b'\n').count() as u64 + counts.dropped < sessions as u64 {
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
        "policy-cache = \"off\"\ndecision-log = {{ path = {path:?} }}\n[pool.mail]\nnodes = [\"{node}\"]\nhealth-check = \"off\"\n\
         [[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n"
    );
    Running::with_configuration(log.folder.path(), &text)
}

#[test]
fn a_full_disk_is_reported_and_logging_resumes_when_there_is_space() {
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
    // The log moves to another disk.
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink(log.path(), &path).unwrap();
    reprieve.line_with("is written to");
    assert_eq!(log.lines(3)[2]["logins"][0]["user"], "alice", "buffered records are written");
    reprieve.signal("-TERM");
    assert!(reprieve.ended().success());
}

#[test]
fn a_renamed_file_is_reopened_on_a_signal_and_automatically() {
    let (mail, log) = (mail_server(0), Log::new());
    let mut reprieve = binary(&log, mail.address(), &log.path());
    let address = reprieve.address();
    greet(address, 2);
    log.lines(2);
    let old = log.folder.path().join("decisions.jsonl.1");
    std::fs::rename(log.path(), &old).unwrap();
    reprieve.signal("-HUP");
    reprieve.line_with("the decision log continues in a new file");
    assert!(log.path().exists(), "before anything is written to it");
    greet(address, 3);
    log.lines(3);
    std::fs::remove_file(log.path()).unwrap();
    greet(address, 1);
    log.lines(1);
    assert_eq!(text_of(&old).lines().count(), 2);
    // Everything is written at the shutdown, too.
    greet(address, 50);
    reprieve.signal("-TERM");
    assert!(reprieve.ended().success());
    log.lines(51);
}

#[test]
fn the_service_user_must_own_the_file_and_its_folder() {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        // Only root can change the user; tests/privileges.rs tests the error for others.
        return;
    }
    let (mail, log) = (mail_server(0), Log::new());
    let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("nobody");
    let may = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(log.folder.path(), may(0o755)).unwrap();
    let text = |more: &str| {
        format!(
            "user = \"nobody\"\npolicy-cache = \"off\"\n{}\n[pool.mail]\nnodes = [\"{}\"]\nhealth-check = \"off\"\n\
             [[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n",
            log.section(more),
            mail.address()
        )
    };
    // In a folder of root's, the service user cannot create a file, and root does not.
    let mut reprieve = Running::with_configuration(log.folder.path(), &text(""));
    let told = reprieve.line_with("cannot write to");
    assert!(told.contains("reprieve.toml:3") && told.contains("install -o reprieve"), "{told}");
    assert_eq!(reprieve.ended().code(), Some(2));
    assert!(!log.path().exists());
    // With a file of the service user's, rotation cannot work, which is reported at the start.
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
    // In a folder of the service user's, everything works.
    std::os::unix::fs::chown(log.folder.path(), Some(nobody.uid.as_raw()), None).unwrap();
    let mut reprieve = Running::with_configuration(log.folder.path(), &text(", rotate-size = \"4KiB\""));
    greet(reprieve.address(), 40);
    until("it has rotated", || all_lines_of_user(&log) == 41);
}

/// Lines in the log and its rotated files; 0 before the first rotation.
fn all_lines_of_user(log: &Log) -> usize {
    let files = std::fs::read_dir(log.folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let ours: Vec<_> = files.filter(|path| path.to_string_lossy().contains(".jsonl")).collect();
    if ours.len() < 2 { 0 } else { ours.iter().map(|path| text_of(path).lines().count()).sum() }
}
