//! `reprieve top`.

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::farm::FarmNode;
use crate::support::running::{BINARY, Running};
use crate::support::tool::Tool;

const SCRIPT: Tool = Tool { program: "script", package: "bsdutils" };

/// Reprieve with one node, and its admin socket.
fn running(folder: &std::path::Path, node: &FarmNode) -> (Running, String) {
    let socket = folder.join("admin.sock").to_str().expect("a path in UTF-8").to_owned();
    let text = format!(
        "policy-cache = \"off\"\nadmin = {{ socket = {socket:?} }}\n[[virtual-server]]\nname = \"pop3\"\n\
         listen = [\"127.0.0.1:0\"]\npool = \"mail\"\n[pool.mail]\nnodes = [\"{}\"]\nhealth-check = \"off\"\n",
        node.address()
    );
    (Running::with_configuration(folder, &text), socket)
}

#[test]
fn one_screen_shows_relief_virtual_servers_nodes_and_stores() {
    let (folder, node) = (tempfile::tempdir().unwrap(), FarmNode::start());
    let (mut reprieve, socket) = running(folder.path(), &node);
    let address = reprieve.address();
    reprieve.line_with("admin socket ready");
    // One passed session that lists the maildrop, and three posed ones.
    for _ in 0..4 {
        let mut session = Dialogue::open(address);
        session.give_password("alice", PASSWORD);
        session.maildrop();
        session.quit();
    }
    let arguments = ["top", "--socket", &socket, "--once", "--interval", "100ms"];
    let output = Command::new(BINARY).args(arguments).env("COLUMNS", "80").output().unwrap();
    let picture = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let node = node.address().to_string();
    for part in [
        " 75.0 % since the start",
        "3 of 4 relieved",
        " pop3 ",
        "interval",
        &node,
        " up ",
        "memory      healthy",
    ] {
        assert!(picture.contains(part), "{part:?} is not in:\n{picture}");
    }
    assert!(picture.lines().all(|line| line.chars().count() <= 80), "{picture}");
    assert!(!picture.contains('\u{1b}'), "text for programs has no colours: {picture}");
    // It fails without a terminal, and without a running Reprieve.
    let output = Command::new(BINARY).args(["top", "--socket", &socket]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("use --once"));
    reprieve.signal("-TERM");
    assert!(reprieve.ended().success());
    let output = Command::new(BINARY).args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot reach a running Reprieve"));
}

#[test]
fn on_a_terminal_it_updates_until_q_and_restores_the_screen() {
    let (folder, node) = (tempfile::tempdir().unwrap(), FarmNode::start());
    let (mut reprieve, socket) = running(folder.path(), &node);
    let address = reprieve.address();
    reprieve.line_with("admin socket ready");
    let mut command = SCRIPT.command();
    command
        .args(["--quiet", "--flush", "--return", "--command"])
        .arg(format!("{BINARY} top --socket {socket} --interval 100ms"))
        .arg("/dev/null")
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("script");
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut drawn = String::new();
    let mut until = |part: &str| {
        let mut bytes = [0; 4096];
        while !drawn.contains(part) {
            let length = screen.read(&mut bytes).expect("its screen");
            assert!(length > 0, "it ended without {part:?}:\n{drawn}");
            drawn.push_str(&String::from_utf8_lossy(&bytes[..length]));
        }
    };
    until("0 of 0 relieved");
    let mut session = Dialogue::open(address);
    session.give_password("alice", PASSWORD);
    session.quit();
    until("0 of 1 relieved");
    keys.write_all(b"s").unwrap();
    until("sorted by polls");
    // When Reprieve exits, it says so and keeps trying.
    reprieve.signal("-TERM");
    assert!(reprieve.ended().success());
    until("cannot reach a running Reprieve");
    keys.write_all(b"q").unwrap();
    // The alternate screen and the cursor.
    until("\u{1b}[?25h\u{1b}[?1049l");
    assert!(child.wait().unwrap().success());
}
