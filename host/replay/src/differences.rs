//! Differences between the verdicts of a policy and those in the log or of a second policy.

use std::collections::BTreeMap;

use serde::Serialize;

use super::entry::Entry;
use super::player::Decision;
use super::recorded_verdict::RecordedVerdict;
use reprieve_policy_host::Action;

/// The most kinds of differences that are counted separately.
const MAX_KINDS: usize = 100;
/// How many examples of a kind are kept.
const MAX_EXAMPLES: usize = 3;
/// The description of further kinds.
const OTHER: &str = "other";

/// A login for which the verdicts differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Example {
    /// Time of the login in milliseconds since 1970.
    pub at_ms: u64,
    /// User name as in the log.
    pub user: String,
}

/// Logins with the same difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct DifferenceKind {
    /// Verdict of the policy, as text.
    pub policy: String,
    /// Verdict of the second policy or in the log, as text.
    pub other: String,
    /// Number of logins.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<Example>,
}

/// Numbers of equal and different verdicts.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Differences {
    /// Logins for which both verdicts are known.
    pub compared: u64,
    /// Logins with equal verdicts.
    pub same: u64,
    /// Of these, denials with a different retry-after.
    pub different_retry_after: u64,
    /// The other logins by difference, the most frequent first.
    pub kinds: Vec<DifferenceKind>,
    /// Positions in `kinds`, by both descriptions.
    #[serde(skip)]
    positions: BTreeMap<(String, String), usize>,
}

impl Differences {
    /// Compares a decision with another verdict and, if that is known, with what happened after it.
    pub(super) fn add(
        &mut self,
        entry: &Entry,
        decision: &Decision,
        other: &RecordedVerdict,
        other_action: Option<Action>,
    ) {
        self.compared += 1;
        let action = decision.disposition.action;
        let descriptions = decision.verdict.difference(other).or_else(|| {
            let other_action = other_action.filter(|other| *other != action)?;
            Some((
                format!("{}, {}", decision.verdict.describe(), action.name()),
                format!("{}, {}", other.describe(), other_action.name()),
            ))
        });
        let Some(mut key) = descriptions else {
            self.same += 1;
            self.different_retry_after += u64::from(decision.verdict.differs_in_retry_after(other));
            return;
        };
        if self.kinds.len() >= MAX_KINDS && !self.positions.contains_key(&key) {
            key = (OTHER.to_owned(), OTHER.to_owned());
        }
        let position = *self.positions.entry(key).or_insert_with_key(|(policy, other)| {
            self.kinds.push(DifferenceKind {
                policy: policy.clone(),
                other: other.clone(),
                count: 0,
                examples: Vec::new(),
            });
            self.kinds.len() - 1
        });
        let kind = &mut self.kinds[position];
        kind.count += 1;
        if kind.examples.len() < MAX_EXAMPLES {
            kind.examples.push(Example { at_ms: entry.at_ms, user: entry.user.clone() });
        }
    }

    /// Sorts the kinds, the most frequent first. Call it last: it loses the positions.
    pub(super) fn finish(mut self) -> Self {
        self.positions.clear();
        self.kinds.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.policy.cmp(&b.policy)));
        self
    }

    /// Number of logins with different verdicts.
    #[must_use]
    pub fn different(&self) -> u64 {
        self.compared - self.same
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recorded_verdict::VerdictKind;
    use reprieve_policy_host::{Disposition, Ending, Manner, Standing};

    fn decision(verdict: RecordedVerdict, action: Action) -> Decision {
        Decision { standing: Standing::Known, verdict, disposition: Disposition::as_decided(action) }
    }

    #[test]
    fn differences_are_counted_by_kind_with_the_first_examples() {
        let mut differences = Differences::default();
        let denied =
            RecordedVerdict { manner: Some(Manner::Unchanged), ..RecordedVerdict::new(VerdictKind::Deny) };
        let pass = RecordedVerdict::new(VerdictKind::Pass);
        for at in 0..10 {
            let entry = Entry::new(at, "alice", Ending::Authenticated);
            let decision = decision(denied.clone(), Action::Posed);
            match at {
                0 => differences.add(&entry, &decision, &denied, Some(Action::Posed)),
                1 => differences.add(&entry, &decision, &denied, Some(Action::Passed)),
                _ => differences.add(&entry, &decision, &pass, Some(Action::Passed)),
            }
        }
        let differences = differences.finish();
        assert_eq!((differences.compared, differences.same, differences.different()), (10, 1, 9));
        let kinds: Vec<_> =
            differences.kinds.iter().map(|kind| (&*kind.policy, &*kind.other, kind.count)).collect();
        assert_eq!(
            kinds,
            [("deny unchanged", "pass", 8), ("deny unchanged, posed", "deny unchanged, passed", 1)]
        );
        assert_eq!(differences.kinds[0].examples.len(), MAX_EXAMPLES);
        assert_eq!(differences.kinds[0].examples[0].at_ms, 2);
    }
}
