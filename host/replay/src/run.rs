//! A replay from its plan to its report.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::differences::Differences;
use super::entry::Entry;
use super::event::Event;
use super::format::Format;
use super::merge::Merge;
use super::new_mail::{NewMail, NewMailPlayer};
use super::periods::Hours;
use super::player::{Decision, Player, PolicySource};
use super::problems::Problems;
use super::recorded_verdict::VerdictKind;
use super::report::{Comparison, CostSource, Logs, PolicyRow, RecordedRelief, Report, SavedTime, Span};
use super::selection::Selection;
use super::source::LogSource;
use super::stream::{ReadOptions, has_delivery};
use super::totals::Totals;
use super::users::Users;
use reprieve_policy_host::{Action, Because, Ending, Freshness, Rules, Worded};

/// What to replay.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The logs, in any order.
    pub logs: Vec<LogSource>,
    /// Format of all logs. None to detect each one's.
    pub format: Option<Format>,
    /// Time zone of timestamps that have none, and of the policy's days.
    pub zone: TimeZone,
    /// Year of each log's first line, if lines have no year. None to guess it.
    pub year: Option<i16>,
    /// The logins of the logs to replay.
    pub selection: Selection,
    /// The policy to replay the logs with.
    pub policy: PolicySource,
    /// A second policy to compare it with.
    pub baseline: Option<PolicySource>,
    /// The virtual server's settings for verdicts.
    pub rules: Rules,
    /// Names of the pools that policies may choose, the default pool first.
    pub pools: Vec<String>,
    /// Time that a login costs the mail server. None to use the latencies in the logs.
    pub login_cost: Option<Duration>,
    /// Number of top pollers in the report.
    pub top_pollers: usize,
}

impl Plan {
    pub(super) fn read_options(&self) -> ReadOptions {
        ReadOptions { format: self.format, zone: self.zone.clone(), year: self.year }
    }
}

/// How far a replay is. It can be read while the replay runs.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Bytes of the logs that were read, before decompression.
    pub bytes: Arc<AtomicU64>,
    /// Lines that were read.
    pub lines: Arc<AtomicU64>,
}

/// Replays logs. Each decision is written to `decisions` as a line of JSON.
///
/// # Errors
/// If a policy cannot be loaded, a log cannot be opened, or a decision cannot be written.
pub fn run(
    plan: &Plan,
    mut decisions: Option<&mut dyn Write>,
    progress: &Progress,
) -> anyhow::Result<Report> {
    let began = Instant::now();
    let load =
        |policy: &PolicySource| Player::load(policy.clone(), plan.rules, plan.zone.clone(), &plan.pools);
    let mut player = load(&plan.policy)?;
    let mut baseline = plan.baseline.as_ref().map(load).transpose()?;
    // Signals make another run of the policy necessary.
    let with_signals = has_deliveries(&plan.logs)?;
    let signalled = |policy: &PolicySource| load(policy).map(NewMailPlayer::new);
    let mut new_mail = with_signals.then(|| signalled(&plan.policy)).transpose()?;
    let mut baseline_new_mail = plan.baseline.as_ref().filter(|_| with_signals).map(signalled).transpose()?;
    let mut merge = Merge::new(&plan.logs, plan.read_options(), progress)?;
    let mut problems = Problems::default();
    let mut results = Results::default();
    while let Some(event) = merge.next(&mut problems)? {
        let entry = match event {
            Event::Login(entry) => entry,
            Event::Delivery(at_ms, delivery) => {
                if plan.selection.includes_delivery(&delivery, at_ms) {
                    let players = new_mail.iter_mut().chain(&mut baseline_new_mail);
                    players.for_each(|player| player.deliver(&delivery, at_ms));
                }
                continue;
            }
        };
        if !plan.selection.includes(&entry) {
            continue;
        }
        for _ in 0..entry.times {
            let decision = player.play(&entry, Freshness::Unknown);
            let other = baseline.as_mut().map(|baseline| baseline.play(&entry, Freshness::Unknown));
            if let Some(new_mail) = &mut new_mail {
                new_mail.play(&entry, &decision);
            }
            if let (Some(new_mail), Some(other)) = (&mut baseline_new_mail, &other) {
                new_mail.play(&entry, other);
            }
            results.add(&entry, &decision, other.as_ref(), &plan.zone);
            if let Some(out) = &mut decisions {
                write_decision(out, &entry, &decision).context("cannot write the decisions")?;
            }
        }
    }
    player.finish();
    if let Some(baseline) = &mut baseline {
        baseline.finish();
    }
    if let Some(out) = decisions {
        out.flush().context("cannot write the decisions")?;
    }
    let logs = Logs {
        names: plan.logs.iter().map(LogSource::name).collect(),
        formats: merge.formats().to_vec(),
        lines: progress.lines.load(Ordering::Relaxed),
        problems,
    };
    results.new_mail = new_mail.and_then(|new_mail| new_mail.finish(&results.totals));
    results.baseline_new_mail = baseline_new_mail
        .zip(results.baseline.as_ref())
        .and_then(|(new_mail, totals)| new_mail.finish(totals));
    Ok(results.into_report(plan, logs, &player, baseline.as_ref(), began.elapsed()))
}

/// Whether a log has deliveries. Standard input can be read only once: it may have some.
fn has_deliveries(logs: &[LogSource]) -> anyhow::Result<bool> {
    for log in logs {
        let found = match log {
            LogSource::Stdin => true,
            LogSource::Path(_) => {
                has_delivery(log).with_context(|| format!("cannot read the log {}", log.name()))?
            }
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A decision as a line of JSON, with the keys of the decision log.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
struct DecisionLine<'a> {
    at_ms: u64,
    time: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    id: &'a str,
    user: &'a str,
    standing: &'static str,
    verdict: VerdictKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    manner: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_s: Option<u32>,
    disposition: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

fn write_decision(out: &mut dyn Write, entry: &Entry, decision: &Decision) -> std::io::Result<()> {
    let timestamp = i64::try_from(entry.at_ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    let line = DecisionLine {
        at_ms: entry.at_ms,
        time: timestamp.map(|at| at.to_string()).unwrap_or_default(),
        id: entry.recorded.as_ref().map_or("", |recorded| &recorded.id),
        user: &entry.user,
        standing: decision.standing.word(),
        verdict: decision.verdict.kind,
        manner: decision.verdict.manner.map(Worded::word),
        code: decision.verdict.code.map(Worded::word),
        reason: decision.verdict.reason.as_deref(),
        retry_after_s: decision.verdict.retry_after,
        disposition: decision.disposition.action.name(),
        because: decision.disposition.because.map(Because::name),
        outcome: entry.outcome.map(Worded::word),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// The results of the logins so far.
#[derive(Default)]
struct Results {
    totals: Totals,
    hours: Hours,
    users: Users,
    span: Option<Span>,
    latency: Latency,
    recorded: RecordedRelief,
    baseline: Option<Totals>,
    differences: Differences,
    new_mail: Option<NewMail>,
    baseline_new_mail: Option<NewMail>,
}

/// Latencies of the mail server in the logs.
#[derive(Default)]
struct Latency {
    total_ms: u64,
    logins: u64,
}

impl Latency {
    /// None if no log has latencies.
    #[allow(clippy::cast_precision_loss)]
    fn mean(&self) -> Option<Duration> {
        (self.logins > 0).then(|| Duration::from_secs_f64(self.total_ms as f64 / self.logins as f64 / 1000.0))
    }
}

impl Results {
    /// Adds a login with the decision, and that of the baseline if there is one.
    fn add(&mut self, entry: &Entry, decision: &Decision, baseline: Option<&Decision>, zone: &TimeZone) {
        let span = self.span.get_or_insert(Span { from_ms: entry.at_ms, to_ms: entry.at_ms });
        span.from_ms = span.from_ms.min(entry.at_ms);
        span.to_ms = span.to_ms.max(entry.at_ms);
        self.totals.add(entry, decision);
        self.hours.add(entry, decision, zone);
        self.users.add(entry, decision);
        if let (Some(latency_ms), Some(Ending::Authenticated)) = (entry.latency_ms, entry.outcome) {
            self.latency.total_ms = self.latency.total_ms.saturating_add(latency_ms.into());
            self.latency.logins += 1;
        }
        let recorded = entry.recorded.as_deref();
        let recorded_action = recorded.and_then(|recorded| recorded.action);
        if let Some(action) = recorded_action {
            self.recorded.logins += 1;
            self.recorded.relieved += u64::from(action != Action::Passed && !entry.is_upgraded());
        }
        if let Some(baseline) = baseline {
            self.baseline.get_or_insert_default().add(entry, baseline);
            self.differences.add(entry, decision, &baseline.verdict, Some(baseline.disposition.action));
        } else if let Some(verdict) = recorded.and_then(|recorded| recorded.verdict.as_ref()) {
            self.differences.add(entry, decision, verdict, recorded_action);
        }
    }

    fn into_report(
        self,
        plan: &Plan,
        logs: Logs,
        player: &Player,
        baseline: Option<&Player>,
        duration: Duration,
    ) -> Report {
        let measured = || self.latency.mean().map(|cost| (cost, CostSource::Measured));
        let cost = plan.login_cost.map(|cost| (cost, CostSource::Given)).or_else(measured);
        let is_compared = plan.baseline.is_some() || self.differences.compared > 0;
        Report {
            policy: PolicyRow::of(player),
            zone: plan.zone.clone(),
            span: self.span,
            new_mail: self.new_mail,
            saved_time: cost.map(|(cost, source)| SavedTime::new(self.totals.relieved, cost, source)),
            logins_beyond_hour_limit: self.hours.logins_beyond_limit(),
            hours: self.hours.into_periods(),
            users: self.users.count(),
            logins_beyond_user_limit: self.users.logins_beyond_limit(),
            top_pollers: self.users.top(plan.top_pollers),
            recorded: (self.recorded.logins > 0).then_some(self.recorded),
            comparison: is_compared.then(|| Comparison {
                policy: baseline.map(PolicyRow::of),
                totals: self.baseline,
                new_mail: self.baseline_new_mail,
                differences: self.differences.finish(),
            }),
            totals: self.totals,
            logs,
            duration,
        }
    }
}
