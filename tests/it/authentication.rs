//! Mechanisms: passwords and tokens that Reprieve recognises, challenge-response that only the mail
//! server can verify, and master users.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::account::PASSWORD;
use crate::support::clients::{Client, Curl, Mpop};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::{Dovecot, Features};
use crate::support::farm::FarmNode;
use crate::support::memory::in_memory;
use crate::support::proxy::{Proxy, Setup};
use crate::support::running::Running;
use crate::support::scripted::Scripted;
use crate::support::{guests, until};

const DIGESTS: &str = "mechanisms = [\"USER\", \"PLAIN\", \"APOP\", \"CRAM-MD5\", \"SCRAM-SHA-256\"]";

fn configuration(node: SocketAddr, server: &str, policy: &str, pool: &str) -> String {
    Setup { server, policy, pool, ..Setup::default() }.text(&[node])
}

fn with_digests() -> Dovecot {
    let features = Features { mechanisms: "apop cram-md5 scram-sha-256", ..Features::default() };
    let dovecot = Dovecot::start_with(&[("alice", PASSWORD)], features);
    dovecot.deliver_many("alice", 2);
    dovecot
}

#[test]
fn challenge_response_logins_of_a_real_client_pass_to_dovecot() {
    let dovecot = with_digests();
    let front = Proxy::start(&configuration(dovecot.address(), DIGESTS, "", ""));
    let alice = dovecot.account_at(front.address(), "alice");
    let mut passed = 0;
    let clients: [(Box<dyn Client>, _); 3] = [
        (Box::new(Curl::that_lists_and_says_apop()), "APOP"),
        (Box::new(Mpop::that_keeps_and_says_cram_md5()), "CRAM-MD5"),
        (Box::new(Mpop::that_keeps_and_says_scram()), "SCRAM-SHA-256"),
    ];
    for (client, name) in clients {
        // The second is denied but passes: only Dovecot can verify the response.
        for _ in 0..2 {
            let poll = client.poll(&alice);
            assert_eq!(poll.total, 2, "{name}: {poll:?}");
            passed += 1;
            let by_it = dovecot.log_lines(&["Login: user=<alice>", &format!("method={name}")]);
            assert!(!by_it.is_empty(), "{name}");
        }
    }
    assert_eq!(dovecot.logins("alice"), passed);
    let counters = front.server.counters();
    assert_eq!((counters.authenticated, counters.unverified, counters.posed), (6, 5, 0));
    // A known password is posed to from the snapshot of such a session.
    let mut session = Dialogue::open(front.address());
    session.give_password("alice", PASSWORD);
    assert_eq!(session.lines("UIDL").len(), 2);
    session.quit();
    let mut session = Dialogue::open(front.address());
    session.give_password("alice", PASSWORD);
    assert_eq!(session.lines("UIDL").len(), 2);
    session.quit();
    until("the denial is counted", || front.server.counters().posed == 1);
}

#[test]
fn a_wrong_response_gets_dovecots_reply_and_a_cancelled_exchange_costs_nothing() {
    let dovecot = with_digests();
    let front = Proxy::start(&configuration(dovecot.address(), DIGESTS, "", ""));
    let mut wrong = dovecot.account_at(front.address(), "alice");
    wrong.password = "wrong".to_owned();
    let clients: [Box<dyn Client>; 3] = [
        Box::new(Curl::that_lists_and_says_apop()),
        Box::new(Mpop::that_keeps_and_says_cram_md5()),
        Box::new(Mpop::that_keeps_and_says_scram()),
    ];
    for client in clients {
        let poll = client.poll(&wrong);
        assert!(poll.exit == 67 || poll.exit == 77, "{poll:?}");
    }
    assert_eq!(dovecot.logins("alice"), 0);
    assert_eq!(front.server.counters().rejected, 3);
    let mut session = Dialogue::open(front.address());
    session.send("AUTH CRAM-MD5");
    assert!(session.line().starts_with("+ PD"), "Dovecot's challenge");
    assert_eq!(session.err("*"), "-ERR authentication cancelled");
    assert_eq!(session.err("AUTH SCRAM-SHA-256 eCw="), "-ERR not a message of this mechanism");
    session.give_password("alice", PASSWORD);
    session.quit();
}

#[test]
fn denied_challenge_response_logins_are_refused_if_configured() {
    let dovecot = with_digests();
    let server = format!("{DIGESTS}\nunverifiable = \"refuse\"");
    let front = Proxy::start(&configuration(dovecot.address(), &server, "", ""));
    let alice = dovecot.account_at(front.address(), "alice");
    let client = Mpop::that_keeps_and_says_scram();
    assert_eq!(client.poll(&alice).total, 2);
    let denied = client.poll(&alice);
    assert_eq!(denied.exit, 77, "{denied:?}");
    assert_eq!(front.server.counters().relieved, 1);
    assert_eq!(dovecot.logins("alice"), 1);
    front.clock.advance(Duration::from_secs(600));
    assert_eq!(client.poll(&alice).total, 2);
    assert_eq!(dovecot.logins("alice"), 2);
}

#[test]
fn a_challenge_response_login_cannot_be_routed_elsewhere_and_the_reply_says_so() {
    let dovecot = with_digests();
    let policy = format!("component = {:?}\nsettings = {{ user = \"bob\" }}", guests::mirror());
    let front = Proxy::start(&configuration(dovecot.address(), DIGESTS, &policy, ""));
    let mut session = Dialogue::open(front.address());
    // n,,n=alice,r=nonce
    let reply = session.err("AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPW5vbmNl");
    assert!(reply.starts_with("-ERR [SYS/PERM] this mechanism is not possible for you"), "{reply}");
    session.quit();
    assert_eq!((dovecot.logins("alice"), dovecot.logins("bob")), (0, 0));
}

#[test]
fn a_denied_challenge_response_login_goes_to_the_users_last_server() {
    let (own, dovecot) = (FarmNode::start(), with_digests());
    let policy = format!(
        "component = {:?}\nsettings = {{ pool = \"other\", digests = \"denied\" }}",
        guests::mirror()
    );
    let other = format!(
        "health-check = \"off\"\n[pool.other]\nnodes = [\"{}\"]\nhealth-check = \"off\"",
        dovecot.address()
    );
    let front = Proxy::start(&configuration(own.address(), DIGESTS, &policy, &other));
    let account = dovecot.account_at(front.address(), "alice");
    Dialogue::log_in(&account).quit();
    let poll = Mpop::that_keeps_and_says_scram().poll(&account);
    assert_eq!((poll.exit, poll.total, own.logins()), (0, 2, 0), "{poll:?}");
    assert_eq!(dovecot.log_lines(&["method=SCRAM-SHA-256"]).len(), 1);
}

#[test]
fn challenge_response_is_offered_only_if_the_mail_servers_offer_it() {
    let dovecot = Dovecot::start(&["alice"]);
    let front = Proxy::start(&configuration(dovecot.address(), DIGESTS, "", ""));
    let mut session = Dialogue::open(front.address());
    let capabilities = session.lines("CAPA");
    assert!(capabilities.contains(&"SASL PLAIN".to_owned()), "{capabilities:?}");
    assert_eq!(session.err("AUTH CRAM-MD5"), "-ERR mechanism is not offered");
    assert_eq!(session.err("APOP alice 0123456789abcdef0123456789abcdef"), "-ERR mechanism is not offered");
    session.quit();
}

/// A mail server that accepts one token, and explains what is wrong with any other.
fn token_server() -> Scripted {
    Scripted::start(|conversation| {
        conversation.send(b"+OK ready\r\n");
        while let Some(command) = conversation.read_command() {
            match &*command {
                "CAPA" => conversation.send(b"+OK\r\nUIDL\r\nTOP\r\nSASL XOAUTH2 OAUTHBEARER\r\n.\r\n"),
                "AUTH XOAUTH2" | "AUTH OAUTHBEARER" => {
                    conversation.send(b"+ \r\n");
                    // user=alice ^A auth=Bearer t0ken ^A ^A, and n,a=alice, ^A auth=Bearer t0ken ^A ^A
                    let right = [
                        "dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0MGtlbgEB",
                        "bixhPWFsaWNlLAFhdXRoPUJlYXJlciB0MGtlbgEB",
                    ];
                    if conversation.read_command().is_some_and(|message| right.contains(&&*message)) {
                        conversation.send(b"+OK in\r\n");
                        conversation.answer(&[
                            ("LIST", "+OK\r\n1 10\r\n.\r\n"),
                            ("UIDL", "+OK\r\n1 a\r\n.\r\n"),
                            ("QUIT", "+OK\r\n"),
                        ]);
                        return;
                    }
                    conversation.send(b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n");
                    conversation.read_command();
                    conversation.send(b"-ERR [AUTH] token expired\r\n");
                }
                "QUIT" => return conversation.send(b"+OK\r\n"),
                _ => conversation.send(b"-ERR no\r\n"),
            }
        }
    })
}

#[test]
fn a_known_token_is_recognised_and_a_new_one_is_verified() {
    let node = token_server();
    let server = "mechanisms = [\"XOAUTH2\", \"OAUTHBEARER\"]";
    let front = Proxy::start(&configuration(node.address(), server, "", "health-check = \"off\""));
    let mut session = Dialogue::open(front.address());
    assert!(session.lines("CAPA").contains(&"SASL XOAUTH2 OAUTHBEARER".to_owned()));
    session.send("AUTH XOAUTH2");
    assert_eq!(session.line(), "+ ");
    session.ok("dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0MGtlbgEB");
    assert_eq!(session.lines("UIDL"), ["1 a"]);
    session.quit();
    // The same token with the other mechanism, with host and port as clients send them.
    let mut session = Dialogue::open(front.address());
    session.ok("AUTH OAUTHBEARER bixhPWFsaWNlLAFob3N0PW1haWwBcG9ydD0xMTABYXV0aD1CZWFyZXIgdDBrZW4BAQ==");
    assert_eq!(session.lines("UIDL"), ["1 a"]);
    session.quit();
    until("it is counted", || front.server.counters().relieved == 1);
    assert_eq!(node.connections(), 1);
    // An unknown token passes to the mail server, which explains what is wrong.
    let mut session = Dialogue::open(front.address());
    session.send("AUTH XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciBvbGQBAQ==");
    assert_eq!(session.line(), "+ eyJzdGF0dXMiOiI0MDEifQ==");
    assert_eq!(session.err(""), "-ERR [AUTH] token expired");
    session.quit();
    assert_eq!(front.server.counters().unverified, 1);
}

#[test]
fn a_token_of_ten_thousand_bytes_fits() {
    let node = Scripted::start(|conversation| {
        conversation.send(b"+OK ready\r\n");
        conversation.read_command();
        conversation.send(b"+ \r\n");
        let length = conversation.read_command().map_or(0, |message| message.len());
        conversation.send(format!("-ERR [AUTH] {length} bytes\r\n").as_bytes());
    });
    let server = "mechanisms = [\"XOAUTH2\"]";
    let front = Proxy::start(&configuration(node.address(), server, "", "health-check = \"off\""));
    // user=alice ^A auth=Bearer, then a's: three bytes of base64 are "YWFh".
    let token = format!("dXNlcj1hbGljZQFhdXRoPUJlYXJlciBh{}AQE=", "YWFh".repeat(2500));
    for initial in [true, false] {
        let mut session = Dialogue::open(front.address());
        if initial {
            session.send(&format!("AUTH XOAUTH2 {token}"));
        } else {
            session.send("AUTH XOAUTH2");
            assert_eq!(session.line(), "+ ");
            session.send(&token);
        }
        assert_eq!(session.refused(), format!("-ERR [AUTH] {} bytes", token.len()));
        session.quit();
    }
    let mut session = Dialogue::open(front.address());
    session.send("AUTH XOAUTH2");
    session.line();
    assert_eq!(session.err(&"YWFh".repeat(4000)), "-ERR [AUTH] login is longer than 12288 bytes");
    session.ok("NOOP");
    session.quit();
}

/// A mail server that starts SCRAM and counts the lines after its first challenge.
fn scram_server(heard: &Arc<AtomicUsize>) -> Scripted {
    let heard = heard.clone();
    Scripted::start(move |conversation| {
        conversation.send(b"+OK ready\r\n");
        if conversation.read_command().is_some_and(|command| command == "AUTH SCRAM-SHA-256") {
            conversation.send(b"+ \r\n");
            conversation.read_command();
            conversation.send(b"+ cj1hYmM=\r\n");
            while conversation.read_command().is_some() {
                heard.fetch_add(1, Ordering::SeqCst);
                conversation.send(b"-ERR [AUTH] no\r\n");
            }
        }
    })
}

#[test]
fn each_line_of_an_exchange_is_checked_before_it_is_relayed() {
    let heard = Arc::new(AtomicUsize::new(0));
    let node = scram_server(&heard);
    let front = Proxy::start(&configuration(node.address(), DIGESTS, "", "health-check = \"off\""));
    let long = "YWFh".repeat(4000);
    for (line, reply) in [
        ("Yz1iaXdz\rDELE 1", "-ERR not base64"),
        ("Yz1iaXdz\0", "-ERR not base64"),
        ("Yz1iaXdz Yz1iaXdz", "-ERR not base64"),
        ("Yz1iaXdz,", "-ERR not base64"),
        ("YQ", "-ERR not base64"),
        ("QUIT!", "-ERR not base64"),
        (&long, "-ERR line too long"),
        ("*", "-ERR authentication cancelled"),
    ] {
        let mut session = Dialogue::open(front.address());
        // n,,n=alice,r=nonce
        session.send("AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPW5vbmNl");
        assert_eq!(session.line(), "+ cj1hYmM=");
        assert_eq!(session.err(line), reply, "{line:.20}");
        session.ok("NOOP");
        session.quit();
    }
    assert_eq!(heard.load(Ordering::SeqCst), 0);
    let mut session = Dialogue::open(front.address());
    session.send("AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPW5vbmNl");
    session.line();
    assert_eq!(session.err("Yz1iaXdz"), "-ERR [AUTH] no");
    session.quit();
    assert_eq!(heard.load(Ordering::SeqCst), 1);
}

/// A mail server that accepts every login with any mechanism.
fn accepting() -> Scripted {
    Scripted::start(|conversation| {
        conversation.send(b"+OK ready <1896.697170952@mail.example>\r\n");
        while let Some(command) = conversation.read_command() {
            match command.split(' ').next().unwrap() {
                "AUTH" => {
                    let challenge: &[u8] = if command.ends_with("MD5") { b"+ PDE+\r\n" } else { b"+ \r\n" };
                    conversation.send(challenge);
                    conversation.read_command();
                    if command.contains("SCRAM") {
                        conversation.send(b"+ cj1hYmM=\r\n");
                        conversation.read_command();
                    }
                    conversation.send(b"+OK in\r\n");
                }
                "LIST" | "UIDL" => conversation.send(b"+OK\r\n.\r\n"),
                "QUIT" => return conversation.send(b"+OK\r\n"),
                _ => conversation.send(b"+OK\r\n"),
            }
        }
    })
}

#[test]
fn no_secret_or_response_is_in_memory_after_the_session() {
    let node = accepting();
    let folder = tempfile::tempdir().unwrap();
    let encode = |text: &str| STANDARD.encode(text);
    // Needles that can only come from the secret or the response.
    let long = "W1pe-me-1ong".repeat(100);
    let digest = "d1935700000000000000000000c0ffee";
    let logins: [(&str, Vec<String>, &str); 8] = [
        ("USER", vec!["USER alice".into(), "PASS W1pe-me-pa55".into()], "W1pe-me-pa55"),
        ("USER", vec!["USER alice".into(), format!("PASS {long}")], "W1pe-me-1ong"),
        ("PLAIN", vec![format!("AUTH PLAIN {}", encode("\0alice\0W1pe-me-p1ain"))], "W1pe-me-p1ain"),
        ("LOGIN", vec!["AUTH LOGIN".into(), encode("alice"), encode("W1pe-me-10gin")], "W1pe-me-10gin"),
        (
            "XOAUTH2",
            vec![format!("AUTH XOAUTH2 {}", encode("user=alice\x01auth=Bearer W1pe-me-t0ken\x01\x01"))],
            "W1pe-me-t0ken",
        ),
        ("APOP", vec![format!("APOP alice {digest}")], digest),
        ("CRAM-MD5", vec!["AUTH CRAM-MD5".into(), encode(&format!("alice {digest}"))], digest),
        (
            "SCRAM-SHA-256",
            vec![
                format!("AUTH SCRAM-SHA-256 {}", encode("n,,n=alice,r=n0nce")),
                encode("c=biws,r=n0nceabc,p=W1pe-me-pr00f"),
            ],
            "W1pe-me-pr00f",
        ),
    ];
    let mut left = Vec::new();
    for (way, lines, needle) in &logins {
        let mechanisms = format!("mechanisms = [{way:?}]");
        let policy = "settings = { interval = \"0s\" }";
        let text = configuration(node.address(), &mechanisms, policy, "health-check = \"off\"");
        let mut reprieve = Running::with_configuration(folder.path(), &text);
        let server = reprieve.address();
        let mut session = Dialogue::open(server);
        for line in lines {
            session.send(line);
            let reply = session.line();
            assert!(!reply.starts_with("-ERR"), "{way}: {reply}");
        }
        session.lines("UIDL");
        session.quit();
        reprieve.line_with("\"session\"");
        let last = lines.last().unwrap();
        let encoded = last.rsplit(' ').next().unwrap();
        // Secrets in use are found, so the search works.
        if *way == "USER" {
            let mut waiting = Dialogue::open(server);
            waiting.ok("USER in-u5e-n0w");
            assert!(!in_memory(reprieve.id(), &["in-u5e-n0w"]).is_empty());
        }
        let found = in_memory(reprieve.id(), &[needle, &encoded[encoded.len() / 2..]]);
        left.extend(found.into_iter().map(|needle| format!("{way}: {needle:.40}")));
    }
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn a_master_user_is_kept_apart_from_the_users_whose_mail_they_read() {
    let features = Features { master: Some(("root", "master's")), ..Features::default() };
    let dovecot = Dovecot::start_with(&[("alice", PASSWORD), ("bob", PASSWORD)], features);
    dovecot.deliver("alice");
    dovecot.deliver_many("bob", 2);
    let folder = tempfile::tempdir().unwrap();
    let policy = format!("component = {:?}", guests::mirror());
    let text =
        configuration(dovecot.address(), "master-separator = \"*\"", &policy, "health-check = \"off\"");
    let mut reprieve = Running::with_configuration(folder.path(), &text);
    let server = reprieve.address();
    let by_name = |name: &str, password: &str| {
        let mut session = Dialogue::open(server);
        session.ok(&format!("USER {name}"));
        session.ok(&format!("PASS {password}"));
        session
    };
    let mut session = by_name("alice*root", "master's");
    assert_eq!(session.lines("LIST").len(), 1);
    session.quit();
    let told = reprieve.line_with("authorization");
    assert!(told.contains(r#"user: \"root\", authorization-id: Some(\"alice\")"#), "{told}");
    // bob NUL root NUL master's
    let mut session = Dialogue::open(server);
    session.ok("AUTH PLAIN Ym9iAHJvb3QAbWFzdGVyJ3M=");
    assert_eq!(session.lines("LIST").len(), 2);
    session.quit();
    let told = reprieve.line_with(r#"authorization-id: Some(\"bob\")"#);
    assert!(told.contains(r#"user: \"root\""#), "{told}");
    // Neither has the other's password.
    for (name, password) in [("alice", "master's"), ("alice*root", PASSWORD)] {
        let mut session = Dialogue::open(server);
        session.ok(&format!("USER {name}"));
        assert!(session.err(&format!("PASS {password}")).starts_with("-ERR [AUTH]"));
        session.quit();
    }
}

#[test]
fn a_master_user_is_posed_to_per_maildrop() {
    let features = Features { master: Some(("root", "master's")), ..Features::default() };
    let dovecot = Dovecot::start_with(&[("alice", PASSWORD), ("bob", PASSWORD)], features);
    dovecot.deliver("alice");
    dovecot.deliver_many("bob", 2);
    let server = "master-separator = \"*\"";
    let front = Proxy::start(&configuration(dovecot.address(), server, "", "health-check = \"off\""));
    let listed = |name: &str, password: &str| {
        let mut session = Dialogue::open(front.address());
        session.give_password(name, password);
        let count = session.lines("UIDL").len();
        session.quit();
        count
    };
    assert_eq!(listed("alice*root", "master's"), 1);
    assert_eq!(listed("bob*root", "master's"), 2, "alice's maildrop is not shown for bob's");
    assert_eq!(listed("alice", PASSWORD), 1, "the user and the master user differ");
    assert_eq!(front.server.counters().relieved, 0);
    assert_eq!(listed("alice*root", "master's"), 1);
    assert_eq!(listed("bob*root", "master's"), 2);
    until("both are counted", || front.server.counters().relieved == 2);
}

#[test]
fn a_master_users_intervals_are_per_maildrop() {
    let features = Features { master: Some(("root", "master's")), ..Features::default() };
    let dovecot = Dovecot::start_with(&[("alice", PASSWORD), ("bob", PASSWORD)], features);
    let server = "master-separator = \"*\"";
    let front = Proxy::start(&configuration(dovecot.address(), server, "", "health-check = \"off\""));
    for (name, logins) in [("alice*root", 1), ("bob*root", 1), ("alice*root", 2)] {
        let mut session = Dialogue::open(front.address());
        session.give_password(name, "master's");
        session.quit();
        let user = name.split('*').next().unwrap();
        assert_eq!(dovecot.logins(user), logins, "{name}");
        front.clock.advance(Duration::from_secs(300));
    }
}

#[test]
fn base64_is_strict_and_a_response_may_be_empty() {
    let dovecot = Dovecot::start(&["alice"]);
    let front = Proxy::start(&configuration(dovecot.address(), "", "", "health-check = \"off\""));
    let mut session = Dialogue::open(front.address());
    for (line, expected) in [
        ("AUTH PLAIN =", "-ERR not a message of this mechanism"),
        ("AUTH PLAIN AGFsaWNl!", "-ERR not base64"),
        ("AUTH PLAIN AGEAYg", "-ERR not base64"),
        ("AUTH PLAIN AGEAYh==", "-ERR not base64"),
        ("AUTH NTLM", "-ERR mechanism is not offered"),
    ] {
        assert_eq!(session.err(line), expected, "{line}");
    }
    session.quit();
    assert_eq!(dovecot.logins("alice"), 0);
}
