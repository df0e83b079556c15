//! What a replay has found, and how it is shown: a table, JSON, a page with charts.

mod chart;
mod html;
mod human;
mod words;

use std::time::Duration;

use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::difference::Difference;
use super::format::Format;
use super::periods::{self, Period};
use super::player::{OwnLines, Player};
use super::problems::Problems;
use super::tally::Counts;
use super::users::UserRow;

pub use html::page;
pub use human::table;

/// What a replay has found.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// The policy that was played.
    pub policy: PolicyRow,
    /// Where its days change.
    #[serde(serialize_with = "zone_name")]
    pub zone: TimeZone,
    /// From the first login to the last; none where there was no login.
    pub span: Option<Span>,
    /// What would have become of the logins.
    pub counts: Counts,
    /// The mail server's time that would have been saved, where the cost of a login is known.
    pub saved: Option<Saved>,
    /// Hour by hour.
    pub hours: Vec<Period>,
    /// Logins at hours beyond those that are told apart.
    #[serde(skip_serializing_if = "is_zero")]
    pub hours_beyond: u64,
    /// Different users.
    pub users: u64,
    /// Logins of users beyond those that are told apart.
    #[serde(skip_serializing_if = "is_zero")]
    pub users_beyond: u64,
    /// Those who poll the most.
    pub worst: Vec<UserRow>,
    /// What has happened then, as far as the logs tell: Reprieve's own do.
    pub happened: Option<Happened>,
    /// How the policy differs from another, or from what happened.
    pub against: Option<Against>,
    /// What was read.
    pub logs: Logs,
    /// How long it took.
    #[serde(rename = "took-s", serialize_with = "seconds")]
    pub took: Duration,
}

/// A policy that was played.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PolicyRow {
    /// A built-in policy's name or a file's path.
    pub component: String,
    /// SHA-256 of its octets, in hex digits.
    pub sha256: String,
    /// Settings in their order.
    pub settings: Vec<(String, String)>,
    /// Its own lines.
    pub log: OwnLines,
    /// Outcomes that it failed to take.
    pub failed_outcomes: u64,
}

impl PolicyRow {
    pub(super) fn of(player: &Player) -> Self {
        let policy = player.policy();
        Self {
            component: policy.component.clone(),
            sha256: player.sha256(),
            settings: policy.settings.clone(),
            log: player.own_lines(),
            failed_outcomes: player.failed_outcomes(),
        }
    }
}

/// From the first login to the last, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Span {
    /// The first.
    pub from_ms: u64,
    /// The last.
    pub to_ms: u64,
}

/// Where the cost of a login is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CostFrom {
    /// Somebody has said so.
    Given,
    /// From the logs: the mean of how long accepted logins took.
    Measured,
}

/// The mail server's time that would have been saved.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Saved {
    /// Seconds.
    pub seconds: f64,
    /// Milliseconds that one login costs.
    pub login_cost_ms: f64,
    /// Where that is from.
    pub cost_from: CostFrom,
}

impl Saved {
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn new(relieved: u64, cost: Duration, cost_from: CostFrom) -> Self {
        Self {
            seconds: cost.as_secs_f64() * relieved as f64,
            login_cost_ms: cost.as_secs_f64() * 1000.0,
            cost_from,
        }
    }
}

/// What has happened, by Reprieve's own logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Happened {
    /// Logins of which it is known.
    pub logins: u64,
    /// Those that did not reach a mail server.
    pub relieved: u64,
}

/// A comparison.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Against {
    /// The other policy; none where it is compared with what happened.
    pub policy: Option<PolicyRow>,
    /// What would have become of the logins by the other policy.
    pub counts: Option<Counts>,
    /// The differences.
    pub difference: Difference,
}

/// What was read.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Logs {
    /// Names.
    pub names: Vec<String>,
    /// Formats that were found.
    pub formats: Vec<Format>,
    /// Lines of all logs.
    pub lines: u64,
    /// What could not be read.
    pub problems: Problems,
}

impl Report {
    /// The report as one JSON object.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn write_json(&self, mut out: impl std::io::Write) -> anyhow::Result<()> {
        serde_json::to_writer_pretty(&mut out, self)?;
        writeln!(out)?;
        Ok(())
    }

    /// Hours, or days where those are too many, and whether they are days.
    pub(super) fn periods(&self, most_hours: usize) -> (Vec<Period>, bool) {
        if self.hours.len() <= most_hours {
            return (self.hours.clone(), false);
        }
        (periods::days(&self.hours, &self.zone), true)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

fn zone_name<S: Serializer>(zone: &TimeZone, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&words::zone(zone))
}
