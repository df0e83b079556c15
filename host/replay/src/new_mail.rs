//! How long new mail would have waited because of a policy: the price of relief.
//!
//! A delivery waits for the user's next login anyway. What a policy adds begins with that login, if it
//! is denied, and ends with the first one that reaches the mail server.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::entry::Entry;
use super::format::delivery::{Agent, Delivery};
use super::player::{Decision, Player};
use super::totals::Totals;
use reprieve_policy_host::{Ending, Freshness};

/// The most inboxes that are followed: more users than one process serves. Deliveries to others count
/// as not fetched.
const MAX_INBOXES: usize = 4_000_000;
/// Two servers that log a delivery to the same user within this time log the same message: Postfix
/// hands it over, and Dovecot saves it.
const SAME_MESSAGE_MS: u64 = 5_000;
/// Waits above this are counted in whole seconds, which bounds their number.
const EXACT_MS: u64 = 10_000;

/// What became of new mail.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct NewMail {
    /// Number of deliveries in the logs.
    pub deliveries: u64,
    /// Number of deliveries after which the user did not log in.
    pub unfetched: u64,
    /// The policy without signals of new mail.
    pub without_signals: Waits,
    /// The policy if all deliveries are signalled at once.
    pub with_signals: Waits,
}

/// How long new mail waits because of a policy, and what for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Waits {
    /// Logins that do not reach a mail server.
    pub relieved: u64,
    /// Their share of all logins, from 0 to 1.
    pub relief: f64,
    /// Number of deliveries that waited because of the policy.
    pub delayed: u64,
    /// Number of deliveries that no login had reached when the logs ended, although there were logins.
    pub still_waiting: u64,
    /// The wait that half of the deliveries did not exceed, in seconds.
    pub median_s: f64,
    /// The wait that nine out of ten deliveries did not exceed, in seconds.
    pub p90_s: f64,
    /// The longest wait in seconds.
    pub worst_s: f64,
}

/// Follows the deliveries of the logs for one policy, without signals and with them.
#[derive(Debug)]
pub(super) struct NewMailPlayer {
    deliveries: u64,
    last: LastDeliveries,
    without_signals: Inboxes,
    with_signals: Inboxes,
    /// The policy again: with signals it decides otherwise, and remembers something else.
    player: Player,
    totals: Totals,
}

impl NewMailPlayer {
    /// `player`: the policy, with a store of its own.
    pub(super) fn new(player: Player) -> Self {
        Self {
            deliveries: 0,
            last: LastDeliveries::default(),
            without_signals: Inboxes::default(),
            with_signals: Inboxes::default(),
            player,
            totals: Totals::default(),
        }
    }

    /// Adds a delivery.
    pub(super) fn deliver(&mut self, delivery: &Delivery, at_ms: u64) {
        let Some(address) = Address::of(delivery) else { return };
        if self.last.is_same_message(&address, delivery.agent, at_ms) {
            return;
        }
        self.deliveries += 1;
        self.without_signals.deliver(&address);
        self.with_signals.deliver(&address);
    }

    /// Adds a login with what was decided without signals, and decides it with them.
    pub(super) fn play(&mut self, entry: &Entry, decision: &Decision) {
        self.without_signals.log_in(entry, decision);
        let has_new_mail = self.with_signals.has_new_mail(&entry.user);
        let freshness = if has_new_mail { Freshness::NewMail } else { Freshness::Unchanged };
        let signalled = self.player.play(entry, freshness);
        self.totals.add(entry, &signalled);
        self.with_signals.log_in(entry, &signalled);
    }

    /// `totals`: those without signals. None if there was no delivery.
    pub(super) fn finish(mut self, totals: &Totals) -> Option<NewMail> {
        self.player.finish();
        (self.deliveries > 0).then(|| NewMail {
            deliveries: self.deliveries,
            unfetched: self.deliveries - self.without_signals.asked_for(),
            without_signals: self.without_signals.waits(totals),
            with_signals: self.with_signals.waits(&self.totals),
        })
    }
}

/// The user of a delivery or login: names are compared without case, and without what follows `+`. A
/// name without a domain is the same user as one with a domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Address {
    local: String,
    domain: Option<String>,
}

impl Address {
    fn parse(name: &str) -> Self {
        let (local, domain) = match name.rsplit_once('@') {
            Some((local, domain)) => (local, Some(domain.to_ascii_lowercase())),
            None => (name, None),
        };
        let local = local.split_once('+').map_or(local, |(local, _)| local);
        Self { local: local.to_ascii_lowercase(), domain }
    }

    /// The most complete of a delivery's names.
    fn of(delivery: &Delivery) -> Option<Self> {
        let mut names = delivery.users.iter().map(|name| Self::parse(name));
        let first = names.next()?;
        Some(names.find(|name| name.local == first.local && name.domain.is_some()).unwrap_or(first))
    }

    fn is_same_user(&self, other: &Self) -> bool {
        self.local == other.local
            && (self.domain.is_none() || other.domain.is_none() || self.domain == other.domain)
    }
}

/// Whether a delivery is for the user of this name.
pub(super) fn is_recipient(delivery: &Delivery, user: &str) -> bool {
    Address::of(delivery).is_some_and(|address| address.is_same_user(&Address::parse(user)))
}

/// The last delivery to each user, so that a message is counted once.
#[derive(Debug, Default)]
struct LastDeliveries(HashMap<String, (Address, Agent, u64)>);

impl LastDeliveries {
    /// Whether another server has just logged this delivery.
    fn is_same_message(&mut self, address: &Address, agent: Agent, at_ms: u64) -> bool {
        if let Some((last, last_agent, last_ms)) = self.0.get(&address.local)
            && *last_agent != agent
            && last.is_same_user(address)
            && at_ms.abs_diff(*last_ms) <= SAME_MESSAGE_MS
        {
            return true;
        }
        if self.0.len() < MAX_INBOXES || self.0.contains_key(&address.local) {
            self.0.insert(address.local.clone(), (address.clone(), agent, at_ms));
        }
        false
    }
}

/// New mail that has not been fetched, and the waits of what has been.
#[derive(Debug, Default)]
struct Inboxes {
    /// By local part: names that differ in their domains may be the same user.
    inboxes: HashMap<String, Vec<Inbox>>,
    count: usize,
    /// Number of deliveries by wait in milliseconds.
    waits: BTreeMap<u64, u64>,
}

#[derive(Debug)]
struct Inbox {
    address: Address,
    /// Deliveries since the last login.
    new: u64,
    /// Denied logins with new mail: their times in milliseconds since 1970, and the number of deliveries
    /// for which each was the first login.
    denied: Vec<(u64, u64)>,
}

impl Inboxes {
    fn deliver(&mut self, address: &Address) {
        let same_local = self.inboxes.entry(address.local.clone()).or_default();
        if let Some(inbox) = same_local.iter_mut().find(|inbox| inbox.address == *address) {
            inbox.new += 1;
        } else if self.count < MAX_INBOXES {
            self.count += 1;
            same_local.push(Inbox { address: address.clone(), new: 1, denied: Vec::new() });
        }
    }

    fn of_user(&mut self, user: &str) -> impl Iterator<Item = &mut Inbox> {
        let address = Address::parse(user);
        let same_local = self.inboxes.get_mut(&address.local).into_iter().flatten();
        same_local.filter(move |inbox| inbox.address.is_same_user(&address))
    }

    fn has_new_mail(&mut self, user: &str) -> bool {
        self.of_user(user).any(|inbox| inbox.new > 0 || !inbox.denied.is_empty())
    }

    /// Adds a login. One that the mail server does not accept fetches nothing, whatever is decided.
    fn log_in(&mut self, entry: &Entry, decision: &Decision) {
        if !matches!(entry.outcome, None | Some(Ending::Authenticated)) {
            return;
        }
        let mut fetched = Vec::new();
        for inbox in self.of_user(&entry.user) {
            let new = std::mem::take(&mut inbox.new);
            if new > 0 {
                inbox.denied.push((entry.at_ms, new));
            }
            if !decision.is_relieved(entry) {
                fetched.append(&mut inbox.denied);
            }
        }
        for (since_ms, deliveries) in fetched {
            let wait_ms = entry.at_ms.saturating_sub(since_ms);
            let wait_ms = if wait_ms > EXACT_MS { wait_ms / 1000 * 1000 } else { wait_ms };
            *self.waits.entry(wait_ms).or_default() += deliveries;
        }
    }

    fn fetched(&self) -> u64 {
        self.waits.values().sum()
    }

    fn still_waiting(&self) -> u64 {
        self.inboxes
            .values()
            .flatten()
            .flat_map(|inbox| &inbox.denied)
            .map(|(_, deliveries)| deliveries)
            .sum()
    }

    /// Number of deliveries after which the user logged in.
    fn asked_for(&self) -> u64 {
        self.fetched() + self.still_waiting()
    }

    fn waits(&self, totals: &Totals) -> Waits {
        Waits {
            relieved: totals.relieved,
            relief: totals.relief(),
            delayed: self.waits.range(1..).map(|(_, deliveries)| deliveries).sum(),
            still_waiting: self.still_waiting(),
            median_s: self.quantile_s(1, 2),
            p90_s: self.quantile_s(9, 10),
            worst_s: self.quantile_s(1, 1),
        }
    }

    /// The wait that `part` out of `of` deliveries did not exceed, in seconds; 0 if nothing was fetched.
    #[allow(clippy::cast_precision_loss)]
    fn quantile_s(&self, part: u64, of: u64) -> f64 {
        let rank = self.fetched().saturating_mul(part).div_ceil(of);
        let mut seen = 0;
        let wait = self.waits.iter().find(|(_, deliveries)| {
            seen += **deliveries;
            seen >= rank
        });
        wait.map_or(0.0, |(wait_ms, _)| *wait_ms as f64 / 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded_verdict::{RecordedVerdict, VerdictKind};
    use reprieve_policy_host::{Action, Disposition, Standing};

    fn decided(action: Action) -> Decision {
        Decision {
            standing: Standing::Known,
            verdict: RecordedVerdict::new(VerdictKind::Pass),
            disposition: Disposition::as_decided(action),
        }
    }

    fn log_in(inboxes: &mut Inboxes, at_s: u64, user: &str, action: Action) {
        inboxes.log_in(&Entry::new(at_s * 1000, user, Ending::Authenticated), &decided(action));
    }

    #[test]
    fn a_wait_begins_with_the_first_login_after_the_delivery() {
        let mut inboxes = Inboxes::default();
        let alice = Address::parse("alice@example.org");
        log_in(&mut inboxes, 0, "alice", Action::Posed);
        inboxes.deliver(&alice); // fetched at 300, first login at 120
        log_in(&mut inboxes, 120, "alice", Action::Posed);
        inboxes.deliver(&alice);
        inboxes.deliver(&alice); // first login at 240
        log_in(&mut inboxes, 180, "bob", Action::Passed);
        log_in(&mut inboxes, 240, "alice", Action::Posed);
        inboxes.deliver(&alice); // the first login passes
        inboxes.log_in(&Entry::new(250_000, "alice", Ending::Rejected), &decided(Action::Passed));
        assert!(inboxes.has_new_mail("ALICE+lists@Example.org"));
        log_in(&mut inboxes, 300, "alice", Action::Passed);
        assert!(!inboxes.has_new_mail("alice"));
        assert_eq!(inboxes.waits, BTreeMap::from([(0, 1), (60_000, 2), (180_000, 1)]));
        inboxes.deliver(&alice);
        log_in(&mut inboxes, 400, "alice", Action::Posed);
        inboxes.deliver(&alice);
        let waits = inboxes.waits(&Totals::default());
        assert_eq!((waits.median_s, waits.p90_s, waits.worst_s), (60.0, 180.0, 180.0));
        assert_eq!((waits.delayed, waits.still_waiting, inboxes.asked_for()), (3, 1, 5));
    }

    #[test]
    fn users_are_the_same_if_one_of_their_names_has_no_domain() {
        for (login, same) in [
            ("alice", true),
            ("Alice@example.org", true),
            ("alice@example.net", false),
            ("bob@example.org", false),
        ] {
            let mut inboxes = Inboxes::default();
            inboxes.deliver(&Address::parse("alice+news@example.org"));
            assert_eq!(inboxes.has_new_mail(login), same, "{login}");
        }
    }

    #[test]
    fn a_message_that_two_servers_log_is_counted_once() {
        let mut last = LastDeliveries::default();
        let (alice, address) = (Address::parse("alice"), Address::parse("alice@example.org"));
        for (address, agent, at_ms, same) in [
            (&alice, Agent::Dovecot, 1000, false),
            (&address, Agent::Postfix, 1200, true),
            (&alice, Agent::Dovecot, 1300, false),
            (&address, Agent::Postfix, 1400, true),
            (&address, Agent::Postfix, 9000, false),
            (&alice, Agent::Dovecot, 9100, true),
        ] {
            assert_eq!(last.is_same_message(address, agent, at_ms), same, "{at_ms}");
        }
    }
}
