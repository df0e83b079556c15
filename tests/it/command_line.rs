//! The command line: the README's commands, error messages, signals and the log.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::support::account::{Account, PASSWORD, Security};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::Dovecot;
use crate::support::mail_server;
use crate::support::running::{BINARY, Running};

fn failing(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY).args(arguments).output().expect("running reprieve");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn one_command_line_serves_a_dovecot_without_a_configuration_file() {
    let dovecot = Dovecot::start(&["alice"]);
    dovecot.deliver_many("alice", 2);
    let mut reprieve = Running::in_front_of(dovecot.address());
    let alice = dovecot.account_at(reprieve.address(), "alice");
    let mut session = Dialogue::log_in(&alice);
    assert_eq!(session.lines("UIDL").len(), 2);
    session.quit();
    let passed: serde_json::Value = serde_json::from_str(&reprieve.line_with("\"session\"")).unwrap();
    assert_eq!((&passed["verdict"], &passed["outcome"]), (&"pass".into(), &"authenticated".into()));
    assert_eq!(passed["user"], "alice");
    Dialogue::log_in(&alice).quit();
    let line = reprieve.line_with("\"relief\":true");
    let denied: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&denied["verdict"], &denied["manner"]), (&"deny".into(), &"unchanged".into()));
    assert_eq!(denied["reason"], "too-soon");
    assert!(!line.contains(&alice.password), "{line}");
    assert_eq!(dovecot.logins("alice"), 1);
}

#[test]
fn the_readmes_configuration_serves_once_its_addresses_are_free() {
    let mail = mail_server(1);
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).unwrap();
    let block = readme.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let text = block
        .replace("127.0.0.1:1110", "127.0.0.1:0")
        .replace("127.0.0.1:110\"", &format!("{}\"", mail.address()));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reprieve.toml");
    std::fs::write(&path, text).unwrap();
    let mut reprieve = Running::start(&["run", "--config", path.to_str().unwrap(), "--log-format", "json"]);
    let server = reprieve.address();
    let mut session = Dialogue::log_in(&Account {
        server,
        user: "alice".to_owned(),
        password: PASSWORD.to_owned(),
        security: Security::Cleartext,
    });
    assert!(session.ok("STAT").starts_with("1 "));
    session.quit();
    assert_eq!(mail.stats().logins, 1);
}

#[test]
fn sigterm_drains_sessions_and_accepts_no_new_ones() {
    let mail = mail_server(1);
    for signal in ["-TERM", "-INT"] {
        let mut reprieve = Running::in_front_of(mail.address());
        let address = reprieve.address();
        let account = Account {
            server: address,
            user: "alice".to_owned(),
            password: PASSWORD.to_owned(),
            security: Security::Cleartext,
        };
        let mut relayed = Dialogue::log_in(&account);
        let mut waiting = Dialogue::open(address);
        reprieve.signal(signal);
        assert!(waiting.line().starts_with("-ERR [SYS/TEMP] server is shutting down"));
        reprieve.line_with("draining");
        assert!(std::net::TcpStream::connect(address).is_err(), "it still listens");
        relayed.ok("STAT");
        relayed.quit();
        assert_eq!(reprieve.ended().code(), Some(0));
    }
}

#[test]
fn a_second_signal_exits_at_once() {
    let mail = mail_server(1);
    let mut reprieve = Running::in_front_of(mail.address());
    let server = reprieve.address();
    let _held = Dialogue::log_in(&Account {
        server,
        user: "alice".to_owned(),
        password: PASSWORD.to_owned(),
        security: Security::Cleartext,
    });
    reprieve.signal("-TERM");
    reprieve.line_with("draining");
    reprieve.signal("-TERM");
    assert_eq!(reprieve.ended().code(), Some(0));
}

#[test]
fn a_port_in_use_is_reported_with_the_remedy() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = failing(&["run", "--listen", &address, "--backend", "127.0.0.1:1"]);
    assert_eq!(code, Some(2));
    assert!(
        said.contains(&format!("cannot listen on {address}: another program is listening there")),
        "{said}"
    );
}

#[test]
fn a_missing_directory_of_the_admin_socket_is_reported_before_anything_listens() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reprieve.toml");
    let configuration = "[admin]\nsocket = \"missing/admin.sock\"\n\
         [[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n\
         [pool.mail]\nnodes = [\"127.0.0.1:1\"]\n";
    std::fs::write(&file, configuration).unwrap();
    let file = file.to_str().unwrap();
    let expected = "admin.socket: the directory missing does not exist";
    let checked = Command::new(BINARY).args(["check", "--config", file]).output().unwrap();
    let warning = String::from_utf8(checked.stderr).unwrap();
    assert!(checked.status.success() && warning.starts_with(&format!("warning: {expected}")), "{warning}");
    let (code, said) = failing(&["run", "--config", file]);
    assert_eq!(code, Some(2));
    assert!(said.contains(expected) && !said.contains("listening"), "{said}");
}

#[test]
fn wrong_usage_is_reported_with_the_correct_usage() {
    for (arguments, expected) in [
        (&["run", "--backend", "127.0.0.1:1"][..], "--listen"),
        (&["run", "--listen", "127.0.0.1:0"], "--backend"),
        (&["run", "--listen", "here", "--backend", "a:1"], "invalid socket address"),
        (
            &["run", "--listen", "127.0.0.1:0", "--backend", "mail"],
            "--backend: has \"mail\"; a mail server is",
        ),
        (&["run", "--listen", "127.0.0.1:0", "--backend", "a:1", "--set", "interval"], "KEY=VALUE"),
        (
            &["run", "--listen", "127.0.0.1:0", "--backend", "a:1", "--set", "intervall=1m"],
            "unknown setting `intervall`; known settings: interval, longest-interval",
        ),
        (
            &["run", "--listen", "127.0.0.1:0", "--backend", "a:1", "--policy", "mine"],
            "there is no built-in policy `mine` and no file of that name; built in: interval",
        ),
        (&["check", "--config", "/nowhere.toml"], "cannot read the configuration /nowhere.toml"),
    ] {
        let (code, said) = failing(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {said}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn check_reports_file_line_and_key_and_accepts_a_correct_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("reprieve.toml");
    let right = "[[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:1\"]\npool = \"mail\"\n\n\
                 [virtual-server.policy]\ncomponent = \"interval\"\nsettings = { interval = \"10m\" }\n\n\
                 [pool.mail]\nnodes = [\"127.0.0.1:2\"]\n";
    std::fs::write(&path, right).unwrap();
    let name = path.to_str().unwrap();
    let output = Command::new(BINARY).args(["check", "--config", name]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("policy interval"));
    for (from, to, expected) in [
        ("listen =", "lisen =", ":3: unknown key `virtual-server.lisen`; did you mean `listen`?"),
        ("listen = [\"127.0.0.1:1\"]", "", ":1: `virtual-server.listen` is missing; for example"),
        (
            "component =",
            "compnent =",
            ":7: unknown key `virtual-server.policy.compnent`; did you mean `component`?",
        ),
        ("\"10m\"", "\"soon\"", ":7: virtual server pop3: policy interval refuses its settings"),
        ("\"interval\"", "\"./none.wasm\"", ":7: virtual server pop3: cannot read the component ./none.wasm"),
    ] {
        std::fs::write(&path, right.replacen(from, to, 1)).unwrap();
        let (code, said) = failing(&["check", "--config", name]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(&format!("{name}{expected}")), "{said}");
    }
}

#[test]
fn every_subcommand_has_help() {
    for (arguments, expected) in [
        (&["--help"][..], "protects mail servers from clients that check for mail too often"),
        (&["run", "--help"], "reprieve run --listen 127.0.0.1:1110 --backend 127.0.0.1:110"),
        (&["check", "--help"], "without starting"),
        (&["demo", "--help"], "--seconds"),
    ] {
        let output = Command::new(BINARY).args(arguments).output().unwrap();
        assert!(output.status.success());
        let help = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(help.contains(expected), "{help}");
    }
}

/// Reprieve with a mail server and an admin socket.
struct Served {
    folder: tempfile::TempDir,
    _reprieve: Running,
    node: String,
    _mail: crate::support::farm::FarmNode,
}

impl Served {
    fn start() -> Self {
        let (folder, mail) = (tempfile::tempdir().unwrap(), crate::support::farm::FarmNode::start());
        let node = mail.address().to_string();
        let text = format!(
            "admin = {{ socket = {:?} }}\n[[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\n\
             pool = \"mail\"\n[pool.mail]\nnodes = [{node:?}]\nhealth-check = \"off\"\n\
             new-mail = {{ notifications = {{ complete = true }} }}\n",
            folder.path().join("admin.sock")
        );
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        reprieve.line_with("admin socket ready");
        Self { folder, _reprieve: reprieve, node, _mail: mail }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// Command lines whose names are those of manual pages, and more for other forms of output.
    /// `new`: a folder that is not there yet.
    fn command_lines(&self, new: &str) -> Vec<String> {
        let (socket, config) = (self.path("admin.sock"), self.path("reprieve.toml"));
        let (log, scenario) = (self.path("mail.log"), self.path("scenario.toml"));
        let users = self.path("users.txt");
        std::fs::write(&users, "alice 10m\n").unwrap();
        let line = "Nov 27 22:11:26 mx pop3d: LOGIN, user=alice, ip=[::ffff:192.0.2.7]\n";
        std::fs::write(&log, line).unwrap();
        std::fs::write(&scenario, "[[step]]\nlogin = \"alice\"\nexpect = \"pass\"\n").unwrap();
        std::fs::write(self.path("export.jsonl"), "").unwrap();
        let new = self.path(new);
        [
            format!("check --config {config}"),
            format!("ctl status --socket {socket}"),
            format!("ctl status --json --socket {socket}"),
            format!("ctl swap pop3 interval --socket {socket}"),
            format!("ctl shadow pop3 interval --socket {socket}"),
            format!("ctl reload --socket {socket}"),
            format!("ctl node mail {} enabled --socket {socket}", self.node),
            format!("ctl new-mail alice --socket {socket}"),
            "new-mail dovecot-script --url http://127.0.0.1:8110".to_owned(),
            "demo --seconds 6 --clients 2 --interval 1s".to_owned(),
            format!("lookup compile {users} -o {users}.tbl"),
            format!("lookup get {users} alice"),
            format!("lookup check {users}"),
            format!("policy new --lang rust {new}"),
            format!("policy test interval {scenario}"),
            format!("policy test interval {scenario} --format json"),
            format!("policy test interval {scenario} --format junit"),
            "policy decide interval --user alice".to_owned(),
            "policy decide interval --user alice --format json".to_owned(),
            "policy bench interval --users 10 --calls 100 --fresh 1".to_owned(),
            "policy bench interval --users 10 --calls 100 --fresh 1 --format json".to_owned(),
            "policy inspect interval".to_owned(),
            "policy inspect interval --format json".to_owned(),
            "policy fuzz interval --runs 2".to_owned(),
            format!("replay {log}"),
            format!("replay {log} --output-format json"),
            format!("replay {log} --output-format html"),
            format!("store get alice --config {config}"),
            format!("store get alice --json --config {config}"),
            format!("store stats --config {config}"),
            format!("store stats --json --config {config}"),
            format!("store forget alice --config {config}"),
            "store capacity --users 1000".to_owned(),
            "store capacity --users 1000 --json".to_owned(),
            format!("top --once --interval 100ms --socket {socket}"),
            "completions bash".to_owned(),
            "--help".to_owned(),
            "--version".to_owned(),
            "ctl swap --help".to_owned(),
            // The last one: it ends what the others ask.
            format!("ctl drain --socket {socket}"),
        ]
        .into()
    }
}

/// Names of the commands that do something, by their manual pages: "ctl status".
fn commands() -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    assert!(Command::new(BINARY).arg("man").arg(folder.path()).status().unwrap().success());
    let pages = folder.path().join("man1").read_dir().unwrap();
    let files = pages.map(|file| file.unwrap().file_name().into_string().unwrap());
    let pages: Vec<String> = files
        .filter_map(|name| Some(name.strip_suffix(".1")?.strip_prefix("reprieve-")?.to_owned()))
        .collect();
    let has_parts = |name: &str| pages.iter().any(|page| page.starts_with(&format!("{name}-")));
    pages.iter().filter(|name| !has_parts(name)).map(|name| name.replace('-', " ")).collect()
}

fn closed_pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full_disk() -> Stdio {
    std::fs::File::options().write(true).open("/dev/full").unwrap().into()
}

#[test]
fn every_command_reports_a_write_error_and_exits_quietly_on_a_broken_pipe() {
    /// They write nothing to standard output, or only to a file.
    const SILENT: [&str; 4] = ["run", "man", "store import", "store export"];
    for (out, code, expected) in [
        (closed_pipe as fn() -> Stdio, 141, ""),
        (full_disk, 2, "reprieve: cannot write to standard output: No space left on device"),
    ] {
        let served = Served::start();
        let lines = served.command_lines("new");
        for name in commands() {
            let is_tested = lines.iter().any(|line| line.replace('-', " ").starts_with(&name));
            assert!(
                is_tested || SILENT.contains(&&*name),
                "`reprieve {name}` is not in the list of this test"
            );
        }
        for line in lines {
            let output = Command::new(BINARY)
                .args(line.split(' '))
                .stdin(Stdio::null())
                .stdout(out())
                .output()
                .expect("running reprieve");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{line}: {said}");
            assert!(said.contains(expected) && !said.contains("panicked"), "{line}: {said}");
            assert!(code == 2 || !said.contains("standard output"), "{line}: {said}");
        }
    }
}

#[test]
fn an_export_to_standard_output_is_complete_or_an_error() {
    let served = Served::start();
    let state = served.path("state.jsonl");
    let config = served.path("reprieve.toml");
    let entry = "{\"namespace\":\"pop3\",\"key\":\"a\",\"value\":\"Yg==\",\"expires\":null}\n";
    std::fs::write(&state, entry).unwrap();
    let store = |arguments: &[&str], out: Stdio| {
        let mut command = Command::new(BINARY);
        command.args(["store", "--config", &config]).args(arguments).stdin(Stdio::null()).stdout(out);
        command.output().expect("running reprieve")
    };
    let imported = store(&["import", &state], Stdio::piped());
    assert!(imported.status.success(), "{imported:?}");
    let exported = store(&["export", "-"], Stdio::piped());
    assert!(exported.status.success() && !exported.stdout.is_empty(), "{exported:?}");
    assert_eq!(store(&["export", "-"], closed_pipe()).status.code(), Some(141));
    assert_eq!(store(&["export", "-"], full_disk()).status.code(), Some(2));
}

#[test]
fn an_error_that_cannot_be_printed_still_sets_the_exit_code() {
    for arguments in [
        &["check", "--config", "/nowhere.toml"][..],
        &["replay", "/nowhere.log"],
        &["policy", "test", "interval", "/nowhere.toml"],
        &["nonsense"],
    ] {
        for err in [closed_pipe as fn() -> Stdio, full_disk] {
            let status = Command::new(BINARY).args(arguments).stdout(closed_pipe()).stderr(err()).status();
            assert_eq!(status.unwrap().code(), Some(2), "{arguments:?}");
        }
    }
    // A server that serves is not ended by it.
    let mut command = Command::new(BINARY);
    command.args(["run", "--listen", "127.0.0.1:0", "--backend", "127.0.0.1:1", "--log-format", "json"]);
    let (log, writer) = std::io::pipe().unwrap();
    let mut child = command.stdout(closed_pipe()).stderr(writer).spawn().unwrap();
    drop(command);
    let mut log = std::io::BufReader::new(log);
    let mut line = String::new();
    while !line.contains("\"listening\"") {
        line.clear();
        assert!(std::io::BufRead::read_line(&mut log, &mut line).unwrap() > 0, "it ended");
    }
    drop(log);
    let listening: serde_json::Value = serde_json::from_str(&line).unwrap();
    let address: std::net::SocketAddr = listening["address"].as_str().unwrap().parse().unwrap();
    Dialogue::open(address).quit();
    let signalled = Command::new("kill").args(["-TERM", &child.id().to_string()]).status();
    assert!(signalled.unwrap().success());
    assert!(child.wait().unwrap().success());
}

#[test]
fn the_demo_exits_by_itself_and_finds_nothing_lost_or_duplicated() {
    let mut child = Command::new(BINARY)
        .args(["demo", "--seconds", "12", "--clients", "4", "--interval", "2s"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("starting the demo");
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success(), "{said}");
    assert!(!said.contains('\u{1b}'), "escapes in what is piped: {said}");
    assert!(said.to_lowercase().contains("relief"), "{said}");
}
