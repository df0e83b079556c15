//! Plays scenarios.

use std::time::{Duration, Instant};

use super::comparison::{Comparison, Difference, Variation};
use super::expectation::{Counts, Mismatch, compare};
use super::file::Scenario;
use super::result::{ScenarioResult, StepFailure};
use super::step::{Change, LoginStep, Step, StepAction, When};
use crate::harness::{
    Decision, Harness, LogLine, LoginFacts, TestLogin, format_time, named, named_value, settings_error,
};
use crate::{Action, Prepared};

/// Entries of the store to show with a failure.
const MAX_SHOWN_ENTRIES: usize = 20;

impl Scenario {
    /// Plays the scenario twice at the same time: with reused instances, and with fresh ones. A
    /// difference is a failure, because the host may replace an instance at any time.
    ///
    /// # Errors
    /// The component cannot be read or is not a policy. Rejected settings and unexpected decisions
    /// are failures in the result instead.
    pub fn play(&self) -> anyhow::Result<ScenarioResult> {
        self.play_prepared(&self.builder.prepare()?)
    }

    /// Plays the scenario with a policy that is compiled already.
    pub(crate) fn play_prepared(&self, prepared: &Prepared) -> anyhow::Result<ScenarioResult> {
        let began = Instant::now();
        let mut result =
            ScenarioResult { name: self.name.clone(), file: self.file.clone(), ..ScenarioResult::default() };
        let mut start_log = Vec::new();
        let harness = self.builder.clone().build_prepared(prepared, &mut start_log);
        result.start_log = start_log.iter().map(ToString::to_string).collect();
        match harness {
            Ok(harness) if self.refuses.is_none() => {
                self.play_steps(harness, prepared, &mut result)?;
            }
            started => self.check_refusal(started.err(), &mut result),
        }
        result.name_causes();
        result.real_time = began.elapsed();
        Ok(result)
    }

    fn play_steps(
        &self,
        mut harness: Harness,
        prepared: &Prepared,
        result: &mut ScenarioResult,
    ) -> anyhow::Result<()> {
        let start = harness.now_ms();
        let fresh = self.builder.clone().build_prepared(prepared, &mut Vec::new())?;
        let comparison = Comparison::with(fresh, Variation::FreshInstances);
        let difference = self.compare(&mut harness, comparison, result);
        result.virtual_time = Duration::from_millis(harness.now_ms().saturating_sub(start));
        if let Some(Difference { what, ours, theirs }) = difference
            && !self.depends_on_the_seed(prepared)?
        {
            result.causes.push(format!(
                "the policy keeps state in its own memory, which the host may discard at any time: {what} is \
                 \"{ours}\" with a reused instance and \"{theirs}\" with a fresh one; keep state in the store"
            ));
        }
        Ok(())
    }

    /// Whether another seed changes a decision. A fresh instance begins its random numbers anew, so
    /// that such a policy may decide differently without any state.
    fn depends_on_the_seed(&self, prepared: &Prepared) -> anyhow::Result<bool> {
        let mut harness = self.builder.clone().build_prepared(prepared, &mut Vec::new())?;
        let other = self.builder.clone().another_seed().build_prepared(prepared, &mut Vec::new())?;
        let comparison = Comparison::with(other, Variation::AsBuilt);
        Ok(self.compare(&mut harness, comparison, &mut ScenarioResult::default()).is_some())
    }

    /// Plays the steps with both harnesses; `result` is that of the first one. Returns the first
    /// difference.
    fn compare(
        &self,
        harness: &mut Harness,
        mut comparison: Comparison,
        result: &mut ScenarioResult,
    ) -> Option<Difference> {
        let mut player = Player { comparison: Some(&mut comparison), ..Player::new(harness, result) };
        player.play_all(&self.steps);
        comparison.compare_stores(harness);
        comparison.difference()
    }

    /// Lines of the steps that are logins, in order.
    #[must_use]
    pub fn login_lines(&self) -> Vec<usize> {
        fn collect(steps: &[Step], lines: &mut Vec<usize>) {
            for step in steps {
                match &step.action {
                    StepAction::Login(_) => lines.push(step.line),
                    StepAction::Group(steps) => collect(steps, lines),
                    StepAction::Change(_) => {}
                }
            }
        }
        let mut lines = Vec::new();
        collect(&self.steps, &mut lines);
        lines
    }

    /// Facts of the login in a line, without what earlier logins have made of its standing.
    #[must_use]
    pub fn login_facts(&self, line: usize) -> Option<LoginFacts> {
        fn find(steps: &[Step], line: usize) -> Option<LoginFacts> {
            steps.iter().find_map(|step| match &step.action {
                StepAction::Login(login) if step.line == line => Some(login.facts.clone()),
                StepAction::Group(steps) => find(steps, line),
                StepAction::Login(_) | StepAction::Change(_) => None,
            })
        }
        find(&self.steps, line)
    }

    /// Plays the scenario up to the first login of the step in a line, and returns its decision.
    /// `None`: the login was not reached, because a time in the scenario is in the past.
    ///
    /// # Errors
    /// The policy cannot be loaded or rejects its settings ([`crate::LoadError`]).
    pub fn play_until(
        &self,
        line: usize,
        start_log: &mut Vec<LogLine>,
    ) -> anyhow::Result<Option<(Harness, Decision)>> {
        let mut harness = self.builder.clone().build_with_log(start_log)?;
        let mut result = ScenarioResult::default();
        let mut player = Player { until: Some(line), ..Player::new(&mut harness, &mut result) };
        player.play_all(&self.steps);
        let reached = player.reached;
        Ok(reached.map(|decision| (harness, decision)))
    }

    /// Compares how the policy started with what the scenario expects. `error`: why it did not start.
    fn check_refusal(&self, error: Option<anyhow::Error>, result: &mut ScenarioResult) {
        let refused = error.as_ref().and_then(settings_error);
        let got = match (&error, refused) {
            (None, _) => "accepted".to_owned(),
            (Some(_), Some(why)) => format!("rejected: {why}"),
            (Some(error), None) => format!("not checked: {error:#}"),
        };
        let expected = match &self.refuses {
            Some(part) if refused.is_some_and(|why| why.contains(part.as_str())) => return,
            Some(part) => format!("rejected: …{part}…"),
            None => "accepted".to_owned(),
        };
        match (&error, refused) {
            (Some(_), Some(why)) if self.refuses.is_none() => {
                result.causes.push(format!("the policy refuses its settings: {why}"));
            }
            (Some(error), None) => result.causes.push(format!("the policy does not start: {error:#}")),
            _ => {}
        }
        result.fail(StepFailure {
            differences: vec![("settings".to_owned(), expected, got)],
            ..StepFailure::default()
        });
    }
}

struct Player<'a> {
    harness: &'a mut Harness,
    comparison: Option<&'a mut Comparison>,
    result: &'a mut ScenarioResult,
    /// Line of the step after whose first login the scenario ends.
    until: Option<usize>,
    /// Decision of that login.
    reached: Option<Decision>,
}

/// A played login and the differences found so far.
struct LoginCheck {
    decision: Decision,
    differences: Vec<Mismatch>,
    /// How the policy failed although no failure was expected.
    policy_failure: Option<String>,
}

/// Totals over all logins of a step.
struct StepTotals<'a> {
    counts: Counts,
    /// Expected texts that no log line has contained yet.
    unlogged: Vec<&'a str>,
    /// Whether the step has more than one login.
    many: bool,
}

impl<'a> Player<'a> {
    fn new(harness: &'a mut Harness, result: &'a mut ScenarioResult) -> Self {
        Self { harness, comparison: None, result, until: None, reached: None }
    }

    fn play_all(&mut self, steps: &[Step]) {
        for step in steps {
            if self.reached.is_some() {
                return;
            }
            self.play(step);
        }
    }

    fn play(&mut self, step: &Step) {
        if let Err(why) = self.wait(step.when) {
            return self.fail(step.line, vec![Mismatch::new("time", "a time in the future", why)]);
        }
        let mut next_ms = self.harness.now_ms();
        let mut totals = StepTotals { counts: Counts::default(), unlogged: Vec::new(), many: false };
        if let StepAction::Login(login) = &step.action {
            totals.unlogged = login.log.iter().map(String::as_str).collect();
            totals.many = step.repeat.times > 1 || !login.is_one();
        }
        for _ in 0..step.repeat.times {
            if self.reached.is_some() {
                return;
            }
            self.result.steps += 1;
            // A repetition may take longer than `every`.
            self.harness.set_now_ms(self.harness.now_ms().max(next_ms));
            next_ms = self.harness.now_ms().saturating_add(millis(step.repeat.every));
            let mut last = None;
            match &step.action {
                StepAction::Group(steps) => self.play_all(steps),
                StepAction::Login(login) => {
                    for user in login.users.names(&login.facts.user) {
                        let check = self.log_in(step.line, login, user, &mut totals);
                        if self.until == Some(step.line) {
                            self.reached = Some(check.decision);
                            return;
                        }
                        if let Some(before) = last.replace(check) {
                            self.report(step, before);
                        }
                    }
                }
                StepAction::Change(change) => self.change(step, change),
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
        let (decision, mut differences, policy_failure) = match last {
            Some(check) => (Some(check.decision), check.differences, check.policy_failure),
            None => (None, Vec::new(), None),
        };
        differences.extend(found);
        if !differences.is_empty() {
            let mut failure = self.describe_failure(step.line, differences, decision.as_ref());
            failure.store_held = held;
            failure.policy_failure = policy_failure;
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
            self.fail(step.line, differences);
        }
    }

    fn wait(&mut self, when: When) -> Result<(), String> {
        let now = self.harness.now_ms();
        match when {
            When::Now => {}
            When::After(after) => self.harness.advance_by(after),
            When::SetBack(by) => self.harness.set_now_ms(now.saturating_sub(millis(by))),
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

    fn log_in(
        &mut self,
        line: usize,
        login: &LoginStep,
        user: String,
        totals: &mut StepTotals<'_>,
    ) -> LoginCheck {
        let test_login = test_login(login, user);
        let decision = self.harness.login(test_login.clone());
        if let Some(comparison) = &mut self.comparison {
            comparison.log_in(test_login, &decision, line);
        }
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
            || login.count.as_ref().is_some_and(|counts| counts.iter().any(|(word, _)| word == "failure"));
        let failure = decision.failure().filter(|_| !failure_is_expected);
        if let Some(failure) = failure
            && differences.is_empty()
        {
            let call = decision.failed_call().map_or("decide", |(call, _)| call);
            differences.push(Mismatch::new(call, "no failure", format!("{}: {failure}", failure.kind())));
        }
        if login.session.is_some() && !self.harness.wants_sessions() {
            let expected = "the export `sessions`, which hears how it ends";
            differences.push(Mismatch::new("session", expected, "the policy does not have it".to_owned()));
        }
        let action = decision.action().name();
        differences
            .extend(compare("disposition", &login.disposition, Some(&action), |name| (*name).to_owned()));
        totals.unlogged.retain(|text| !decision.log.iter().any(|line| line.text.contains(text)));
        if !totals.many {
            let unlogged = totals.unlogged.iter();
            differences
                .extend(unlogged.map(|text| Mismatch::new("log", format!("…{text}…"), "no such line")));
        }
        let policy_failure = failure.map(ToString::to_string);
        LoginCheck { differences, policy_failure, decision }
    }

    fn report(&mut self, step: &Step, check: LoginCheck) {
        if !check.differences.is_empty() {
            let mut failure = self.describe_failure(step.line, check.differences, Some(&check.decision));
            failure.policy_failure = check.policy_failure;
            self.result.fail(failure);
        }
    }

    fn change(&mut self, step: &Step, change: &Change) {
        for (key, why) in change.apply(self.harness) {
            self.fail(step.line, vec![Mismatch::new(&format!("write {key:?}"), "done", why)]);
        }
        if let Some(comparison) = &mut self.comparison {
            comparison.change(self.harness.now_ms(), change);
        }
    }

    fn fail(&mut self, line: usize, differences: Vec<Mismatch>) {
        let failure = self.describe_failure(line, differences, None);
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
            ..StepFailure::default()
        }
    }

    fn store_entries(&self) -> Vec<String> {
        let all = self.harness.store();
        let entry =
            |(key, value): &(String, Vec<u8>)| format!("{} = {}", named(key), named_value(key, value));
        let mut shown: Vec<_> = all.iter().take(MAX_SHOWN_ENTRIES).map(entry).collect();
        if all.len() > MAX_SHOWN_ENTRIES {
            shown.push(format!("and {} more", all.len() - MAX_SHOWN_ENTRIES));
        }
        shown
    }
}

impl Change {
    /// Makes the changes. Returns the keys that could not be written, and why.
    pub(super) fn apply(&self, harness: &mut Harness) -> Vec<(&str, String)> {
        let mut rejected = Vec::new();
        for (key, value) in &self.write {
            if let Err(error) = harness.write(key, value) {
                rejected.push((key.as_str(), error.to_string()));
            }
        }
        for key in &self.forget {
            harness.delete(key);
        }
        for user in &self.new_mail {
            harness.new_mail(user);
        }
        rejected
    }
}

/// The login of a step for one of its users.
fn test_login(login: &LoginStep, user: String) -> TestLogin {
    let facts = LoginFacts { user, ..login.facts.clone() };
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
    for state in &login.other_pools {
        test_login = test_login.other_pool(state.clone());
    }
    if login.upgrade {
        test_login = test_login.upgrade();
    }
    if let Some(totals) = login.session {
        test_login = test_login.session(totals);
    }
    if let Some(fault) = login.fault {
        test_login = test_login.inject(fault);
    }
    test_login
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
