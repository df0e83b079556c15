//! One maildrop with several user names or virtual servers: the verdict and the posed listing are
//! about the same maildrop.

use std::net::SocketAddr;
use std::sync::Arc;

use reprieve::config::Config;
use reprieve_store::clock::ManualClock;
use tempfile::TempDir;

use crate::history::mail_server::LoginReply;
use crate::history::proxies::{INTERVAL, Share};
use crate::history::raw::session;
use crate::history::script::Site;
use crate::support::proxy::{NOON, Proxy};
use crate::support::redis::{Make, Redis};

/// Polls; the number of unique-ids.
#[track_caller]
fn poll(server: SocketAddr, user: &[u8]) -> usize {
    let shown = session(server, user, &["UIDL"]);
    shown[0].1.matches('|').count() - 1
}

/// Similar names that a mail server may distinguish.
const NAMES: &[[&[u8]; 2]] = &[
    [b"Alice", b"alice"],
    [b"m\xFCller", b"m\xF6ller"],
    [b"m\xFCller2", "m\u{fffd}ller2".as_bytes()],
    ["m\u{fc}ller3".as_bytes(), "mu\u{308}ller3".as_bytes()],
    ["M\u{dc}LLER4".as_bytes(), "m\u{fc}ller4".as_bytes()],
    [b"stra\xDFe5", b"strasse5"],
    [b"alice6@example.org", b"alice6@EXAMPLE.org"],
    [b"\xFF\xFE7", b"\xFE\xFF7"],
];

/// Each of two names has its own interval and snapshot: the second passes as often as the first,
/// and sees new mail.
fn two_names_do_not_starve_each_other(share: Share) {
    let site = Site::new(share, LoginReply::AcceptThenOpen);
    for [first, second] in NAMES {
        let name = |user: &[u8]| user.iter().copied().map(char::from).collect::<String>();
        for messages in 1..=4 {
            for user in [first, second] {
                site.server.deliver(&name(user));
                let seen = poll(site.proxies.address(0), user);
                assert_eq!(seen, messages, "{} after {}", name(user), name(first));
                let denied = poll(site.proxies.address(0), user);
                assert_eq!(denied, messages, "{} denied", name(user));
            }
            site.proxies.clock().advance(INTERVAL);
        }
        // The first login of each, and one after each interval.
        for user in [first, second] {
            assert_eq!(site.server.maildrop(&name(user)).visits.len(), 4, "{}", name(user));
        }
    }
}

#[test]
fn two_names_of_one_maildrop_are_both_served_by_one_proxy() {
    two_names_do_not_starve_each_other(Share::Alone);
}

#[test]
fn two_names_of_one_maildrop_are_both_served_by_two_proxies() {
    two_names_do_not_starve_each_other(Share::Snapshots);
}

/// Ways to the same maildrops.
#[derive(Clone, Copy, Debug)]
struct Doors {
    /// The `store` of each process.
    store: &'static str,
    /// Keys of each virtual server.
    server: &'static str,
    /// Whether both are in one process.
    one_process: bool,
}

const DOORS: &[Doors] = &[
    Doors { store: "backend = \"memory\"", server: "", one_process: true },
    Doors { store: "backend = \"memory\"", server: "store = { namespace = \"site\" }", one_process: true },
    Doors { store: "REDIS, share = \"tags\", SECRET", server: "", one_process: true },
    Doors { store: "REDIS, share = \"tags+snapshots\", SECRET", server: "", one_process: true },
    Doors { store: "REDIS", server: "", one_process: true },
    Doors { store: "REDIS", server: "", one_process: false },
    Doors { store: "REDIS, share = \"off\"", server: "", one_process: false },
    Doors { store: "REDIS, share = \"tags\", SECRET", server: "", one_process: false },
    Doors { store: "REDIS, share = \"tags+snapshots\", SECRET", server: "", one_process: false },
];

impl Doors {
    /// Starts the servers; returns their addresses, or the configuration error.
    fn open(
        self,
        node: SocketAddr,
        redis: &Redis,
        folder: &TempDir,
        clock: &Arc<ManualClock>,
    ) -> Result<(Vec<Proxy>, Vec<SocketAddr>), String> {
        let secret = folder.path().join("secret");
        std::fs::write(&secret, "the secret that proxies of this site have\n").expect("a file");
        let url = format!("backend = \"redis\", url = \"{}\", timeout = \"10s\"", redis.url());
        let store = self.store.replace("REDIS", &url).replace("SECRET", &format!("secret-file = {secret:?}"));
        let names: &[&str] = if self.one_process { &["one", "two"] } else { &["one"] };
        let servers = names.iter().map(|name| {
            format!(
                "[[virtual-server]]\nname = \"{name}\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n{}\n\
                 [virtual-server.policy]\nsettings = {{ interval = \"{}s\", reset = \"never\" }}\n\
                 limits = {{ wait = \"10s\", time = \"1s\" }}\n",
                self.server,
                INTERVAL.as_secs()
            )
        });
        let text = format!(
            "threads = 1\nstore = {{ {store} }}\n[pool.mail]\nnodes = [\"{node}\"]\nhealth-check = \"off\"\n{}",
            servers.collect::<String>()
        );
        let start = || {
            let config = Config::parse(&text, "test.toml").map_err(|error| error.to_string())?;
            Proxy::run(config, clock.clone()).map_err(|error| format!("{error:#}"))
        };
        let processes = if self.one_process { vec![start()?] } else { vec![start()?, start()?] };
        let addresses = processes
            .iter()
            .flat_map(|process| names.iter().map(|name| process.server.address(name)))
            .collect();
        Ok((processes, addresses))
    }
}

/// A message that was shown at one virtual server is also shown at the other, whichever policy
/// state denies the login; or the configuration is refused.
#[test]
fn no_virtual_server_shows_an_older_maildrop_than_another_just_did() {
    let site = Site::new(Share::Alone, LoginReply::AcceptThenOpen);
    let folder = TempDir::new().expect("a temporary folder");
    let mut wrong = Vec::new();
    for (number, doors) in DOORS.iter().enumerate() {
        let redis = Redis::start(Make::Valkey);
        let clock = ManualClock::new(NOON);
        let (_servers, addresses) = match doors.open(site.server.address(), &redis, &folder, &clock) {
            Ok(opened) => opened,
            Err(why) => {
                println!("{doors:?} is refused: {why}");
                continue;
            }
        };
        let user = format!("user{number}");
        let mut seen = 0;
        for turn in 0..6 {
            site.server.deliver(&user);
            for door in [turn % 2, 1 - turn % 2, turn % 2] {
                let shown = poll(addresses[door], user.as_bytes());
                if shown < seen {
                    wrong.push(format!("{doors:?}, turn {turn}: {shown} messages after {seen}"));
                }
                seen = shown;
            }
            // One interval has ended, or both, or none.
            clock.advance(INTERVAL / 2);
        }
        clock.advance(INTERVAL);
        for address in addresses {
            let shown = poll(address, user.as_bytes());
            if shown != 6 {
                wrong.push(format!("{doors:?}, an interval later: {shown} messages of 6"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
