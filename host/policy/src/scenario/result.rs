//! Results of scenarios. Failures with the same reason are one entry with a count.

use std::time::Duration;

/// Different failures of a scenario to report; further ones are only counted.
const MAX_REPORTED_FAILURES: usize = 10;

/// Result of a scenario.
#[derive(Clone, Debug, Default)]
pub struct ScenarioResult {
    /// Name of the scenario.
    pub name: String,
    /// Path of its file.
    pub file: String,
    /// Number of played steps, including repetitions.
    pub steps: u64,
    /// Number of played logins.
    pub logins: u64,
    /// Number of logins that were passed to the mail server.
    pub passed: u64,
    /// Virtual time that has passed.
    pub virtual_time: Duration,
    /// Real time that has passed.
    pub real_time: Duration,
    /// What explains the failures, one sentence each: the policy does not start, refuses its
    /// settings, fails, or keeps state in its own memory.
    pub causes: Vec<String>,
    /// The first different failures; those of the policy itself come first.
    pub failed: Vec<StepFailure>,
    /// Number of further failures.
    pub more_failed: u64,
    /// Log lines of the policy from its start and from `configure`.
    pub start_log: Vec<String>,
    /// Why the file cannot be read, if it cannot.
    pub unreadable: Option<String>,
}

impl ScenarioResult {
    /// The result for a file that cannot be read.
    #[must_use]
    pub fn unreadable(file: &str, why: String) -> Self {
        Self { name: file.to_owned(), file: file.to_owned(), unreadable: Some(why), ..Self::default() }
    }

    /// Whether everything was as expected.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.failed.is_empty() && self.causes.is_empty() && self.unreadable.is_none()
    }

    /// Adds a failure, or counts it if it is like one before.
    pub(super) fn fail(&mut self, failure: StepFailure) {
        if let Some(same) = self.failed.iter_mut().find(|known| known.has_reason_of(&failure)) {
            same.times += 1;
            if failure.line != same.line && !same.more_lines.contains(&failure.line) {
                same.more_lines.push(failure.line);
            }
        } else if self.failed.len() < MAX_REPORTED_FAILURES {
            self.failed.push(StepFailure { times: 1, ..failure });
        } else {
            self.more_failed += 1;
        }
    }

    /// Puts the failures of the policy itself first, and names those that explain others.
    pub(super) fn name_causes(&mut self) {
        self.failed.sort_by_key(|failed| failed.policy_failure.is_none());
        let (several, logins) = (self.failed.len() > 1, self.logins);
        let causes = self.failed.iter().filter(|failed| several || failed.times > 1).filter_map(|failed| {
            let why = failed.policy_failure.as_ref()?;
            Some(format!("the policy fails in {} of {logins} logins: {why}", failed.times))
        });
        self.causes.extend(causes.collect::<Vec<_>>());
    }
}

/// A step, or the settings, with an unexpected result: the first of its kind, and how many there
/// are.
#[derive(Clone, Debug, Default)]
pub struct StepFailure {
    /// Number of failures with this reason.
    pub times: u64,
    /// Line of the step; 0 for the settings.
    pub line: usize,
    /// Lines of further steps in which the policy failed like this.
    pub more_lines: Vec<usize>,
    /// Virtual time, formatted in the time zone; empty for the settings.
    pub at: String,
    /// User of the login, if a login failed.
    pub user: Option<String>,
    /// How the policy itself failed, if no failure was expected.
    pub policy_failure: Option<String>,
    /// What differs, its expected value, and its actual value.
    pub differences: Vec<(String, String, String)>,
    /// Verdict and disposition of the login.
    pub decision: Option<String>,
    /// Log lines of the policy for this login.
    pub log: Vec<String>,
    /// Store operations of the policy for this login.
    pub store: Vec<String>,
    /// Contents of the store, if a check of the store failed.
    pub store_held: Option<Vec<String>>,
}

impl StepFailure {
    /// Whether both are the same failure of the policy, or the same unmet expectation of one step.
    /// Details of the actual value, such as a number of seconds, may differ.
    fn has_reason_of(&self, other: &Self) -> bool {
        if self.policy_failure.is_some() || other.policy_failure.is_some() {
            return self.policy_failure == other.policy_failure;
        }
        let same = |(ours, theirs): (&(String, String, String), &(String, String, String))| {
            (&ours.0, &ours.1, first_word(&ours.2)) == (&theirs.0, &theirs.1, first_word(&theirs.2))
        };
        self.line == other.line
            && self.differences.len() == other.differences.len()
            && self.differences.iter().zip(&other.differences).all(same)
    }
}

/// The letters at the start: of a verdict, for example, `deny`; of a number, nothing.
fn first_word(text: &str) -> &str {
    text.split(|character: char| !character.is_alphabetic()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(line: usize, policy_failure: Option<&str>, got: &str) -> StepFailure {
        StepFailure {
            line,
            policy_failure: policy_failure.map(str::to_owned),
            differences: vec![("verdict".to_owned(), "pass".to_owned(), got.to_owned())],
            ..StepFailure::default()
        }
    }

    #[test]
    fn failures_with_the_same_reason_are_counted() {
        let (trap, deny, busy) = (Some("trap"), "deny unchanged, retry-after 1", "deny busy, retry-after 2");
        for (first, second, is_same) in [
            (failure(1, None, deny), failure(1, None, busy), true),
            (failure(1, None, "540"), failure(1, None, "539"), true),
            (failure(1, None, deny), failure(2, None, deny), false),
            (failure(1, None, deny), failure(1, None, "failure trap"), false),
            (failure(1, trap, "failure"), failure(2, trap, "failure"), true),
            (failure(1, trap, "failure"), failure(1, Some("time"), "failure"), false),
            (failure(1, trap, "failure"), failure(1, None, "failure"), false),
        ] {
            let mut result = ScenarioResult::default();
            result.fail(first.clone());
            result.fail(second.clone());
            assert_eq!(result.failed.len() == 1, is_same, "{first:?}, {second:?}");
            assert_eq!(result.failed.iter().map(|one| one.times).sum::<u64>(), 2);
        }
        let mut result = ScenarioResult::default();
        (0..15).for_each(|line| result.fail(failure(line, None, deny)));
        assert_eq!((result.failed.len(), result.more_failed), (10, 5));
    }

    #[test]
    fn the_policys_own_failure_comes_first_and_explains_the_others() {
        let mut result = ScenarioResult { logins: 3, ..ScenarioResult::default() };
        result.fail(failure(1, None, "deny"));
        result.fail(failure(2, Some("it trapped"), "failure"));
        result.fail(failure(9, Some("it trapped"), "failure"));
        result.name_causes();
        assert_eq!(result.causes, ["the policy fails in 2 of 3 logins: it trapped"]);
        assert_eq!((result.failed[0].line, &result.failed[0].more_lines[..]), (2, &[9][..]));
    }
}
