//! Correct and incorrect listings of mail servers: a posed session shows the previous session's
//! listing byte for byte, or the login passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::history::proxies::{INTERVAL, Proxies, Share};
use crate::history::raw::session;
use crate::support::scripted::{Conversation, Scripted};

/// Replies of a mail server: to STAT, after `+OK`, and the rows of LIST and UIDL with line ends.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    stat: &'static str,
    sizes: &'static [&'static str],
    ids: &'static [&'static str],
    /// Whether it is correct, so that a denied login must be posed to.
    is_right: bool,
}

const fn right(
    name: &'static str,
    stat: &'static str,
    sizes: &'static [&'static str],
    ids: &'static [&'static str],
) -> Case {
    Case { name, stat, sizes, ids, is_right: true }
}

const fn wrong(
    name: &'static str,
    stat: &'static str,
    sizes: &'static [&'static str],
    ids: &'static [&'static str],
) -> Case {
    Case { name, stat, sizes, ids, is_right: false }
}

const SIZES: &[&str] = &["1 100\r\n", "2 200\r\n"];
const IDS: &[&str] = &["1 a1\r\n", "2 a2\r\n"];
const STAT: &str = "2 300";
const SEVENTY: &str = "1 0123456789012345678901234567890123456789012345678901234567890123456789\r\n";
const SEVENTY_ONE: &str = "1 01234567890123456789012345678901234567890123456789012345678901234567890\r\n";

#[rustfmt::skip]
const CASES: &[Case] = &[
    right("as the RFC has it", STAT, SIZES, IDS),
    right("an empty maildrop", "0 0", &[], &[]),
    right("70 characters", STAT, SIZES, &[SEVENTY, "2 a2\r\n"]),
    right("all kinds of characters", STAT, SIZES, &["1 !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~\r\n", "2 .\r\n"]),
    right("sizes of nothing and of much", "2 4294967296", &["1 0\r\n", "2 4294967296\r\n"], IDS),

    wrong("a word after STAT's sum", "2 300 octets", SIZES, IDS),
    wrong("a space after STAT's sum", "2 300 ", SIZES, IDS),
    wrong("a zero before STAT's count", "02 300", SIZES, IDS),
    wrong("a zero before STAT's sum", "2 0300", SIZES, IDS),
    wrong("an empty maildrop with a sum", "0 100", &[], &[]),

    wrong("a word after the unique-id", STAT, SIZES, &["1 a1 x\r\n", "2 a2\r\n"]),
    wrong("a word after each unique-id", STAT, SIZES, &["1 a1 x\r\n", "2 a2 y\r\n"]),
    wrong("two spaces before the unique-id", STAT, SIZES, &["1  a1\r\n", "2 a2\r\n"]),
    wrong("a space after the unique-id", STAT, SIZES, &["1 a1 \r\n", "2 a2\r\n"]),
    wrong("a tab before the unique-id", STAT, SIZES, &["1\ta1\r\n", "2 a2\r\n"]),
    wrong("a space and a tab before the unique-id", STAT, SIZES, &["1 \ta1\r\n", "2 a2\r\n"]),
    wrong("a tab after the unique-id", STAT, SIZES, &["1 a1\t\r\n", "2 a2\r\n"]),
    wrong("a space before the number", STAT, SIZES, &[" 1 a1\r\n", "2 a2\r\n"]),
    wrong("no unique-id", STAT, SIZES, &["1\r\n", "2 a2\r\n"]),
    wrong("no unique-id after the space", STAT, SIZES, &["1 \r\n", "2 a2\r\n"]),
    wrong("71 characters", STAT, SIZES, &[SEVENTY_ONE, "2 a2\r\n"]),
    wrong("a unique-id beyond ASCII", STAT, SIZES, &["1 \u{e4}1\r\n", "2 a2\r\n"]),
    wrong("DEL in the unique-id", STAT, SIZES, &["1 a\u{7f}1\r\n", "2 a2\r\n"]),
    wrong("a NUL in the unique-id", STAT, SIZES, &["1 a\x001\r\n", "2 a2\r\n"]),
    wrong("a zero before a number of UIDL", STAT, SIZES, &["01 a1\r\n", "2 a2\r\n"]),
    wrong("a sign before a number of UIDL", STAT, SIZES, &["+1 a1\r\n", "2 a2\r\n"]),
    wrong("a row of UIDL that ends in LF", STAT, SIZES, &["1 a1\n", "2 a2\r\n"]),
    wrong("a row of UIDL that ends in CR CR LF", STAT, SIZES, &["1 a1\r\r\n", "2 a2\r\n"]),
    wrong("an empty row in UIDL", STAT, SIZES, &["1 a1\r\n", "\r\n", "2 a2\r\n"]),
    wrong("a stuffed dot before a row of UIDL", STAT, SIZES, &["..1 a1\r\n", "2 a2\r\n"]),
    wrong("the same unique-id twice", STAT, SIZES, &["1 a1\r\n", "2 a1\r\n"]),
    wrong("the same number twice in UIDL", STAT, SIZES, &["1 a1\r\n", "1 a2\r\n"]),
    wrong("another order of UIDL", STAT, SIZES, &["2 a2\r\n", "1 a1\r\n"]),
    wrong("a row too few in UIDL", STAT, SIZES, &["1 a1\r\n"]),
    wrong("a row too many in UIDL", STAT, SIZES, &["1 a1\r\n", "2 a2\r\n", "3 a3\r\n"]),

    wrong("a word after the size", STAT, &["1 100 extra\r\n", "2 200\r\n"], IDS),
    wrong("a word after each size", STAT, &["1 100 octets\r\n", "2 200 octets\r\n"], IDS),
    wrong("two spaces before the size", STAT, &["1  100\r\n", "2 200\r\n"], IDS),
    wrong("a space after the size", STAT, &["1 100 \r\n", "2 200\r\n"], IDS),
    wrong("a tab before the size", STAT, &["1\t100\r\n", "2 200\r\n"], IDS),
    wrong("a tab after the size", STAT, &["1 100\t\r\n", "2 200\r\n"], IDS),
    wrong("a space before the number in LIST", STAT, &[" 1 100\r\n", "2 200\r\n"], IDS),
    wrong("a zero before a number of LIST", STAT, &["01 100\r\n", "2 200\r\n"], IDS),
    wrong("a zero before a size", STAT, &["1 0100\r\n", "2 200\r\n"], IDS),
    wrong("a sign before a size", STAT, &["1 +100\r\n", "2 200\r\n"], IDS),
    wrong("a sign before a number of LIST", STAT, &["+1 100\r\n", "2 200\r\n"], IDS),
    wrong("a size that is none", STAT, &["1 many\r\n", "2 200\r\n"], IDS),
    wrong("a size beyond 64 bits", STAT, &["1 18446744073709551616\r\n", "2 200\r\n"], IDS),
    wrong("a row of LIST that ends in LF", STAT, &["1 100\n", "2 200\r\n"], IDS),
    wrong("a row of LIST that ends in CR CR LF", STAT, &["1 100\r\r\n", "2 200\r\n"], IDS),
    wrong("the same number twice in LIST", STAT, &["1 100\r\n", "1 200\r\n"], IDS),
    wrong("a row too few in LIST", STAT, &["1 100\r\n"], IDS),

    wrong("a number is left out", "2 400", &["1 100\r\n", "3 300\r\n"], &["1 a1\r\n", "3 a3\r\n"]),
    wrong("the first number is left out", "2 300", &["2 100\r\n", "3 200\r\n"], &["2 a1\r\n", "3 a2\r\n"]),
    wrong("numbers begin at 0", STAT, &["0 100\r\n", "1 200\r\n"], &["0 a1\r\n", "1 a2\r\n"]),

    wrong("STAT counts one too few", "1 300", SIZES, IDS),
    wrong("STAT has another sum than LIST", "2 999", SIZES, IDS),
    wrong("two spaces in STAT", "2  300", SIZES, IDS),
    wrong("STAT without a sum", "2", SIZES, IDS),
    wrong("STAT without numbers", "", SIZES, IDS),
];

impl Case {
    fn serve(&self, client: &mut Conversation) {
        let rows = |rows: &[&str]| format!("+OK\r\n{}.\r\n", rows.concat());
        let one = |rows: &[&str]| rows.first().map_or("-ERR none\r\n".to_owned(), |row| format!("+OK {row}"));
        client.accept_login();
        client.answer(&[
            ("STAT", &format!("+OK {}\r\n", self.stat)),
            ("LIST", &rows(self.sizes)),
            ("UIDL", &rows(self.ids)),
            ("LIST 1", &one(self.sizes)),
            ("UIDL 1", &one(self.ids)),
            ("QUIT", "+OK\r\n"),
        ]);
    }
}

const EVERYTHING: &[&str] = &["STAT", "LIST", "UIDL", "LIST 1", "UIDL 1"];

/// Commands of the session that leaves the snapshot; the proxy requests the rest.
const BEFORE: &[&[&str]] =
    &[EVERYTHING, &[], &["STAT"], &["LIST"], &["UIDL"], &["UIDL", "LIST"], &["STAT", "UIDL"]];

/// Whether the next login was posed to; an error if it was shown something different.
fn next_login(proxies: &Proxies, server: &Scripted, before: &[&'static str]) -> Result<bool, String> {
    let user = format!("user{}", server.connections());
    let first = session(proxies.address(0), user.as_bytes(), before);
    let connections = server.connections();
    // Without shared snapshots only the first proxy has one.
    let next = if proxies.share() == Share::Tags { 0 } else { proxies.count() - 1 };
    let second = session(proxies.address(next), user.as_bytes(), EVERYTHING);
    let is_relieved = server.connections() == connections;
    proxies.clock().advance(INTERVAL);
    let real = session(proxies.address(0), user.as_bytes(), EVERYTHING);
    assert!(first.iter().all(|reply| real.contains(reply)), "{first:?}, and then {real:?}");
    let differs = second.iter().zip(&real).find(|((command, shown), (_, real))| {
        // No client has seen the totals if the first one did not request them.
        shown != real && (*command != "STAT" || before.contains(command))
    });
    match differs {
        None => Ok(is_relieved),
        Some(((command, shown), (_, real))) => Err(format!("{command} shows {shown}, not {real}")),
    }
}

fn every_listing_is_shown_byte_for_byte_or_not_at_all(share: Share) {
    let current = Arc::new(AtomicUsize::new(0));
    let server = Scripted::start({
        let current = current.clone();
        move |client| CASES[current.load(Ordering::SeqCst)].serve(client)
    });
    let proxies = Proxies::start(share, server.address());
    let mut wrong = Vec::new();
    for (number, case) in CASES.iter().enumerate() {
        current.store(number, Ordering::SeqCst);
        let faults = BEFORE.iter().filter_map(|before| match next_login(&proxies, &server, before) {
            Ok(false) if case.is_right => Some(format!("after {before:?} it is not relieved")),
            Ok(_) => None,
            Err(why) => Some(format!("after {before:?} {why}")),
        });
        let faults: Vec<_> = faults.collect();
        if let Some(first) = faults.first() {
            wrong.push(format!("{}: {} of {} ways, {first}", case.name, faults.len(), BEFORE.len()));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[test]
fn one_proxy_shows_every_listing_byte_for_byte_or_not_at_all() {
    every_listing_is_shown_byte_for_byte_or_not_at_all(Share::Alone);
}

#[test]
fn two_proxies_that_share_snapshots_show_every_listing_byte_for_byte_or_not_at_all() {
    every_listing_is_shown_byte_for_byte_or_not_at_all(Share::Snapshots);
}

#[test]
fn two_proxies_that_share_tags_show_every_listing_byte_for_byte_or_not_at_all() {
    every_listing_is_shown_byte_for_byte_or_not_at_all(Share::Tags);
}
