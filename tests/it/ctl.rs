//! `reprieve ctl`: status, modes of nodes, and policy swaps.

use std::process::{Command, Output};

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::farm::FarmNode;
use crate::support::guests;
use crate::support::running::{BINARY, Running};
use crate::support::until;

fn ctl(socket: &str, arguments: &[&str]) -> Output {
    Command::new(BINARY).args(["ctl", "--socket", socket]).args(arguments).output().expect("running reprieve")
}

#[test]
fn nodes_are_drained_disabled_and_enabled() {
    let nodes: Vec<_> = (0..2).map(|_| FarmNode::start()).collect();
    let names: Vec<_> = nodes.iter().map(|node| node.address().to_string()).collect();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let text = format!(
        "policy-cache = \"off\"\nadmin = {{ socket = {socket:?} }}\n[[virtual-server]]\nname = \"pop3\"\n\
         listen = [\"127.0.0.1:0\"]\npool = \"mail\"\n[virtual-server.policy]\nsettings = {{ interval = \"0s\" }}\n\
         [pool.mail]\nnodes = [{{ address = {:?}, mode = \"drain\" }}, {:?}]\nhealth-check = \"off\"\n",
        names[0], names[1],
    );
    let mut reprieve = Running::with_configuration(folder.path(), &text);
    let address = reprieve.address();
    reprieve.line_with("admin socket ready");
    let socket = socket.to_str().unwrap();
    let log_in = || {
        let mut session = Dialogue::open(address);
        session.give_password("alice", PASSWORD);
        session
    };
    let mut stays = log_in();
    assert_eq!((nodes[0].logins(), nodes[1].logins()), (0, 1), "the configuration drains the first");
    for (node, mode) in [(&names[0], "enabled"), (&names[1], "drain")] {
        let output = ctl(socket, &["node", "mail", node, mode]);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("pool mail, node {node}: {mode}\n"));
    }
    log_in().quit();
    assert_eq!(nodes[0].logins(), 1);
    stays.ok("NOOP");
    let output = ctl(socket, &["status"]);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&format!("virtual server pop3 on {address}")), "{said}");
    assert!(said.contains("2 passed, 0 denied"), "{said}");
    assert!(said.contains("drain     1 sessions"), "{said}");
    ctl(socket, &["node", "mail", &names[1], "disabled"]);
    stays.closed();
    until("its session is over", || {
        let output = ctl(socket, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let node = &status["pools"][0]["nodes"][1];
        assert_eq!((&node["name"], &node["mode"]), (&names[1].as_str().into(), &"disabled".into()));
        node["sessions"] == 0
    });
    // Errors say how to correct them.
    for (arguments, expected) in [
        (["node", "male", &names[0], "drain"], "there is no pool \"male\"; the pools are mail"),
        (
            ["node", "mail", "10.0.0.9:110", "drain"],
            "pool mail has no node \"10.0.0.9:110\"; it has 127.0.0.1:",
        ),
    ] {
        let output = ctl(socket, &arguments);
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(expected), "{said}");
    }
    reprieve.signal("-TERM");
    assert!(reprieve.ended().success());
    let output = ctl(socket, &["status"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("cannot reach a running Reprieve") && said.contains("admin.socket"), "{said}");
}

#[test]
fn swapping_back_restores_the_policy_that_ran_even_if_its_file_has_changed() {
    let node = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("admin.sock");
    let file = folder.path().join("policy.wasm");
    let first = std::fs::read(guests::mirror()).unwrap();
    // The same policy with different bytes: an empty custom section at the end.
    let second = [&first[..], &[0, 2, 1, b'x']].concat();
    std::fs::write(&file, &first).unwrap();
    let text = format!(
        "policy-cache = \"off\"\nadmin = {{ socket = {socket:?} }}\n[[virtual-server]]\nname = \"pop3\"\n\
         listen = [\"127.0.0.1:0\"]\npool = \"mail\"\n[virtual-server.policy]\ncomponent = {file:?}\nsha256 = {:?}\n\
         [pool.mail]\nnodes = [{:?}]\nhealth-check = \"off\"\n",
        sha256(&first),
        node.address().to_string(),
    );
    let mut reprieve = Running::with_configuration(folder.path(), &text);
    reprieve.line_with("admin socket ready");
    let socket = socket.to_str().unwrap();
    let runs = || {
        let output = ctl(socket, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        status["virtual_servers"][0]["policy"]["sha256"].as_str().unwrap().to_owned()
    };
    let swap = |arguments: &[&str]| {
        let output = ctl(socket, &[&["swap", "pop3"], arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let path = file.to_str().unwrap();
    assert_eq!(runs(), sha256(&first));
    swap(&["interval"]);
    for left in [Some(&second[..]), Some(b"no component"), None] {
        match left {
            Some(bytes) => std::fs::write(&file, bytes).unwrap(),
            None => std::fs::remove_file(&file).unwrap(),
        }
        let said = swap(&["--back"]);
        assert!(said.contains(&sha256(&first)[..12]), "{said}");
        assert_eq!(runs(), sha256(&first));
        // Swapping back restores the one in between.
        swap(&["--back"]);
        assert_eq!(runs(), sha256(reprieve_interval()));
    }
    // Two versions of one path, back, and back again.
    std::fs::write(&file, &first).unwrap();
    swap(&[path]);
    std::fs::write(&file, &second).unwrap();
    swap(&[path]);
    assert_eq!(runs(), sha256(&second));
    std::fs::remove_file(&file).unwrap();
    for expected in [&first, &second, &first] {
        swap(&["--back"]);
        assert_eq!(runs(), sha256(expected));
    }
    // A reload uses the configured path; if that file is gone, nothing changes.
    assert_eq!(ctl(socket, &["reload"]).status.code(), Some(2));
    assert_eq!(runs(), sha256(&first));
}

fn reprieve_interval() -> &'static [u8] {
    static BYTES: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    BYTES.get_or_init(|| reprieve_policy_host::load_source("interval").expect("it is built in").into_owned())
}

fn sha256(bytes: &[u8]) -> String {
    reprieve_policy_host::digest::hex(&reprieve_policy_host::digest::of(bytes))
}
