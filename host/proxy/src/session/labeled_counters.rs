//! The counters of a virtual server that have a label: reason, manner, mechanism, state, end …

use super::reason_labels::{self, ReasonLabels};
use super::session_record::SessionEnd;
use super::unrelieved::{UNRELIEVED, Unrelieved};
use crate::net::TlsKind;
use reprieve_metrics::Family;
use reprieve_metrics::labels;
use reprieve_policy_host::{MANNERS, Manner};
use reprieve_pop3::command::Command;
use reprieve_pop3::credential::Mechanism;

labels! {
    /// Where a session is.
    pub(super) enum State {
        /// It has not logged in.
        Login = "login",
        /// Reprieve answers.
        Posed = "posed",
        /// A mail server answers.
        Relayed = "relayed",
    }
}

labels! {
    /// The commands that only the mail server can answer.
    pub(super) enum UpgradeCommand {
        /// RETR.
        Retr = "RETR",
        /// TOP.
        Top = "TOP",
        /// DELE.
        Dele = "DELE",
    }
}

impl UpgradeCommand {
    /// The command of a line, if it is one of these.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        match Command::parse(line) {
            Command::Retr(_) => Some(Self::Retr),
            Command::Top(..) => Some(Self::Top),
            Command::Dele(_) => Some(Self::Dele),
            _ => None,
        }
    }
}

labels! {
    /// Why a posed session could not continue at the mail server.
    pub(super) enum UpgradeFailure {
        /// The mail server rejected the login.
        Rejected = "rejected",
        /// No mail server could be reached, or none judged.
        Unreachable = "unreachable",
        /// All nodes had as many sessions as they may have.
        PoolFull = "pool-full",
        /// The mail server accepted the login, but did not list the unique-ids.
        Listing = "listing",
    }
}

labels! {
    /// Why a login has no verdict of the policy.
    pub(super) enum Unjudged {
        /// The call failed.
        Failed = "failure",
        /// The policy is paused.
        Paused = "paused",
    }
}

labels! {
    /// Why a connection was refused.
    pub(super) enum RefusedBy {
        /// The limit of the virtual server or of the process is reached.
        MaxConnections = "max-connections",
        /// The limit per address is reached.
        MaxConnectionsPerAddress = "max-connections-per-address",
        /// No node is healthy, and `on-unreachable` is `close`.
        NoNode = "no-node",
    }
}

const MECHANISMS: usize = Mechanism::ALL.len();

/// The labeled counters of one thread.
#[derive(Debug, Default)]
pub struct LabeledCounters {
    denials: Denials,
    logins: Family<MECHANISMS>,
    unjudged: Family<{ Unjudged::COUNT }>,
    unrelieved: Family<UNRELIEVED>,
    open: Family<{ State::COUNT }>,
    ends: Family<{ SessionEnd::COUNT }>,
    upgrades: Family<{ UpgradeCommand::COUNT }>,
    failed_upgrades: Family<{ UpgradeFailure::COUNT }>,
    refused: Family<{ RefusedBy::COUNT }>,
    handshakes: Family<4>,
}

/// Denials by reason and, within that, by manner.
#[derive(Debug)]
struct Denials([Family<5>; reason_labels::MOST + 1]);

impl Default for Denials {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Family::default()))
    }
}

impl LabeledCounters {
    pub(super) fn denied(&self, reason: usize, manner: Manner) {
        self.denials.0[reason].count(manner as usize);
    }

    pub(super) fn logged_in(&self, mechanism: Mechanism) {
        self.logins.count(mechanism as usize);
    }

    pub(super) fn unjudged(&self, why: Unjudged) {
        self.unjudged.count(why.index());
    }

    /// Counts a denied login that passes.
    pub(super) fn unrelieved(&self, why: Unrelieved) {
        self.unrelieved.count(why.index());
    }

    /// Moves a session from one state to another; `None` before it begins and after it ends.
    pub(super) fn moved(&self, from: Option<State>, to: Option<State>) {
        if let Some(to) = to {
            self.open.count(to.index());
        }
        if let Some(from) = from {
            self.open.uncount(from.index());
        }
    }

    pub(super) fn ended(&self, end: SessionEnd) {
        self.ends.count(end.index());
    }

    /// `line`: the command that only the mail server can answer.
    pub(super) fn upgraded(&self, line: &[u8]) {
        if let Some(command) = UpgradeCommand::of(line) {
            self.upgrades.count(command.index());
        }
    }

    pub(super) fn upgrade_failed(&self, why: UpgradeFailure) {
        self.failed_upgrades.count(why.index());
    }

    pub(super) fn refused(&self, why: RefusedBy) {
        self.refused.count(why.index());
    }

    pub(super) fn shook_hands(&self, kind: TlsKind) {
        self.handshakes.count(usize::from(kind.is_1_3) * 2 + usize::from(kind.is_resumed));
    }
}

/// The labeled counters at one moment, each with its label.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabeledSnapshot {
    /// Verdicts `deny`, by reason and manner.
    pub denials: Vec<(String, &'static str, u64)>,
    /// Logins that the policy was asked about, by mechanism.
    pub logins: Vec<(&'static str, u64)>,
    /// Logins without a verdict, by cause.
    pub unjudged: Vec<(&'static str, u64)>,
    /// Denied logins that passed anyway, by cause.
    pub unrelieved: Vec<(&'static str, u64)>,
    /// Open sessions, by state.
    pub open: Vec<(&'static str, u64)>,
    /// Ended sessions, by how they ended.
    pub ends: Vec<(&'static str, u64)>,
    /// Upgrades, by the command that asked for them.
    pub upgrades: Vec<(&'static str, u64)>,
    /// Failed upgrades, by cause.
    pub failed_upgrades: Vec<(&'static str, u64)>,
    /// Refused connections, by limit.
    pub refused: Vec<(&'static str, u64)>,
    /// TLS handshakes, by version and whether the TLS session was resumed.
    pub handshakes: Vec<(&'static str, bool, u64)>,
}

impl LabeledSnapshot {
    /// Sums the parts of all threads.
    pub(super) fn of<'k>(
        parts: impl Iterator<Item = &'k LabeledCounters> + Clone,
        reasons: &ReasonLabels,
    ) -> Self {
        fn sum<'k, const N: usize>(
            parts: impl Iterator<Item = &'k LabeledCounters>,
            family: impl Fn(&'k LabeledCounters) -> &'k Family<N>,
        ) -> [u64; N] {
            let mut sum = [0; N];
            parts.for_each(|part| family(part).add_to(&mut sum));
            sum
        }
        fn named<const N: usize>(names: [&'static str; N], counts: [u64; N]) -> Vec<(&'static str, u64)> {
            names.into_iter().zip(counts).collect()
        }
        let mut denials = Vec::new();
        for reason in 0..=reason_labels::MOST {
            let counts = sum(parts.clone(), |counters| &counters.denials.0[reason]);
            for ((word, _), count) in MANNERS.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
                denials.push((reasons.name(reason).to_owned(), word, count));
            }
        }
        let [full_1_2, resumed_1_2, full_1_3, resumed_1_3] =
            sum(parts.clone(), |counters| &counters.handshakes);
        Self {
            denials,
            logins: named(
                Mechanism::ALL.map(Mechanism::name),
                sum(parts.clone(), |counters| &counters.logins),
            ),
            unjudged: named(
                Unjudged::ALL.map(Unjudged::name),
                sum(parts.clone(), |counters| &counters.unjudged),
            ),
            unrelieved: named(
                Unrelieved::all().map(Unrelieved::name),
                sum(parts.clone(), |counters| &counters.unrelieved),
            ),
            // Sessions begin and end while the parts are read, so a sum can be below zero.
            open: named(State::ALL.map(State::name), sum(parts.clone(), |counters| &counters.open))
                .into_iter()
                .map(|(state, count)| (state, if count > u64::MAX / 2 { 0 } else { count }))
                .collect(),
            ends: named(SessionEnd::ALL.map(SessionEnd::name), sum(parts.clone(), |counters| &counters.ends)),
            upgrades: named(
                UpgradeCommand::ALL.map(UpgradeCommand::name),
                sum(parts.clone(), |counters| &counters.upgrades),
            ),
            failed_upgrades: named(
                UpgradeFailure::ALL.map(UpgradeFailure::name),
                sum(parts.clone(), |counters| &counters.failed_upgrades),
            ),
            refused: named(RefusedBy::ALL.map(RefusedBy::name), sum(parts, |counters| &counters.refused)),
            handshakes: vec![
                ("TLSv1.2", false, full_1_2),
                ("TLSv1.2", true, resumed_1_2),
                ("TLSv1.3", false, full_1_3),
                ("TLSv1.3", true, resumed_1_3),
            ],
        }
    }

    /// Logins that the policy was asked about.
    #[must_use]
    pub fn polls(&self) -> u64 {
        self.logins.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_counted_under_its_own_label() {
        let kinds = LabeledCounters::default();
        for (times, end) in SessionEnd::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| kinds.ended(end));
        }
        for (times, mechanism) in Mechanism::ALL.into_iter().enumerate() {
            (0..=times).for_each(|_| kinds.logged_in(mechanism));
        }
        for (times, (_, manner)) in MANNERS.into_iter().enumerate() {
            (0..=times).for_each(|_| kinds.denied(0, manner));
        }
        for line in [&b"RETR 1"[..], b"top 1 0", b"DELE 1", b"Retr 2"] {
            kinds.upgraded(line);
        }
        let reasons = ReasonLabels::default();
        reasons.number("interval");
        let snapshot = LabeledSnapshot::of(std::iter::once(&kinds), &reasons);
        for (times, end) in SessionEnd::ALL.into_iter().enumerate() {
            assert_eq!(snapshot.ends[times], (end.name(), times as u64 + 1));
        }
        for (times, mechanism) in Mechanism::ALL.into_iter().enumerate() {
            assert_eq!(snapshot.logins[times], (mechanism.name(), times as u64 + 1));
        }
        for (times, (word, _)) in MANNERS.into_iter().enumerate() {
            let expected = ("interval".to_owned(), word, times as u64 + 1);
            assert_eq!(snapshot.denials[times], expected);
        }
        assert_eq!(snapshot.upgrades, [("RETR", 2), ("TOP", 1), ("DELE", 1)]);
        assert_eq!(snapshot.polls(), 45);
    }
}
