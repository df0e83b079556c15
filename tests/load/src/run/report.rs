//! What is printed at the end: for a person, or one line of JSON for a program.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::tally::Tally;
use crate::cli::Scenario;

/// From this share of a core on, the load program measures itself.
const BUSY: f64 = 0.9;

/// What came of the warm-up.
pub(super) struct WarmUp {
    pub(super) tally: Tally,
}

/// What came of a run.
pub(super) struct Report {
    pub(super) scenario: Scenario,
    pub(super) connections: u32,
    pub(super) rate: Option<f64>,
    pub(super) took: Duration,
    /// CPU time of this program.
    pub(super) cpu: Duration,
    pub(super) tally: Tally,
    pub(super) warm_up: Option<WarmUp>,
}

impl Report {
    /// Whether sessions were held, and every one of them was right.
    pub(super) fn all_is_well(&self) -> bool {
        self.wrong() == 0 && self.tally.well() > 0
    }

    fn wrong(&self) -> u64 {
        self.tally.wrong() + self.warm_up.as_ref().map_or(0, |warm_up| warm_up.tally.wrong())
    }

    fn a_second(&self, count: u64) -> f64 {
        let seconds = self.took.as_secs_f64();
        if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
    }

    pub(super) fn to_json(&self) -> Value {
        let tally = &self.tally;
        let mut report = json!({
            "scenario": self.scenario.name(),
            "connections": self.connections,
            "sessions": tally.well() + tally.wrong(),
            "real": tally.real,
            "denied": tally.denied,
            "errors": self.wrong(),
            "error_kinds": error_kinds(tally),
            "seconds": self.took.as_secs_f64(),
            "sessions_per_second": self.a_second(tally.well()),
            "octets": tally.received,
            "session_us": tally.sessions.to_json(),
            "login_us": tally.logins.to_json(),
            "cpu_seconds": self.cpu.as_secs_f64(),
        });
        if let Some(rate) = self.rate {
            report["rate"] = json!(rate);
        }
        if let Some(WarmUp { tally }) = &self.warm_up {
            report["warm_up"] = json!({
                "real": tally.real,
                "denied": tally.denied,
                "errors": tally.wrong(),
                "error_kinds": error_kinds(tally),
            });
        }
        report
    }
}

fn error_kinds(tally: &Tally) -> Value {
    tally
        .errors
        .iter()
        .map(|(class, errors)| (class.clone(), json!({ "count": errors.count, "examples": errors.examples })))
        .collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.tally;
        let seconds = self.took.as_secs_f64();
        let pace = match self.rate {
            _ if self.scenario == Scenario::Hold => "held".to_string(),
            Some(rate) => format!("at {rate} sessions a second"),
            None => "as fast as they end".to_string(),
        };
        writeln!(f, "scenario     {}, {} connections, {pace}", self.scenario.name(), self.connections)?;
        if let Some(WarmUp { tally }) = &self.warm_up {
            writeln!(f, "warm-up      {} users, {} errors", tally.well(), tally.wrong())?;
            write_errors(f, tally)?;
        }
        write!(f, "sessions     {} in {seconds:.2} s", tally.well() + tally.wrong())?;
        if self.scenario == Scenario::Hold {
            writeln!(f)?;
        } else {
            writeln!(f, ", {:.0} a second", self.a_second(tally.well()))?;
        }
        writeln!(f, "  real       {}", tally.real)?;
        writeln!(f, "  denied     {}", tally.denied)?;
        writeln!(f, "  errors     {}", tally.wrong())?;
        write_errors(f, tally)?;
        let megabytes = tally.received as f64 / 1e6;
        writeln!(
            f,
            "received     {megabytes:.2} MB, {:.2} MB a second",
            self.a_second(tally.received) / 1e6
        )?;
        writeln!(f, "milliseconds {:>9} {:>9} {:>9} {:>9} {:>9}", "p50", "p90", "p99", "p99.9", "max")?;
        let whole = if self.scenario == Scenario::Hold { "opening" } else { "session" };
        for (name, histogram) in [(whole, &tally.sessions), ("login", &tally.logins)] {
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
            "CPU          {:.2} s of this program, {:.0} % of a core",
            self.cpu.as_secs_f64(),
            share * 100.0
        )?;
        if share > BUSY {
            writeln!(f, "             It has no more to give: the server may be faster than it looks here.")?;
        }
        Ok(())
    }
}

fn write_errors(f: &mut fmt::Formatter<'_>, tally: &Tally) -> fmt::Result {
    for (class, errors) in &tally.errors {
        writeln!(f, "    {:>8}  {class}", errors.count)?;
        for example in &errors.examples {
            writeln!(f, "              {example}")?;
        }
    }
    Ok(())
}
