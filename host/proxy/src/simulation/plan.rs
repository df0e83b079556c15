//! How the site of a simulation is set up, and what may happen to it. A seed decides.

use super::network::Latency;
use super::random::Random;
use crate::config::Balance;
use reprieve_policy_host::{OnFailure, OnUnreachable};
use reprieve_store::Share;

/// Signals of new mail.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signals {
    /// Whether the administrator calls them complete.
    pub complete: bool,
    pub settle_s: u64,
    /// Whether signals name users by addresses that a table maps.
    pub aliases: bool,
}

/// Accidents, in so many of a thousand cases.
#[derive(Clone, Copy, Debug)]
pub(super) struct Accidents {
    /// A mail server closes a connection instead of answering a command.
    pub lost_replies: u64,
    /// A mail server says that it cannot log in a user now.
    pub refused_logins: u64,
    /// A mail server takes a long time.
    pub slow_replies: u64,
    /// An operation of the store takes too long.
    pub slow_store: u64,
    /// A signal never arrives.
    pub lost_signals: u64,
    /// A client disappears instead of sending a command.
    pub hang_ups: u64,
    /// The policy fails.
    pub policy_failures: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub share: Share,
    pub proxies: usize,
    pub users: usize,
    pub clients_per_user: usize,
    /// Mail servers of the first pool.
    pub nodes: usize,
    pub balance: Balance,
    pub max_sessions: Option<u32>,
    pub queue_length: u32,
    pub health_checks: bool,
    pub signals: Option<Signals>,
    /// Whether the mail server, and so the proxy, ignores the case of names.
    pub folds_case: bool,
    /// Whether the policy sends the first user to the second pool, under another name.
    pub routes_user: bool,
    pub on_unreachable: OnUnreachable,
    pub on_failure: OnFailure,
    /// How long the policy lets nobody through again.
    pub interval_s: u64,
    /// The same, if there is no new mail for sure.
    pub longest_s: u64,
    pub xclient: bool,
    pub pipelining: bool,
    pub latency: Latency,
    pub accidents: Accidents,
    /// Larger events during the active time.
    pub outages: u64,
    pub store_faults: u64,
    pub takeovers: u64,
    pub reloads: u64,
    pub clock_jumps: u64,
    /// How long clients poll and accidents happen.
    pub active_s: u64,
    pub most_pause_s: u64,
}

impl Plan {
    pub fn of(random: &mut Random) -> Self {
        let share = *random.pick(&[Share::Off, Share::Off, Share::Tags, Share::TagsAndSnapshots]);
        let is_shared = share != Share::Off;
        let is_rough = random.chance(700);
        let mut of = |most: u64| if is_rough { random.up_to(most) } else { 0 };
        let accidents = Accidents {
            lost_replies: of(25),
            refused_logins: of(30),
            slow_replies: of(20),
            slow_store: if is_shared { of(15) } else { 0 },
            lost_signals: of(80),
            hang_ups: of(60),
            policy_failures: of(30),
        };
        let (outages, store_faults) = (of(3), if is_shared { of(3) } else { 0 });
        let (takeovers, reloads, clock_jumps) = (of(2), of(2), of(2));
        let signals = random.chance(750).then(|| Signals {
            complete: random.chance(600),
            settle_s: if random.chance(250) { 3 } else { 0 },
            aliases: random.chance(400),
        });
        Self {
            share,
            proxies: if is_shared && random.chance(700) { 2 } else { 1 },
            users: 1 + random.at(3),
            clients_per_user: 1 + random.at(3),
            nodes: 1 + random.at(3),
            balance: *random.pick(&[Balance::RoundRobin, Balance::LeastSessions, Balance::User]),
            max_sessions: random.chance(350).then_some(3),
            queue_length: *random.pick(&[0, 2, 100]),
            health_checks: random.coin(),
            signals,
            folds_case: random.coin(),
            routes_user: random.chance(300),
            on_unreachable: *random.pick(&[
                OnUnreachable::Pose,
                OnUnreachable::Pose,
                OnUnreachable::Busy,
                OnUnreachable::Error,
                OnUnreachable::Close,
            ]),
            on_failure: *random.pick(&[OnFailure::Pass, OnFailure::Deny]),
            interval_s: random.between(20, 90),
            longest_s: random.between(120, 400),
            xclient: random.coin(),
            pipelining: random.coin(),
            latency: Latency {
                most_ms: *random.pick(&[0, 3, 20, 120]),
                slow: if is_rough { random.up_to(8) } else { 0 },
            },
            accidents,
            outages,
            store_faults,
            takeovers,
            reloads,
            clock_jumps,
            active_s: random.between(100, 320),
            most_pause_s: random.between(5, 40),
        }
    }

    /// The name under which the mail server has a user's mailbox.
    pub fn mailbox(&self, user: usize) -> String {
        if self.is_routed(user) { "box0".to_owned() } else { format!("user{user}") }
    }

    pub fn is_routed(&self, user: usize) -> bool {
        self.routes_user && user == 0
    }

    /// The pool of a user's mailbox.
    pub fn pool(&self, user: usize) -> &'static str {
        if self.is_routed(user) { SECOND } else { MAIN }
    }
}

/// The pool of the virtual server.
pub(super) const MAIN: &str = "main";
/// A pool that only the policy's verdicts lead to.
pub(super) const SECOND: &str = "second";
