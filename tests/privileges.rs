//! Ports below 1024, and who serves there: sockets that are opened before root is given up, or
//! by whoever starts Reprieve.

mod support;

use std::net::TcpListener;
use std::os::fd::AsRawFd as _;
use std::process::Command;

use support::account::PASSWORD;
use support::certificates::{Age, Authority};
use support::dialogue::Dialogue;
use support::running::{BINARY, Running};
use support::setup::mail_server;

fn configuration(node: std::net::SocketAddr, listen: &str, top: &str, server: &str) -> String {
    format!(
        "threads = 2\npolicy-cache = \"off\"\n{top}\n[[virtual-server]]\nname = \"pop3\"\nlisten = [\"{listen}\"]\n\
         pool = \"mail\"\n{server}\n[pool.mail]\nnodes = [\"{node}\"]\ncheck = \"off\"\n"
    )
}

fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions.
    unsafe { libc::geteuid() == 0 }
}

/// The user and group ids of each thread of a process.
fn owners(process: u32) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    tasks
        .flat_map(|task| {
            let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
            let ids = |line: &&str| line.starts_with("Uid:") || line.starts_with("Gid:");
            status.lines().filter(ids).map(str::to_owned).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn root_opens_a_low_port_and_somebody_else_serves_there() {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let top = "user = \"nobody\"";
    if !is_root() {
        // Who is not root cannot become somebody else, and is told so.
        let text = configuration(mail.address(), "127.0.0.1:0", top, "");
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        reprieve.line_with("only root can become that user");
        return;
    }
    // A port below 1024 that nobody uses here.
    let port = (600..1023).find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok()).expect("a low port");
    // The key is root's alone.
    let authority = Authority::new();
    let files = authority.server("front", &["localhost"], Age::Valid);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&files.key, private).unwrap();
    let tls = format!(
        "cleartext-login = \"allow\"\n[virtual-server.tls]\ncertificate = {:?}\nkey = {:?}",
        files.chain, files.key
    );
    let text = configuration(mail.address(), &format!("127.0.0.1:{port}"), top, &tls);
    let mut reprieve = Running::with_configuration(folder.path(), &text);
    let address = reprieve.address();
    assert_eq!(address.port(), port);
    let mut session = Dialogue::open(address);
    session.start_tls(&authority.trusted(None), "localhost");
    session.give_password("alice", PASSWORD);
    session.quit();
    let nobody = nix::unistd::User::from_name("nobody").unwrap().expect("nobody");
    let owners = owners(reprieve.id());
    assert!(owners.len() >= 6, "{owners:?}");
    for line in &owners {
        let id = if line.starts_with("Uid") { nobody.uid.as_raw() } else { nobody.gid.as_raw() };
        assert!(line.split_whitespace().skip(1).all(|word| word == id.to_string()), "{line}");
    }
    // Who may not read the key any more keeps the certificate that is there.
    reprieve.signal("-HUP");
    reprieve.line_with("the certificates in use stay");
    let mut session = Dialogue::open(address);
    session.start_tls(&authority.trusted(None), "localhost");
    session.quit();
}

#[test]
fn a_user_or_group_that_is_not_there_is_named_with_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let node = "127.0.0.1:1".parse().unwrap();
    for (top, expected) in [
        ("user = \"no-such-user\"", "useradd --system --no-create-home no-such-user"),
        ("user = \"nobody\"\ngroup = \"no-such-group\"", "groupadd --system no-such-group"),
    ] {
        let text = configuration(node, "127.0.0.1:0", top, "");
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        reprieve.line_with(expected);
        assert_eq!(reprieve.ended().code(), Some(2));
    }
}

#[test]
fn sockets_that_were_opened_by_whoever_starts_it_are_used() {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, configuration(mail.address(), &address.to_string(), "", "")).unwrap();
    // As systemd does it: descriptors from 3 on, and in the environment how many, and for whom.
    let descriptor = listener.as_raw_fd();
    let script = format!(
        "exec 3<&{descriptor}; LISTEN_PID=$$ LISTEN_FDS=1 exec {BINARY} run --config {} --log-format json",
        file.display()
    );
    let duplicate = nix::fcntl::fcntl(&listener, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()));
    duplicate.expect("a descriptor that is inherited");
    let mut reprieve = Running::spawn(Command::new("bash").args(["-c", &script]));
    assert_eq!(reprieve.address(), address);
    // The socket is this test's too: only whoever accepts from it answers.
    for _ in 0..4 {
        let mut session = Dialogue::open(address);
        session.give_password("alice", PASSWORD);
        session.quit();
    }
    drop(listener);
}

#[test]
fn a_signal_has_the_certificate_read_again_and_so_has_a_changed_file() {
    let (authority, mail) = (Authority::new(), mail_server(0));
    let folder = tempfile::tempdir().unwrap();
    let files = authority.server("front", &["localhost"], Age::Valid);
    let tls = format!("[virtual-server.tls]\ncertificate = {:?}\nkey = {:?}", files.chain, files.key);
    let shown = |address| {
        let mut session = Dialogue::open(address);
        session.start_tls(&authority.trusted(None), "localhost");
        let certificate = session.tls().peer_certificates().unwrap()[0].to_vec();
        session.quit();
        certificate
    };
    for (top, by_signal) in [("certificate-check = \"0s\"", true), ("certificate-check = \"200ms\"", false)] {
        let text = configuration(mail.address(), "127.0.0.1:0", top, &tls);
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        let address = reprieve.address();
        let before = shown(address);
        authority.server("front", &["localhost"], Age::Valid);
        if by_signal {
            reprieve.signal("-HUP");
        }
        reprieve.line_with("certificates read again");
        assert_ne!(shown(address), before);
    }
}

#[test]
fn too_few_descriptors_for_the_connections_that_are_wanted_are_told_of() {
    let mail = mail_server(0);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("reprieve.toml");
    std::fs::write(&file, configuration(mail.address(), "127.0.0.1:0", "max-connections = 5000", ""))
        .unwrap();
    let script = format!("ulimit -n 1000 && exec {BINARY} run --config {} --log-format json", file.display());
    let mut reprieve = Running::spawn(Command::new("bash").args(["-c", &script]));
    let line = reprieve.line_with("fewer file descriptors");
    assert!(line.contains("10100") && line.contains("LimitNOFILE"), "{line}");
    reprieve.address();
}
