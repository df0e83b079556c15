//! Reprieve as a service: what it tells the service manager, and that it serves under the limits
//! of its unit.

mod support;

use std::collections::BTreeSet;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use support::DEADLINE;
use support::account::PASSWORD;
use support::certificates::{Age, Authority};
use support::dialogue::Dialogue;
use support::package::ROOT;
use support::running::{BINARY, Running};
use support::setup::mail_server;
use support::tool::Tool;

const ANALYZE: Tool = Tool { program: "systemd-analyze", package: "systemd" };

/// A configuration with all that reaches out to the system: TLS, a store in a file, an admin socket,
/// health checks, compiled policies, and one in the shadow.
fn configuration(folder: &Path, node: std::net::SocketAddr, authority: &Authority) -> String {
    let files = authority.server("front", &["localhost"], Age::Valid);
    format!(
        "threads = 2\ndrain-timeout = \"2m\"\npolicy-cache = {cache:?}\nadmin = {{ socket = {socket:?} }}\n\
         certificate-check = \"200ms\"\n[store]\nhome = \"file\"\npath = {store:?}\nsave-every = \"100ms\"\n\
         [[virtual-server]]\nname = \"pop3\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\ncleartext-login = \"allow\"\n\
         [virtual-server.tls]\ncertificate = {chain:?}\nkey = {key:?}\n\
         [virtual-server.shadow]\ncomponent = \"interval\"\nsettings = {{ interval = \"1h\" }}\n\
         [pool.mail]\nnodes = [\"localhost:{port}\"]\ncheck = {{ interval = \"200ms\" }}\n",
        cache = folder.join("cache"),
        socket = folder.join("admin.sock"),
        store = folder.join("state.redb"),
        chain = files.chain,
        key = files.key,
        port = node.port(),
    )
}

#[test]
fn the_service_manager_is_told_when_it_serves_reloads_and_drains() {
    let (folder, authority, mail) = (tempfile::tempdir().unwrap(), Authority::new(), mail_server(1));
    let manager = UnixDatagram::bind(folder.path().join("notify")).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let told = || {
        let mut octets = [0; 4096];
        let length = manager.recv(&mut octets).expect("a message");
        String::from_utf8(octets[..length].to_vec()).expect("UTF-8")
    };
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, configuration(folder.path(), mail.address(), &authority)).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["run", "--log-format", "json", "--config"]).arg(&file);
    let mut reprieve = Running::spawn(command.env("NOTIFY_SOCKET", folder.path().join("notify")));
    let ready = told();
    // By then it answers.
    let address = reprieve.address();
    Dialogue::open(address).quit();
    assert_eq!(ready.trim(), format!("READY=1\nSTATUS=serving pop3 at {address}"));
    reprieve.signal("-HUP");
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert_eq!(told(), ready);
    reprieve.signal("-TERM");
    // Its drain-timeout may be longer than the time that systemd gives by itself.
    let stopping = told();
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    assert!(stopping.contains("EXTEND_TIMEOUT_USEC=130000000"), "{stopping}");
    assert!(reprieve.ended().success());
}

/// The system calls of a set of systemd's, with those of the sets in it.
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

/// The values of a directive of the unit.
fn directive(name: &str) -> Vec<String> {
    let unit = std::fs::read_to_string(Path::new(ROOT).join("host/packaging/reprieve.service")).unwrap();
    let start = format!("{name}=");
    unit.lines().filter_map(|line| line.strip_prefix(&start)).map(str::to_owned).collect()
}

/// The filter that systemd makes of the unit, but for one thing: what it forbids does not fail,
/// it ends the process.
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
    // Names that this machine does not have are of other ones.
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
    // SAFETY: between fork and exec this makes two system calls and touches no memory but its own.
    unsafe {
        command.pre_exec(move || {
            seccompiler::apply_filter(&program).map_err(|_| std::io::ErrorKind::Other.into())
        })
    };
    command
}

#[test]
fn it_serves_with_no_system_call_that_its_unit_forbids() {
    let (folder, authority, mail) = (tempfile::tempdir().unwrap(), Authority::new(), mail_server(3));
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, configuration(folder.path(), mail.address(), &authority)).unwrap();
    let program = filter();
    let mut command = limited(program.clone());
    command.args(["run", "--log-format", "json", "--log-level", "debug", "--config"]).arg(&file);
    let mut reprieve = Running::spawn(&mut command);
    let address = reprieve.address();
    reprieve.line_with("taking commands");
    // A pass that fetches, a denial that is posed, and one that goes on at the server; with TLS.
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
    reprieve.line_with("certificates read again");
    reprieve.signal("-HUP");
    let socket = folder.path().join("admin.sock");
    let status = Command::new(BINARY).arg("ctl").arg("--socket").arg(socket).arg("status").output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("1 passed, 2 denied"), "{status}");
    reprieve.signal("-TERM");
    let ended = reprieve.ended();
    assert!(ended.success(), "{ended}");
    // The filter is one: what it forbids ends the process.
    let mut command = limited(program);
    // `--user` of a process of root becomes somebody else, which a unit has done before.
    if nix::unistd::geteuid().is_root() {
        command.args(["run", "--user", "nobody", "--listen", "127.0.0.1:0", "--backend", "127.0.0.1:1"]);
        let ended = command.output().expect("running reprieve").status;
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended), Some(libc::SIGSYS), "{ended}");
    }
}
