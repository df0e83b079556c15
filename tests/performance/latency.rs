//! A policy that misbehaves holds up nobody else.

use std::time::{Duration, Instant};

use crate::alone::alone;
use crate::support::dialogue::Dialogue;
use crate::support::guests;
use crate::support::mail_server;
use crate::support::proxy::{Proxy, Setup};

#[test]
fn beside_a_policy_that_spins_eats_memory_or_sleeps_others_are_answered_within_50_ms() {
    let _alone = alone();
    for how in ["spin", "memory", "sleep", "recurse"] {
        let mail = mail_server(1);
        let policy =
            format!("component = {:?}\nsettings = {{ at = \"decide\", how = \"{how}\" }}", guests::hostile());
        let reprieve = Setup { policy: &policy, ..Setup::default() }.in_front_of(&[mail.address()]);
        // A busy machine can hold up anybody: one try of many shows that the policy does not.
        let tries: Vec<_> = (0..20)
            .map(|_| slowest_answer_beside_a_login(&reprieve))
            .take_while(|slowest| *slowest >= Duration::from_millis(50))
            .collect();
        assert!(tries.len() < 20, "{how}: {tries:?}");
        assert!(reprieve.server.counters().policy_failures > 0, "{how}: the policy did not misbehave");
    }
}

/// The longest that another connection waits for an answer while a login is judged.
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
