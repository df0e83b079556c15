//! `reprieve policy bench`

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;

use super::Format;
use crate::bench::{self, Calls, DeniedPoll, Percentiles, Plan};
use crate::cli::FAILED;
use crate::output::{self, Output};
use reprieve_store::StoreConfig;

/// Polls of the comparison: a second or less.
const POLLS: u32 = 2_000;

/// Measure what a policy costs: decisions a second, p50 and p99, with an instance that is used
/// again and with a fresh one, memory, and its share of a denied poll.
///
/// Users poll once a minute of virtual time; those who pass are authenticated. The calls are
/// made as the proxy makes them, one after the other on one thread.
/// Measure on a quiet machine, with a release build.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Built-in policy or path of a component
    #[arg(value_name = "P")]
    policy: String,
    /// A setting of the policy; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Users who poll
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    /// Decisions to make
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    calls: u32,
    /// Decisions to make with a fresh instance each
    #[arg(long, value_name = "N", default_value_t = 1000)]
    fresh: u32,
    /// Where the policy keeps its state: memory, file:PATH, or an address such as
    /// redis://127.0.0.1:6379
    #[arg(long, value_name = "STORE", default_value = "memory", value_parser = StoreConfig::by_word)]
    store: StoreConfig,
    /// How the report looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let plan = Plan {
        component: arguments.policy.clone(),
        settings: super::settings(&arguments.set)?,
        users: arguments.users,
        calls: arguments.calls,
        fresh_calls: arguments.fresh,
        store: arguments.store.clone(),
    };
    let shows_progress = std::io::stderr().is_terminal();
    let calls = bench::measure(&plan, |done, all| {
        if shows_progress {
            let percent = u64::from(done) * 100 / u64::from(all.max(1));
            // A line that is written over, and taken away at the end.
            let _ = write!(
                std::io::stderr(),
                "\r{}",
                if done < all {
                    format!("{percent:3} % of {all} decisions ")
                } else {
                    format!("{:40}\r", "")
                }
            );
        }
    })?;
    let own = Plan {
        component: "interval".to_owned(),
        settings: Vec::new(),
        calls: 20_000,
        fresh_calls: 0,
        store: StoreConfig::default(),
        ..plan
    };
    let interval = bench::measure(&own, |_, _| {})?;
    let poll = bench::denied_poll(POLLS)?;
    let share = share(&calls, &interval, poll);
    match arguments.format {
        Format::Human => human(arguments, &calls, poll, share)?,
        Format::Json => machine(arguments, &calls, poll, share)?,
    }
    Ok(if calls.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The part of a denied poll that this policy's decision would be.
fn share(calls: &Calls, interval: &Calls, poll: DeniedPoll) -> f64 {
    let rest = poll.computing.saturating_sub(interval.reused.p50).as_secs_f64();
    let own = calls.reused.p50.as_secs_f64();
    own / (rest + own).max(1e-12)
}

fn human(arguments: &Arguments, calls: &Calls, poll: DeniedPoll, share: f64) -> anyhow::Result<()> {
    let line = |name: &str, value: &str| writeln!(Output, "{name:<10} {value}");
    if cfg!(debug_assertions) {
        line(
            "beware",
            "this is a debug build of reprieve: the host's part is several times slower than in a release build",
        )?;
    }
    let compiled = match calls.compiling {
        Some(time) => format!("compiled in {:.0} ms", time.as_secs_f64() * 1e3),
        None => "compiled before (policy-cache)".to_owned(),
    };
    line("policy", &format!("{}, {} octets, {compiled}", arguments.policy, calls.octets))?;
    line("decide", &format!("{}   {:.0} a second", times(&calls.reused), calls.a_second))?;
    line("observe", &times(&calls.outcomes))?;
    if calls.fresh.count > 0 {
        line("fresh", &format!("{}   an instance for each call", times(&calls.fresh)))?;
    }
    line("cpu", &format!("{} a call, on average", micro(calls.computing)))?;
    let decided = calls.reused.count.max(1);
    #[allow(clippy::cast_precision_loss)]
    let passed = calls.passed as f64 * 100.0 / decided as f64;
    line(
        "mix",
        &format!(
            "{decided} decisions for {} users, {passed:.1} % passed, {} calls failed",
            arguments.users, calls.failed
        ),
    )?;
    let (before, highest, after) = calls.memory;
    line(
        "memory",
        &format!(
            "{} KiB at the start, {} KiB at its highest, {} KiB at the end; {} instances replaced",
            before >> 10,
            highest >> 10,
            after >> 10,
            calls.recycled
        ),
    )?;
    line(
        "share",
        &format!(
            "{:.1} % of a denied poll, which takes {} of CPU with interval ({} polls, one after the other)",
            share * 100.0,
            micro(poll.computing),
            poll.polls
        ),
    )?;
    Ok(())
}

fn times(times: &Percentiles) -> String {
    if times.count == 0 {
        return "none".to_owned();
    }
    format!("p50 {:>9}   p99 {:>9}   longest {:>9}", micro(times.p50), micro(times.p99), micro(times.longest))
}

fn micro(time: Duration) -> String {
    format!("{:.2} µs", time.as_secs_f64() * 1e6)
}

fn machine(arguments: &Arguments, calls: &Calls, poll: DeniedPoll, share: f64) -> anyhow::Result<()> {
    let percentiles = |times: &Percentiles| {
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        json!({ "count": times.count, "p50-us": us(times.p50), "p99-us": us(times.p99), "longest-us": us(times.longest) })
    };
    let report = json!({
        "policy": arguments.policy,
        "debug-build": cfg!(debug_assertions),
        "octets": calls.octets,
        "compile-ms": calls.compiling.map(|time| time.as_secs_f64() * 1e3),
        "users": arguments.users,
        "decide": percentiles(&calls.reused),
        "decisions-a-second": calls.a_second,
        "observe": percentiles(&calls.outcomes),
        "fresh": percentiles(&calls.fresh),
        "cpu-us": calls.computing.as_secs_f64() * 1e6,
        "passed": calls.passed,
        "failed": calls.failed,
        "memory": { "start": calls.memory.0, "highest": calls.memory.1, "end": calls.memory.2, "replaced": calls.recycled },
        "denied-poll": { "polls": poll.polls, "cpu-us": poll.computing.as_secs_f64() * 1e6, "share": share },
    });
    output::json(&report)
}
