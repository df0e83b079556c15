//! Ways to log in: passwords and tokens that Reprieve knows again, digests that only the mail
//! server can judge, master users who are kept apart from those they act as.

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
fn digests_pass_through_to_dovecot_with_a_real_client() {
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
        // The second is denied, and passes: nobody but Dovecot can tell right from wrong.
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
    // What such a session has left is shown to a password that is known.
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
fn a_wrong_digest_is_refused_in_dovecots_words_and_a_cancelled_one_costs_nothing() {
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
fn denied_digests_are_refused_where_that_is_set() {
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
fn a_digest_cannot_be_sent_elsewhere_and_the_client_is_told_so() {
    let dovecot = with_digests();
    let policy = format!("component = {:?}\nsettings = {{ user = \"bob\" }}", guests::mirror());
    let front = Proxy::start(&configuration(dovecot.address(), DIGESTS, &policy, ""));
    let mut session = Dialogue::open(front.address());
    // n,,n=alice,r=nonce
    let reply = session.err("AUTH SCRAM-SHA-256 biwsbj1hbGljZSxyPW5vbmNl");
    assert!(reply.starts_with("-ERR [SYS/PERM] this way to log in is not possible for you"), "{reply}");
    session.quit();
    assert_eq!((dovecot.logins("alice"), dovecot.logins("bob")), (0, 0));
}

#[test]
fn a_denied_digest_goes_where_the_users_last_session_went() {
    let (own, dovecot) = (FarmNode::start(), with_digests());
    let policy = format!(
        "component = {:?}\nsettings = {{ pool = \"other\", digests = \"denied\" }}",
        guests::mirror()
    );
    let other =
        format!("check = \"off\"\n[pool.other]\nnodes = [\"{}\"]\ncheck = \"off\"", dovecot.address());
    let front = Proxy::start(&configuration(own.address(), DIGESTS, &policy, &other));
    let account = dovecot.account_at(front.address(), "alice");
    Dialogue::log_in(&account).quit();
    let poll = Mpop::that_keeps_and_says_scram().poll(&account);
    assert_eq!((poll.exit, poll.total, own.logins()), (0, 2, 0), "{poll:?}");
    assert_eq!(dovecot.log_lines(&["method=SCRAM-SHA-256"]).len(), 1);
}

#[test]
fn digests_are_offered_only_where_the_mail_servers_have_them() {
    let dovecot = Dovecot::start(&["alice"]);
    let front = Proxy::start(&configuration(dovecot.address(), DIGESTS, "", ""));
    let mut session = Dialogue::open(front.address());
    let capabilities = session.lines("CAPA");
    assert!(capabilities.contains(&"SASL PLAIN".to_owned()), "{capabilities:?}");
    assert_eq!(session.err("AUTH CRAM-MD5"), "-ERR mechanism is not offered");
    assert_eq!(session.err("APOP alice 0123456789abcdef0123456789abcdef"), "-ERR mechanism is not offered");
    session.quit();
}

/// A mail server that knows one token, and says what is wrong with any other.
fn token_server() -> Scripted {
    Scripted::start(|conversation| {
        conversation.say(b"+OK ready\r\n");
        while let Some(command) = conversation.hear() {
            match &*command {
                "CAPA" => conversation.say(b"+OK\r\nUIDL\r\nTOP\r\nSASL XOAUTH2 OAUTHBEARER\r\n.\r\n"),
                "AUTH XOAUTH2" | "AUTH OAUTHBEARER" => {
                    conversation.say(b"+ \r\n");
                    // user=alice ^A auth=Bearer t0ken ^A ^A, and n,a=alice, ^A auth=Bearer t0ken ^A ^A
                    let right = [
                        "dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0MGtlbgEB",
                        "bixhPWFsaWNlLAFhdXRoPUJlYXJlciB0MGtlbgEB",
                    ];
                    if conversation.hear().is_some_and(|message| right.contains(&&*message)) {
                        conversation.say(b"+OK in\r\n");
                        conversation.answer(&[
                            ("LIST", "+OK\r\n1 10\r\n.\r\n"),
                            ("UIDL", "+OK\r\n1 a\r\n.\r\n"),
                            ("QUIT", "+OK\r\n"),
                        ]);
                        return;
                    }
                    conversation.say(b"+ eyJzdGF0dXMiOiI0MDEifQ==\r\n");
                    conversation.hear();
                    conversation.say(b"-ERR [AUTH] token expired\r\n");
                }
                "QUIT" => return conversation.say(b"+OK\r\n"),
                _ => conversation.say(b"-ERR no\r\n"),
            }
        }
    })
}

#[test]
fn a_token_is_known_again_and_a_new_one_is_asked_about() {
    let node = token_server();
    let server = "mechanisms = [\"XOAUTH2\", \"OAUTHBEARER\"]";
    let front = Proxy::start(&configuration(node.address(), server, "", "check = \"off\""));
    let mut session = Dialogue::open(front.address());
    assert!(session.lines("CAPA").contains(&"SASL XOAUTH2 OAUTHBEARER".to_owned()));
    session.send("AUTH XOAUTH2");
    assert_eq!(session.line(), "+ ");
    session.ok("dXNlcj1hbGljZQFhdXRoPUJlYXJlciB0MGtlbgEB");
    assert_eq!(session.lines("UIDL"), ["1 a"]);
    session.quit();
    // The same token, by the other mechanism, with host and port in it as clients send them.
    let mut session = Dialogue::open(front.address());
    session.ok("AUTH OAUTHBEARER bixhPWFsaWNlLAFob3N0PW1haWwBcG9ydD0xMTABYXV0aD1CZWFyZXIgdDBrZW4BAQ==");
    assert_eq!(session.lines("UIDL"), ["1 a"]);
    session.quit();
    until("it is counted", || front.server.counters().relieved == 1);
    assert_eq!(node.connections(), 1);
    // Another token is not known: the mail server is asked, and says what is wrong with it.
    let mut session = Dialogue::open(front.address());
    session.send("AUTH XOAUTH2 dXNlcj1hbGljZQFhdXRoPUJlYXJlciBvbGQBAQ==");
    assert_eq!(session.line(), "+ eyJzdGF0dXMiOiI0MDEifQ==");
    assert_eq!(session.err(""), "-ERR [AUTH] token expired");
    session.quit();
    assert_eq!(front.server.counters().unverified, 1);
}

#[test]
fn a_token_of_ten_thousand_octets_fits() {
    let node = Scripted::start(|conversation| {
        conversation.say(b"+OK ready\r\n");
        conversation.hear();
        conversation.say(b"+ \r\n");
        let length = conversation.hear().map_or(0, |message| message.len());
        conversation.say(format!("-ERR [AUTH] {length} octets\r\n").as_bytes());
    });
    let server = "mechanisms = [\"XOAUTH2\"]";
    let front = Proxy::start(&configuration(node.address(), server, "", "check = \"off\""));
    // user=alice ^A auth=Bearer, then a's: three octets of base64 are "YWFh".
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
        assert_eq!(session.refused(), format!("-ERR [AUTH] {} octets", token.len()));
        session.quit();
    }
    let mut session = Dialogue::open(front.address());
    session.send("AUTH XOAUTH2");
    session.line();
    assert_eq!(session.err(&"YWFh".repeat(4000)), "-ERR [AUTH] login is longer than 12288 bytes");
    session.ok("NOOP");
    session.quit();
}

/// A mail server that begins SCRAM, and counts what it hears after its first challenge.
fn scram_server(heard: &Arc<AtomicUsize>) -> Scripted {
    let heard = heard.clone();
    Scripted::start(move |conversation| {
        conversation.say(b"+OK ready\r\n");
        if conversation.hear().is_some_and(|command| command == "AUTH SCRAM-SHA-256") {
            conversation.say(b"+ \r\n");
            conversation.hear();
            conversation.say(b"+ cj1hYmM=\r\n");
            while conversation.hear().is_some() {
                heard.fetch_add(1, Ordering::SeqCst);
                conversation.say(b"-ERR [AUTH] no\r\n");
            }
        }
    })
}

#[test]
fn each_line_of_an_exchange_is_checked_before_a_mail_server_hears_it() {
    let heard = Arc::new(AtomicUsize::new(0));
    let node = scram_server(&heard);
    let front = Proxy::start(&configuration(node.address(), DIGESTS, "", "check = \"off\""));
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

/// A mail server that accepts every login, by whichever command.
fn accepting() -> Scripted {
    Scripted::start(|conversation| {
        conversation.say(b"+OK ready <1896.697170952@mail.example>\r\n");
        while let Some(command) = conversation.hear() {
            match command.split(' ').next().unwrap() {
                "AUTH" => {
                    let challenge: &[u8] = if command.ends_with("MD5") { b"+ PDE+\r\n" } else { b"+ \r\n" };
                    conversation.say(challenge);
                    conversation.hear();
                    if command.contains("SCRAM") {
                        conversation.say(b"+ cj1hYmM=\r\n");
                        conversation.hear();
                    }
                    conversation.say(b"+OK in\r\n");
                }
                "LIST" | "UIDL" => conversation.say(b"+OK\r\n.\r\n"),
                "QUIT" => return conversation.say(b"+OK\r\n"),
                _ => conversation.say(b"+OK\r\n"),
            }
        }
    })
}

#[test]
fn no_secret_or_proof_is_in_memory_after_its_session() {
    let node = accepting();
    let folder = tempfile::tempdir().unwrap();
    let encode = |text: &str| STANDARD.encode(text);
    // The needles: what can only be the secret, the proof, or a part of them.
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
        let text = configuration(node.address(), &mechanisms, policy, "check = \"off\"");
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
        // What is in use is found: the search can fail.
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
fn a_master_user_reads_anybodys_mail_and_is_nobody_else() {
    let features = Features { master: Some(("root", "master's")), ..Features::default() };
    let dovecot = Dovecot::start_with(&[("alice", PASSWORD), ("bob", PASSWORD)], features);
    dovecot.deliver("alice");
    dovecot.deliver_many("bob", 2);
    let folder = tempfile::tempdir().unwrap();
    let policy = format!("component = {:?}", guests::mirror());
    let text = configuration(dovecot.address(), "master-separator = \"*\"", &policy, "check = \"off\"");
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
    // The master's password is not alice's, nor hers the master's.
    for (name, password) in [("alice", "master's"), ("alice*root", PASSWORD)] {
        let mut session = Dialogue::open(server);
        session.ok(&format!("USER {name}"));
        assert!(session.err(&format!("PASS {password}")).starts_with("-ERR [AUTH]"));
        session.quit();
    }
}

#[test]
fn what_a_master_user_has_seen_is_posed_to_him_for_that_user_only() {
    let features = Features { master: Some(("root", "master's")), ..Features::default() };
    let dovecot = Dovecot::start_with(&[("alice", PASSWORD), ("bob", PASSWORD)], features);
    dovecot.deliver("alice");
    dovecot.deliver_many("bob", 2);
    let server = "master-separator = \"*\"";
    let front = Proxy::start(&configuration(dovecot.address(), server, "", "check = \"off\""));
    let listed = |name: &str, password: &str| {
        let mut session = Dialogue::open(front.address());
        session.give_password(name, password);
        let count = session.lines("UIDL").len();
        session.quit();
        count
    };
    assert_eq!(listed("alice*root", "master's"), 1);
    assert_eq!(listed("bob*root", "master's"), 2, "alice's maildrop is not shown for bob's");
    assert_eq!(listed("alice", PASSWORD), 1, "she is somebody else than her master user");
    assert_eq!(front.server.counters().relieved, 0);
    assert_eq!(listed("alice*root", "master's"), 1);
    assert_eq!(listed("bob*root", "master's"), 2);
    until("both are counted", || front.server.counters().relieved == 2);
}

#[test]
fn a_master_users_logins_for_one_do_not_push_on_his_clock_for_another() {
    let features = Features { master: Some(("root", "master's")), ..Features::default() };
    let dovecot = Dovecot::start_with(&[("alice", PASSWORD), ("bob", PASSWORD)], features);
    let server = "master-separator = \"*\"";
    let front = Proxy::start(&configuration(dovecot.address(), server, "", "check = \"off\""));
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
fn base64_is_strict_and_an_empty_response_is_one() {
    let dovecot = Dovecot::start(&["alice"]);
    let front = Proxy::start(&configuration(dovecot.address(), "", "", "check = \"off\""));
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
