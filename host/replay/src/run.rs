//! A replay from its plan to its report.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::difference::Difference;
use super::entry::Entry;
use super::format::Format;
use super::merge::Merge;
use super::periods::Hours;
use super::player::{Decision, PlayedPolicy, Player};
use super::problems::Problems;
use super::report::{Against, CostFrom, Happened, Logs, PolicyRow, Report, Saved, Span};
use super::said::Word;
use super::source::LogFile;
use super::stream::HowToRead;
use super::tally::Counts;
use super::users::Users;
use reprieve_policy_host::Worded;
use reprieve_policy_host::harness::Becomes;

/// What is to be replayed.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The logs.
    pub logs: Vec<LogFile>,
    /// Their format; none to find out.
    pub format: Option<Format>,
    /// The zone of times that name none, and where the virtual server's days change.
    pub zone: TimeZone,
    /// The year of each log's first line, where lines have none; none to find out.
    pub year: Option<i16>,
    /// The policy.
    pub policy: PlayedPolicy,
    /// Another one to compare it with.
    pub against: Option<PlayedPolicy>,
    /// Pools that policies may choose, the virtual server's own first.
    pub pools: Vec<String>,
    /// The mail server's time for one login; none for what was measured, if it was.
    pub login_cost: Option<Duration>,
    /// Worst pollers that are told.
    pub top: usize,
}

/// How far a replay is: read by whoever shows it, while it goes on.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Octets that were read of the logs, as they are kept.
    pub octets: Arc<AtomicU64>,
    /// Lines.
    pub lines: Arc<AtomicU64>,
}

/// A decision as a line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Line<'a> {
    at: u64,
    time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    user: &'a str,
    standing: &'static str,
    verdict: Word,
    #[serde(skip_serializing_if = "Option::is_none")]
    manner: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u32>,
    became: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

/// Replays logs. `decisions` takes each decision as a line of JSON.
///
/// # Errors
/// Where a policy cannot be loaded, a log cannot be opened, or decisions cannot be written.
pub fn run(
    plan: &Plan,
    mut decisions: Option<&mut dyn Write>,
    progress: &Progress,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let load = |policy: &PlayedPolicy| Player::load(policy.clone(), plan.zone.clone(), &plan.pools);
    let mut player = load(&plan.policy)?;
    let mut other = plan.against.as_ref().map(load).transpose()?;
    let how = HowToRead { format: plan.format, zone: plan.zone.clone(), year: plan.year };
    let mut merge = Merge::new(&plan.logs, how, progress)?;
    let mut problems = Problems::default();
    let mut adding = Adding::default();
    while let Some(entry) = merge.next(&mut problems)? {
        for _ in 0..entry.times {
            let decision = player.play(&entry);
            let others = other.as_mut().map(|other| other.play(&entry));
            adding.add(&entry, &decision, others.as_ref(), &plan.zone);
            if let Some(out) = &mut decisions {
                write_line(out, &entry, &decision).context("cannot write the decisions")?;
            }
        }
    }
    player.finish();
    if let Some(other) = &mut other {
        other.finish();
    }
    if let Some(out) = decisions {
        out.flush().context("cannot write the decisions")?;
    }
    let logs = Logs {
        names: plan.logs.iter().map(LogFile::name).collect(),
        formats: merge.formats().to_vec(),
        lines: progress.lines.load(Ordering::Relaxed),
        problems,
    };
    Ok(adding.report(plan, logs, &player, other.as_ref(), began.elapsed()))
}

fn write_line(out: &mut dyn Write, entry: &Entry, decision: &Decision) -> std::io::Result<()> {
    let timestamp = i64::try_from(entry.at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let line = Line {
        at: entry.at_ms,
        time: timestamp.map(|at| at.to_string()).unwrap_or_default(),
        id: entry.recorded.as_ref().map_or("", |recorded| &recorded.id),
        user: &entry.user,
        standing: decision.standing.word(),
        verdict: decision.said.word,
        manner: decision.said.manner.map(Worded::word),
        code: decision.said.code.map(Worded::word),
        reason: decision.said.reason.as_deref(),
        retry_after: decision.said.retry_after,
        became: decision.becomes.word(),
        why: decision.why,
        outcome: entry.outcome.map(Worded::word),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// Everything that is being added up.
#[derive(Default)]
struct Adding {
    counts: Counts,
    hours: Hours,
    users: Users,
    first_ms: Option<u64>,
    last_ms: u64,
    latency_ms: u64,
    latencies: u64,
    happened: Happened,
    difference: Difference,
    others: Option<Counts>,
}

impl Adding {
    fn add(&mut self, entry: &Entry, decision: &Decision, others: Option<&Decision>, zone: &TimeZone) {
        self.first_ms = Some(self.first_ms.map_or(entry.at_ms, |first| first.min(entry.at_ms)));
        self.last_ms = self.last_ms.max(entry.at_ms);
        self.counts.add(entry, decision);
        self.hours.add(entry, decision, zone);
        self.users.add(entry, decision);
        if let (Some(latency), Some(reprieve_policy_host::Ending::Authenticated)) =
            (entry.latency_ms, entry.outcome)
        {
            self.latency_ms = self.latency_ms.saturating_add(latency.into());
            self.latencies += 1;
        }
        let recorded = entry.recorded.as_deref();
        if let Some(became) = recorded.and_then(|recorded| recorded.became) {
            self.happened.logins += 1;
            self.happened.relieved += u64::from(became != Becomes::Passed && !entry.is_upgraded());
        }
        match others {
            Some(other) => {
                self.others.get_or_insert_default().add(entry, other);
                self.difference.add(entry, decision, Some(&other.said), Some(other.becomes));
            }
            None => {
                let said = recorded.and_then(|recorded| recorded.said.as_ref());
                let became = recorded.and_then(|recorded| recorded.became);
                self.difference.add(entry, decision, said, said.and(became));
            }
        }
    }

    fn report(
        self,
        plan: &Plan,
        logs: Logs,
        player: &Player,
        other: Option<&Player>,
        took: Duration,
    ) -> Report {
        let measured = (self.latencies > 0).then(|| {
            #[allow(clippy::cast_precision_loss)]
            Duration::from_secs_f64(self.latency_ms as f64 / self.latencies as f64 / 1000.0)
        });
        let cost = plan.login_cost.map(|cost| (cost, CostFrom::Given));
        let cost = cost.or_else(|| measured.map(|cost| (cost, CostFrom::Measured)));
        let saved = cost.map(|(cost, from)| Saved::new(self.counts.relieved, cost, from));
        let compares = plan.against.is_some() || self.difference.compared > 0;
        Report {
            policy: PolicyRow::of(player),
            zone: plan.zone.clone(),
            span: self.first_ms.map(|from_ms| Span { from_ms, to_ms: self.last_ms }),
            saved,
            hours_beyond: self.hours.beyond(),
            hours: self.hours.into_periods(),
            users: self.users.count(),
            users_beyond: self.users.beyond(),
            worst: self.users.worst(plan.top),
            happened: (self.happened.logins > 0).then_some(self.happened),
            against: compares.then(|| Against {
                policy: other.map(PolicyRow::of),
                counts: self.others,
                difference: self.difference.finish(),
            }),
            counts: self.counts,
            logs,
            took,
        }
    }
}
