//! Sessions byte for byte.

use std::io::{BufRead, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};

use crate::support::DEADLINE;
use crate::support::account::PASSWORD;

/// What a session shows that sends these commands, each when the one before is answered, and
/// QUIT: without the status lines of listings and the texts of refusals.
#[track_caller]
pub fn session(server: SocketAddr, user: &[u8], commands: &[&'static str]) -> Vec<(&'static str, String)> {
    let stream = TcpStream::connect(server).expect("connecting");
    stream.set_nodelay(true).expect("TCP_NODELAY");
    stream.set_read_timeout(Some(DEADLINE)).expect("a deadline");
    let mut stream = BufReader::new(stream);
    let mut line = move |command: Option<&[u8]>| {
        if let Some(command) = command {
            stream.get_mut().write_all(&[command, b"\r\n"].concat()).expect("sending");
        }
        let mut line = Vec::new();
        stream.read_until(b'\n', &mut line).expect("a line");
        assert!(!line.is_empty(), "{command:?}: the connection has ended");
        line.escape_ascii().to_string()
    };
    line(None);
    line(Some(&[b"USER ", user].concat()));
    let accepted = line(Some(format!("PASS {PASSWORD}").as_bytes()));
    assert!(accepted.starts_with("+OK"), "{accepted}");
    let shown = commands.iter().map(|&command| {
        let mut reply = line(Some(command.as_bytes()));
        if matches!(command, "LIST" | "UIDL") {
            assert!(reply.starts_with("+OK"), "{command}: {reply}");
            reply.clear();
            while !reply.ends_with("|.\\r\\n") {
                reply = reply + "|" + &line(None);
            }
        } else if reply.starts_with("-ERR") {
            "-ERR".clone_into(&mut reply);
        }
        (command, reply)
    });
    let shown = shown.collect();
    line(Some(b"QUIT"));
    shown
}
