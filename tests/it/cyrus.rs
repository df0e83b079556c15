//! Cyrus as the mail server behind Reprieve.

use std::time::Duration;

use crate::support::account::PASSWORD;
use crate::support::clients::{Client, Curl, Fetchmail, Getmail, Mpop, Poplib};
use crate::support::cyrus::Cyrus;
use crate::support::dialogue::Dialogue;
use crate::support::proxy::{Proxy, Setup};
use crate::support::until;

fn in_front_of(cyrus: &Cyrus) -> Proxy {
    let server = "mechanisms = [\"USER\", \"PLAIN\", \"LOGIN\", \"APOP\", \"CRAM-MD5\", \"SCRAM-SHA-256\"]";
    Setup { server, pool: "", ..Setup::default() }.in_front_of(&[cyrus.address()])
}

/// A server whose users have logged in once, which creates their mailboxes.
fn cyrus() -> Cyrus {
    let cyrus = Cyrus::start(&["alice"]);
    Dialogue::log_in(&cyrus.account_at(cyrus.address(), "alice")).quit();
    cyrus
}

fn each_message_arrives_once(client: &impl Client) {
    let cyrus = cyrus();
    let front = in_front_of(&cyrus);
    let alice = cyrus.account_at(front.address(), "alice");
    (0..5).for_each(|_| cyrus.deliver("alice"));
    let real = client.poll(&alice);
    assert_eq!(real.total, 5, "the first session: {real:?}");
    let denied = client.poll(&alice);
    assert_eq!(denied.total, 5, "the denied session: {denied:?}");
    until("the denial is counted", || front.server.counters().relieved == 1);
    assert_eq!(front.server.counters().authenticated, 1);
    cyrus.deliver("alice");
    front.clock.advance(Duration::from_secs(600));
    let real = client.poll(&alice);
    assert_eq!(real.total, 6, "the session after the interval: {real:?}");
}

#[test]
fn fetchmail_gets_each_message_of_cyrus_once() {
    // It prefers CRAM-MD5 if offered, which only Cyrus can verify.
    let cyrus = cyrus();
    let front = in_front_of(&cyrus);
    let alice = cyrus.account_at(front.address(), "alice");
    (0..3).for_each(|_| cyrus.deliver("alice"));
    let client = Fetchmail::that_keeps_by_unique_id();
    assert_eq!(client.poll(&alice).total, 3);
    assert_eq!(client.poll(&alice).total, 3);
    assert_eq!(front.server.counters().unverified, 1);
}

#[test]
fn getmail_gets_each_message_of_cyrus_once() {
    each_message_arrives_once(&Getmail::that_keeps());
}

#[test]
fn mpop_gets_each_message_of_cyrus_once() {
    each_message_arrives_once(&Mpop::that_keeps());
}

#[test]
fn poplib_gets_each_message_of_cyrus_once() {
    each_message_arrives_once(&Poplib::that_keeps());
}

#[test]
fn curl_lists_the_maildrop_of_cyrus_as_last_seen() {
    // By default it uses CRAM-MD5 too.
    each_message_arrives_once(&Curl::that_lists_and_says_auth_login());
}

#[test]
fn only_capabilities_that_cyrus_has_are_offered() {
    let cyrus = cyrus();
    let front = in_front_of(&cyrus);
    let mut session = Dialogue::open(front.address());
    let capabilities = session.lines("CAPA").join(" ");
    assert_eq!(
        capabilities, "TOP UIDL RESP-CODES AUTH-RESP-CODE PIPELINING USER SASL PLAIN LOGIN CRAM-MD5",
        "no SCRAM, no EXPIRE, no IMPLEMENTATION"
    );
    session.quit();
}

#[test]
fn deletions_and_upgrades_work_at_cyrus() {
    let cyrus = cyrus();
    let front = in_front_of(&cyrus);
    let alice = cyrus.account_at(front.address(), "alice");
    (0..3).for_each(|_| cyrus.deliver("alice"));
    let mut first = Dialogue::log_in(&alice);
    assert_eq!(first.maildrop().uidl.len(), 3);
    first.quit();
    // Denied, posed, and upgraded for the deletion.
    let mut denied = Dialogue::log_in(&alice);
    denied.ok("DELE 2");
    assert_eq!(denied.lines("LIST").len(), 2);
    denied.quit();
    assert_eq!(front.server.counters().upgrades, 1);
    let mut straight = Dialogue::open(cyrus.address());
    straight.give_password("alice", PASSWORD);
    assert_eq!(straight.lines("LIST").len(), 2);
    straight.quit();
}
