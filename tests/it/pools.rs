//! Pools: nodes that fail under load and return, session limits and queues, sticky users, and
//! secrets that no second node sees.

use std::fmt::Display;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::account::PASSWORD;
use crate::support::dialogue::Dialogue;
use crate::support::farm::FarmNode;
use crate::support::proxy::{Proxy, Setup};
use crate::support::scripted::Scripted;
use crate::support::{guests, until};
use reprieve::config::NodeMode;

fn front<N: Display>(nodes: &[N], pool: &str) -> Proxy {
    // Every login passes: these tests are about the choice of the node.
    let policy = "settings = { interval = \"0s\" }";
    Setup { policy, pool, threads: 2, ..Setup::default() }.in_front_of(nodes)
}

fn addresses(nodes: &[FarmNode]) -> Vec<SocketAddr> {
    nodes.iter().map(FarmNode::address).collect()
}

/// Logs in and out. Returns whether the login was accepted.
fn session(server: SocketAddr, user: &str) -> bool {
    let mut session = Dialogue::open(server);
    session.ok(&format!("USER {user}"));
    session.send(&format!("PASS {PASSWORD}"));
    let accepted = session.line().starts_with("+OK");
    // A session may end with its node after the login.
    session.leave();
    accepted
}

const CHECKED: &str = "health-check = { interval = \"100ms\", rise = 2, fall = 2 }\nretry-after = \"200ms\"";

#[test]
fn a_node_that_dies_under_load_fails_no_login_and_returns_with_slow_start() {
    let mut nodes: Vec<_> = (0..3).map(|_| FarmNode::start()).collect();
    let front = front(&addresses(&nodes), &format!("{CHECKED}\nslow-start = \"2s\""));
    let server = front.address();
    let (stop, failed, done) = (AtomicBool::new(false), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (stop, failed, done) = (&stop, &failed, &done);
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    // A login at the node when it died may fail: its secret has been sent.
                    if !session(server, &format!("user{worker}")) {
                        failed.fetch_add(1, Ordering::SeqCst);
                    }
                    done.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let more = |count| {
            let until_then = done.load(Ordering::SeqCst) + count;
            until("more logins are made", || done.load(Ordering::SeqCst) >= until_then);
        };
        more(300);
        for node in &nodes {
            assert!(node.logins() >= 80, "each node gets its share: {}", node.logins());
        }
        nodes[1].kill();
        // Sessions at that node have ended.
        until("the node is marked unhealthy", || front.server.pool("mail").unwrap().state().healthy == 2);
        more(20);
        let lost = failed.load(Ordering::SeqCst);
        assert!(lost <= 4, "only logins in progress at the node may fail: {lost}");
        nodes.iter().for_each(FarmNode::forget);
        more(300);
        let (one, other) = (nodes[0].logins(), nodes[2].logins());
        assert!(one.abs_diff(other) * 10 <= one + other, "the other nodes share evenly: {one}, {other}");
        assert_eq!(failed.load(Ordering::SeqCst), lost, "no login fails that another node could accept");

        nodes[1].revive();
        until("the node is healthy again", || front.server.pool("mail").unwrap().state().healthy == 3);
        nodes.iter().for_each(FarmNode::forget);
        let began = Instant::now();
        more(60);
        let (share, all) = (nodes[1].logins(), nodes.iter().map(FarmNode::logins).sum::<usize>());
        if began.elapsed() < Duration::from_millis(500) {
            assert!(share * 5 < all, "slow start: {share} of {all}");
        }
        until("its slow start is over", || began.elapsed() > Duration::from_secs(2));
        nodes.iter().for_each(FarmNode::forget);
        more(300);
        let share = nodes[1].logins();
        let all: usize = nodes.iter().map(FarmNode::logins).sum();
        assert!(share * 10 > all * 3 - all / 2, "after slow start it gets its full share: {share} of {all}");
        assert_eq!(failed.load(Ordering::SeqCst), lost);
        stop.store(true, Ordering::SeqCst);
    });
}

#[test]
fn logins_at_a_full_node_queue_in_order() {
    let node = FarmNode::start();
    let pool = "health-check = \"off\"\nmax-sessions = 2\nqueue = { timeout = \"30s\", length = 2 }";
    let front = front(&[node.address()], pool);
    let open = || {
        let mut session = Dialogue::open(front.address());
        session.ok("USER alice");
        session.send(&format!("PASS {PASSWORD}"));
        session
    };
    let mut inside = [open(), open()];
    for session in &mut inside {
        session.accepted();
    }
    let pool = front.server.pool("mail").unwrap();
    let mut third = open();
    until("the third login waits", || pool.queued() == 1);
    let mut fourth = open();
    until("the fourth login waits", || pool.queued() == 2);
    let mut fifth = open();
    assert_eq!(
        fifth.refused(),
        "-ERR [SYS/TEMP] mail server has too many sessions, try again later",
        "the queue is full"
    );
    fifth.quit();
    let [first, second] = inside;
    first.quit();
    third.accepted();
    second.quit();
    fourth.accepted();
    third.quit();
    fourth.quit();
    until("all sessions have ended", || pool.state().sessions == 0);
    assert_eq!(node.most_open(), 2);
    assert_eq!(front.server.counters().pool_full, 1);
}

#[test]
fn a_login_that_waits_too_long_fails_and_frees_its_slot() {
    let node = FarmNode::start();
    let pool = "health-check = \"off\"\nmax-sessions = 1\nqueue = { timeout = \"100ms\" }";
    let front = front(&[node.address()], pool);
    let mut inside = Dialogue::open(front.address());
    inside.give_password("alice", PASSWORD);
    let mut outside = Dialogue::open(front.address());
    outside.ok("USER bob");
    assert!(outside.err(&format!("PASS {PASSWORD}")).starts_with("-ERR [SYS/TEMP]"));
    inside.quit();
    until("the slot is free", || front.server.pool("mail").unwrap().state().sessions == 0);
    outside.give_password("bob", PASSWORD);
    outside.quit();
}

#[test]
fn users_keep_their_node_when_another_fails_and_returns() {
    let mut nodes: Vec<_> = (0..3).map(|_| FarmNode::start()).collect();
    let front = front(&addresses(&nodes), &format!("{CHECKED}\nbalance = \"user\""));
    let users: Vec<_> = (0..150).map(|number| format!("user{number}")).collect();
    let homes = |nodes: &[FarmNode]| -> Vec<Option<usize>> {
        nodes.iter().for_each(FarmNode::forget);
        for user in &users {
            assert!(session(front.address(), user));
        }
        let of_each: Vec<_> = nodes.iter().map(FarmNode::users).collect();
        users.iter().map(|user| of_each.iter().position(|users| users.contains(user))).collect()
    };
    let before = homes(&nodes);
    assert_eq!(homes(&nodes), before);
    nodes[1].kill();
    until("the node is marked unhealthy", || front.server.pool("mail").unwrap().state().healthy == 2);
    let during = homes(&nodes);
    let lost = before.iter().filter(|home| **home == Some(1)).count();
    let moved = before.iter().zip(&during).filter(|(before, during)| before != during).count();
    assert!((30..=70).contains(&lost), "{lost} of 150 users were at the node");
    assert!(moved <= lost + users.len() / 50, "{moved} users moved, {lost} had to");
    nodes[1].revive();
    until("the node is healthy again", || front.server.pool("mail").unwrap().state().healthy == 3);
    assert_eq!(homes(&nodes), before);
}

#[test]
fn a_pass_goes_to_the_pool_that_the_policy_names() {
    let (own, other) = (FarmNode::start(), FarmNode::start());
    let setup = Setup {
        server: "mechanisms = [\"USER\", \"CRAM-MD5\"]",
        policy: &format!(
            "component = {:?}\nsettings = {{ pool = \"other\", user = \"alice@other\" }}",
            guests::mirror()
        ),
        pool: &format!(
            "health-check = \"off\"\n[pool.other]\nnodes = [\"{}\"]\nhealth-check = \"off\"",
            other.address()
        ),
        ..Setup::default()
    };
    let front = setup.in_front_of(&[own.address()]);
    assert!(session(front.address(), "alice"));
    assert_eq!((own.logins(), other.users()), (0, vec!["alice@other".to_owned()]));
}

#[test]
fn the_node_with_the_fewest_sessions_gets_the_next() {
    let nodes: Vec<_> = (0..2).map(|_| FarmNode::start()).collect();
    let front = front(&addresses(&nodes), "health-check = \"off\"\nbalance = \"least-sessions\"");
    let mut open: Vec<_> = (0..10)
        .map(|_| {
            let mut session = Dialogue::open(front.address());
            session.give_password("alice", PASSWORD);
            session
        })
        .collect();
    assert_eq!((nodes[0].logins(), nodes[1].logins()), (5, 5));
    // Two sessions at the first node end; the next two go there.
    let at = |session: &mut Dialogue| session.ok("NOOP");
    open.iter_mut().for_each(|session| drop(at(session)));
    let (even, odd): (Vec<_>, Vec<_>) = open.into_iter().enumerate().partition(|(index, _)| index % 2 == 0);
    even.into_iter().for_each(|(_, session)| session.quit());
    let pool = front.server.pool("mail").unwrap();
    until("five sessions are left", || pool.state().sessions == 5);
    let idle = pool.node_states().position(|node| node.sessions == 0).expect("one is idle");
    let before = nodes[idle].logins();
    let more: Vec<_> = (0..5)
        .map(|_| {
            let mut session = Dialogue::open(front.address());
            session.give_password("alice", PASSWORD);
            session
        })
        .collect();
    assert_eq!(nodes[idle].logins() - before, 5);
    more.into_iter().for_each(Dialogue::quit);
    odd.into_iter().for_each(|(_, session)| session.quit());
}

#[test]
fn a_backup_node_serves_only_while_no_other_can() {
    let (mut first, backup) = (FarmNode::start(), FarmNode::start());
    let nodes =
        [first.address().to_string(), format!("{{ address = \"{}\", backup = true }}", backup.address())];
    let front = front(&nodes, CHECKED);
    for _ in 0..5 {
        assert!(session(front.address(), "alice"));
    }
    assert_eq!((first.logins(), backup.logins()), (5, 0));
    first.kill();
    for _ in 0..5 {
        assert!(session(front.address(), "alice"));
    }
    assert_eq!(backup.logins(), 5);
    first.revive();
    until("the node is healthy again", || front.server.pool("mail").unwrap().state().healthy == 2);
    assert!(session(front.address(), "alice"));
    assert_eq!((first.logins(), backup.logins()), (1, 5));
}

#[test]
fn a_drained_node_keeps_its_sessions_and_a_disabled_one_loses_them() {
    let nodes: Vec<_> = (0..2).map(|_| FarmNode::start()).collect();
    let front = front(&addresses(&nodes), "health-check = \"off\"");
    let pool = front.server.pool("mail").unwrap();
    let names: Vec<_> = nodes.iter().map(|node| node.address().to_string()).collect();
    pool.set_mode(&names[1], NodeMode::Drain).unwrap();
    let mut stays = Dialogue::open(front.address());
    stays.give_password("alice", PASSWORD);
    assert_eq!((nodes[0].logins(), nodes[1].logins()), (1, 0));
    pool.set_mode(&names[0], NodeMode::Drain).unwrap();
    stays.ok("STAT");
    // Not alice: Reprieve would answer her login itself.
    assert!(!session(front.address(), "bob"), "no node is enabled");
    pool.set_mode(&names[1], NodeMode::Enabled).unwrap();
    assert!(session(front.address(), "alice"));
    pool.set_mode(&names[0], NodeMode::Disabled).unwrap();
    stays.closed();
    until("its session has ended", || pool.state().sessions == 0);
}

#[test]
fn a_wrong_password_is_tried_once_and_a_temporary_error_on_another_node() {
    let nodes: Vec<_> = (0..2).map(|_| FarmNode::start()).collect();
    let front = front(&addresses(&nodes), "health-check = \"off\"");
    // Whichever node is first, the other one would accept the login.
    for (word, tried_elsewhere) in [
        ("-ERR [AUTH] wrong password", false),
        ("-ERR wrong password", false),
        ("-ERR [IN-USE] locked", false),
        ("-ERR [SYS/PERM] broken", false),
        ("-ERR [SYS/TEMP] later", true),
    ] {
        nodes[0].refuse(Some(word));
        nodes[1].forget();
        let accepted = (0..4).filter(|_| session(front.address(), "alice")).count();
        assert_eq!(nodes[1].logins(), accepted);
        assert_eq!(accepted, if tried_elsewhere { 4 } else { 2 }, "{word}");
    }
    // If all nodes have a temporary error, the client gets their reply.
    nodes.iter().for_each(|node| node.refuse(Some("-ERR [SYS/TEMP] all busy")));
    let mut session = Dialogue::open(front.address());
    session.ok("USER alice");
    assert_eq!(session.err("PASS x"), "-ERR [SYS/TEMP] all busy");
    session.quit();
}

/// When a node hangs up on one client.
#[derive(Clone, Copy, Debug)]
enum Dies {
    AtTheAddress,
    AtXclient,
    AtTheName,
    AtTheSecret,
    InRubbish,
}

/// A node that hangs up on one name, or on one client's address, and serves all others.
fn that_hangs_up_on(dies: Dies) -> Scripted {
    Scripted::start(move |conversation| {
        let mut killer = false;
        if let Dies::AtTheAddress = dies {
            let Some(header) = conversation.read_command() else { return };
            if header.contains("192.0.2.66") {
                return;
            }
        }
        let offer: &[u8] =
            if let Dies::AtXclient = dies { b"+OK [XCLIENT] ready\r\n" } else { b"+OK ready\r\n" };
        conversation.send(offer);
        while let Some(command) = conversation.read_command() {
            match command.split(' ').next().unwrap() {
                "CAPA" => conversation.send(b"+OK\r\nTOP\r\nUIDL\r\nPIPELINING\r\nUSER\r\n.\r\n"),
                "XCLIENT" if command.contains("192.0.2.66") => conversation.send(b"-ERR banned\r\n"),
                "USER" => {
                    killer = command == "USER killer";
                    match dies {
                        Dies::AtTheName if killer => return,
                        Dies::InRubbish if killer => conversation.send(b"Segmentation fault\r\n"),
                        _ => conversation.send(b"+OK\r\n"),
                    }
                }
                "PASS" if killer => return,
                "LIST" | "UIDL" => conversation.send(b"+OK\r\n.\r\n"),
                "QUIT" => return conversation.send(b"+OK\r\n"),
                _ => conversation.send(b"+OK\r\n"),
            }
        }
    })
}

#[test]
fn a_client_that_makes_nodes_hang_up_marks_no_node_unhealthy() {
    for dies in [Dies::AtTheAddress, Dies::AtXclient, Dies::AtTheName, Dies::AtTheSecret, Dies::InRubbish] {
        for check in ["health-check = \"off\"", "health-check = { interval = \"1h\", fall = 1 }"] {
            let nodes = [that_hangs_up_on(dies), that_hangs_up_on(dies)];
            let header = if let Dies::AtTheAddress = dies { "proxy-protocol = \"v1\"" } else { "" };
            let setup = Setup {
                server: "proxy-from = [\"127.0.0.1\"]",
                policy: "settings = { interval = \"0s\" }",
                pool: &format!("{header}\n{check}"),
                ..Setup::default()
            };
            let front = setup.in_front_of(&nodes.each_ref().map(Scripted::address));
            let log_in = |address: &str, name: &str| {
                let mut client = TcpStream::connect(front.address()).unwrap();
                client.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
                let header = format!("PROXY TCP4 {address} 198.51.100.1 4711 110\r\n");
                client.write_all(format!("{header}USER {name}\r\nPASS x\r\nQUIT\r\n").as_bytes()).unwrap();
                let mut said = String::new();
                client.read_to_string(&mut said).unwrap();
                said.lines().nth(2).unwrap_or_default().to_owned()
            };
            for _ in 0..3 {
                let reply = log_in("192.0.2.66", "killer");
                assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{dies:?} {check}: {reply}");
                for node in front.server.pool("mail").unwrap().node_states() {
                    assert!(node.healthy, "{dies:?} {check}: {node:?}");
                }
                assert!(log_in("192.0.2.7", "alice").starts_with("+OK"), "{dies:?} {check}");
            }
        }
    }
}

/// Failures of one client's sessions do not count against a node; those of its health check do.
#[test]
fn a_node_that_hangs_up_on_everybody_fails_its_health_check() {
    let broken = Arc::new(AtomicBool::new(false));
    let node = Scripted::start({
        let broken = broken.clone();
        move |conversation| {
            conversation.send(b"+OK ready\r\n");
            while let Some(command) = conversation.read_command() {
                if broken.load(Ordering::SeqCst) {
                    return;
                }
                conversation.send(if command == "CAPA" { b"+OK\r\n.\r\n" } else { b"+OK\r\n" });
                if command == "QUIT" {
                    return;
                }
            }
        }
    });
    let front = front(&[node.address()], "health-check = { interval = \"1h\" }");
    broken.store(true, Ordering::SeqCst);
    let mut session = Dialogue::open(front.address());
    session.ok("USER alice");
    assert!(session.err("PASS x").starts_with("-ERR [SYS/TEMP]"));
    until("the health check after that login has failed", || {
        front.server.pool("mail").unwrap().node_states().all(|node| !node.healthy)
    });
}
