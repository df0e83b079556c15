//! What policies learn about a maildrop and about the end of sessions, with a real Dovecot.

use std::time::Duration;

use crate::support::dialogue::Dialogue;
use crate::support::dovecot::Dovecot;
use crate::support::proxy::{Proxy, Setup};
use crate::support::{guests, until};

/// Reprieve in front of Dovecot with the policy `facts`.
fn start(dovecot: &Dovecot, server: &str, pattern: &str) -> Proxy {
    let policy = format!("component = {:?}\nsettings = {{ pattern = \"{pattern}\" }}", guests::facts());
    Setup { server, policy: &policy, ..Setup::default() }.in_front_of(&[dovecot.address()])
}

/// The text of a refused login.
fn refused(dovecot: &Dovecot, proxy: &Proxy, user: &str) -> String {
    let account = dovecot.account_at(proxy.address(), user);
    let mut dialogue = Dialogue::open(account.server);
    dialogue.ok(&format!("USER {user}"));
    dialogue.send(&format!("PASS {}", account.password));
    let reply = dialogue.line();
    dialogue.quit();
    reply.trim_end().strip_prefix("-ERR [LOGIN-DELAY] ").unwrap_or_else(|| panic!("{reply}")).to_owned()
}

#[test]
fn a_policy_knows_since_when_a_maildrop_is_unchanged() {
    let dovecot = Dovecot::start(&["alice"]);
    dovecot.deliver("alice");
    let proxy = start(&dovecot, "", "rpprprr");
    let alice = dovecot.account_at(proxy.address(), "alice");
    let unknown = "none messages, none bytes, seen none, unchanged none, upgrade none, open 0; last none";
    assert_eq!(refused(&dovecot, &proxy, "alice"), unknown);
    for _ in 0..2 {
        let mut dialogue = Dialogue::log_in(&alice);
        proxy.clock.advance(Duration::from_secs(7));
        dialogue.ok("STAT");
        dialogue.quit();
    }
    proxy.clock.advance(Duration::from_secs(5));
    let text = refused(&dovecot, &proxy, "alice");
    assert!(text.starts_with("1 messages, ") && !text.contains(" 0 bytes"), "{text}");
    assert!(text.contains(" bytes, seen 12, unchanged 12, upgrade none, open 0;"), "{text}");
    dovecot.deliver("alice");
    let mut dialogue = Dialogue::log_in(&alice);
    dialogue.ok("DELE 1");
    dialogue.quit();
    proxy.clock.advance(Duration::from_secs(3));
    let text = refused(&dovecot, &proxy, "alice");
    assert!(text.starts_with("1 messages, "), "{text}");
    assert!(text.contains(" seen 3, unchanged 3, upgrade none, open 0;"), "{text}");
}

#[test]
fn a_policy_hears_how_sessions_end() {
    let dovecot = Dovecot::start(&["alice"]);
    dovecot.deliver_many("alice", 3);
    let proxy = start(&dovecot, "", "prdr");
    let alice = dovecot.account_at(proxy.address(), "alice");
    let mut dialogue = Dialogue::log_in(&alice);
    dialogue.lines("RETR 1");
    dialogue.lines("RETR 2");
    dialogue.lines("TOP 3 0");
    dialogue.err("RETR 9");
    dialogue.ok("DELE 1");
    proxy.clock.advance(Duration::from_secs(4));
    dialogue.quit();
    until("the session is over", || proxy.server.counters().sessions == 1);
    let text = refused(&dovecot, &proxy, "alice");
    let expected = "upgrade none, open 0; last upgrade false quit true 4s fetched 2 deleted 1 sent true";
    assert!(text.ends_with(expected), "{text}");
    assert!(text.starts_with("2 messages, "), "{text}");

    // An upgraded session, which the client leaves without QUIT.
    let mut dialogue = Dialogue::log_in(&alice);
    dialogue.lines("RETR 2");
    dialogue.ok("DELE 1");
    drop(dialogue);
    until("the session is over", || proxy.server.counters().sessions == 3);
    let text = refused(&dovecot, &proxy, "alice");
    let expected = "upgrade 0, open 0; last upgrade true quit false 0s fetched 1 deleted 0 sent true";
    assert!(text.ends_with(expected), "{text}");
    assert!(text.starts_with("2 messages, "), "{text}");
}

#[test]
fn a_policy_knows_how_many_sessions_of_the_user_are_open() {
    let dovecot = Dovecot::start(&["alice"]);
    let proxy = start(&dovecot, "", "ppr");
    let alice = dovecot.account_at(proxy.address(), "alice");
    let open: Vec<_> = (0..2).map(|_| Dialogue::log_in(&alice)).collect();
    let text = refused(&dovecot, &proxy, "alice");
    assert!(text.contains(" open 2; last none"), "{text}");
    for dialogue in open {
        dialogue.quit();
    }
    until("they are over", || refused(&dovecot, &proxy, "alice").contains(" open 0;"));
}

#[test]
fn with_a_default_domain_a_name_without_one_is_the_same_maildrop() {
    for (server, messages) in [("", "none"), ("default-domain = \"example.org\"", "1")] {
        let dovecot = Dovecot::start(&["alice", "alice@example.org"]);
        dovecot.deliver("alice");
        let proxy = start(&dovecot, server, "pr");
        // The mail server gets the name as the client has sent it.
        let mut dialogue = Dialogue::log_in(&dovecot.account_at(proxy.address(), "alice"));
        assert_eq!(dialogue.lines("UIDL").len(), 1);
        dialogue.quit();
        assert_eq!(dovecot.logins("alice"), 1);
        if server.is_empty() {
            Dialogue::log_in(&dovecot.account_at(proxy.address(), "alice@example.org")).quit();
            assert_eq!(dovecot.logins("alice@example.org"), 1, "they do not share the policy's memory");
        } else {
            let text = refused(&dovecot, &proxy, "alice@example.org");
            assert!(text.starts_with(&format!("{messages} messages, ")), "{text}");
        }
    }
}
