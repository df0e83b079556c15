//! Two proxies with a shared store behave like one.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::time::Duration;

use crate::support::account::PASSWORD;
use crate::support::clients::{Client, Curl, Fetchmail, Getmail, Mpop, Poplib};
use crate::support::dialogue::Dialogue;
use crate::support::dovecot::{Dovecot, free_address};
use crate::support::haproxy::HaProxy;
use crate::support::proxy::{NOON, Proxy, Setup};
use crate::support::redis::{Make, Redis};
use crate::support::until;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use reprieve::config::Config;
use reprieve::server::{Options, Server};
use reprieve_store::clock::ManualClock;
use tempfile::TempDir;

/// Proxies with a shared clock.
struct Site {
    proxies: Vec<Proxy>,
    clock: Arc<ManualClock>,
    folder: TempDir,
}

impl Site {
    /// `store`: keys of its table.
    fn new(proxies: usize, nodes: SocketAddr, store: &str, policy: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut site = Self { proxies: Vec::new(), clock: ManualClock::new(NOON), folder };
        crate::support::write_secret(&site.secret(), "the secret that proxies of this site have\n");
        for _ in 0..proxies {
            site.add(nodes, store, policy);
        }
        site
    }

    fn secret(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    fn add(&mut self, node: SocketAddr, store: &str, policy: &str) {
        let secret = self.secret();
        let store = store.replace("SECRET", &format!("secret-file = \"{}\"", secret.display()));
        let top = format!("store = {{ {store} }}");
        let policy = format!("settings = {{ interval = \"10m\" {policy} }}");
        let setup = Setup { top: &top, policy: &policy, ..Setup::default() };
        self.proxies.push(setup.with_clock(&[node], self.clock.clone()));
    }

    fn address(&self, proxy: usize) -> SocketAddr {
        self.proxies[proxy % self.proxies.len()].address()
    }

    /// Verdicts and dispositions, summed over all proxies.
    fn counted(&self) -> [u64; 6] {
        let mut sum = [0; 6];
        for proxy in &self.proxies {
            let counters = proxy.server.counters();
            let all = [
                counters.passed,
                counters.denied,
                counters.unverified,
                counters.no_snapshot,
                counters.relieved,
                counters.policy_failures,
            ];
            for (sum, one) in sum.iter_mut().zip(all) {
                *sum += one;
            }
        }
        sum
    }
}

fn shared(redis: &Redis, share: &str) -> String {
    format!("backend = \"redis\", url = \"{}\", timeout = \"10s\", share = \"{share}\", SECRET", redis.url())
}

/// An open session.
struct Open {
    dialogue: Dialogue,
    user: usize,
    stage: usize,
    deletes: bool,
}

/// Random sessions, the same for every site. Returns every reply and count, step by step.
fn life(site: &Site, dovecot: &Dovecot, prefix: &str, sessions: usize) -> Vec<String> {
    const USERS: usize = 25;
    let mut chance = StdRng::seed_from_u64(7);
    let mut open: Vec<Open> = Vec::new();
    let mut begun = 0;
    let mut told = Vec::new();
    while begun < sessions || !open.is_empty() {
        // Drawn first, so that each step uses the same number of random values.
        let (what, user, proxy) =
            (chance.random_range(0..100), chance.random_range(0..USERS), chance.random_range(0..2));
        let (wrong, deletes) = (chance.random_bool(0.05), chance.random_bool(0.1));
        let (some, seconds) = (chance.random::<u32>() as usize, chance.random_range(0..60));
        let name = format!("{prefix}{user}");
        if what < 3 {
            dovecot.deliver(&name);
            // Dovecot leaves out new messages if another session of the user has locked the list.
            // That depends on timing, and must not look like a difference between the proxies.
            until("Dovecot has numbered it", || {
                let mut direct = Dialogue::log_in(&dovecot.account(&name));
                let listed = direct.lines("UIDL").len();
                direct.quit();
                listed == dovecot.messages(&name)
            });
        } else if what < 10 {
            site.clock.advance(Duration::from_secs(seconds));
        } else if what < 40 && begun < sessions && open.len() < 6 {
            begun += 1;
            let mut dialogue = Dialogue::open(site.address(proxy));
            dialogue.ok(&format!("USER {name}"));
            dialogue.send(&format!("PASS {}", if wrong { "wrong" } else { PASSWORD }));
            let accepted = dialogue.line().starts_with("+OK");
            // Relief is counted when the session ends, which may be after the client has left.
            let [passed, denied, unverified, no_snapshot, _, failed] = site.counted();
            let counted = [passed, denied, unverified, no_snapshot, failed];
            told.push(format!("{begun}: user {user} accepted {accepted} {counted:?}"));
            if accepted {
                open.push(Open { dialogue, user, stage: 0, deletes });
            } else {
                dialogue.leave();
            }
        } else if !open.is_empty() {
            let index = some % open.len();
            let session = &mut open[index];
            let said = match session.stage {
                0 => format!("{:?} messages", session.dialogue.ok("STAT").split(' ').next()),
                1 => format!("{} unique-ids", session.dialogue.lines("UIDL").len()),
                2 if session.deletes => {
                    // Another session may have deleted the message.
                    session.dialogue.send("DELE 1");
                    format!("DELE {}", session.dialogue.line().starts_with("+OK"))
                }
                _ => {
                    let session = open.swap_remove(index);
                    session.dialogue.quit();
                    told.push(format!("user {} quits", session.user));
                    continue;
                }
            };
            told.push(format!("user {} {said}", session.user));
            session.stage += 1;
        }
    }
    told
}

#[test]
fn two_proxies_with_one_store_decide_a_thousand_sessions_as_one_does() {
    let names: Vec<_> = (0..25).flat_map(|user| [format!("one{user}"), format!("two{user}")]).collect();
    let dovecot = Dovecot::start(&names.iter().map(String::as_str).collect::<Vec<_>>());
    for name in &names {
        dovecot.deliver_many(name, 3);
    }
    let one = Site::new(1, dovecot.address(), "backend = \"memory\"", "");
    let expected = life(&one, &dovecot, "one", 1000);
    let redis = Redis::start(Make::Valkey);
    let two = Site::new(2, dovecot.address(), &shared(&redis, "tags+snapshots"), "");
    let got = life(&two, &dovecot, "two", 1000);
    for (index, (expected, got)) in expected.iter().zip(&got).enumerate() {
        assert_eq!(got, expected, "step {index}");
    }
    assert_eq!(got.len(), expected.len());
    let [passed, denied, unverified, no_snapshot, relieved, failures] = two.counted();
    // Everything occurred.
    assert!(passed > 100 && relieved > 300 && unverified > 5 && no_snapshot > 5, "{:?}", two.counted());
    assert_eq!((passed + denied, failures), (1000, 0));
    // The store has no readable password or listing.
    for key in redis.ask(&["--raw", "keys", "*"]).lines() {
        let value = redis.ask(&["--raw", "get", key]);
        assert!(!value.contains(PASSWORD), "{key}");
        let of_a_user = key.contains("{maildrop}:");
        assert!(!of_a_user || !key.contains("two") && !value.contains("two"), "{key}");
    }
}

#[test]
fn if_only_tags_are_shared_a_session_at_another_proxy_invalidates_the_snapshot() {
    let dovecot = Dovecot::start(&["anna"]);
    dovecot.deliver_many("anna", 2);
    let redis = Redis::start(Make::Redis);
    let site = Site::new(2, dovecot.address(), &shared(&redis, "tags"), "");
    let poll = |proxy: usize| {
        let mut dialogue = Dialogue::log_in(&dovecot.account_at(site.address(proxy), "anna"));
        let count = dialogue.lines("UIDL").len();
        dialogue.quit();
        count
    };
    // At the same proxy, the user is posed to from its snapshot.
    assert_eq!((poll(0), poll(0), dovecot.logins("anna")), (2, 2, 1));
    // The other proxy has no snapshot, so the known user passes.
    dovecot.deliver("anna");
    assert_eq!((poll(1), dovecot.logins("anna")), (3, 2));
    assert_eq!(site.proxies[1].server.counters().unverified, 0, "the password is known there");
    // The first proxy's snapshot is now outdated, and not shown.
    assert_eq!((poll(0), dovecot.logins("anna")), (3, 3));
    assert_eq!((poll(0), dovecot.logins("anna")), (3, 3));
}

#[test]
fn of_ten_simultaneous_logins_after_the_interval_exactly_one_passes() {
    let dovecot = Dovecot::start(&["anna"]);
    let redis = Redis::start(Make::Valkey);
    let store = shared(&redis, "tags+snapshots");
    let site = Site::new(2, dovecot.address(), &store, ", start = \"login\", manner = \"busy\"");
    for round in 0..50 {
        site.clock.advance(Duration::from_secs(600));
        let [passed, denied, ..] = site.counted();
        let together = Barrier::new(10);
        std::thread::scope(|scope| {
            for client in 0..10 {
                let (together, site) = (&together, &site);
                scope.spawn(move || {
                    let mut dialogue = Dialogue::open(site.address(client));
                    dialogue.ok("USER anna");
                    together.wait();
                    dialogue.ok(&format!("PASS {PASSWORD}"));
                    dialogue.quit();
                });
            }
        });
        let [passed_now, denied_now, ..] = site.counted();
        assert_eq!((passed_now - passed, denied_now - denied), (1, 9), "round {round}");
    }
}

/// A client polls through a load balancer in front of two proxies: each message arrives once, and
/// one login per interval reaches Dovecot, whichever proxy the client gets.
fn alternates<C: Client>(client: impl Fn() -> C) {
    let dovecot = Dovecot::start(&["alice", "bob"]);
    dovecot.deliver_many("bob", 5);
    let nothing_new = {
        let client = client();
        client.poll(&dovecot.account("bob"));
        client.poll(&dovecot.account("bob"))
    };
    let redis = Redis::start(Make::Valkey);
    let site = Site::new(2, dovecot.address(), &shared(&redis, "tags+snapshots"), "");
    let balancer = free_address();
    let sections = format!(
        "listen pop3\n bind {balancer}\n balance roundrobin\n server one {}\n server two {}\n",
        site.address(0),
        site.address(1)
    );
    let _haproxy = HaProxy::start(&sections, balancer);
    let account = dovecot.account_at(balancer, "alice");
    let client = client();
    dovecot.deliver_many("alice", 5);
    for window in 1..=3 {
        let real = client.poll(&account);
        assert_eq!(real.total, 4 + window, "the first session of a window: {real:?}");
        for _ in 0..3 {
            let denied = client.poll(&account);
            assert_eq!(denied.total, 4 + window, "a denied session: {denied:?}");
            assert_eq!(denied.exit, nothing_new.exit, "a denied session: {denied:?}");
        }
        assert_eq!(dovecot.logins("alice"), window, "one login a window");
        dovecot.deliver("alice");
        site.clock.advance(Duration::from_secs(600));
    }
    let relieved: Vec<_> = site.proxies.iter().map(|proxy| proxy.server.counters().relieved).collect();
    assert!(relieved.iter().all(|&count| count > 0), "both have a part in it: {relieved:?}");
}

#[test]
fn fetchmail_gets_each_message_once_through_two_proxies() {
    alternates(Fetchmail::that_keeps_by_unique_id);
}

#[test]
fn getmail_gets_each_message_once_through_two_proxies() {
    alternates(Getmail::that_keeps);
}

#[test]
fn mpop_gets_each_message_once_through_two_proxies() {
    alternates(Mpop::that_keeps);
}

#[test]
fn curl_lists_the_maildrop_as_last_seen_through_two_proxies() {
    alternates(Curl::that_lists);
}

#[test]
fn a_poplib_script_gets_each_message_once_through_two_proxies() {
    alternates(Poplib::that_keeps);
}

#[test]
fn virtual_servers_with_one_namespace_share_their_policys_state() {
    let dovecot = Dovecot::start(&["anna"]);
    let text = |namespace: &str, quota: &str| {
        let server = |name: &str, own: &str| {
            format!(
                "[[virtual-server]]\nname = \"{name}\"\nlisten = [\"127.0.0.1:0\"]\npool = \"mail\"\n{own}\n[virtual-server.policy]\nstore-quota = \"1MiB\"\n"
            )
        };
        let two = server("two", namespace).replace("1MiB", quota);
        format!(
            "[pool.mail]\nnodes = [\"{}\"]\nhealth-check = \"off\"\n{}{two}",
            dovecot.address(),
            server("one", namespace)
        )
    };
    let start = |namespace: &str, quota: &str| {
        let config =
            Config::parse(&text(namespace, quota), "test.toml").unwrap_or_else(|error| panic!("{error}"));
        Server::start(config, Options::default())
    };
    for (namespace, denied) in [("", 0), ("store = { namespace = \"site\" }", 1)] {
        let server = start(namespace, "1MiB").unwrap();
        for name in ["one", "two"] {
            Dialogue::log_in(&dovecot.account_at(server.address(name), "anna")).quit();
        }
        assert_eq!(server.counters().denied, denied, "{namespace}");
    }
    let error = start("store = { namespace = \"site\" }", "2MiB").unwrap_err().to_string();
    assert!(error.contains("virtual server two") && error.contains("namespace \"site\""), "{error}");
}
