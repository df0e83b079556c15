//! Concurrent sessions of one user in chosen orders: none is shown an older maildrop than a previous
//! one, or a deleted message.

use crate::history::checker::violations;
use crate::history::client::Client;
use crate::history::mail_server::{LoginReply, Moment};
use crate::history::proxies::{INTERVAL, Share};
use crate::history::record::{History, Login};
use crate::history::script::Site;
use crate::history::stepwise::{Ends, Kind, STEPS, Stepwise, orders};
use crate::support::account::PASSWORD;

/// Makes a test of each check for each set-up.
macro_rules! in_each_set_up {
    ($accepts:ident: $($check:ident)+) => {
        mod one_proxy_in_memory {
            $(#[test]
            fn $check() {
                super::$check(&super::Site::new(super::Share::Alone, super::LoginReply::$accepts));
            })+
        }
        mod two_proxies_that_share_snapshots {
            $(#[test]
            fn $check() {
                super::$check(&super::Site::new(super::Share::Snapshots, super::LoginReply::$accepts));
            })+
        }
        mod two_proxies_that_share_tags {
            $(#[test]
            fn $check() {
                super::$check(&super::Site::new(super::Share::Tags, super::LoginReply::$accepts));
            })+
        }
    };
}

/// The mail server opens the maildrop before it replies `+OK`.
mod opened_before_ok {
    use super::*;

    in_each_set_up! { OpenThenAccept:
        a_late_ok_brings_no_deleted_message_back
        a_late_ok_leaves_no_older_listing_than_the_one_shown_last
        a_record_that_is_lost_meanwhile_brings_no_deleted_message_back
        what_another_session_sees_meanwhile_is_not_lost_by_a_later_quit
        a_refused_login_disturbs_nobody
        every_way_to_leave_leaves_a_snapshot
        every_order_of_two_sessions_keeps_the_rules
        every_order_with_upgrades_keeps_the_rules
    }
}

/// The mail server replies `+OK` and opens the maildrop later.
mod opened_after_ok {
    use super::*;

    in_each_set_up! { AcceptThenOpen:
        what_is_opened_late_is_not_lost_by_an_earlier_quit
        what_is_deleted_before_the_maildrop_opens_stays_deleted
        what_another_session_sees_meanwhile_is_not_lost_by_a_later_quit
        a_refused_login_disturbs_nobody
        every_way_to_leave_leaves_a_snapshot
        every_order_of_two_sessions_keeps_the_rules
        every_order_with_upgrades_keeps_the_rules
    }
}

/// How a session ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    AtOnce,
    AfterListing,
    ByHangingUp,
}

const LEAVES: [Leaves; 3] = [Leaves::AtOnce, Leaves::AfterListing, Leaves::ByHangingUp];

/// The client leaves, while `others` are still there.
#[track_caller]
fn leave(site: &Site, mut client: Client, how: Leaves, others: u64) {
    if how != Leaves::AtOnce {
        client.unique_ids();
    }
    if how == Leaves::ByHangingUp {
        client.hang_up();
        site.proxies.wait_for_open(others);
    } else {
        client.quit();
    }
}

/// A's maildrop is open, and its +OK is late; meanwhile B deletes a message.
fn a_late_ok_brings_no_deleted_message_back(site: &Site) {
    for how in LEAVES {
        for (user, at) in site.ways(&format!("{how:?}"), 3) {
            println!("{user}");
            let late = site.hold(&user, Moment::Answer);
            let mut a = site.begin(at[0], &user);
            late.reached();

            let mut b = site.pass(at[1], &user);
            let ids = b.unique_ids();
            b.delete(1);
            b.quit();
            assert_eq!(site.server.maildrop(&user).present(), [1], "the deletion was acknowledged");

            late.open();
            assert!(matches!(a.answered(), Login::Passed(_)));
            leave(site, a, how, 0);

            let (login, shown) = site.denied(at[2], &user);
            assert_eq!(shown, ids[1..], "{login:?}: the deleted message is shown");
            site.is_relieved(at[2], &user);
        }
    }
}

/// As before, and the store loses what it knows before A's +OK comes.
fn a_record_that_is_lost_meanwhile_brings_no_deleted_message_back(site: &Site) {
    for (user, at) in site.ways("lost", 3) {
        if site.proxies.share() == Share::Alone {
            return;
        }
        let late = site.hold(&user, Moment::Answer);
        let mut a = site.begin(at[0], &user);
        late.reached();
        let mut b = site.pass(at[1], &user);
        let ids = b.unique_ids();
        b.delete(1);
        b.quit();
        site.proxies.lose_store();
        late.open();
        a.answered();
        a.quit();
        let (login, shown) = site.denied(at[2], &user);
        assert_eq!(shown, ids[1..], "{login:?}: the deleted message is shown");
    }
}

/// A's maildrop is open, and its +OK is late; meanwhile a message arrives, and E sees it.
fn a_late_ok_leaves_no_older_listing_than_the_one_shown_last(site: &Site) {
    for how in LEAVES {
        for quits_first in [true, false] {
            for (user, at) in site.ways(&format!("{how:?}-{quits_first}"), 3) {
                println!("{user}");
                let late = site.hold(&user, Moment::Answer);
                let mut a = site.begin(at[0], &user);
                late.reached();

                site.server.deliver(&user);
                let mut e = site.pass(at[1], &user);
                let ids = e.unique_ids();
                assert_eq!(ids.len(), 3);
                let mut e = Some(e);
                if quits_first {
                    e.take().map(Client::quit);
                }

                late.open();
                assert!(matches!(a.answered(), Login::Passed(_)));
                leave(site, a, how, u64::from(!quits_first));

                let (login, shown) = site.denied(at[2], &user);
                assert_eq!(shown, ids, "{login:?}: older than what E was shown");
                e.take().map(Client::quit);
                let (login, shown) = site.denied(at[2], &user);
                assert_eq!(shown, ids, "{login:?}: older than what E was shown");
                site.is_relieved(at[2], &user);
            }
        }
    }
}

/// A is in, and its maildrop is not open; B comes and goes; then a message arrives, and A sees it.
fn what_is_opened_late_is_not_lost_by_an_earlier_quit(site: &Site) {
    for how in LEAVES {
        for (user, at) in site.ways(&format!("{how:?}"), 3) {
            println!("{user}");
            let mut a = site.pass(at[0], &user);
            site.proxies.clock().advance(INTERVAL);
            let mut b = site.pass(at[1], &user);
            assert_eq!(b.unique_ids().len(), 2);

            site.server.deliver(&user);
            let opened = site.hold(&user, Moment::Reply);
            a.ask_totals();
            opened.reached();
            b.quit();
            opened.open();
            a.take_totals();

            let (login, shown) = site.denied(at[2], &user);
            assert_eq!(shown.len(), 3, "{login:?}: older than what A was shown");
            leave(site, a, how, 0);
            let (login, shown) = site.denied(at[2], &user);
            assert_eq!(shown.len(), 3, "{login:?}: older than what A was shown");
            site.is_relieved(at[2], &user);
        }
    }
}

/// A is in, and its maildrop is not open; B deletes a message and goes.
fn what_is_deleted_before_the_maildrop_opens_stays_deleted(site: &Site) {
    for how in LEAVES {
        for (user, at) in site.ways(&format!("{how:?}"), 3) {
            println!("{user}");
            let a = site.pass(at[0], &user);
            site.proxies.clock().advance(INTERVAL);
            let mut b = site.pass(at[1], &user);
            let ids = b.unique_ids();
            b.delete(1);
            b.quit();
            let (login, shown) = site.denied(at[2], &user);
            assert_eq!(shown, ids[1..], "{login:?}");

            site.server.deliver(&user);
            leave(site, a, how, 0);
            let (login, shown) = site.denied(at[2], &user);
            assert!(!shown.contains(&ids[0]), "{login:?}: the deleted message is shown");
            if how != Leaves::AtOnce {
                assert_eq!(shown.len(), 2, "{login:?}: older than what A was shown");
            }
            site.is_relieved(at[2], &user);
        }
    }
}

/// A and B are both in with their maildrops open; B's is newer, and A is the last to leave.
fn what_another_session_sees_meanwhile_is_not_lost_by_a_later_quit(site: &Site) {
    for how in LEAVES {
        for (user, at) in site.ways(&format!("{how:?}"), 3) {
            println!("{user}");
            let mut a = site.pass(at[0], &user);
            assert_eq!(a.unique_ids().len(), 2);
            site.server.deliver(&user);
            site.proxies.clock().advance(INTERVAL);
            let mut b = site.pass(at[1], &user);
            let ids = b.unique_ids();
            b.delete(1);
            b.quit();
            leave(site, a, how, 0);
            let (login, shown) = site.denied(at[2], &user);
            assert_eq!(shown, ids[1..], "{login:?}");
            site.is_relieved(at[2], &user);
        }
    }
}

/// The replies of refused logins, and whether the password was right.
const REFUSALS: [(&str, LoginReply, bool); 8] = [
    ("wrong", LoginReply::Refuse("-ERR [AUTH] wrong\r\n"), false),
    ("without-code", LoginReply::Refuse("-ERR wrong\r\n"), false),
    ("trouble", LoginReply::Refuse("-ERR [SYS/TEMP] later\r\n"), false),
    ("closed", LoginReply::Close, false),
    ("in-use", LoginReply::Refuse("-ERR [IN-USE] locked\r\n"), true),
    ("known-trouble", LoginReply::Refuse("-ERR [SYS/TEMP] later\r\n"), true),
    ("delayed", LoginReply::Refuse("-ERR [LOGIN-DELAY] slowly\r\n"), true),
    ("known-closed", LoginReply::Close, true),
];

/// X is refused before, while or after another session looks at the maildrop: the next login
/// with the right password is relieved all the same.
fn a_refused_login_disturbs_nobody(site: &Site) {
    let password = |right| if right { PASSWORD } else { "wrong" };
    for (name, reply, right) in REFUSALS {
        for (user, at) in site.ways(&format!("{name}-after"), 2) {
            println!("{user}");
            site.pass(at[0], &user).quit();
            site.proxies.clock().advance(INTERVAL);
            site.refuse(&user, reply);
            let sequence = site.server.sequence();
            let mut x = Client::begin(&site.proxies, sequence, at[1], &user, password(right));
            let login = x.answered();
            if right && reply == LoginReply::Close {
                // The proxy may answer in place of a mail server that is away.
                assert!(matches!(login, Login::Refused | Login::Posed), "{login:?}");
            } else {
                assert_eq!(login, Login::Refused);
            }
            x.hang_up();
            // The last session was an interval ago: the policy lets this one through.
            site.is_relieved(at[0], &user);
        }
        for (user, at) in site.ways(&format!("{name}-meanwhile"), 2) {
            println!("{user}");
            site.pass(at[0], &user).quit();
            site.proxies.clock().advance(INTERVAL);
            site.refuse(&user, reply);
            let refused = site.hold(&user, Moment::Answer);
            let sequence = site.server.sequence();
            let mut x = Client::begin(&site.proxies, sequence, at[1], &user, password(right));
            refused.reached();
            let mut a = site.pass(at[0], &user);
            let ids = a.unique_ids();
            refused.open();
            x.answered();
            x.hang_up();
            a.quit();
            assert_eq!(site.denied(at[0], &user), (Login::Posed, ids), "{user}: A's session was disturbed");
        }
        for (user, at) in site.ways(&format!("{name}-later"), 2) {
            println!("{user}");
            site.pass(at[0], &user).quit();
            site.proxies.clock().advance(INTERVAL);
            site.refuse(&user, reply);
            let refused = site.hold(&user, Moment::Answer);
            let sequence = site.server.sequence();
            let mut x = Client::begin(&site.proxies, sequence, at[1], &user, password(right));
            refused.reached();
            let mut a = site.pass(at[0], &user);
            let ids = a.unique_ids();
            a.quit();
            assert_eq!(site.denied(at[0], &user), (Login::Posed, ids.clone()), "{user}: while X waits");
            refused.open();
            x.answered();
            x.hang_up();
            assert_eq!(site.denied(at[0], &user), (Login::Posed, ids), "{user}: A's snapshot is lost");
        }
    }
}

/// What a client does after its login.
type Step = fn(&mut Client);

const NOOP: Step = Client::nothing;
const STAT: Step = |client| drop(client.stat());
const LIST: Step = Client::list;
const UIDL: Step = |client| drop(client.unique_ids());
const RETR: Step = |client| client.retrieve(2);
const DELE: Step = |client| client.delete(1);
const RSET: Step = Client::reset;

/// What a client does before it leaves by QUIT. In the end nothing is deleted.
const BEFORE_QUIT: [&[Step]; 6] = [&[], &[NOOP], &[STAT], &[UIDL], &[LIST], &[UIDL, DELE, RSET]];

/// What a client does before it hangs up.
const BEFORE_HANGING_UP: [&[Step]; 9] = [
    &[],
    &[NOOP],
    &[STAT],
    &[STAT, UIDL],
    &[LIST],
    &[RETR],
    // Does not wait for the message.
    &[|client| client.ask_for(2)],
    &[UIDL, DELE],
    &[DELE],
];

/// A session that deletes nothing leaves a snapshot, however it ends.
fn every_way_to_leave_leaves_a_snapshot(site: &Site) {
    let quits = BEFORE_QUIT.iter().map(|steps| (steps, true));
    let hangs_up = BEFORE_HANGING_UP.iter().map(|steps| (steps, false));
    for (number, (steps, quits)) in quits.chain(hangs_up).enumerate() {
        let name = format!("way {number}, {}", if quits { "with QUIT" } else { "without QUIT" });
        for (user, at) in site.ways(&format!("way-{number}"), 2) {
            println!("{user}: {name}");
            let mut client = site.pass(at[0], &user);
            steps.iter().for_each(|step| step(&mut client));
            if quits {
                client.quit();
            } else {
                client.hang_up();
            }
            site.proxies.wait_for_open(0);
            site.server.idle();
            assert_eq!(site.server.maildrop(&user).present(), [0, 1], "{name}: nothing is deleted");
            let next = if site.proxies.share() == Share::Tags { at[0] } else { at[1] };
            let (login, shown) = site.denied(next, &user);
            assert_eq!((login, shown.len()), (Login::Posed, 2), "{name}");
        }
    }
}

/// Two sessions in every order of their steps, with a message arriving before each step, and
/// polls when both have left, or each time when one has.
fn every_order_of_two_sessions_keeps_the_rules(site: &Site) {
    every_order(site, [Kind::Passes, Kind::Passes]);
}

/// The same if one of them, or each, begins denied and goes on at the mail server.
fn every_order_with_upgrades_keeps_the_rules(site: &Site) {
    every_order(site, [Kind::Upgrades, Kind::Passes]);
    every_order(site, [Kind::Upgrades, Kind::Upgrades]);
}

#[track_caller]
fn every_order(site: &Site, kinds: [Kind; 2]) {
    let orders = orders(STEPS, STEPS);
    assert_eq!(orders.len(), 70);
    let mut broken = Vec::new();
    for (number, order) in orders.iter().enumerate() {
        let ends = [[Ends::Quits, Ends::Deletes, Ends::HangsUp][number % 3], Ends::Deletes];
        let user = format!("{kinds:?}-{number}").replace(' ', "");
        let history = in_order(site, user, order, (kinds, ends), number % 5 < 2);
        let violations = violations(&history);
        if !violations.is_empty() {
            broken.push(format!("{ends:?} {order:?}\n{history}\n{violations:#?}"));
        }
    }
    let first = broken.first().map_or("", String::as_str);
    assert!(broken.is_empty(), "{kinds:?}: {} of {} orders, the first:\n{first}", broken.len(), orders.len());
}

/// What comes of two sessions in one order.
fn in_order(
    site: &Site,
    user: String,
    order: &[usize],
    (kinds, ends): ([Kind; 2], [Ends; 2]),
    polls_often: bool,
) -> History {
    let proxies = site.proxies.count();
    let (mut sessions, mut settled) = (Vec::new(), 0);
    // Whatever is deleted, some messages are left.
    (0..4).for_each(|_| _ = site.server.deliver(&user));
    let poll = |proxy, sessions: &mut Vec<_>| {
        let mut poll = site.begin(proxy, &user);
        poll.answered();
        poll.unique_ids();
        sessions.push(poll.quit());
    };
    // There is a snapshot of before.
    poll(0, &mut sessions);
    let mut two = [0, 1].map(|which| Stepwise::new(kinds[which], ends[which], which % proxies));
    for &which in order {
        site.server.deliver(&user);
        if let Some(session) = two[which].go_on(site, &user) {
            sessions.push(session);
            site.proxies.wait_for_open(two.iter().filter(|one| one.is_open()).count() as u64);
            settled = site.server.sequence().next();
            if polls_often || two.iter().all(Stepwise::is_over) {
                (0..proxies).for_each(|proxy| poll(proxy, &mut sessions));
            }
        }
    }
    sessions.sort_by_key(|session| session.start);
    let maildrop = site.server.maildrop(&user);
    let shares_snapshots = site.proxies.share() != Share::Tags;
    let interval_ms = u64::try_from(INTERVAL.as_millis()).unwrap();
    History { user, sessions, maildrop, interval_ms, settled, shares_snapshots, outages: Vec::new() }
}
