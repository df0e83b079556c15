//! Reprieve as a systemd service: notifications, the unit's system call filter, and signals.

use std::collections::BTreeSet;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::deb::ROOT;
use crate::support::DEADLINE;
use crate::support::account::PASSWORD;
use crate::support::certificates::{Age, Authority};
use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::running::{BINARY, Running};
use crate::support::tool::Tool;
use crate::support::until;

const ANALYZE: Tool = Tool { program: "systemd-analyze", package: "systemd" };

/// A configuration that uses many system calls: TLS, a store in a file, an admin socket, health
/// checks, a policy cache and a shadow policy.
fn configuration(folder: &Path, node: std::net::SocketAddr, authority: &Authority) -> String {
    let files = authority.server("front", &["localhost"], Age::Valid);
    format!(
        "threads = 2\ndrain-timeout = \"2m\"\npolicy-cache = {cache:?}\nadmin = {{ socket = {socket:?} }}\n\
         certificate-check = \"200ms\"\n[store]\nbackend = \"file\"\npath = {store:?}\nsave-every = \"100ms\"\n\
         [[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\ncleartext-login = \"allow\"\n\
         [virtual-server.tls]\ncertificate = {chain:?}\nkey = {key:?}\n\
         [virtual-server.shadow]\ncomponent = \"interval\"\nsettings = {{ interval = \"1h\" }}\n\
         [pool.mail]\nnodes = [\"localhost:{port}\"]\nhealth-check = {{ interval = \"200ms\" }}\n",
        cache = folder.join("cache"),
        socket = folder.join("admin.sock"),
        store = folder.join("state.redb"),
        chain = files.chain,
        key = files.key,
        port = node.port(),
    )
}

#[test]
fn systemd_is_notified_of_ready_reloading_and_stopping() {
    let (folder, authority, mail) = (tempfile::tempdir().unwrap(), Authority::new(), mail_server(1));
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let told = || {
        let mut bytes = [0; 4096];
        let length = manager.recv(&mut bytes).expect("a message");
        String::from_utf8(bytes[..length].to_vec()).expect("UTF-8")
    };
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, configuration(folder.path(), mail.address(), &authority)).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["run", "--log-format", "json", "--config"]).arg(&file);
    let mut reprieve = Running::spawn(command.env("NOTIFY_SOCKET", folder.path().join("notify")));
    let ready = told();
    // It accepts connections by then.
    let address = reprieve.address();
    Dialogue::open(address).quit();
    assert_eq!(ready.trim(), format!("READY=1\nSTATUS=serving pop3 on {address}"));
    reprieve.signal("-HUP");
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(), ready);
    reprieve.signal("-TERM");
    // The drain timeout may be longer than systemd's default.
    let stopping = told();
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=130000000"), "{stopping}");
    assert!(reprieve.ended().success());
}

/// The system calls of one of systemd's sets, nested sets included.
fn calls_of(set: &str) -> BTreeSet<String> {
    if !set.starts_with('@') {
        return BTreeSet::from([set.to_owned()]);
    }
    let output = ANALYZE.command().args(["syscall-filter", set]).output().expect("systemd-analyze");
    assert!(output.status.success(), "there is no set {set}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines = text.lines().skip(1).map(str::trim);
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).flat_map(calls_of).collect()
}

/// The values of a directive in the unit.
fn directive(name: &str) -> Vec<String> {
    let unit = std::fs::read_to_string(Path::new(ROOT).join("host/packaging/reprieve.service")).unwrap();
    let start = format!("{name}=");
    unit.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
}

/// The unit's system call filter, except that a forbidden call kills the process instead of failing.
fn filter() -> seccompiler::BpfProgram {
    let mut allowed = calls_of("@default");
    for value in directive("SystemCallFilter") {
        match value.strip_prefix('~') {
            None => allowed.extend(value.split(' ').flat_map(calls_of)),
            Some(forbidden) => {
                for call in forbidden.split(' ').flat_map(calls_of) {
                    allowed.remove(&call);
                }
            }
        }
    }
    assert!(allowed.len() > 150 && !allowed.contains("setuid"), "{allowed:?}");
    let families = directive("RestrictAddressFamilies").remove(0);
    let families = families.split(' ').map(|family| match family {
        "AF_UNIX" => libc::AF_UNIX,
        "AF_INET" => libc::AF_INET,
        "AF_INET6" => libc::AF_INET6,
        other => panic!("this test does not know {other}"),
    });
    allowed.remove("socket");
    let mut rules: Vec<_> = families
        .map(|family| {
            let is_it = serde_json::json!({ "index": 0, "type": "dword", "op": "eq", "val": family });
            serde_json::json!({ "syscall": "socket", "args": [is_it] })
        })
        .collect();
    // Unknown names belong to other architectures.
    rules.extend(
        allowed
            .iter()
            .map(|call| serde_json::json!({ "syscall": call }))
            .filter(|rule| compiled(std::slice::from_ref(rule)).is_some()),
    );
    compiled(&rules).expect("a filter")
}

fn compiled(rules: &[serde_json::Value]) -> Option<seccompiler::BpfProgram> {
    let filter = serde_json::json!({
        "all": { "mismatch_action": "kill_process", "match_action": "allow", "filter": rules }
    });
    let arch = std::env::consts::ARCH.try_into().expect("an architecture with seccomp");
    seccompiler::compile_from_json(filter.to_string().as_bytes(), arch).ok()?.remove("all")
}

fn limited(program: seccompiler::BpfProgram) -> Command {
    let mut command = Command::new(BINARY);
    // SAFETY: between fork and exec this makes two system calls and accesses only its own memory.
    unsafe {
        command.pre_exec(move || {
            seccompiler::apply_filter(&program).map_err(|_| std::io::ErrorKind::Other.into())
        })
    };
    command
}

#[test]
fn it_works_with_the_system_calls_that_the_unit_allows() {
    let (folder, authority, mail) = (tempfile::tempdir().unwrap(), Authority::new(), mail_server(3));
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, configuration(folder.path(), mail.address(), &authority)).unwrap();
    let program = filter();
    let mut command = limited(program.clone());
    command.args(["run", "--log-format", "json", "--log-level", "debug", "--config"]).arg(&file);
    let mut reprieve = Running::spawn(&mut command);
    let address = reprieve.address();
    reprieve.line_with("admin socket ready");
    // A passed, a posed and an upgraded session, with TLS.
    for turn in 0..3 {
        let mut session = Dialogue::open(address);
        session.start_tls(&authority.trusted(None), "localhost");
        session.give_password("alice", PASSWORD);
        session.maildrop();
        if turn != 1 {
            session.send("RETR 1");
            session.accepted();
            session.body();
        }
        session.quit();
    }
    authority.server("front", &["localhost"], Age::Valid);
    reprieve.line_with("certificates reloaded");
    reprieve.signal("-HUP");
    let socket = folder.path().join("admin.sock");
    let status = Command::new(BINARY).arg("ctl").arg("--socket").arg(socket).arg("status").output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("1 passed, 2 denied"), "{status}");
    reprieve.signal("-TERM");
    let ended = reprieve.ended();
    assert!(ended.success(), "{ended}");
    // The filter works: a forbidden call kills the process.
    let mut command = limited(program);
    // `--user` changes the user, which systemd has already done for a unit.
    if nix::unistd::geteuid().is_root() {
        command.args(["run", "--user", "nobody", "--listen", "127.0.0.1:0", "--backend", "127.0.0.1:1"]);
        let ended = command.output().expect("running reprieve").status;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(libc::SIGSYS), "{ended}");
    }
}

/// A configuration with many virtual servers, whose policies take a while to compile.
fn many(folder: &Path, node: std::net::SocketAddr, addresses: &[std::net::SocketAddr]) -> String {
    let mut text = format!(
        "threads = 1\ndrain-timeout = \"1s\"\npolicy-cache = \"off\"\nadmin = {{ socket = {:?} }}\n[pool.mail]\n\
         nodes = [\"{node}\"]\nhealth-check = \"off\"\n",
        folder.join("admin.sock")
    );
    for (number, address) in addresses.iter().enumerate() {
        text += &format!(
            "[[virtual-server]]\nname = \"pop3-{number}\"\nlisten = [\"{address}\"]\npool = \"mail\"\n"
        );
    }
    text
}

/// Distinct free addresses.
fn free_addresses(count: usize) -> Vec<std::net::SocketAddr> {
    let bound: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    bound.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

const MANY: usize = 100;

#[test]
fn a_signal_stops_it_during_the_start() {
    let (folder, mail) = (tempfile::tempdir().unwrap(), mail_server(0));
    for signal in ["-TERM", "-INT"] {
        let addresses = free_addresses(MANY);
        let mut reprieve =
            Running::with_configuration(folder.path(), &many(folder.path(), mail.address(), &addresses));
        // The ports are open; the policies are being compiled.
        until("the last port is open", || TcpStream::connect(addresses[MANY - 1]).is_ok());
        reprieve.signal(signal);
        assert!(reprieve.ended().success());
        let log = reprieve.rest_of_log();
        assert!(log.contains("stopped by a signal during the start"), "{log}");
        assert!(!log.contains("\"listening\""), "{log}");
    }
}

#[test]
fn a_signal_stops_it_during_a_reload() {
    let (folder, mail) = (tempfile::tempdir().unwrap(), mail_server(0));
    let reload: [&dyn Fn(&Running); 2] = [
        &|reprieve| reprieve.signal("-HUP"),
        // Through the admin socket, concurrently with the signal.
        &|_| {
            let stream = UnixStream::connect(folder.path().join("admin.sock")).unwrap();
            std::thread::spawn(move || crate::support::http::ask(stream, "POST /reload", &[], ""));
        },
    ];
    for reload in reload {
        let addresses = free_addresses(MANY);
        let text = many(folder.path(), mail.address(), &addresses[..1]);
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        reprieve.line_with("admin socket ready");
        let text = many(folder.path(), mail.address(), &addresses);
        std::fs::write(folder.path().join("reprieve.toml"), text).unwrap();
        reload(&reprieve);
        until("the second virtual server is ready", || TcpStream::connect(addresses[1]).is_ok());
        // Neither the signal nor the shutdown waits for the compilation.
        reprieve.signal("-TERM");
        assert!(reprieve.ended().success());
        let log = reprieve.rest_of_log();
        assert!(log.contains("drained"), "{log}");
        assert!(!log.contains("added"), "the configuration was taken up before: {log}");
    }
}

#[test]
fn a_full_log_pipe_does_not_block_the_shutdown() {
    let (folder, mail) = (tempfile::tempdir().unwrap(), mail_server(0));
    let address = free_addresses(1);
    let mut reprieve =
        Running::with_configuration(folder.path(), &many(folder.path(), mail.address(), &address));
    until("it listens", || TcpStream::connect(address[0]).is_ok());
    // Far more than a pipe holds, without a reader.
    for _ in 0..1000 {
        Dialogue::open(address[0]).quit();
    }
    reprieve.signal("-TERM");
    assert!(reprieve.ended().success());
}
