//! Numbers of logins by what would have happened to them.

use std::collections::BTreeMap;

use serde::Serialize;

use super::entry::Entry;
use super::player::Decision;
use super::recorded_verdict::VerdictKind;
use reprieve_policy_host::Action;
use reprieve_policy_host::{Ending, Worded as _};

/// The most reasons that are counted separately: a policy can return any number of them.
const MAX_LABELS: usize = 100;
/// The label of further reasons.
const OTHER: &str = "other";

/// Numbers of logins by what would have happened to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Totals {
    /// All logins.
    pub logins: u64,
    /// Logins that reach a mail server.
    pub passed: u64,
    /// Logins that do not reach a mail server: the relief.
    pub relieved: u64,
    /// Logins that are accepted and answered by Reprieve.
    pub posed: u64,
    /// Posed logins whose session continued at the mail server, if the log has that.
    pub upgraded: u64,
    /// Logins that are answered with `-ERR`.
    pub refused: u64,
    /// Logins whose connection is closed.
    pub disconnected: u64,
    /// Logins that the policy denies and the host's rules let pass, by rule.
    pub denied_but_passed: BTreeMap<String, u64>,
    /// Denials by manner.
    pub manners: BTreeMap<String, u64>,
    /// Denials by the policy's reason.
    pub reasons: BTreeMap<String, u64>,
    /// Failures of the policy by kind.
    pub failures: BTreeMap<String, u64>,
    /// Logins that the mail server rejected, according to the log.
    pub rejected: u64,
}

impl Totals {
    pub(super) fn add(&mut self, entry: &Entry, decision: &Decision) {
        self.logins += 1;
        self.rejected += u64::from(entry.outcome == Some(Ending::Rejected));
        let is_relieved = decision.is_relieved(entry);
        self.relieved += u64::from(is_relieved);
        self.passed += u64::from(!is_relieved);
        match decision.disposition.action {
            Action::Passed => {}
            Action::Posed => {
                self.posed += 1;
                self.upgraded += u64::from(!is_relieved);
            }
            Action::Refused => self.refused += 1,
            Action::Disconnected => self.disconnected += 1,
        }
        match decision.verdict.kind {
            VerdictKind::Pass => {}
            VerdictKind::Deny => {
                count(&mut self.manners, decision.verdict.manner.map_or("", |manner| manner.word()));
                count(&mut self.reasons, decision.verdict.reason.as_deref().unwrap_or(""));
                if let (Action::Passed, Some(because)) =
                    (decision.disposition.action, decision.disposition.because)
                {
                    count(&mut self.denied_but_passed, because.name());
                }
            }
            VerdictKind::Failure => {
                count(&mut self.failures, decision.verdict.reason.as_deref().unwrap_or(""))
            }
        }
    }

    /// Share of logins that do not reach a mail server, from 0 to 1.
    #[must_use]
    pub fn relief(&self) -> f64 {
        share(self.relieved, self.logins)
    }
}

fn count(counts: &mut BTreeMap<String, u64>, label: &str) {
    if let Some(count) = counts.get_mut(label) {
        *count += 1;
        return;
    }
    let label = if counts.len() < MAX_LABELS { label } else { OTHER };
    *counts.entry(label.to_owned()).or_default() += 1;
}

/// `part` divided by `whole`; 0 if `whole` is 0.
#[allow(clippy::cast_precision_loss)]
pub(super) fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
