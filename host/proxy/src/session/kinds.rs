//! The kinds by which sessions and logins are counted, with their words.

use super::link::LinkEnd;
use super::reasons::{self, Reasons};
use super::record::End;
use super::unrelieved::{UNRELIEVED, Unrelieved};
use crate::net::{Refused, TlsKind};
use reprieve_metrics::Family;
use reprieve_policy_host::{MANNERS, Manner};
use reprieve_pop3::command::Command;
use reprieve_pop3::credential::Mechanism;

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It has not logged in.
    Login,
    /// The host answers.
    Posed,
    /// A mail server answers.
    Relayed,
}

/// Why a posed session could not go on at the mail server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UpgradeFailure {
    /// The mail server did not let it in.
    Rejected,
    /// No mail server could be reached, or none judged.
    Unreachable,
    /// They had as many sessions as they may have.
    PoolFull,
    /// It was let in, and not told the unique-ids.
    Listing,
}

/// Why a login has no verdict of the policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unjudged {
    /// Its call failed.
    Failed,
    /// It was not called, because it is paused.
    Paused,
}

const STATES: [&str; 3] = ["login", "posed", "relayed"];
const ENDS: [&str; 14] = [
    End::Quit.name(),
    End::Link(LinkEnd::Closed).name(),
    End::Link(LinkEnd::Lost).name(),
    End::Link(LinkEnd::Idle).name(),
    End::Link(LinkEnd::Drained).name(),
    End::Link(LinkEnd::Stalled).name(),
    End::Server.name(),
    End::Disconnected.name(),
    End::Handshake.name(),
    End::NodeDisabled.name(),
    End::BadCommands.name(),
    End::FailedLogins.name(),
    End::UnjudgedLogins.name(),
    End::Http.name(),
];
const UPGRADES: [&str; 3] = ["RETR", "TOP", "DELE"];
const UPGRADE_FAILURES: [&str; 4] = ["rejected", "unreachable", "pool-full", "listing"];
const LIMITS: [&str; 3] = ["max-connections", "max-connections-per-address", "no-node"];
const UNJUDGED: [&str; 2] = ["failure", "paused"];
const MECHANISMS: usize = Mechanism::ALL.len();

/// Counters by kind, of one thread.
#[derive(Debug, Default)]
pub struct Kinds {
    denials: Denials,
    logins: Family<MECHANISMS>,
    unjudged: Family<2>,
    unrelieved: Family<UNRELIEVED>,
    open: Family<3>,
    ends: Family<14>,
    upgrades: Family<3>,
    failed_upgrades: Family<4>,
    refused: Family<3>,
    handshakes: Family<4>,
}

/// By reason and, within that, by manner.
#[derive(Debug)]
struct Denials([Family<5>; reasons::MOST + 1]);

impl Default for Denials {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Family::default()))
    }
}

impl Kinds {
    pub(super) fn denied(&self, reason: usize, manner: Manner) {
        self.denials.0[reason].count(manner as usize);
    }

    pub(super) fn logged_in(&self, mechanism: Mechanism) {
        self.logins.count(mechanism as usize);
    }

    pub(super) fn unjudged(&self, why: Unjudged) {
        self.unjudged.count(why as usize);
    }

    /// A denied login passes.
    pub(super) fn unrelieved(&self, why: Unrelieved) {
        self.unrelieved.count(why.index());
    }

    /// A session comes to a state, from another one where there was one.
    pub(super) fn moved(&self, from: Option<State>, to: Option<State>) {
        if let Some(to) = to {
            self.open.count(to as usize);
        }
        if let Some(from) = from {
            self.open.uncount(from as usize);
        }
    }

    pub(super) fn ended(&self, end: End) {
        self.ends.count(match end {
            End::Quit => 0,
            End::Link(LinkEnd::Closed) => 1,
            End::Link(LinkEnd::Lost) => 2,
            End::Link(LinkEnd::Idle) => 3,
            End::Link(LinkEnd::Drained) => 4,
            End::Link(LinkEnd::Stalled) => 5,
            End::Server => 6,
            End::Disconnected => 7,
            End::Handshake => 8,
            End::NodeDisabled => 9,
            End::BadCommands => 10,
            End::FailedLogins => 11,
            End::UnjudgedLogins => 12,
            End::Http => 13,
        });
    }

    /// `line`: the command that only the mail server can answer.
    pub(super) fn upgraded(&self, line: &[u8]) {
        match Command::parse(line) {
            Command::Retr(_) => self.upgrades.count(0),
            Command::Top(..) => self.upgrades.count(1),
            Command::Dele(_) => self.upgrades.count(2),
            _ => {}
        }
    }

    pub(super) fn upgrade_failed(&self, why: UpgradeFailure) {
        self.failed_upgrades.count(why as usize);
    }

    pub(super) fn refused(&self, why: Refused) {
        self.refused.count(match why {
            Refused::Full => 0,
            Refused::AddressFull => 1,
        });
    }

    /// A connection was closed before the greeting because no node is healthy.
    pub(super) fn refused_without_nodes(&self) {
        self.refused.count(2);
    }

    pub(super) fn shook_hands(&self, kind: TlsKind) {
        self.handshakes.count(usize::from(kind.is_1_3) * 2 + usize::from(kind.is_resumed));
    }
}

/// What has been counted by kind at one moment, each with its word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KindsSnapshot {
    /// Verdicts `deny` that there were, by reason and manner.
    pub denials: Vec<(String, &'static str, u64)>,
    /// Logins that the policy was asked about, by mechanism.
    pub logins: Vec<(&'static str, u64)>,
    /// Logins that the policy has not judged, by why.
    pub unjudged: Vec<(&'static str, u64)>,
    /// Denied logins that passed all the same, by why.
    pub unrelieved: Vec<(&'static str, u64)>,
    /// Sessions that are open, by where they are.
    pub open: Vec<(&'static str, u64)>,
    /// Sessions that have ended, by how.
    pub ends: Vec<(&'static str, u64)>,
    /// Upgrades, by the command that asked for them.
    pub upgrades: Vec<(&'static str, u64)>,
    /// Upgrades that failed, by why.
    pub failed_upgrades: Vec<(&'static str, u64)>,
    /// Connections that were not admitted, by limit.
    pub refused: Vec<(&'static str, u64)>,
    /// TLS handshakes, by version and by whether a session was resumed.
    pub handshakes: Vec<(&'static str, bool, u64)>,
}

impl KindsSnapshot {
    /// Puts the parts of all threads together.
    pub(super) fn of<'k>(parts: impl Iterator<Item = &'k Kinds> + Clone, reasons: &Reasons) -> Self {
        fn sum<'k, const N: usize>(
            parts: impl Iterator<Item = &'k Kinds>,
            family: impl Fn(&'k Kinds) -> &'k Family<N>,
        ) -> [u64; N] {
            let mut sum = [0; N];
            parts.for_each(|part| family(part).add_to(&mut sum));
            sum
        }
        fn named<const N: usize>(names: [&'static str; N], counts: [u64; N]) -> Vec<(&'static str, u64)> {
            names.into_iter().zip(counts).collect()
        }
        let mut denials = Vec::new();
        for reason in 0..=reasons::MOST {
            let counts = sum(parts.clone(), |kinds| &kinds.denials.0[reason]);
            for ((word, _), count) in MANNERS.into_iter().zip(counts).filter(|(_, count)| *count > 0) {
                denials.push((reasons.name(reason).to_owned(), word, count));
            }
        }
        let [full_1_2, resumed_1_2, full_1_3, resumed_1_3] = sum(parts.clone(), |kinds| &kinds.handshakes);
        Self {
            denials,
            logins: named(Mechanism::ALL.map(Mechanism::name), sum(parts.clone(), |kinds| &kinds.logins)),
            unjudged: named(UNJUDGED, sum(parts.clone(), |kinds| &kinds.unjudged)),
            unrelieved: named(
                Unrelieved::all().map(Unrelieved::name),
                sum(parts.clone(), |kinds| &kinds.unrelieved),
            ),
            // While they are read, sessions come and go: less than none is none.
            open: named(STATES, sum(parts.clone(), |kinds| &kinds.open))
                .into_iter()
                .map(|(state, count)| (state, if count > u64::MAX / 2 { 0 } else { count }))
                .collect(),
            ends: named(ENDS, sum(parts.clone(), |kinds| &kinds.ends)),
            upgrades: named(UPGRADES, sum(parts.clone(), |kinds| &kinds.upgrades)),
            failed_upgrades: named(UPGRADE_FAILURES, sum(parts.clone(), |kinds| &kinds.failed_upgrades)),
            refused: named(LIMITS, sum(parts, |kinds| &kinds.refused)),
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
    fn each_kind_is_counted_under_its_own_word() {
        let kinds = Kinds::default();
        let ends = [
            End::Quit,
            End::Link(LinkEnd::Closed),
            End::Link(LinkEnd::Lost),
            End::Link(LinkEnd::Idle),
            End::Link(LinkEnd::Drained),
            End::Link(LinkEnd::Stalled),
            End::Server,
            End::Disconnected,
            End::Handshake,
            End::NodeDisabled,
            End::BadCommands,
            End::FailedLogins,
            End::UnjudgedLogins,
            End::Http,
        ];
        for (times, end) in ends.into_iter().enumerate() {
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
        let reasons = Reasons::default();
        reasons.number("interval");
        let snapshot = KindsSnapshot::of(std::iter::once(&kinds), &reasons);
        for (times, end) in ends.into_iter().enumerate() {
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
