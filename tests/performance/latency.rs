//! A policy that misbehaves does not delay other sessions.

use std::time::{Duration, Instant};

use crate::alone::alone;
use crate::support::dialogue::Dialogue;
use crate::support::guests;
use crate::support::mail_server;
use crate::support::proxy::{Proxy, Setup};

#[test]
fn others_are_answered_within_50_ms_while_a_policy_misbehaves() {
    let _alone = alone();
    for how in ["spin", "memory", "sleep", "recurse"] {
        let mail = mail_server(1);
        let policy =
            format!("component = {:?}\nsettings = {{ at = \"decide\", how = \"{how}\" }}", guests::hostile());
        let reprieve = Setup { policy: &policy, ..Setup::default() }.in_front_of(&[mail.address()]);
        // On a busy machine anything can be late: one good attempt shows that it is not the policy.
        let tries: Vec<_> = (0..20)
            .map(|_| slowest_answer_beside_a_login(&reprieve))
            .take_while(|slowest| *slowest >= Duration::from_millis(50))
            .collect();
        assert!(tries.len() < 20, "{how}: {tries:?}");
        assert!(reprieve.server.counters().policy_failures > 0, "{how}: the policy did not misbehave");
    }
}

/// The longest time that another session waits for a reply while a login is judged.
fn slowest_answer_beside_a_login(reprieve: &Proxy) -> Duration {
    let account = reprieve.account("alice");
    let mut beside = Dialogue::open(reprieve.address());
    std::thread::scope(|scope| {
        let login = scope.spawn(move || Dialogue::log_in(&account).quit());
        let mut slowest = Duration::ZERO;
        loop {
            let done = login.is_finished();
            let asked = Instant::now();
            beside.ok("NOOP");
            slowest = slowest.max(asked.elapsed());
            if done {
                return slowest;
            }
        }
    })
}
