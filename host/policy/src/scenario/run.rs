//! Plays scenarios.

use std::time::{Duration, Instant};

use super::expectation::{Counts, Mismatch};
use super::file::Scenario;
use super::step::{LoginStep, Step, StepAction, When};
use crate::Action;
use crate::harness::{Decision, Harness, TestLogin, format_bytes, format_time, quoted, settings_error};

/// Failures of a scenario to report in full; further ones are only counted.
const MAX_REPORTED_FAILURES: usize = 10;
/// Entries of the store to show with a failure.
const MAX_SHOWN_ENTRIES: usize = 20;

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
    /// The first failures.
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
        self.failed.is_empty() && self.unreadable.is_none()
    }

    fn fail(&mut self, failure: StepFailure) {
        if self.failed.len() < MAX_REPORTED_FAILURES {
            self.failed.push(failure);
        } else {
            self.more_failed += 1;
        }
    }
}

/// A step, or the settings, with an unexpected result.
#[derive(Clone, Debug, Default)]
pub struct StepFailure {
    /// Line of the step; 0 for the settings.
    pub line: usize,
    /// Virtual time, formatted in the time zone; empty for the settings.
    pub at: String,
    /// User of the login, if a login failed.
    pub user: Option<String>,
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

impl Scenario {
    /// Plays the scenario.
    ///
    /// # Errors
    /// The policy cannot be loaded. Rejected settings and unexpected decisions are failures in
    /// the result instead.
    pub fn play(&self) -> anyhow::Result<ScenarioResult> {
        let began = Instant::now();
        let mut result =
            ScenarioResult { name: self.name.clone(), file: self.file.clone(), ..ScenarioResult::default() };
        let mut start_log = Vec::new();
        let harness = self.builder.clone().build_with_log(&mut start_log);
        result.start_log = start_log.iter().map(ToString::to_string).collect();
        match (harness, &self.refuses) {
            (Ok(_), Some(expected)) => result.fail(StepFailure {
                differences: vec![(
                    "settings".to_owned(),
                    format!("rejected: …{expected}…"),
                    "accepted".to_owned(),
                )],
                ..StepFailure::default()
            }),
            (Ok(mut harness), None) => {
                let start = harness.now_ms();
                let mut player = Player { harness: &mut harness, result: &mut result };
                player.play_all(&self.steps);
                result.virtual_time = Duration::from_millis(harness.now_ms().saturating_sub(start));
            }
            (Err(error), expected) => {
                let Some(why) = settings_error(&error) else { return Err(error) };
                let difference = match expected {
                    Some(expected) if why.contains(expected.as_str()) => None,
                    Some(expected) => Some((format!("rejected: …{expected}…"), format!("rejected: {why}"))),
                    None => Some(("accepted".to_owned(), format!("rejected: {why}"))),
                };
                if let Some((expected, got)) = difference {
                    result.fail(StepFailure {
                        differences: vec![("settings".to_owned(), expected, got)],
                        ..StepFailure::default()
                    });
                }
            }
        }
        result.real_time = began.elapsed();
        Ok(result)
    }
}

struct Player<'a> {
    harness: &'a mut Harness,
    result: &'a mut ScenarioResult,
}

/// A played login and the differences found so far.
struct LoginCheck {
    decision: Decision,
    differences: Vec<Mismatch>,
}

/// Totals over all logins of a step.
struct StepTotals<'a> {
    counts: Counts,
    /// Expected texts that no log line has contained yet.
    unlogged: Vec<&'a str>,
    /// Whether the step has more than one login.
    many: bool,
}

impl Player<'_> {
    fn play_all(&mut self, steps: &[Step]) {
        for step in steps {
            self.play(step);
        }
    }

    fn play(&mut self, step: &Step) {
        if let Err(why) = self.wait(step.when) {
            return self.fail(step.line, vec![Mismatch::new("time", "a time in the future", why)], None);
        }
        let mut next_ms = self.harness.now_ms();
        let mut totals = StepTotals { counts: Counts::default(), unlogged: Vec::new(), many: false };
        if let StepAction::Login(login) = &step.action {
            totals.unlogged = login.log.iter().map(String::as_str).collect();
            totals.many = step.repeat.times > 1 || !login.is_one();
        }
        for _ in 0..step.repeat.times {
            self.result.steps += 1;
            // A repetition may take longer than `every`.
            self.harness.set_now_ms(self.harness.now_ms().max(next_ms));
            next_ms = self.harness.now_ms().saturating_add(millis(step.repeat.every));
            let mut last = None;
            match &step.action {
                StepAction::Group(steps) => self.play_all(steps),
                StepAction::Login(login) => {
                    for user in login.users.names(&login.facts.user) {
                        let check = self.log_in(login, user, &mut totals);
                        if let Some(before) = last.replace(check) {
                            self.report(step, before);
                        }
                    }
                }
                StepAction::Store { write, forget } => self.change_store(step, write, forget),
            }
            self.check_store(step, last);
        }
        self.check_totals(step, &totals);
    }

    /// Checks the store, and reports differences together with those of the preceding login.
    fn check_store(&mut self, step: &Step, last: Option<LoginCheck>) {
        let found =
            step.store.as_ref().map(|expected| expected.differences(self.harness)).unwrap_or_default();
        let held = (!found.is_empty()).then(|| self.store_entries());
        let (decision, mut differences) = match last {
            Some(check) => (Some(check.decision), check.differences),
            None => (None, Vec::new()),
        };
        differences.extend(found);
        if !differences.is_empty() {
            let mut failure = self.describe_failure(step.line, differences, decision.as_ref());
            failure.store_held = held;
            self.result.fail(failure);
        }
    }

    fn check_totals(&mut self, step: &Step, totals: &StepTotals<'_>) {
        let StepAction::Login(login) = &step.action else { return };
        let mut differences = Vec::new();
        if let Some(expected) = &login.count {
            differences.extend(totals.counts.differences(expected));
        }
        if totals.many {
            let unlogged = totals.unlogged.iter();
            differences.extend(unlogged.map(|text| {
                Mismatch::new("log", format!("…{text}…"), "no such line in any login of the step")
            }));
        }
        if !differences.is_empty() {
            self.fail(step.line, differences, None);
        }
    }

    fn wait(&mut self, when: When) -> Result<(), String> {
        let now = self.harness.now_ms();
        match when {
            When::Now => {}
            When::After(after) => self.harness.advance_by(after),
            When::At(at) => {
                let zone = self.harness.zone();
                let to = at.unix_ms(now, zone).ok_or("a time out of range")?;
                if to < now {
                    let format = |ms| format_time(ms, zone);
                    return Err(format!("{}, which is before the current time {}", format(to), format(now)));
                }
                self.harness.set_now_ms(to);
            }
        }
        Ok(())
    }

    fn log_in(&mut self, login: &LoginStep, user: String, totals: &mut StepTotals<'_>) -> LoginCheck {
        let mut facts = login.facts.clone();
        facts.user = user;
        let standing = facts.standing;
        let mut test_login = TestLogin::new(facts);
        if login.standing_is_given {
            test_login = test_login.standing(standing);
        }
        if let Some(pool) = &login.pool {
            test_login = test_login.pool(pool);
        }
        if let Some(outcome) = &login.outcome {
            test_login = test_login.outcome(outcome.clone());
        }
        if let Some(fault) = login.fault {
            test_login = test_login.inject(fault);
        }
        let decision = self.harness.login(test_login);
        self.result.logins += 1;
        self.result.passed += u64::from(decision.action() == Action::Passed);
        totals.counts.add(&decision);
        let mut differences = match &login.expect {
            Some(expected) => expected.differences(&decision),
            None => Vec::new(),
        };
        let failure_is_expected = login
            .expect
            .as_ref()
            .is_some_and(super::expectation::Expectation::allows_failure)
            || login.count.as_ref().is_some_and(|counts| counts.0.iter().any(|(word, _)| word == "failure"));
        if let Some(failure) = decision.failure()
            && !failure_is_expected
            && differences.is_empty()
        {
            let what = if decision.verdict.is_err() { "decide" } else { "observe" };
            differences.push(Mismatch::new(what, "no failure", format!("{}: {failure}", failure.kind())));
        }
        if let Some(expected) = login.disposition
            && expected != decision.action()
        {
            differences.push(Mismatch::new("disposition", expected.name(), decision.action().name()));
        }
        totals.unlogged.retain(|text| !decision.log.iter().any(|line| line.text.contains(text)));
        if !totals.many {
            let unlogged = totals.unlogged.iter();
            differences
                .extend(unlogged.map(|text| Mismatch::new("log", format!("…{text}…"), "no such line")));
        }
        LoginCheck { decision, differences }
    }

    fn report(&mut self, step: &Step, check: LoginCheck) {
        if !check.differences.is_empty() {
            self.fail(step.line, check.differences, Some(&check.decision));
        }
    }

    fn change_store(&mut self, step: &Step, write: &[(String, Vec<u8>)], forget: &[String]) {
        for (key, value) in write {
            if let Err(error) = self.harness.write(key, value) {
                let what = format!("write {key:?}");
                self.fail(step.line, vec![Mismatch::new(&what, "done", error.to_string())], None);
            }
        }
        for key in forget {
            self.harness.delete(key);
        }
    }

    fn fail(&mut self, line: usize, differences: Vec<Mismatch>, decision: Option<&Decision>) {
        let failure = self.describe_failure(line, differences, decision);
        self.result.fail(failure);
    }

    fn describe_failure(
        &self,
        line: usize,
        differences: Vec<Mismatch>,
        decision: Option<&Decision>,
    ) -> StepFailure {
        let at = decision.map_or(self.harness.now_ms(), |decision| decision.at_ms);
        StepFailure {
            line,
            at: format_time(at, self.harness.zone()),
            user: decision.map(|decision| decision.user.clone()),
            differences: differences
                .into_iter()
                .map(|mismatch| (mismatch.what, mismatch.expected, mismatch.got))
                .collect(),
            decision: decision
                .map(|decision| format!("{} → {}", decision.describe_verdict(), decision.action().name())),
            log: decision.map(|one| one.log.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            store: decision.map(|decision| decision.store.clone()).unwrap_or_default(),
            store_held: None,
        }
    }

    fn store_entries(&self) -> Vec<String> {
        let all = self.harness.store();
        let entry = |(key, value): &(String, Vec<u8>)| format!("{} = {}", quoted(key), format_bytes(value));
        let mut shown: Vec<_> = all.iter().take(MAX_SHOWN_ENTRIES).map(entry).collect();
        if all.len() > MAX_SHOWN_ENTRIES {
            shown.push(format!("and {} more", all.len() - MAX_SHOWN_ENTRIES));
        }
        shown
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
