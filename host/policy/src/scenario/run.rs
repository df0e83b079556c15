//! Plays a scenario.

use std::time::{Duration, Instant};

use super::expectation::{Counts, Difference};
use super::file::Scenario;
use super::step::{Login, Step, StepAction, When};
use crate::Action;
use crate::harness::{Attempt, Decision, Trial, in_words, octets, refusal, text_in_words};

/// Failures that are told in full; what comes after is counted.
const TOLD: usize = 10;
/// Entries of the store that are told.
const ENTRIES_TOLD: usize = 20;

/// What came of a scenario.
#[derive(Clone, Debug, Default)]
pub struct Played {
    /// Its name.
    pub name: String,
    /// The file that it stands in.
    pub file: String,
    /// Steps that were played, each repetition counted.
    pub steps: u64,
    /// Logins that were judged.
    pub logins: u64,
    /// Logins that went on to a mail server.
    pub passed: u64,
    /// Virtual time from the start to the end.
    pub virtual_time: Duration,
    /// Real time that it took.
    pub real_time: Duration,
    /// What was not as expected: the first of it.
    pub failed: Vec<Failed>,
    /// What else was not as expected.
    pub more_failed: u64,
    /// Lines that the policy wrote at its start and in `configure`.
    pub start_log: Vec<String>,
    /// Why its file cannot be read: nothing of it was played.
    pub unreadable: Option<String>,
}

impl Played {
    /// A file that has no scenarios, for this reason.
    #[must_use]
    pub fn unreadable(file: &str, why: String) -> Self {
        Self { name: file.to_owned(), file: file.to_owned(), unreadable: Some(why), ..Self::default() }
    }

    /// Whether all was as expected.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failed.is_empty() && self.unreadable.is_none()
    }

    fn fail(&mut self, failed: Failed) {
        if self.failed.len() < TOLD {
            self.failed.push(failed);
        } else {
            self.more_failed += 1;
        }
    }
}

/// Something that was not as expected.
#[derive(Clone, Debug, Default)]
pub struct Failed {
    /// Line of the step, or 0.
    pub line: usize,
    /// The virtual time, in words.
    pub at: String,
    /// Who logged in, if that is what failed.
    pub user: Option<String>,
    /// What was expected and what came, by name.
    pub differences: Vec<(String, String, String)>,
    /// The verdict and what the host made of it.
    pub decision: Option<String>,
    /// Lines that the policy wrote.
    pub log: Vec<String>,
    /// What it did to the store.
    pub store: Vec<String>,
    /// What the store held, where that was not as expected.
    pub held: Option<Vec<String>>,
}

impl Scenario {
    /// Plays it.
    ///
    /// # Errors
    /// Where the policy cannot be loaded at all; that it refuses the settings or decides
    /// otherwise than expected is told in the result.
    pub fn play(&self) -> anyhow::Result<Played> {
        let began = Instant::now();
        let mut played = Played { name: self.name.clone(), file: self.file.clone(), ..Played::default() };
        let mut start_log = Vec::new();
        let trial = self.builder.clone().build_and_tell(&mut start_log);
        played.start_log = start_log.iter().map(ToString::to_string).collect();
        match (trial, &self.refuses) {
            (Ok(_), Some(expected)) => played.fail(Failed {
                differences: vec![(
                    "settings".to_owned(),
                    format!("refused: …{expected}…"),
                    "taken".to_owned(),
                )],
                ..Failed::default()
            }),
            (Ok(mut trial), None) => {
                let start = trial.now_ms();
                let mut player = Player { trial: &mut trial, played: &mut played };
                player.play_all(&self.steps);
                played.virtual_time = Duration::from_millis(trial.now_ms().saturating_sub(start));
            }
            (Err(error), expected) => {
                let Some(words) = refusal(&error) else { return Err(error) };
                let difference = match expected {
                    Some(expected) if words.contains(expected.as_str()) => None,
                    Some(expected) => Some((format!("refused: …{expected}…"), format!("refused: {words}"))),
                    None => Some(("taken".to_owned(), format!("refused: {words}"))),
                };
                if let Some((expected, got)) = difference {
                    played.fail(Failed {
                        differences: vec![("settings".to_owned(), expected, got)],
                        ..Failed::default()
                    });
                }
            }
        }
        played.real_time = began.elapsed();
        Ok(played)
    }
}

struct Player<'a> {
    trial: &'a mut Trial,
    played: &'a mut Played,
}

/// A login that was judged, and what is wrong with that so far.
struct Judged {
    decision: Decision,
    differences: Vec<Difference>,
}

/// What only all logins of a step together show.
struct ShadowMetrics<'a> {
    counts: Counts,
    /// What no log line had yet.
    unlogged: Vec<&'a str>,
    /// Whether the step is more than one login.
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
            return self.fail(step.line, vec![Difference::new("time", "a later moment", why)], None);
        }
        let mut next_ms = self.trial.now_ms();
        let mut tally = ShadowMetrics { counts: Counts::default(), unlogged: Vec::new(), many: false };
        if let StepAction::Login(login) = &step.action {
            tally.unlogged = login.log.iter().map(String::as_str).collect();
            tally.many = step.repeat.times > 1 || !login.is_one();
        }
        for _ in 0..step.repeat.times {
            self.played.steps += 1;
            // What happens within a repetition takes its own time.
            self.trial.set_now_ms(self.trial.now_ms().max(next_ms));
            next_ms = self.trial.now_ms().saturating_add(millis(step.repeat.every));
            let mut last = None;
            match &step.action {
                StepAction::Group(steps) => self.play_all(steps),
                StepAction::Login(login) => {
                    for user in login.users.names(&login.who.user) {
                        let judged = self.log_in(login, user, &mut tally);
                        if let Some(before) = last.replace(judged) {
                            self.settle(step, before);
                        }
                    }
                }
                StepAction::Store { write, forget } => self.change_store(step, write, forget),
            }
            self.check_store(step, last);
        }
        self.check_tally(step, &tally);
    }

    /// What the store holds is told together with the login before it.
    fn check_store(&mut self, step: &Step, last: Option<Judged>) {
        let found = step.store.as_ref().map(|expected| expected.differences(self.trial)).unwrap_or_default();
        let held = (!found.is_empty()).then(|| self.held());
        let (decision, mut differences) = match last {
            Some(judged) => (Some(judged.decision), judged.differences),
            None => (None, Vec::new()),
        };
        differences.extend(found);
        if !differences.is_empty() {
            let mut failed = self.failed(step.line, differences, decision.as_ref());
            failed.held = held;
            self.played.fail(failed);
        }
    }

    fn check_tally(&mut self, step: &Step, tally: &ShadowMetrics<'_>) {
        let StepAction::Login(login) = &step.action else { return };
        let mut differences = Vec::new();
        if let Some(expected) = &login.count {
            differences.extend(tally.counts.differences(expected));
        }
        if tally.many {
            let unlogged = tally.unlogged.iter();
            differences.extend(unlogged.map(|text| {
                Difference::new("log", format!("…{text}…"), "no such line at any login of the step")
            }));
        }
        if !differences.is_empty() {
            self.fail(step.line, differences, None);
        }
    }

    fn wait(&mut self, when: When) -> Result<(), String> {
        let now = self.trial.now_ms();
        match when {
            When::Now => {}
            When::After(after) => self.trial.advance_by(after),
            When::At(at) => {
                let zone = self.trial.zone();
                let to = at.unix_ms(now, zone).ok_or("a moment that no calendar here has")?;
                if to < now {
                    let words = |ms| in_words(ms, zone);
                    return Err(format!("{}, while it is {} already", words(to), words(now)));
                }
                self.trial.set_now_ms(to);
            }
        }
        Ok(())
    }

    fn log_in(&mut self, login: &Login, user: String, tally: &mut ShadowMetrics<'_>) -> Judged {
        let mut who = login.who.clone();
        who.user = user;
        let standing = who.standing;
        let mut attempt = Attempt::by(who);
        if login.standing_is_given {
            attempt = attempt.standing(standing);
        }
        if let Some(pool) = &login.pool {
            attempt = attempt.pool(pool);
        }
        if let Some(happens) = &login.happens {
            attempt = attempt.ends(happens.clone());
        }
        if let Some(injection) = login.injection {
            attempt = attempt.inject(injection);
        }
        let decision = self.trial.login(attempt);
        self.played.logins += 1;
        self.played.passed += u64::from(decision.action() == Action::Passed);
        tally.counts.add(&decision);
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
            differences.push(Difference::new(what, "no failure", format!("{}: {failure}", failure.kind())));
        }
        if let Some(expected) = login.disposition
            && expected != decision.action()
        {
            differences.push(Difference::new("disposition", expected.name(), decision.action().name()));
        }
        tally.unlogged.retain(|text| !decision.log.iter().any(|line| line.text.contains(text)));
        if !tally.many {
            let unlogged = tally.unlogged.iter();
            differences
                .extend(unlogged.map(|text| Difference::new("log", format!("…{text}…"), "no such line")));
        }
        Judged { decision, differences }
    }

    fn settle(&mut self, step: &Step, judged: Judged) {
        if !judged.differences.is_empty() {
            self.fail(step.line, judged.differences, Some(&judged.decision));
        }
    }

    fn change_store(&mut self, step: &Step, write: &[(String, Vec<u8>)], forget: &[String]) {
        for (key, value) in write {
            if let Err(error) = self.trial.write(key, value) {
                let what = format!("write {key:?}");
                self.fail(step.line, vec![Difference::new(&what, "done", error.to_string())], None);
            }
        }
        for key in forget {
            self.trial.forget(key);
        }
    }

    fn fail(&mut self, line: usize, differences: Vec<Difference>, decision: Option<&Decision>) {
        let failed = self.failed(line, differences, decision);
        self.played.fail(failed);
    }

    fn failed(&self, line: usize, differences: Vec<Difference>, decision: Option<&Decision>) -> Failed {
        let at = decision.map_or(self.trial.now_ms(), |decision| decision.at_ms);
        Failed {
            line,
            at: in_words(at, self.trial.zone()),
            user: decision.map(|decision| decision.user.clone()),
            differences: differences.into_iter().map(|one| (one.what, one.expected, one.got)).collect(),
            decision: decision
                .map(|decision| format!("{} → {}", decision.verdict_in_words(), decision.action().name())),
            log: decision.map(|one| one.log.iter().map(ToString::to_string).collect()).unwrap_or_default(),
            store: decision.map(|decision| decision.store.clone()).unwrap_or_default(),
            held: None,
        }
    }

    fn held(&self) -> Vec<String> {
        let all = self.trial.store();
        let entry = |(key, value): &(String, Vec<u8>)| format!("{} = {}", text_in_words(key), octets(value));
        let mut told: Vec<_> = all.iter().take(ENTRIES_TOLD).map(entry).collect();
        if all.len() > ENTRIES_TOLD {
            told.push(format!("and {} more", all.len() - ENTRIES_TOLD));
        }
        told
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
