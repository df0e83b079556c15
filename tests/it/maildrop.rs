//! The maildrop of a denied session: the one that the user's clients saw last.

use crate::support::account::Account;
use crate::support::dialogue::{Dialogue, Maildrop};
use crate::support::dovecot::Dovecot;
use crate::support::proxy::Proxy;

#[test]
fn a_denied_session_shows_the_maildrop_as_last_seen() {
    let (dovecot, proxy, alice) = with_messages(4);
    let mut real = Dialogue::log_in(&alice);
    let seen = real.maildrop();
    real.quit();
    dovecot.deliver("alice");
    assert_eq!(shown_when_denied(&proxy, &alice), seen);
}

#[test]
fn a_denied_session_can_list_what_the_previous_client_did_not() {
    for asked in [&[][..], &["STAT"], &["LIST"], &["UIDL"], &["UIDL 1"], &["LIST 2", "UIDL 2"], &["RETR 2"]] {
        let (dovecot, proxy, alice) = with_messages(3);
        let mut real = Dialogue::log_in(&alice);
        for command in asked {
            match *command {
                "LIST" | "UIDL" | "RETR 2" => drop(real.lines(command)),
                _ => drop(real.ok(command)),
            }
        }
        real.quit();
        assert_eq!(shown_when_denied(&proxy, &alice), at_the_server(&dovecot), "after {asked:?}");
    }
}

#[test]
fn a_client_that_quits_at_once_leaves_a_complete_snapshot() {
    let (dovecot, proxy, alice) = with_messages(3);
    let mut real = Dialogue::open(alice.server);
    let (user, pass) = (format!("USER {}", alice.user), format!("PASS {}", alice.password));
    real.send_at_once(&[&user, &pass, "STAT", "DELE 2", "QUIT"]);
    for _ in 0..5 {
        real.accepted();
    }
    real.closed();
    assert_eq!(shown_when_denied(&proxy, &alice), at_the_server(&dovecot));
}

#[test]
fn confirmed_deletions_are_gone() {
    let (dovecot, proxy, alice) = with_messages(5);
    let mut real = Dialogue::log_in(&alice);
    real.maildrop();
    real.ok("DELE 1");
    real.ok("DELE 4");
    real.quit();
    let shown = shown_when_denied(&proxy, &alice);
    assert_eq!(shown.uidl.len(), 3);
    assert_eq!(shown, at_the_server(&dovecot));
}

#[test]
fn deletions_undone_by_rset_are_not_gone() {
    let (dovecot, proxy, alice) = with_messages(3);
    let mut real = Dialogue::log_in(&alice);
    real.maildrop();
    real.ok("DELE 1");
    real.ok("RSET");
    real.quit();
    assert_eq!(shown_when_denied(&proxy, &alice), at_the_server(&dovecot));
}

#[test]
fn a_maildrop_that_was_emptied_is_shown_empty() {
    let (dovecot, proxy, alice) = with_messages(2);
    let mut real = Dialogue::log_in(&alice);
    real.ok("DELE 1");
    real.ok("DELE 2");
    real.quit();
    dovecot.deliver("alice");
    let shown = shown_when_denied(&proxy, &alice);
    assert_eq!(shown.stat, "0 0");
    assert_eq!((shown.list.len(), shown.uidl.len()), (0, 0));
}

#[test]
fn a_session_that_disconnects_deletes_nothing_from_the_snapshot() {
    let (dovecot, _proxy, alice) = with_messages(3);
    let mut real = Dialogue::log_in(&alice);
    let seen = real.maildrop();
    real.ok("DELE 1");
    drop(real);
    dovecot.wait_for_ended_sessions("alice", 1);
    // All three are there, whether the next session is posed or passed.
    let mut next = Dialogue::log_in(&alice);
    assert_eq!(next.maildrop(), seen);
    next.quit();
}

#[test]
fn users_are_shown_their_own_maildrop() {
    let dovecot = Dovecot::start(&["alice", "bob"]);
    dovecot.deliver_many("alice", 2);
    dovecot.deliver_many("bob", 3);
    let proxy = Proxy::in_front_of(&dovecot);
    let (alice, bob) =
        (dovecot.account_at(proxy.address(), "alice"), dovecot.account_at(proxy.address(), "bob"));
    Dialogue::log_in(&alice).quit();
    Dialogue::log_in(&bob).quit();
    assert_eq!(shown_when_denied(&proxy, &alice).uidl.len(), 2);
    assert_eq!(shown_when_denied(&proxy, &bob).uidl.len(), 3);
}

/// A server with this many messages for alice, a proxy in front of it, and her account there.
fn with_messages(count: usize) -> (Dovecot, Proxy, Account) {
    let dovecot = Dovecot::start(&["alice"]);
    dovecot.deliver_many("alice", count);
    let proxy = Proxy::in_front_of(&dovecot);
    let alice = dovecot.account_at(proxy.address(), "alice");
    (dovecot, proxy, alice)
}

/// The maildrop of a session that must be denied and not upgraded.
#[track_caller]
fn shown_when_denied(proxy: &Proxy, account: &Account) -> Maildrop {
    let (denied, upgrades) = (proxy.denied(), proxy.upgrades());
    let mut session = Dialogue::log_in(account);
    let shown = session.maildrop();
    session.quit();
    assert_eq!((proxy.denied(), proxy.upgrades()), (denied + 1, upgrades));
    shown
}

/// Alice's maildrop at Dovecot.
#[track_caller]
fn at_the_server(dovecot: &Dovecot) -> Maildrop {
    let mut session = Dialogue::log_in(&dovecot.account("alice"));
    let maildrop = session.maildrop();
    session.quit();
    maildrop
}
