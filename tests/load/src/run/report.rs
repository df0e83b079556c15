//! The report: a table, or one line of JSON.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::totals::Totals;
use crate::cli::Scenario;

/// Above this share of a core, this program is the bottleneck.
const CPU_BOUND_SHARE: f64 = 0.9;

pub(super) struct WarmUp {
    pub(super) totals: Totals,
}

pub(super) struct Report {
    pub(super) scenario: Scenario,
    pub(super) connections: u32,
    pub(super) rate: Option<f64>,
    pub(super) took: Duration,
    /// CPU time of this program.
    pub(super) cpu: Duration,
    pub(super) totals: Totals,
    pub(super) warm_up: Option<WarmUp>,
}

impl Report {
    /// Whether there were sessions, and none with an error.
    pub(super) fn is_success(&self) -> bool {
        self.error_count() == 0 && self.totals.ok_count() > 0
    }

    fn error_count(&self) -> u64 {
        self.totals.error_count() + self.warm_up.as_ref().map_or(0, |warm_up| warm_up.totals.error_count())
    }

    fn per_second(&self, count: u64) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }

    pub(super) fn to_json(&self) -> Value {
        let totals = &self.totals;
        let mut report = json!({
            "scenario": self.scenario.name(),
            "connections": self.connections,
            "sessions": totals.ok_count() + totals.error_count(),
            "real": totals.real,
            "denied": totals.denied,
            "errors": self.error_count(),
            "error-kinds": error_kinds(totals),
            "seconds": self.took.as_secs_f64(),
            "sessions-per-second": self.per_second(totals.ok_count()),
            "bytes": totals.received,
            "session-us": totals.sessions.to_json(),
            "login-us": totals.logins.to_json(),
            "cpu-seconds": self.cpu.as_secs_f64(),
        });
        if let Some(rate) = self.rate {
            report["rate"] = json!(rate);
        }
        if let Some(WarmUp { totals }) = &self.warm_up {
            report["warm-up"] = json!({
                "real": totals.real,
                "denied": totals.denied,
                "errors": totals.error_count(),
                "error-kinds": error_kinds(totals),
            });
        }
        report
    }
}

fn error_kinds(totals: &Totals) -> Value {
    totals
        .errors
        .iter()
        .map(|(class, errors)| (class.clone(), json!({ "count": errors.count, "examples": errors.examples })))
        .collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = &self.totals;
        let seconds = self.took.as_secs_f64();
        let pace = match self.rate {
            _ if self.scenario == Scenario::Hold => "held".to_string(),
            Some(rate) => format!("at {rate} sessions per second"),
            None => "as fast as they end".to_string(),
        };
        writeln!(f, "scenario     {}, {} connections, {pace}", self.scenario.name(), self.connections)?;
        if let Some(WarmUp { totals }) = &self.warm_up {
            writeln!(f, "warm-up      {} users, {} errors", totals.ok_count(), totals.error_count())?;
            write_errors(f, totals)?;
        }
        write!(f, "sessions     {} in {seconds:.2} s", totals.ok_count() + totals.error_count())?;
        if self.scenario == Scenario::Hold {
            writeln!(f)?;
        } else {
            writeln!(f, ", {:.0} per second", self.per_second(totals.ok_count()))?;
        }
        writeln!(f, "  real       {}", totals.real)?;
        writeln!(f, "  denied     {}", totals.denied)?;
        writeln!(f, "  errors     {}", totals.error_count())?;
        write_errors(f, totals)?;
        let megabytes = totals.received as f64 / 1e6;
        writeln!(
            f,
            "received     {megabytes:.2} MB, {:.2} MB per second",
            self.per_second(totals.received) / 1e6
        )?;
        writeln!(f, "milliseconds {:>9} {:>9} {:>9} {:>9} {:>9}", "p50", "p90", "p99", "p99.9", "max")?;
        let whole = if self.scenario == Scenario::Hold { "opening" } else { "session" };
        for (name, histogram) in [(whole, &totals.sessions), ("login", &totals.logins)] {
            write!(f, "  {name:<10}")?;
            for (_, value) in histogram.figures() {
                match value {
                    Some(value) => write!(f, " {:>9.3}", value as f64 / 1e3)?,
                    None => write!(f, " {:>9}", "–")?,
                }
            }
            writeln!(f)?;
        }
        let share = if seconds > 0.0 { self.cpu.as_secs_f64() / seconds } else { 0.0 };
        writeln!(
            f,
            "CPU          {:.2} s in this program, {:.0} % of a core",
            self.cpu.as_secs_f64(),
            share * 100.0
        )?;
        if share > CPU_BOUND_SHARE {
            writeln!(f, "             This program was the bottleneck: the server may be faster than this.")?;
        }
        Ok(())
    }
}

fn write_errors(f: &mut fmt::Formatter<'_>, totals: &Totals) -> fmt::Result {
    for (class, errors) in &totals.errors {
        writeln!(f, "    {:>8}  {class}", errors.count)?;
        for example in &errors.examples {
            writeln!(f, "              {example}")?;
        }
    }
    Ok(())
}
