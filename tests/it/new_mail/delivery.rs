//! Signals of scripts that deliver mail: `reprieve ctl new-mail` and the datagram socket.

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Output, Stdio};

use super::{NOTIFICATIONS, SIGNALS, Site, check_signal, mail_server, poll_until_posed, with_alice};
use crate::support::running::BINARY;
use crate::support::{until, write_secret};

fn ctl(site: &Site, arguments: &[&str], input: &str) -> Output {
    let socket = site.folder.path().join("admin.sock");
    let mut command = Command::new(BINARY);
    command.args(["ctl", "--socket"]).arg(socket).arg("new-mail").args(arguments);
    run(&mut command, input)
}

fn run(command: &mut Command, input: &str) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("running reprieve");
    // It may have ended already.
    let _ = child.stdin.take().expect("its standard input").write_all(input.as_bytes());
    child.wait_with_output().expect("running reprieve")
}

#[test]
fn ctl_signals_users_of_the_command_line_and_of_standard_input() {
    let (mail, site) = with_alice();
    for (arguments, input, said) in [
        (&["alice", "bob"][..], "", "1 remembered, 1 unknown\n"),
        (&["--pool", "mail", "alice"], "", "1 remembered, 0 unknown\n"),
        (&["--stdin"], "bob\nalice\n", "1 remembered, 1 unknown\n"),
    ] {
        check_signal(&site, &mail, "alice", || {
            let output = ctl(&site, arguments, input);
            assert!(output.status.success(), "{output:?}");
            assert_eq!(String::from_utf8_lossy(&output.stdout), said);
        });
    }
    let many: String = (0..2_500).map(|number| format!("user{number}\n")).collect();
    let output = ctl(&site, &["--stdin"], &many);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "0 remembered, 2500 unknown\n", "{output:?}");
    for (arguments, expected) in
        [(&["--pool", "male", "alice"][..], "the pools with signals of new mail are mail"), (&[], "<USER>")]
    {
        let output = ctl(&site, arguments, "");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(expected), "{output:?}");
    }
    // From another machine, with the token that allows nothing else.
    let token = site.folder.path().join("sender.token");
    write_secret(&token, SIGNALS);
    let url = format!("http://{}", site.admin);
    let remote = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        run(command.args(["ctl", "--url", &url, "--token-file"]).arg(&token).args(arguments), "")
    };
    check_signal(&site, &mail, "alice", || assert!(remote(&["new-mail", "alice"]).status.success()));
    assert_eq!(remote(&["status"]).status.code(), Some(2));
}

#[test]
fn the_socket_takes_datagrams_of_every_user() {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new-mail.sock");
    let site = Site::with(mail.address(), NOTIFICATIONS, &format!("new-mail-socket = {path:?}"));
    poll_until_posed(&site, &mail, "alice");
    let sender = UnixDatagram::unbound().unwrap();
    let signals = || site.metric("reprieve_new_mail_signals", "source=\"socket\"");
    let gaps = |reason: &str| site.metric("reprieve_new_mail_gaps", &format!("reason=\"{reason}\""));
    for body in ["alice", "bob\nalice\n", r#"{"pool": "mail", "users": ["alice"]}"#] {
        check_signal(&site, &mail, "alice", || {
            let before = signals();
            sender.send_to(body.as_bytes(), &path).unwrap();
            until("the datagram has been read", || signals() > before);
        });
    }
    for (body, reason) in [
        ("{\"users\": ".to_owned(), "malformed"),
        (r#"{"pool": "male", "users": ["alice"]}"#.to_owned(), "malformed"),
        ("a".repeat((64 << 10) + 1), "overflow"),
        ("a\n".repeat(1_001), "malformed"),
    ] {
        let before = gaps(reason);
        sender.send_to(body.as_bytes(), &path).unwrap();
        until("the datagram counts as missed", || gaps(reason) > before);
    }
}
