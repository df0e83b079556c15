//! The report of a replay, and its forms: a table, JSON, a page with charts.

mod chart;
mod display;
mod html;
mod human;

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::differences::Differences;
use super::format::Format;
use super::new_mail::NewMail;
use super::periods::{self, Period};
use super::player::{Player, PolicyLog};
use super::problems::Problems;
use super::totals::Totals;
use super::users::UserRow;

pub use html::page;
pub use human::table;

/// The report of a replay.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Report {
    /// The policy that was replayed.
    pub policy: PolicyRow,
    /// Time zone of the policy's days.
    #[serde(rename = "time_zone", serialize_with = "serialize_zone")]
    pub zone: TimeZone,
    /// Times of the first and the last login; none if there was no login.
    pub span: Option<Span>,
    /// Numbers of logins by what would have happened to them.
    pub totals: Totals,
    /// How long new mail would have waited; none if the logs have no deliveries.
    pub new_mail: Option<NewMail>,
    /// The mail server's time that would have been saved; none if the cost of a login is unknown.
    pub saved_time: Option<SavedTime>,
    /// Logins per hour.
    pub hours: Vec<Period>,
    /// Number of logins in hours beyond the limit, which are missing in `hours`.
    #[serde(skip_serializing_if = "is_zero")]
    pub logins_beyond_hour_limit: u64,
    /// Number of users.
    pub users: u64,
    /// Number of logins of users beyond the memory limit, who are missing in `users`.
    #[serde(skip_serializing_if = "is_zero")]
    pub logins_beyond_user_limit: u64,
    /// The users who poll most.
    pub top_pollers: Vec<UserRow>,
    /// The relief at the time of the logs; none if the logs are not Reprieve's own.
    pub recorded: Option<RecordedRelief>,
    /// Comparison with a second policy or with the log.
    pub comparison: Option<Comparison>,
    /// What was read.
    pub logs: Logs,
    /// Duration of the replay.
    #[serde(rename = "duration_s", serialize_with = "serialize_seconds")]
    pub duration: Duration,
}

/// A policy that was replayed.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct PolicyRow {
    /// Name of a built-in policy, or path of a component.
    pub component: String,
    /// SHA-256 of the component in hexadecimal.
    pub sha256: String,
    /// Settings in the order of the command line.
    pub settings: Vec<(String, String)>,
    /// What the policy has logged.
    pub log: PolicyLog,
    /// Number of outcomes at which the policy failed.
    pub failed_outcomes: u64,
}

impl PolicyRow {
    pub(super) fn of(player: &Player) -> Self {
        let policy = player.policy();
        Self {
            component: policy.component.clone(),
            sha256: player.sha256(),
            settings: policy.settings.clone(),
            log: player.policy_log(),
            failed_outcomes: player.failed_outcomes(),
        }
    }
}

/// Times of the first and the last login in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Span {
    /// Time of the first login.
    pub from_ms: u64,
    /// Time of the last login.
    pub to_ms: u64,
}

/// Where the cost of a login is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CostSource {
    /// `--login-cost`.
    Given,
    /// The mean latency of accepted logins in the logs.
    Measured,
}

/// The mail server's time that would have been saved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct SavedTime {
    /// Time of all relieved logins in seconds.
    pub total_s: f64,
    /// Time of one login in milliseconds.
    pub login_cost_ms: f64,
    /// Where `login_cost_ms` is from.
    pub cost_source: CostSource,
}

impl SavedTime {
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn new(relieved: u64, cost: Duration, cost_source: CostSource) -> Self {
        Self {
            total_s: cost.as_secs_f64() * relieved as f64,
            login_cost_ms: cost.as_secs_f64() * 1000.0,
            cost_source,
        }
    }
}

/// The relief at the time of the logs, according to Reprieve's own logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct RecordedRelief {
    /// Number of logins for which it is known.
    pub logins: u64,
    /// Number of these logins that did not reach a mail server.
    pub relieved: u64,
}

/// Comparison with a second policy or with the log.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Comparison {
    /// The second policy; none for a comparison with the log.
    pub policy: Option<PolicyRow>,
    /// Totals of the second policy.
    pub totals: Option<Totals>,
    /// How long new mail would have waited with the second policy.
    pub new_mail: Option<NewMail>,
    /// The differences.
    pub differences: Differences,
}

/// What was read.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct Logs {
    /// Names in the order of the command line.
    pub names: Vec<String>,
    /// Formats of the logs, each once.
    pub formats: Vec<Format>,
    /// Number of lines in all logs.
    pub lines: u64,
    /// What could not be read.
    pub problems: Problems,
}

impl Report {
    /// Writes the report as one JSON object.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn write_json(&self, mut out: impl std::io::Write) -> anyhow::Result<()> {
        serde_json::to_writer_pretty(&mut out, self)?;
        writeln!(out)?;
        Ok(())
    }

    /// Hours, or days if there are more than `max_hours`, and whether they are days.
    pub(super) fn periods(&self, max_hours: usize) -> (Vec<Period>, bool) {
        if self.hours.len() <= max_hours {
            return (self.hours.clone(), false);
        }
        (periods::days(&self.hours, &self.zone), true)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn serialize_seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn serialize_zone<S: Serializer>(zone: &TimeZone, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&display::zone_name(zone))
}
