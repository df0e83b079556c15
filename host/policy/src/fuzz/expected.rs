//! What an invariant expects of a login, as a scenario writes it.

use reprieve_settings::format::quoted;

use crate::harness::Decision;
use crate::{Action, Deny, Pass, Verdict, Worded as _};

/// What is expected of the last login of a counterexample.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expected {
    /// Nothing beside what every scenario expects: no failure, and no state in the policy's own memory.
    Nothing,
    Pass,
    Deny,
    /// The login reaches the mail server, whatever the verdict.
    Passed,
    /// This verdict, except for its note.
    Verdict(Verdict),
}

impl Expected {
    /// Whether a decision is as expected. A failed call is never: it is of another invariant.
    pub(super) fn is_met(&self, decision: &Decision) -> bool {
        match self {
            Self::Nothing => true,
            Self::Pass => decision.pass().is_some(),
            Self::Deny => decision.deny().is_some(),
            Self::Passed => decision.action() == Action::Passed,
            Self::Verdict(Verdict::Pass(expected)) => {
                decision.pass().is_some_and(|got| differing_pass(expected, got).is_none())
            }
            Self::Verdict(Verdict::Deny(expected)) => {
                decision.deny().is_some_and(|got| denial_keys(expected) == denial_keys(got))
            }
        }
    }

    /// The keys of the step in a scenario. `got`: the decision that is not as expected.
    pub(super) fn keys(&self, got: &Decision) -> Vec<(&'static str, String)> {
        let expect = |value: String| vec![("expect", value)];
        match self {
            Self::Nothing => Vec::new(),
            Self::Pass => expect(quoted("pass")),
            Self::Deny => expect(quoted("deny")),
            Self::Passed => vec![("disposition", quoted("passed"))],
            Self::Verdict(Verdict::Deny(deny)) => expect(format!("{{ {} }}", denial_keys(deny).join(", "))),
            Self::Verdict(Verdict::Pass(expected)) => {
                let differing = got.pass().and_then(|got| differing_pass(expected, got));
                expect(differing.unwrap_or_else(|| quoted("pass")))
            }
        }
    }

    /// The expectation for people.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Nothing => "no failure".to_owned(),
            Self::Pass => "pass".to_owned(),
            Self::Deny => "deny".to_owned(),
            Self::Passed => "passed to the mail server".to_owned(),
            Self::Verdict(Verdict::Pass(_)) => "pass".to_owned(),
            Self::Verdict(Verdict::Deny(deny)) => format!("deny, {}", denial_keys(deny).join(", ")),
        }
    }
}

/// The details of a denial that matter to a client or an administrator.
fn denial_keys(deny: &Deny) -> Vec<String> {
    let mut keys = vec![format!("manner = {}", quoted(deny.manner.word()))];
    keys.extend(deny.code.map(|code| format!("code = {}", quoted(code.word()))));
    keys.extend(deny.retry_after.map(|seconds| format!("retry-after = {seconds}")));
    keys.push(format!("reason = {}", quoted(&deny.reason)));
    keys
}

/// The expectation that another pool or user name does not meet; None if both are the same.
fn differing_pass(expected: &Pass, got: &Pass) -> Option<String> {
    let key = |key: &str, expected: &Option<String>, got: &Option<String>| match (expected, got) {
        (Some(expected), _) => format!("{{ {key} = {} }}", quoted(expected)),
        (None, got) => format!("{{ {key} = {{ not = {} }} }}", quoted(got.as_deref().unwrap_or_default())),
    };
    let pool = (expected.pool != got.pool).then(|| key("pool", &expected.pool, &got.pool));
    pool.or_else(|| (expected.user != got.user).then(|| key("user", &expected.user, &got.user)))
}
