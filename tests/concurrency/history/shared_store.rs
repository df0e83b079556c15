//! A store that proxies share, with everything that can happen to it.

use std::time::Duration;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::proxies::Proxies;
use super::record::{Outage, Sequence};
use super::relay::Relay;
use crate::support::redis::{Make, Redis};
use crate::support::until;

/// `store.timeout` of the proxies.
pub const TIMEOUT: Duration = Duration::from_millis(700);

/// What happens to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is killed, and starts again with nothing.
    Restart,
    /// It is killed, and starts again with what it had saved some time before.
    OldData,
    /// It is stopped for longer than the proxies wait, and goes on.
    Stop,
    /// It is killed, and a replica takes its place that has missed the last writes.
    Failover,
    /// One proxy is cut off from it: connections are reset.
    Cut,
    /// One proxy is cut off from it: nothing comes through, and what was sent arrives late.
    Silence,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Restart, Self::OldData, Self::Stop, Self::Failover, Self::Cut, Self::Silence];
}

/// A server, with a relay to it for each proxy.
pub struct SharedStore {
    make: Make,
    server: Redis,
    relays: Vec<Relay>,
}

impl SharedStore {
    /// Starts one for so many proxies.
    pub fn start(make: Make, proxies: usize) -> Self {
        let server = Redis::start(make);
        let relays = (0..proxies).map(|_| Relay::start(address(&server))).collect();
        Self { make, server, relays }
    }

    /// The URL for each proxy.
    pub fn urls(&self) -> Vec<String> {
        self.relays.iter().map(|relay| format!("redis://{}", relay.address())).collect()
    }

    /// Lets it happen, and returns when all is well again: which proxies were without the store, and when.
    /// `hold`: has the clients of some users pause, or go on. What the store has lost can only be shown to
    /// users who had no session while it was away.
    pub fn suffer(
        &mut self,
        fault: Fault,
        proxies: &Proxies,
        sequence: &Sequence,
        chance: &mut StdRng,
        hold: impl Fn(bool),
    ) -> Vec<Outage> {
        let (all, one) = (0..self.relays.len(), chance.random_range(0..self.relays.len()));
        let is_partial = matches!(fault, Fault::Cut | Fault::Silence);
        let affected: Vec<_> = if is_partial { vec![one] } else { all.collect() };
        let outages: Vec<_> = affected.iter().map(|&proxy| proxies.store(proxy).outages).collect();
        let is_noticed =
            || affected.iter().zip(&outages).all(|(&proxy, &before)| proxies.store(proxy).outages > before);
        let notice = || until("the proxies notice that nothing is answered", is_noticed);
        let late = Duration::from_millis(chance.random_range(0..400));
        let mut pause = |most_ms| std::thread::sleep(Duration::from_millis(chance.random_range(0..=most_ms)));
        pause(600);
        let from = if is_partial {
            let from = sequence.next();
            if fault == Fault::Silence {
                self.relays[one].silence(late);
                notice();
            } else {
                self.relays[one].cut();
            }
            pause(900);
            self.relays[one].heal();
            from
        } else {
            self.strike(fault, sequence, &mut pause, &hold, &notice)
        };
        // Operations that began before have failed by then.
        std::thread::sleep(TIMEOUT);
        let outages = affected.iter().zip(&outages).map(|(&proxy, &before)| {
            until("the proxy has the store again", || proxies.has_recovered(proxy, before));
            Outage { proxy, from, to: sequence.next() }
        });
        let outages: Vec<_> = outages.collect();
        hold(false);
        outages
    }

    /// Something happens to the server; returns when it began. `pause` waits for so many milliseconds at most,
    /// `notice` until all proxies have seen that the server does not answer.
    fn strike(
        &mut self,
        fault: Fault,
        sequence: &Sequence,
        pause: &mut impl FnMut(u64),
        hold: &impl Fn(bool),
        notice: &impl Fn(),
    ) -> u64 {
        let from;
        match fault {
            Fault::Stop => {
                from = sequence.next();
                self.server.signal("-STOP");
                notice();
                pause(900);
                self.server.signal("-CONT");
            }
            Fault::Failover => {
                let replica = self.replica();
                pause(300);
                // From here on it misses what is written.
                assert_eq!(replica.ask(&["replicaof", "no", "one"]), "OK");
                pause(1000);
                hold(true);
                pause(200);
                from = sequence.next();
                self.server.kill();
                pause(300);
                self.relays.iter().for_each(|relay| relay.lead_to(address(&replica)));
                self.server = replica;
            }
            Fault::OldData => {
                assert_eq!(self.server.ask(&["save"]), "OK");
                pause(1000);
                hold(true);
                pause(200);
                from = sequence.next();
                self.server.kill();
                pause(300);
                self.server.resume();
            }
            Fault::Restart | Fault::Cut | Fault::Silence => {
                from = sequence.next();
                self.server.kill();
                pause(600);
                self.server.start_again();
            }
        }
        from
    }

    /// A replica that has everything.
    fn replica(&self) -> Redis {
        let replica = Redis::start(self.make);
        replica.ask(&["replicaof", "127.0.0.1", &self.server.port().to_string()]);
        until("the replica has everything", || {
            replica.ask(&["info", "replication"]).contains("master_link_status:up")
        });
        replica
    }
}

fn address(server: &Redis) -> std::net::SocketAddr {
    ([127, 0, 0, 1], server.port()).into()
}
