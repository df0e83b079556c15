//! How what the policy says differs from what happened, or from what another policy says.

use std::collections::BTreeMap;

use serde::Serialize;

use super::entry::Entry;
use super::player::Decision;
use super::said::Said;
use reprieve_policy_host::harness::Becomes;

/// Kinds of differences that are told apart.
const MOST_KINDS: usize = 100;
/// Examples of a kind.
const EXAMPLES: usize = 3;

/// A login of which two things are said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Example {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Who.
    pub user: String,
}

/// Differences of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Kind {
    /// What the policy says.
    pub policy: String,
    /// What the other says, or what happened.
    pub other: String,
    /// Logins.
    pub count: u64,
    /// The first of them.
    pub examples: Vec<Example>,
}

/// All differences.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Difference {
    /// Logins of which both are known.
    pub compared: u64,
    /// Those of which both say the same.
    pub same: u64,
    /// Of the same, denials that tell another time to come back.
    pub other_retry_after: u64,
    /// The others by kind, the most frequent first.
    pub kinds: Vec<Kind>,
    #[serde(skip)]
    by_kind: BTreeMap<(String, String), usize>,
}

impl Difference {
    /// Compares a decision with what another says, as far as it is known.
    pub(super) fn add(
        &mut self,
        entry: &Entry,
        decision: &Decision,
        other: Option<&Said>,
        other_becomes: Option<Becomes>,
    ) {
        if other.is_none() && other_becomes.is_none() {
            return;
        }
        self.compared += 1;
        let said = other.and_then(|other| decision.said.differs(other));
        let became = other_becomes.filter(|becomes| *becomes != decision.becomes);
        let (policy, other) = match (said, became) {
            (None, None) => {
                self.same += 1;
                let another = other.is_some_and(|other| decision.said.differs_in_retry_after(other));
                self.other_retry_after += u64::from(another);
                return;
            }
            (Some(pair), _) => pair,
            (None, Some(becomes)) => (
                format!("{}, {}", decision.said.kind(), decision.becomes.word()),
                format!("{}, {}", other.map_or_else(String::new, Said::kind), becomes.word()),
            ),
        };
        let mut key = (policy, other);
        if self.kinds.len() >= MOST_KINDS && !self.by_kind.contains_key(&key) {
            key = ("other".to_owned(), "other".to_owned());
        }
        let at = *self.by_kind.entry(key).or_insert_with_key(|(policy, other)| {
            self.kinds.push(Kind {
                policy: policy.clone(),
                other: other.clone(),
                count: 0,
                examples: Vec::new(),
            });
            self.kinds.len() - 1
        });
        let kind = &mut self.kinds[at];
        kind.count += 1;
        if kind.examples.len() < EXAMPLES {
            kind.examples.push(Example { at_ms: entry.at_ms, user: entry.user.clone() });
        }
    }

    /// Puts the most frequent kinds first. Nothing may be added after that.
    pub(super) fn finish(mut self) -> Self {
        self.by_kind.clear();
        self.kinds.sort_by(|a, b| b.count.cmp(&a.count).then_with(|| a.policy.cmp(&b.policy)));
        self
    }

    /// Logins of which the two do not say the same.
    #[must_use]
    pub fn different(&self) -> u64 {
        self.compared - self.same
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::said::Word;
    use reprieve_policy_host::{Ending, Manner, Standing};

    fn decision(said: Said, becomes: Becomes) -> Decision {
        Decision { standing: Standing::Known, said, becomes, why: None }
    }

    #[test]
    fn differences_are_counted_by_kind_with_their_first_examples() {
        let mut difference = Difference::default();
        let denied = Said { manner: Some(Manner::Unchanged), ..Said::only(Word::Deny) };
        let pass = Said::only(Word::Pass);
        for at in 0..10 {
            let entry = Entry::new(at, "alice", Ending::Authenticated);
            let decision = decision(denied.clone(), Becomes::Posed);
            match at {
                0 => difference.add(&entry, &decision, Some(&denied), Some(Becomes::Posed)),
                1 => difference.add(&entry, &decision, Some(&denied), Some(Becomes::Passed)),
                2 => difference.add(&entry, &decision, None, None),
                _ => difference.add(&entry, &decision, Some(&pass), Some(Becomes::Passed)),
            }
        }
        let difference = difference.finish();
        assert_eq!((difference.compared, difference.same, difference.different()), (9, 1, 8));
        let kinds: Vec<_> =
            difference.kinds.iter().map(|kind| (&*kind.policy, &*kind.other, kind.count)).collect();
        assert_eq!(
            kinds,
            [("deny unchanged", "pass", 7), ("deny unchanged, posed", "deny unchanged, passed", 1)]
        );
        assert_eq!(difference.kinds[0].examples.len(), EXAMPLES);
        assert_eq!(difference.kinds[0].examples[0].at_ms, 3);
    }
}
