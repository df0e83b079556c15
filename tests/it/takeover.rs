//! Takeover: a new process replaces a running one without refusing a connection or losing a session.

use std::io::{IoSlice, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::free_address;
use crate::support::farm::FarmNode;
use crate::support::http;
use crate::support::mail_server;
use crate::support::running::Running;
use crate::support::until;

fn configuration(folder: &Path, listen: SocketAddr, node: SocketAddr, threads: usize, more: &str) -> String {
    format!(
        "threads = {threads}\ndrain-timeout = \"2s\"\npolicy-cache = \"off\"\nadmin = {{ socket = {:?} }}\n{more}\n[[virtual-server]]\n\
         name = \"pop3\"\nlisten = [\"{listen}\"]\npool = \"mail\"\n[virtual-server.policy]\n\
         settings = {{ interval = \"1h\" }}\n[pool.mail]\nnodes = [\"{node}\"]\nhealth-check = \"off\"\n",
        folder.join("admin.sock")
    )
}

/// Starts a process with a configuration that takes over from another.
fn successor(folder: &Path, text: &str) -> Running {
    let file = folder.join("reprieve.toml");
    std::fs::write(&file, text).unwrap();
    Running::start(&["run", "--take-over", "--config", file.to_str().unwrap(), "--log-format", "json"])
}

#[test]
fn a_takeover_under_load_refuses_no_connection() {
    // Users may have several sessions.
    let mail = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let listen = free_address();
    let configured = |threads| configuration(folder.path(), listen, mail.address(), threads, "");
    let mut serving = successor(folder.path(), &configured(1));
    serving.line_with("there is nothing to take over");
    serving.line_with("admin socket ready");
    let mut stays = Dialogue::open(listen);
    stays.give_password("alice", PASSWORD);
    let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, done) = (stop.clone(), done.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    let mut session = Dialogue::open(listen);
                    session.give_password("alice", PASSWORD);
                    assert!(session.lines("UIDL").is_empty());
                    session.quit();
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let more = |count| {
        let from = done.load(Ordering::SeqCst);
        until("sessions go on", || {
            assert!(clients.iter().all(|client| !client.is_finished()), "a session failed");
            done.load(Ordering::SeqCst) >= from + count
        });
    };
    // More threads, fewer threads, the same number.
    for threads in [3, 1, 1] {
        more(50);
        let mut next = successor(folder.path(), &configured(threads));
        next.line_with("took over the listening sockets of the running process");
        next.line_with("admin socket ready");
        more(50);
        // The old process waits for its sessions and exits normally.
        serving.line_with("draining");
        if threads == 3 {
            stays.ok("NOOP");
            std::mem::replace(&mut stays, Dialogue::open(listen)).quit();
        }
        assert_eq!(serving.ended().code(), Some(0));
        serving = next;
        assert!(folder.path().join("admin.sock").exists());
    }
    stop.store(true, Ordering::SeqCst);
    clients.into_iter().for_each(|client| client.join().expect("no session failed"));
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn the_old_process_leaves_the_admin_sockets_path_to_the_new_one() {
    let mail = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let mut serving =
        successor(folder.path(), &configuration(folder.path(), free_address(), mail.address(), 1, ""));
    serving.line_with("admin socket ready");
    let path = folder.path().join("admin.sock");
    let asked = |line: &str, body: &str| {
        let stream = UnixStream::connect(&path).expect("the process serves");
        http::ask(stream, line, &["Content-Type: application/json"], body).expect("an answer").status
    };
    // A process that takes over and creates its own socket late.
    let arrival = folder.path().join("arrival.sock");
    let listener = UnixListener::bind(&arrival).unwrap();
    let taking = std::thread::spawn(move || {
        let mut words = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut words).unwrap();
        words
    });
    assert_eq!(asked("POST /takeover", &format!("{{\"socket\":{arrival:?}}}")), 200);
    assert!(taking.join().unwrap().ends_with(b"."), "all sockets came");
    assert_eq!(asked("POST /drain", ""), 204);
    assert_eq!(serving.ended().code(), Some(0));
    assert!(path.exists(), "the other one's socket may have been there by then");
}

#[test]
fn the_new_process_gets_the_stores_file() {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let listen = free_address();
    let store = format!("[store]\nbackend = \"file\"\npath = {:?}", folder.path().join("store.redb"));
    let text = configuration(folder.path(), listen, mail.address(), 1, &store);
    let mut serving = successor(folder.path(), &text);
    serving.line_with("admin socket ready");
    let poll = || {
        let mut session = Dialogue::open(listen);
        session.give_password("alice", PASSWORD);
        assert_eq!(session.lines("UIDL").len(), 1);
        session.quit();
    };
    poll();
    // A process that cannot serve takes nothing over.
    let mut wrong = successor(folder.path(), &text.replace("interval = \"1h\"", "intervall = \"1h\""));
    wrong.line_with("refuses its settings");
    assert_eq!(wrong.ended().code(), Some(2));
    let stays = Dialogue::open(listen);
    let mut next = successor(folder.path(), &text);
    next.line_with("admin socket ready");
    serving.line_with("sockets and stores handed over");
    drop(stays);
    assert_eq!(serving.ended().code(), Some(0));
    poll();
    // The policy's state came along: the login is denied, but passes because neither password nor
    // maildrop is known yet.
    next.line_with("\"because\":\"unverified\"");
    poll();
    next.line_with("\"relief\":true");
    next.signal("-TERM");
    assert_eq!(next.ended().code(), Some(0));
}

#[test]
fn the_old_process_shows_nobody_an_older_maildrop_than_the_new_one() {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let listen = free_address();
    let text = configuration(folder.path(), listen, mail.address(), 1, "");
    let text = text.replace("drain-timeout = \"2s\"", "drain-timeout = \"60s\"");
    let mut serving = successor(folder.path(), &text);
    serving.line_with("admin socket ready");
    let poll = |mut session: Dialogue| {
        session.give_password("alice", PASSWORD);
        let messages = session.lines("UIDL").len();
        session.quit();
        messages
    };
    assert_eq!(poll(Dialogue::open(listen)), 1);
    let waiting = Dialogue::open(listen);
    let mut next = successor(folder.path(), &text);
    next.line_with("admin socket ready");
    serving.line_with("sockets and stores handed over");
    mail.deliver("alice", b"Subject: new\r\n\r\nbody\r\n").unwrap();
    assert_eq!(poll(Dialogue::open(listen)), 2, "the new process knows nobody yet");
    assert_eq!(poll(waiting), 2, "the old process must not show what it remembers");
    assert_eq!(serving.ended().code(), Some(0));
    next.signal("-TERM");
    assert_eq!(next.ended().code(), Some(0));
}

#[test]
fn a_suspended_process_is_named_and_not_waited_for() {
    let mail = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let listen = free_address();
    let text = configuration(folder.path(), listen, mail.address(), 1, "");
    let mut serving = successor(folder.path(), &text);
    serving.line_with("admin socket ready");
    serving.signal("-STOP");
    let mut next = successor(folder.path(), &text);
    let told = next.line_with("kill -CONT");
    assert!(told.contains(&serving.id().to_string()) && told.contains("kill -CONT"), "{told}");
    assert_eq!(next.ended().code(), Some(2));
    // The admin socket answers, too.
    let socket = folder.path().join("admin.sock");
    let asked = std::process::Command::new(crate::support::running::BINARY)
        .args(["ctl", "--socket", socket.to_str().unwrap(), "reload"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&asked.stderr).into_owned();
    assert!(asked.status.code() == Some(2) && said.contains("does not answer within"), "{said}");
    serving.signal("-CONT");
    let mut session = Dialogue::open(listen);
    session.give_password("alice", PASSWORD);
    session.quit();
    let left = std::fs::read_dir(folder.path()).unwrap().count();
    assert_eq!(left, 2, "the admin socket and the configuration");
}

#[test]
fn if_the_new_process_dies_during_the_takeover_the_old_one_continues() {
    let mail = FarmNode::start();
    for (word, expected) in [
        (&b""[..], "did not start to serve; this process continues"),
        (&b"d"[..], "draining: no new connections"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let listen = free_address();
        let store = format!("[store]\nbackend = \"file\"\npath = {:?}", folder.path().join("store.redb"));
        let text = configuration(folder.path(), listen, mail.address(), 1, &store);
        let mut serving = successor(folder.path(), &text);
        serving.line_with("admin socket ready");
        let arrival = folder.path().join("arrival.sock");
        let listener = UnixListener::bind(&arrival).unwrap();
        let taking = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut bytes = [0];
            while bytes != *b"." {
                stream.read_exact(&mut bytes).unwrap();
            }
            stream
        });
        let stream = UnixStream::connect(folder.path().join("admin.sock")).expect("the process serves");
        let body = format!("{{\"socket\":{arrival:?},\"holds_connection\":true}}");
        let json = ["Content-Type: application/json"];
        assert_eq!(http::ask(stream, "POST /takeover", &json, &body).expect("an answer").status, 200);
        serving.line_with("sockets and stores handed over");
        let mut held = taking.join().unwrap();
        // Like a process that is killed during the takeover.
        held.write_all(word).unwrap();
        drop(held);
        serving.line_with(expected);
        if word.is_empty() {
            let mut session = Dialogue::open(listen);
            session.give_password("alice", PASSWORD);
            session.quit();
            serving.signal("-TERM");
        }
        assert_eq!(serving.ended().code(), Some(0));
    }
}

/// An old process that hands over and is suspended before it drains.
fn stopped_in_the_middle(
    folder: &Path,
    socket: std::net::TcpListener,
) -> std::thread::JoinHandle<UnixStream> {
    let admin = UnixListener::bind(folder.join("admin.sock")).unwrap();
    std::thread::spawn(move || {
        let mut given = None;
        loop {
            let (mut stream, _) = admin.accept().unwrap();
            let mut request = Vec::new();
            let mut bytes = [0; 4096];
            while !request.windows(4).any(|end| end == b"\r\n\r\n") && !request.ends_with(b"}") {
                match stream.read(&mut bytes).unwrap() {
                    0 => break,
                    length => request.extend_from_slice(&bytes[..length]),
                }
            }
            if request.is_empty() {
                // It has only checked whether something listens.
                continue;
            }
            let mut text = String::from_utf8_lossy(&request).into_owned();
            let mut answer = "{}";
            if text.starts_with("POST /takeover") {
                while !text.ends_with('}') {
                    let length = stream.read(&mut bytes).unwrap();
                    text += &String::from_utf8_lossy(&bytes[..length]);
                }
                let path = text.split("\"socket\":\"").nth(1).unwrap().split('"').next().unwrap();
                let to = UnixStream::connect(path).unwrap();
                let descriptors = [std::os::fd::AsFd::as_fd(&socket)];
                let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut beside = rustix::net::SendAncillaryBuffer::new(&mut space);
                beside.push(rustix::net::SendAncillaryMessage::ScmRights(&descriptors));
                let none = rustix::net::SendFlags::empty();
                rustix::net::sendmsg(&to, &[IoSlice::new(b"+")], &mut beside, none).unwrap();
                (&to).write_all(b".").unwrap();
                given = Some(to);
                answer = "1";
            } else if text.starts_with("POST /drain") {
                return given.expect("it was asked for sockets before");
            }
            let length = answer.len();
            write!(
                stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}"
            )
            .unwrap();
        }
    })
}

#[test]
fn an_old_process_that_is_suspended_after_the_takeover_blocks_nobody() {
    let mail = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = listener.local_addr().unwrap();
    let stopped = stopped_in_the_middle(folder.path(), listener);
    let text = configuration(folder.path(), listen, mail.address(), 1, "");
    let mut next = successor(folder.path(), &text);
    next.line_with("took over the listening sockets of the running process");
    let mut held = stopped.join().unwrap();
    next.line_with("it will drain when it continues");
    next.line_with("admin socket ready");
    let mut word = [0];
    held.read_exact(&mut word).unwrap();
    assert_eq!(word, *b"d");
    let mut session = Dialogue::open(listen);
    session.give_password("alice", PASSWORD);
    session.quit();
}
