//! A new process in the place of one that serves: no connection is refused, no session is lost.

mod support;

use std::io::Read as _;
use std::net::SocketAddr;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use support::account::PASSWORD;
use support::dialogue::Dialogue;
use support::dovecot::free_address;
use support::farm::FarmNode;
use support::http;
use support::running::Running;
use support::setup::mail_server;
use support::until;

fn configuration(folder: &Path, listen: SocketAddr, node: SocketAddr, threads: usize, more: &str) -> String {
    format!(
        "threads = {threads}\ndrain-timeout = \"2s\"\npolicy-cache = \"off\"\nadmin = {{ socket = {:?} }}\n{more}\n[[virtual-server]]\n\
         name = \"pop3\"\nlisten = [\"{listen}\"]\npool = \"mail\"\n[virtual-server.policy]\n\
         settings = {{ interval = \"1h\" }}\n[pool.mail]\nnodes = [\"{node}\"]\ncheck = \"off\"\n",
        folder.join("admin.sock")
    )
}

/// Starts a process that takes the place of another, by a configuration.
fn successor(folder: &Path, text: &str) -> Running {
    let file = folder.join("reprieve.toml");
    std::fs::write(&file, text).unwrap();
    Running::start(&["run", "--take-over", "--config", file.to_str().unwrap(), "--log-format", "json"])
}

#[test]
fn a_new_process_takes_over_under_load_and_nobody_is_refused() {
    // Users may be logged in several times there.
    let mail = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let listen = free_address();
    let configured = |threads| configuration(folder.path(), listen, mail.address(), threads, "");
    let mut serving = successor(folder.path(), &configured(1));
    serving.line_with("nobody serves there");
    serving.line_with("taking commands");
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
    // More threads, fewer threads, as many.
    for threads in [3, 1, 1] {
        more(50);
        let mut next = successor(folder.path(), &configured(threads));
        next.line_with("took over what another process listens at");
        next.line_with("taking commands");
        more(50);
        // The one before waits for its sessions, and ends in order.
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
fn who_has_handed_over_leaves_the_admin_sockets_path_to_the_other() {
    let mail = FarmNode::start();
    let folder = tempfile::tempdir().unwrap();
    let mut serving =
        successor(folder.path(), &configuration(folder.path(), free_address(), mail.address(), 1, ""));
    serving.line_with("taking commands");
    let path = folder.path().join("admin.sock");
    let asked = |line: &str, body: &str| {
        let stream = UnixStream::connect(&path).expect("the process serves");
        http::ask(stream, line, &["Content-Type: application/json"], body).expect("an answer").status
    };
    // One that takes over, and is late to put its own socket there.
    let arrival = folder.path().join("arrival.sock");
    let listener = UnixListener::bind(&arrival).unwrap();
    let taking = std::thread::spawn(move || {
        let mut words = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut words).unwrap();
        words
    });
    assert_eq!(asked("POST /hand-over", &format!("{{\"socket\":{arrival:?}}}")), 200);
    assert!(taking.join().unwrap().ends_with(b"."), "all sockets came");
    assert_eq!(asked("POST /drain", ""), 204);
    assert_eq!(serving.ended().code(), Some(0));
    assert!(path.exists(), "the other one's socket may have been there by then");
}

#[test]
fn the_stores_file_goes_to_the_new_process() {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let listen = free_address();
    let store = format!("[store]\nhome = \"file\"\npath = {:?}", folder.path().join("store.redb"));
    let text = configuration(folder.path(), listen, mail.address(), 1, &store);
    let mut serving = successor(folder.path(), &text);
    serving.line_with("taking commands");
    let poll = || {
        let mut session = Dialogue::open(listen);
        session.give_password("alice", PASSWORD);
        assert_eq!(session.lines("UIDL").len(), 1);
        session.quit();
    };
    poll();
    // One that cannot serve takes nothing away.
    let mut wrong = successor(folder.path(), &text.replace("interval = \"1h\"", "intervall = \"1h\""));
    wrong.line_with("refuses its settings");
    assert_eq!(wrong.ended().code(), Some(2));
    let stays = Dialogue::open(listen);
    let mut next = successor(folder.path(), &text);
    next.line_with("taking commands");
    serving.line_with("sockets and stores handed over");
    drop(stays);
    assert_eq!(serving.ended().code(), Some(0));
    poll();
    // What the policy knows of him came along: his login is denied, and passes because nobody
    // knows his password or his maildrop yet.
    next.line_with("\"reason\":\"unverified\"");
    poll();
    next.line_with("\"relief\":true");
    next.signal("-TERM");
    assert_eq!(next.ended().code(), Some(0));
}
