//! Writes a stretch of Reprieve's decision log as scenarios for `reprieve policy test`: the logins as
//! steps in virtual time, and what was decided as expectations. Each user gets a scenario of their
//! own: the steps of a scenario cannot overlap, but the logins of different users do.
//! docs/replay.md says what a scenario cannot reproduce.

mod step;

use std::collections::HashMap;
use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::entry::{Entry, Recorded, RecordedPolicy};
use super::event::Event;
use super::format::Format;
use super::merge::Merge;
use super::problems::Problems;
use super::recorded_verdict::VerdictKind;
use super::run::{Plan, Progress};
use reprieve_policy_host::{Action, Because, Ending, OnFailure, Standing, Unverifiable, Verify};
use reprieve_text::escape;
use step::{Step, list, quoted, table};

/// Logins in a file of scenarios, which are kept in memory: more than anybody reads.
const MAX_LOGINS: usize = 50_000;

/// Scenarios made from a log.
#[derive(Debug)]
pub struct WrittenScenario {
    /// The scenario file.
    pub text: String,
    /// Number of logins in it.
    pub logins: usize,
    /// What could not be read of the logs.
    pub problems: Problems,
}

/// Makes a scenario file from the selected logins of decision logs, with the settings of the plan's
/// policy and its rules. The policy itself is not asked.
///
/// # Errors
/// If a log cannot be opened or is of another format, if the logins are of several virtual servers,
/// if there are too many, or if the time zone has no name.
pub fn to_scenario(plan: &Plan, progress: &Progress) -> anyhow::Result<WrittenScenario> {
    // A system without a time zone has UTC.
    let zone_name = if plan.zone.is_unknown() { Some("UTC") } else { plan.zone.iana_name() };
    let zone_name = zone_name.context("the system's time zone has no name; set --time-zone")?;
    let mut merge = Merge::new(&plan.logs, plan.read_options(), progress)?;
    let mut problems = Problems::default();
    let mut logins = Logins { pools: plan.pools.clone(), ..Logins::default() };
    while let Some(event) = merge.next(&mut problems)? {
        if let Some(other) = merge.formats().iter().find(|format| **format != Format::DecisionLog) {
            let name = other.name();
            anyhow::bail!("only Reprieve's decision log says what was decided; this log is of {name}");
        }
        if let Event::Login(entry) = event
            && plan.selection.includes(&entry)
        {
            logins.add(*entry)?;
        }
    }
    Ok(WrittenScenario { text: logins.write(plan, zone_name), logins: logins.count, problems })
}

/// A user, or a master user and the user on whose behalf they log in.
type UserIdentity = (String, Option<String>);

/// The selected logins.
#[derive(Default)]
struct Logins {
    /// Logins per user, in the order of the users' first logins.
    users: Vec<Vec<Entry>>,
    index: HashMap<UserIdentity, usize>,
    count: usize,
    virtual_server: String,
    pools: Vec<String>,
    policies: Vec<RecordedPolicy>,
}

impl Logins {
    fn add(&mut self, entry: Entry) -> anyhow::Result<()> {
        let recorded = entry.recorded.as_deref().context("a login without a decision")?;
        if self.count == 0 {
            self.virtual_server.clone_from(&recorded.virtual_server);
        }
        ensure!(
            self.virtual_server == recorded.virtual_server,
            "the logins are of several virtual servers, such as {} and {}; choose one with --virtual-server",
            self.virtual_server,
            recorded.virtual_server
        );
        self.count += 1;
        ensure!(
            self.count <= MAX_LOGINS,
            "there are more than {MAX_LOGINS} logins; select fewer with --user, --since and --until"
        );
        let of_backend = recorded.backend.as_ref().map(|backend| &*backend.pool);
        let of_verdict = recorded.verdict.as_ref().and_then(|verdict| verdict.pool.as_deref());
        for pool in of_backend.into_iter().chain(of_verdict) {
            if !pool.is_empty() && !self.pools.iter().any(|known| known == pool) {
                self.pools.push(pool.to_owned());
            }
        }
        if let Some(policy) = &recorded.policy
            && !self.policies.contains(policy)
        {
            self.policies.push(policy.clone());
        }
        let identity = (entry.user.clone(), entry.authorization_id.clone());
        let at = *self.index.entry(identity).or_insert(self.users.len());
        if at == self.users.len() {
            self.users.push(Vec::new());
        }
        self.users[at].push(entry);
        Ok(())
    }

    /// The scenario file.
    fn write(&self, plan: &Plan, zone_name: &str) -> String {
        let mut scenarios = String::new();
        let mut unchecked = 0;
        for logins in &self.users {
            unchecked += self.write_user(logins, &plan.zone, &mut scenarios);
        }
        let mut text = String::from("# Made from a decision log by: reprieve replay --to-scenario\n");
        for policy in &self.policies {
            text.push_str("# Decided by ");
            escape::push(&mut text, &policy.component);
            text.push_str(", sha256 ");
            escape::push(&mut text, &policy.sha256);
            text.push_str(".\n");
        }
        if unchecked > 0 {
            let count = self.count;
            let _ =
                writeln!(text, "# Nothing is expected of {unchecked} of {count} logins: a comment says why.");
        }
        let settings = plan.policy.settings.iter().map(|(key, value)| (quoted(key), quoted(value)));
        let rules = plan.rules;
        let keys = [
            ("virtual-server", Some(quoted(&self.virtual_server))),
            ("time-zone", Some(quoted(zone_name))),
            ("settings", (settings.len() > 0).then(|| table(settings))),
            ("pools", (!self.pools.is_empty()).then(|| list(&self.pools))),
            ("verify", (rules.verify == Verify::Off).then(|| quoted("off"))),
            ("on-failure", (rules.on_failure == OnFailure::Deny).then(|| quoted("deny"))),
            ("unverifiable", (rules.unverifiable == Unverifiable::Refuse).then(|| quoted("refuse"))),
            // A login without a recorded outcome did not reach a mail server.
            ("outcome", Some(quoted("none"))),
        ];
        for (key, value) in keys {
            if let Some(value) = value {
                let _ = writeln!(text, "{key} = {value}");
            }
        }
        text + &scenarios
    }

    /// Writes a user's scenario. Returns the number of logins of which nothing is expected.
    fn write_user(&self, logins: &[Entry], zone: &TimeZone, to: &mut String) -> usize {
        let Some(first) = logins.first() else { return 0 };
        let name = match &first.authorization_id {
            None => first.user.clone(),
            Some(acting) => format!("{} as {acting}", first.user),
        };
        let start = time(first.at_ms, zone);
        let _ = write!(to, "\n[[scenario]]\nname = {}\nstart = {}\n", quoted(&name), quoted(&start));
        let mut timeline = Timeline::new(first);
        let mut unchecked = 0;
        for (at, entry) in logins.iter().enumerate() {
            let Some(recorded) = entry.recorded.as_deref() else { continue };
            let next_ms = logins.get(at + 1).map(|next| next.at_ms);
            let placed = timeline.add(entry, recorded, next_ms);
            unchecked += usize::from(placed.unchecked.is_some());
            let step = Step {
                entry,
                recorded,
                at: placed.moves.then(|| time(entry.at_ms, zone)),
                after_ms: placed.after_ms,
                default_pool: self.pools.first().map(String::as_str),
                unchecked: placed.unchecked.map(Unchecked::why),
            };
            step.write(to);
        }
        unchecked
    }
}

/// Why nothing is expected of a login: in the scenario, the policy may remember something else
/// about the user than it did when it decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unchecked {
    KnownBefore,
    Overlap,
    AfterOverlap,
    AfterFailure,
    AfterException,
    AfterUpgrade,
    Paused,
}

impl Unchecked {
    fn why(self) -> &'static str {
        match self {
            Self::KnownBefore => "the user had logged in before, and the policy may remember it",
            Self::Overlap => "it overlapped with an earlier login of the user",
            Self::AfterOverlap => "earlier logins of the user overlapped",
            Self::AfterFailure => "the policy failed at an earlier login of the user",
            Self::AfterException => "an earlier login of the user was not treated as the policy decided",
            Self::AfterUpgrade => "an earlier session of the user continued at the mail server",
            Self::Paused => "the policy was paused",
        }
    }
}

/// The virtual time of a user's scenario, and whether the policy remembers there what it did when it
/// decided.
struct Timeline {
    /// Time of the previous login.
    login_ms: u64,
    /// Time after the previous step.
    clock_ms: u64,
    /// Time of the latest outcome in the log.
    outcome_ms: u64,
    unchecked: Option<Unchecked>,
}

/// A login in virtual time.
struct Placed {
    /// Whether it is later than the previous one.
    moves: bool,
    /// From the decision and its delay to the outcome.
    after_ms: u64,
    unchecked: Option<Unchecked>,
}

impl Timeline {
    fn new(first: &Entry) -> Self {
        let standing = first.recorded.as_ref().and_then(|recorded| recorded.standing);
        // The standing says whether the user had logged in, unless Reprieve never sees the secret.
        let is_known = standing != Some(Standing::Unknown) || first.mechanism.hides_secret();
        Self {
            login_ms: first.at_ms,
            clock_ms: first.at_ms,
            outcome_ms: 0,
            unchecked: is_known.then_some(Unchecked::KnownBefore),
        }
    }

    fn add(&mut self, entry: &Entry, recorded: &Recorded, next_ms: Option<u64>) -> Placed {
        let is_late = self.clock_ms > entry.at_ms;
        let unchecked = if recorded.because == Some(Because::PolicyPaused) {
            Some(Unchecked::Paused)
        } else if is_late || self.outcome_ms >= entry.at_ms {
            // Within a millisecond, the log does not tell which came first.
            Some(Unchecked::Overlap)
        } else {
            self.unchecked
        };
        let moves = self.login_ms < entry.at_ms && !is_late;
        let delay_ms = recorded.verdict.as_ref().and_then(|verdict| verdict.delay_ms).unwrap_or(0);
        self.login_ms = entry.at_ms;
        self.clock_ms = self.clock_ms.max(entry.at_ms).saturating_add(delay_ms.into());
        // Steps do not overlap: an outcome cannot come after the next login.
        let outcome_ms = recorded.outcome_at_ms.map_or(0, |at_ms| at_ms.saturating_sub(self.clock_ms));
        let room_ms = next_ms.map_or(u64::MAX, |next_ms| next_ms.saturating_sub(self.clock_ms));
        let after_ms = outcome_ms.min(room_ms);
        self.clock_ms = self.clock_ms.saturating_add(after_ms);
        self.outcome_ms = self.outcome_ms.max(recorded.outcome_at_ms.unwrap_or(0));
        self.unchecked = next_unchecked(entry, recorded, after_ms < outcome_ms, unchecked);
        Placed { moves, after_ms, unchecked }
    }
}

/// Why nothing is expected of the user's next login. `now`: why nothing is expected of this one.
fn next_unchecked(
    entry: &Entry,
    recorded: &Recorded,
    is_shortened: bool,
    now: Option<Unchecked>,
) -> Option<Unchecked> {
    let kind = recorded.verdict.as_ref().map(|verdict| verdict.kind);
    let is_as_decided = recorded.because.is_none() && recorded.action == Some(Action::Passed);
    if is_shortened || now == Some(Unchecked::Overlap) {
        Some(Unchecked::AfterOverlap)
    } else if kind == Some(VerdictKind::Failure) {
        Some(Unchecked::AfterFailure)
    } else if matches!(recorded.because, Some(Because::NoSnapshot | Because::NotRoutable)) {
        Some(Unchecked::AfterException)
    } else if recorded.upgraded {
        Some(Unchecked::AfterUpgrade)
    } else if kind == Some(VerdictKind::Pass) && is_as_decided && entry.outcome == Some(Ending::Authenticated)
    {
        // What the policy remembers from now on is in the scenario too.
        None
    } else {
        now
    }
}

/// A time with its offset, as a scenario has it.
fn time(unix_ms: u64, zone: &TimeZone) -> String {
    let timestamp = i64::try_from(unix_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let zoned = timestamp.unwrap_or(Timestamp::MAX).to_zoned(zone.clone());
    zoned.strftime("%Y-%m-%dT%H:%M:%S%.f%:z").to_string()
}

#[cfg(test)]
mod tests;
