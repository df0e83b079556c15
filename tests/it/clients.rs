//! Mail clients in front of Dovecot: a denied poll looks like one without new mail, and neither
//! loses nor duplicates a message.
//!
//! Every test polls four times: passed, denied, passed after another message has arrived, denied.
//! The expected behaviour is the client's own, at Dovecot without Reprieve.

use crate::support::clients::{Client, Curl, Fetchmail, Getmail, Mpop, MuttFetch, MuttFolder, Poll, Poplib};
use crate::support::dovecot::Dovecot;
use crate::support::proxy::Proxy;

#[test]
fn fetchmail_that_keeps_mail_by_unique_id_gets_each_message_once() {
    each_message_arrives_once(Fetchmail::that_keeps_by_unique_id);
}

#[test]
fn fetchmail_that_keeps_mail_gets_each_message_once() {
    each_message_arrives_once(Fetchmail::that_keeps);
}

#[test]
fn fetchmail_that_deletes_mail_gets_each_message_once() {
    each_message_arrives_once_and_is_deleted(Fetchmail::that_deletes);
}

#[test]
fn getmail_gets_each_message_once() {
    each_message_arrives_once(Getmail::that_keeps);
}

#[test]
fn mpop_gets_each_message_once() {
    each_message_arrives_once(Mpop::that_keeps);
}

#[test]
fn mpop_with_auth_login_gets_each_message_once() {
    each_message_arrives_once(Mpop::that_keeps_and_says_auth_login);
}

#[test]
fn a_poplib_script_gets_each_message_once() {
    each_message_arrives_once(Poplib::that_keeps);
}

#[test]
fn curl_lists_the_maildrop_as_last_seen() {
    each_message_arrives_once(Curl::that_lists);
}

#[test]
fn curl_with_an_initial_response_lists_the_maildrop_as_last_seen() {
    each_message_arrives_once(Curl::that_lists_and_says_it_all_at_once);
}

#[test]
fn curl_with_auth_login_lists_the_maildrop_as_last_seen() {
    each_message_arrives_once(Curl::that_lists_and_says_auth_login);
}

#[test]
fn mutt_shows_the_folder_as_last_seen() {
    each_message_arrives_once(MuttFolder::with_caches);
}

#[test]
fn mutt_that_fetches_and_deletes_gets_each_message_once() {
    each_message_arrives_once_and_is_deleted(MuttFetch::that_deletes);
}

/// For clients that leave mail on the server.
fn each_message_arrives_once<C: Client>(client: impl Fn() -> C) {
    let dovecot = polls_with_a_denial(client);
    assert_eq!(dovecot.messages("alice"), 6, "a client that keeps mail deleted some");
}

/// For clients that delete what they have fetched.
fn each_message_arrives_once_and_is_deleted<C: Client>(client: impl Fn() -> C) {
    let dovecot = polls_with_a_denial(client);
    assert_eq!(dovecot.messages("alice"), 0, "mail that was fetched is still there");
}

/// Polls four times; returns the server, for checks of what is left there.
fn polls_with_a_denial<C: Client>(client: impl Fn() -> C) -> Dovecot {
    let dovecot = Dovecot::start(&["alice", "bob"]);
    let (new_mail, nothing_new) = without_reprieve(&dovecot, &client());

    let proxy = Proxy::in_front_of(&dovecot);
    let alice = dovecot.account_at(proxy.address(), "alice");
    let client = client();
    dovecot.deliver_many("alice", 5);

    let real = client.poll(&alice);
    assert_eq!(real.total, 5, "the first session: {real:?}");
    assert_eq!(real.exit, new_mail.exit, "the first session: {real:?}");
    assert_eq!(dovecot.logins("alice"), 1);

    let connections = dovecot.connections();
    let denied = client.poll(&alice);
    assert_eq!(denied.total, 5, "the denied session: {denied:?}");
    assert_eq!(denied.exit, nothing_new.exit, "the denied session: {denied:?}");
    assert_eq!(proxy.denied(), 1);
    assert_eq!(dovecot.logins("alice"), 1, "the denied session reached Dovecot");
    assert_eq!(dovecot.connections(), connections, "the denied session connected to Dovecot");

    dovecot.deliver("alice");
    proxy.let_the_interval_pass();
    let real = client.poll(&alice);
    assert_eq!(real.total, 6, "the session after the interval: {real:?}");
    assert_eq!(real.exit, new_mail.exit, "the session after the interval: {real:?}");
    assert_eq!(dovecot.logins("alice"), 2);

    let denied = client.poll(&alice);
    assert_eq!(denied.total, 6, "the second denied session: {denied:?}");
    assert_eq!(denied.exit, nothing_new.exit, "the second denied session: {denied:?}");
    assert_eq!(dovecot.logins("alice"), 2, "the second denied session reached Dovecot");
    assert_eq!((proxy.denied(), proxy.upgrades()), (2, 0));
    dovecot
}

/// The client's behaviour at Dovecot: a poll with five new messages, and one without new mail.
fn without_reprieve(dovecot: &Dovecot, client: &impl Client) -> (Poll, Poll) {
    dovecot.deliver_many("bob", 5);
    let bob = dovecot.account("bob");
    let new_mail = client.poll(&bob);
    assert_eq!(new_mail.total, 5, "at Dovecot itself: {new_mail:?}");
    let nothing_new = client.poll(&bob);
    assert_eq!(nothing_new.total, 5, "at Dovecot itself: {nothing_new:?}");
    (new_mail, nothing_new)
}
