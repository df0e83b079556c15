//! Signals at each stage of a process's life: it ends, or goes on, within the time that
//! docs/operations.md names, whatever else does not answer.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::free_address;
use crate::support::farm::FarmNode;
use crate::support::running::{BINARY, Running};
use crate::support::until;

/// For "at once", on a machine that does other work too.
const AT_ONCE: Duration = Duration::from_secs(4);
/// The time after `drain-timeout` that docs/operations.md names.
const MARGIN: Duration = Duration::from_secs(10);

/// What differs between the configurations of these tests.
#[derive(Clone, Copy)]
struct Setting<'a> {
    top: &'a str,
    node: &'a str,
    pool: &'a str,
    policy: &'a str,
}

const SETTING: Setting<'_> = Setting { top: "", node: "", pool: "health-check = \"off\"", policy: "" };

impl Setting<'_> {
    fn text(&self, folder: &Path, listen: SocketAddr) -> String {
        let Self { top, node, pool, policy } = self;
        format!(
            "threads = 1\ndrain-timeout = \"2s\"\npolicy-cache = \"off\"\nadmin = {{ socket = {:?} }}\n{top}\n\
             [[virtual-server]]\nname = \"pop3\"\nlisten = [\"{listen}\"]\npool = \"mail\"\n[virtual-server.policy]\n{policy}\n\
             [pool.mail]\nnodes = [\"{node}\"]\n{pool}\n",
            folder.join("admin.sock")
        )
    }
}

/// A process that was suspended; it continues when this is dropped.
struct Suspended(String);

impl Suspended {
    fn new(process: &str) -> Self {
        assert!(Command::new("kill").args(["-STOP", process]).status().unwrap().success());
        Self(process.to_owned())
    }

    /// Whether it runs. Nobody may collect its exit status.
    fn is_there(&self) -> bool {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0)).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
    }

    fn continues(&self) {
        let _ = Command::new("kill").args(["-CONT", &self.0]).stderr(std::process::Stdio::null()).status();
    }
}

impl Drop for Suspended {
    fn drop(&mut self) {
        self.continues();
    }
}

/// Waits until a process compiles a policy in a child process, and suspends that.
fn suspended_compiler(running: &Running) -> Suspended {
    let mut found = String::new();
    until("it compiles", || {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", running.id())).unwrap();
        let children =
            tasks.flatten().filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        found = children.collect::<String>().trim().to_owned();
        !found.is_empty()
    });
    Suspended::new(&found)
}

/// Sends a signal, and waits for the end within a time.
#[track_caller]
fn ends(running: &mut Running, signal: &str, within: Duration, what: &str) {
    let began = Instant::now();
    running.signal(signal);
    assert_eq!(running.ended().code(), Some(0), "{what}: {}", running.rest_of_log());
    assert!(began.elapsed() < within, "{what}: it took {:?}", began.elapsed());
}

fn poll(server: SocketAddr) {
    let mut session = Dialogue::open(server);
    session.give_password("alice", PASSWORD);
    session.quit();
}

/// A server that accepts connections and never says anything.
fn silent() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[test]
fn a_start_that_compiles_ends_at_once_and_survives_a_hangup() {
    let node = FarmNode::start();
    let node = node.address().to_string();
    for signal in ["-TERM", "-INT", "-HUP"] {
        let folder = tempfile::tempdir().unwrap();
        let text = Setting { node: &node, ..SETTING }.text(folder.path(), free_address());
        let mut running = Running::with_configuration(folder.path(), &text);
        let compiler = suspended_compiler(&running);
        if signal == "-HUP" {
            running.signal(signal);
            compiler.continues();
            poll(running.address());
            ends(&mut running, "-TERM", AT_ONCE, "after a hangup");
        } else {
            ends(&mut running, signal, AT_ONCE, signal);
        }
        compiler.continues();
        until("the compiler ends with the process", || !compiler.is_there());
        assert!(!folder.path().join("admin.sock").exists());
    }
}

#[test]
fn a_reload_that_compiles_delays_neither_sessions_nor_the_end() {
    let node = FarmNode::start();
    let node = node.address().to_string();
    for second in [None, Some("-INT")] {
        let folder = tempfile::tempdir().unwrap();
        let setting = Setting { node: &node, ..SETTING };
        let text = setting.text(folder.path(), free_address());
        let mut running = Running::with_configuration(folder.path(), &text);
        let server = running.address();
        running.line_with("admin socket ready");
        // Other limits need another engine, for which the policy is compiled again.
        let other = text.replace(
            "[virtual-server.policy]\n",
            "[virtual-server.policy]\nlimits = { memory = \"32MiB\" }\n",
        );
        std::fs::write(folder.path().join("reprieve.toml"), other).unwrap();
        running.signal("-HUP");
        let _compiler = suspended_compiler(&running);
        poll(server);
        // Another hangup waits for its turn.
        running.signal("-HUP");
        poll(server);
        let _stays = second.map(|second| {
            let mut stays = Dialogue::open(server);
            stays.give_password("alice", PASSWORD);
            (stays, second)
        });
        if let Some((_, second)) = &_stays {
            running.signal("-TERM");
            running.line_with("draining");
            ends(&mut running, second, AT_ONCE, "a second signal");
        } else {
            ends(&mut running, "-TERM", AT_ONCE, "without sessions");
        }
    }
}

#[test]
fn a_drain_ends_sessions_in_time_whatever_their_mail_server_does() {
    let (_held, hangs) = silent();
    let hangs = hangs.to_string();
    let folder = tempfile::tempdir().unwrap();
    let setting = Setting { node: &hangs, pool: "health-check = { interval = \"1s\" }", ..SETTING };
    let mut running =
        Running::with_configuration(folder.path(), &setting.text(folder.path(), free_address()));
    let server = running.address();
    running.line_with("admin socket ready");
    let mut waits = Dialogue::open(server);
    waits.ok("USER alice");
    waits.send(&format!("PASS {PASSWORD}"));
    let mut idle = Dialogue::open(server);
    idle.ok("CAPA");
    idle.body();
    // A hangup during the drain changes nothing.
    running.signal("-TERM");
    running.line_with("draining");
    running.signal("-HUP");
    assert!(idle.line().starts_with("-ERR"), "who has not logged in is disconnected");
    let began = Instant::now();
    assert_eq!(running.ended().code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(2) + MARGIN, "{:?}", began.elapsed());
}

#[test]
fn an_unreachable_node_or_name_server_delays_no_start_and_no_end() {
    let (_held, hangs) = silent();
    let names = UdpSocket::bind("127.0.0.1:0").unwrap();
    let name_servers = format!("name-servers = [\"{}\"]", names.local_addr().unwrap());
    for (node, top) in [(hangs.to_string(), ""), ("mail.example:110".to_owned(), name_servers.as_str())] {
        for signal in ["-TERM", "-INT"] {
            let folder = tempfile::tempdir().unwrap();
            let setting =
                Setting { node: &node, top, pool: "health-check = { interval = \"1s\" }", ..SETTING };
            let text = setting.text(folder.path(), free_address());
            let mut running = Running::with_configuration(folder.path(), &text);
            running.line_with("admin socket ready");
            let what = format!("{node}, {signal}");
            ends(&mut running, signal, AT_ONCE, &what);
        }
    }
}

#[test]
fn a_full_disk_delays_no_end() {
    let node = FarmNode::start();
    let node = node.address().to_string();
    let folder = tempfile::tempdir().unwrap();
    let top = format!(
        "decision-log = {{ path = {:?} }}\n[store]\nbackend = \"file\"\npath = {:?}\nsave-every = \"50ms\"\n",
        folder.path().join("decisions.jsonl"),
        folder.path().join("store.redb")
    );
    let text = Setting { node: &node, top: &top, ..SETTING }.text(folder.path(), free_address());
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, text).unwrap();
    let mut running = Running::start(&["run", "--log-format", "json", "--config", file.to_str().unwrap()]);
    let server = running.address();
    running.line_with("admin socket ready");
    poll(server);
    // From now on no file can grow.
    let process = running.id().to_string();
    let limited = Command::new("prlimit").args(["--fsize=0:unlimited", "--pid", &process]).status();
    assert!(limited.unwrap().success());
    for _ in 0..20 {
        poll(server);
    }
    running.line_with("the decision log cannot be written");
    ends(&mut running, "-TERM", MARGIN, "with a full disk");
}

/// Starts a process that takes over.
fn successor(file: &Path) -> Running {
    Running::start(&["run", "--take-over", "--config", file.to_str().unwrap(), "--log-format", "json"])
}

#[test]
fn a_process_that_drains_is_replaced_by_one_that_starts_normally() {
    let node = FarmNode::start();
    let node = node.address().to_string();
    let folder = tempfile::tempdir().unwrap();
    let listen = free_address();
    let text = Setting { node: &node, ..SETTING }.text(folder.path(), listen).replace("2s", "20s");
    let mut running = Running::with_configuration(folder.path(), &text);
    running.line_with("admin socket ready");
    let mut stays = Dialogue::open(listen);
    stays.give_password("alice", PASSWORD);
    running.signal("-TERM");
    running.line_with("draining");
    let mut next = successor(&folder.path().join("reprieve.toml"));
    next.line_with("admin socket ready");
    poll(listen);
    stays.ok("NOOP");
    stays.quit();
    assert_eq!(running.ended().code(), Some(0));
    assert!(folder.path().join("admin.sock").exists(), "it belongs to the new process");
    let socket = folder.path().join("admin.sock");
    let ctl = Command::new(BINARY).args(["ctl", "status", "--socket"]).arg(socket).output().unwrap();
    assert!(ctl.status.success(), "{}", String::from_utf8_lossy(&ctl.stderr));
    ends(&mut next, "-TERM", AT_ONCE, "the new process");
}
