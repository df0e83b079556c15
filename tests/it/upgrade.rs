//! Upgrades: a denied session continues at the mail server when the client asks for something that
//! only the mail server has.

use crate::support::account::Account;
use crate::support::clients::{Client, Curl, Fetchmail, Getmail, Mpop, MuttFetch, MuttFolder, Poplib};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::Dovecot;
use crate::support::proxy::Proxy;

#[test]
fn fetchmail_by_unique_id_fetches_what_another_client_saw_first() {
    what_another_client_saw_first_arrives_once(&Fetchmail::that_keeps_by_unique_id());
}

#[test]
fn fetchmail_fetches_what_another_client_saw_first() {
    what_another_client_saw_first_arrives_once(&Fetchmail::that_keeps());
}

#[test]
fn fetchmail_that_deletes_mail_deletes_what_another_client_saw_first() {
    let dovecot = what_another_client_saw_first_arrives_once(&Fetchmail::that_deletes());
    assert_eq!(dovecot.messages("alice"), 0);
}

#[test]
fn getmail_fetches_what_another_client_saw_first() {
    what_another_client_saw_first_arrives_once(&Getmail::that_keeps());
}

#[test]
fn mpop_fetches_what_another_client_saw_first() {
    what_another_client_saw_first_arrives_once(&Mpop::that_keeps());
}

#[test]
fn a_poplib_script_fetches_what_another_client_saw_first() {
    what_another_client_saw_first_arrives_once(&Poplib::that_keeps());
}

#[test]
fn mutt_opens_what_another_client_saw_first() {
    what_another_client_saw_first_arrives_once(&MuttFolder::with_caches());
}

/// Another client sees a message first. This one, denied, fetches exactly that message, and nothing
/// when denied again.
fn what_another_client_saw_first_arrives_once(client: &impl Client) -> Dovecot {
    let dovecot = Dovecot::start(&["alice"]);
    let proxy = Proxy::in_front_of(&dovecot);
    let alice = dovecot.account_at(proxy.address(), "alice");
    dovecot.deliver_many("alice", 5);
    let first = client.poll(&alice);
    assert_eq!(first.total, 5, "{first:?}");

    proxy.let_the_interval_pass();
    dovecot.deliver("alice");
    Dialogue::log_in(&alice).quit();
    assert_eq!(dovecot.logins("alice"), 2);

    let denied = client.poll(&alice);
    assert_eq!((denied.total, denied.exit), (6, first.exit), "{denied:?}");
    assert_eq!((proxy.denied(), proxy.upgrades()), (1, 1));
    assert_eq!(dovecot.logins("alice"), 3);

    let denied = client.poll(&alice);
    assert_eq!(denied.total, 6, "{denied:?}");
    assert_eq!((proxy.denied(), proxy.upgrades()), (2, 1));
    assert_eq!(dovecot.logins("alice"), 3, "there was nothing to go on for");
    dovecot
}

#[test]
fn mutt_that_fetches_without_deleting_gets_the_same_as_at_the_server() {
    // It does not use unique-ids and asks for everything each time.
    let (dovecot, proxy, alice) = denied_with_messages(3);
    let (there, here) = (MuttFetch::that_keeps(), MuttFetch::that_keeps());
    for upgrades in 1..=2 {
        let (there, here) = (there.poll(&dovecot.account("alice")), here.poll(&alice));
        assert_eq!((here.total, here.exit), (there.total, there.exit), "{here:?}");
        assert_eq!((proxy.denied(), proxy.upgrades()), (upgrades, upgrades));
    }
}

#[test]
fn curl_retrieves_in_a_denied_session_what_the_server_would_give_it() {
    let (dovecot, _proxy, alice) = denied_with_messages(3);
    let curl = Curl::that_lists();
    assert_eq!(curl.retrieve(&alice, 2), curl.retrieve(&dovecot.account("alice"), 2));
    assert_eq!(curl.retrieve(&alice, 4).0, curl.retrieve(&dovecot.account("alice"), 4).0);
}

#[test]
fn a_session_that_only_polls_never_reaches_the_server() {
    let (dovecot, proxy, alice) = denied_with_messages(3);
    let connections = dovecot.connections();

    let mut posed = Dialogue::log_in(&alice);
    posed.lines("CAPA");
    let maildrop = posed.maildrop();
    assert_eq!(posed.ok("LIST 3"), maildrop.list[2]);
    assert_eq!(posed.ok("UIDL 3"), maildrop.uidl[2]);
    posed.ok("NOOP");
    posed.ok("RSET");
    posed.err("LAST");
    for command in
        ["LIST 4", "UIDL 4", "RETR 4", "TOP 4 0", "DELE 4", "LIST 0", "RETR", "RETR one", "NONSENSE"]
    {
        posed.err(command);
    }
    assert_eq!(posed.maildrop(), maildrop);
    posed.quit();

    assert_eq!((proxy.denied(), proxy.upgrades()), (1, 0));
    assert_eq!(dovecot.connections(), connections);
}

#[test]
fn retr_and_top_return_the_servers_message() {
    let (dovecot, proxy, alice) = denied_with_messages(3);
    let mut real = Dialogue::log_in(&dovecot.account("alice"));
    let mut posed = Dialogue::log_in(&alice);
    for command in ["RETR 2", "TOP 1 0", "TOP 3 2", "RETR 3", "LIST", "UIDL"] {
        assert_eq!(posed.lines(command), real.lines(command), "{command}");
    }
    assert_eq!(posed.ok("STAT"), real.ok("STAT"));
    real.quit();
    posed.quit();
    assert_eq!((proxy.denied(), proxy.upgrades()), (1, 1));
}

#[test]
fn a_large_message_full_of_dots_arrives_complete() {
    let dovecot = Dovecot::start(&["alice"]);
    let dots = ".\n..\n...\n.\n\n..x\n".repeat(1_000);
    let long_lines = format!("{}\n", "bytes ".repeat(140)).repeat(2_000);
    dovecot.deliver_with("alice", &format!("{dots}{long_lines}{dots}"));
    dovecot.deliver_with("alice", ".\n");
    let proxy = Proxy::in_front_of(&dovecot);
    let alice = dovecot.account_at(proxy.address(), "alice");
    let messages = |account: &Account| {
        let mut session = Dialogue::log_in(account);
        session.send_at_once(&["RETR 1", "RETR 2", "TOP 1 999999", "NOOP"]);
        let messages = [(); 3].map(|()| {
            session.accepted();
            session.body()
        });
        session.accepted();
        session.quit();
        messages
    };
    let there = messages(&dovecot.account("alice"));
    assert!(messages(&alice) == there, "the session that passed differs");
    assert!(messages(&alice) == there, "the denied session differs");
    assert_eq!((proxy.denied(), proxy.upgrades()), (1, 1));
}

#[test]
fn the_capabilities_are_the_same_passed_posed_and_upgraded() {
    let (_dovecot, proxy, alice) = denied_with_messages(1);
    let mut session = Dialogue::log_in(&alice);
    let posed = session.lines("CAPA");
    session.lines("RETR 1");
    let upgraded = session.lines("CAPA");
    session.quit();
    assert_eq!((proxy.denied(), proxy.upgrades()), (1, 1));

    proxy.let_the_interval_pass();
    let mut session = Dialogue::log_in(&alice);
    let passed = session.lines("CAPA");
    session.quit();
    assert_eq!(proxy.denied(), 1);
    assert_eq!((&posed, &upgraded), (&passed, &passed));
}

#[test]
fn top_alone_is_answered_by_the_server() {
    let (_dovecot, proxy, alice) = denied_with_messages(3);
    let mut posed = Dialogue::log_in(&alice);
    assert!(posed.lines("TOP 3 0").contains(&"Subject: Message 3".to_owned()));
    posed.quit();
    assert_eq!(proxy.upgrades(), 1);
}

#[test]
fn a_message_deleted_in_a_denied_session_is_gone_after_quit_and_not_before() {
    let (dovecot, proxy, alice) = denied_with_messages(3);
    let mut posed = Dialogue::log_in(&alice);
    posed.ok("DELE 2");
    posed.err("RETR 2");
    assert_eq!(dovecot.messages("alice"), 3);
    posed.quit();
    assert_eq!(dovecot.messages("alice"), 2);
    assert_eq!(subjects(&dovecot.account("alice")), ["Message 1", "Message 3"]);
    assert_eq!(proxy.upgrades(), 1);

    let mut posed = Dialogue::log_in(&alice);
    assert_eq!(posed.maildrop(), Dialogue::log_in(&dovecot.account("alice")).maildrop());
    posed.quit();
    assert_eq!((proxy.denied(), proxy.upgrades()), (2, 1), "the deletion was not in the snapshot");
}

#[test]
fn a_message_deleted_in_a_denied_session_that_disconnects_is_still_there() {
    let (dovecot, _proxy, alice) = denied_with_messages(3);
    let mut posed = Dialogue::log_in(&alice);
    posed.ok("DELE 2");
    drop(posed);
    dovecot.wait_for_ended_sessions("alice", 2);
    assert_eq!(dovecot.messages("alice"), 3);
    let mut next = Dialogue::log_in(&alice);
    assert_eq!(next.lines("UIDL").len(), 3);
    next.quit();
}

#[test]
fn rset_undoes_the_deletions_of_a_denied_session() {
    let (dovecot, _proxy, alice) = denied_with_messages(3);
    let mut posed = Dialogue::log_in(&alice);
    let maildrop = posed.maildrop();
    posed.ok("DELE 1");
    posed.ok("DELE 3");
    posed.ok("RSET");
    assert_eq!(posed.maildrop(), maildrop);
    posed.quit();
    assert_eq!(dovecot.messages("alice"), 3);
}

#[test]
fn commands_sent_at_once_are_answered_in_their_order() {
    let (dovecot, proxy, alice) = denied_with_messages(3);
    let mut posed = Dialogue::log_in(&alice);
    posed.send_at_once(&["STAT", "UIDL", "RETR 1", "LIST 2", "DELE 1", "DELE 9", "NOOP", "TOP 2 0", "QUIT"]);
    assert!(posed.accepted().starts_with("3 "));
    posed.accepted();
    assert_eq!(posed.body().len(), 3);
    posed.accepted();
    assert!(posed.body().contains(&"Subject: Message 1".to_owned()));
    assert!(posed.accepted().starts_with("2 "));
    posed.accepted();
    posed.refused();
    posed.accepted();
    posed.accepted();
    assert!(posed.body().contains(&"Subject: Message 2".to_owned()));
    posed.accepted();
    posed.closed();
    assert_eq!(subjects(&dovecot.account("alice")), ["Message 2", "Message 3"]);
    assert_eq!(proxy.upgrades(), 1);
}

#[test]
fn a_whole_session_sent_at_once_is_answered_in_order() {
    let (dovecot, _proxy, alice) = denied_with_messages(2);
    let mut posed = Dialogue::open(alice.server);
    let (user, pass) = (format!("USER {}", alice.user), format!("PASS {}", alice.password));
    posed.send_at_once(&[&user, &pass, "STAT", "DELE 1", "DELE 2", "QUIT"]);
    posed.accepted();
    posed.accepted();
    assert!(posed.accepted().starts_with("2 "));
    for _ in ["DELE 1", "DELE 2", "QUIT"] {
        posed.accepted();
    }
    posed.closed();
    assert_eq!(dovecot.messages("alice"), 0);
}

#[test]
fn numbers_that_the_client_was_shown_stay_valid_when_the_maildrop_has_moved() {
    let (dovecot, proxy, alice) = denied_with_messages(4);
    let mut posed = Dialogue::log_in(&alice);
    let shown = posed.lines("UIDL");

    // Meanwhile, directly at the server, the first message is deleted and another one arrives.
    let mut elsewhere = Dialogue::log_in(&dovecot.account("alice"));
    elsewhere.ok("DELE 1");
    elsewhere.quit();
    dovecot.deliver("alice");

    for number in [4, 2, 3] {
        let subject = format!("Subject: Message {number}");
        assert!(
            posed.lines(&format!("RETR {number}")).contains(&subject),
            "RETR {number} is another message"
        );
        assert!(
            posed.lines(&format!("TOP {number} 0")).contains(&subject),
            "TOP {number} is another message"
        );
        assert_eq!(posed.ok(&format!("UIDL {number}")), shown[number - 1]);
    }
    posed.err("RETR 1");
    posed.ok("DELE 3");
    posed.quit();

    assert_eq!(subjects(&dovecot.account("alice")), ["Message 2", "Message 4", "Message 5"]);
    assert_eq!(proxy.upgrades(), 1);
}

#[test]
fn an_upgrade_that_fails_is_a_temporary_error_and_the_next_login_passes() {
    let (dovecot, proxy, alice) = denied_with_messages(2);
    dovecot.change_password("alice", "something else");

    // The old password is known, so the session is posed; the server refuses it.
    let mut posed = Dialogue::log_in(&alice);
    assert!(posed.ok("STAT").starts_with("2 "));
    let reply = posed.err("RETR 1");
    assert!(reply.starts_with("-ERR [SYS/TEMP]"), "{reply}");
    posed.send("QUIT");
    posed.line();
    posed.closed();
    assert_eq!(proxy.denied(), 1);

    let mut next = Dialogue::open(alice.server);
    next.ok("USER alice");
    let reply = next.err(&format!("PASS {}", alice.password));
    assert_eq!(reply, rejection_by(&dovecot, &alice.password));
    let mut changed = Dialogue::log_in(&dovecot.account_at(proxy.address(), "alice"));
    assert!(changed.ok("STAT").starts_with("2 "));
    changed.quit();
}

/// A server with this many messages for alice, and her account at a proxy that denies her, because
/// she has just polled.
fn denied_with_messages(count: usize) -> (Dovecot, Proxy, Account) {
    let dovecot = Dovecot::start(&["alice"]);
    dovecot.deliver_many("alice", count);
    let proxy = Proxy::in_front_of(&dovecot);
    let alice = dovecot.account_at(proxy.address(), "alice");
    Dialogue::log_in(&alice).quit();
    (dovecot, proxy, alice)
}

/// The subjects of all messages, by number.
fn subjects(account: &Account) -> Vec<String> {
    let mut session = Dialogue::log_in(account);
    let count = session.lines("LIST").len();
    let subject = |number| {
        let header = session.lines(&format!("TOP {number} 0"));
        header.iter().find_map(|line| line.strip_prefix("Subject: ")).expect("a subject").to_owned()
    };
    let subjects = (1..=count).map(subject).collect();
    session.quit();
    subjects
}

/// Dovecot's reply to a wrong password of alice.
fn rejection_by(dovecot: &Dovecot, password: &str) -> String {
    let mut session = Dialogue::open(dovecot.address());
    session.ok("USER alice");
    session.err(&format!("PASS {password}"))
}
