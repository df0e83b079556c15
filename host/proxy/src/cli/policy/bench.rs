//! `reprieve policy bench`

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;

use super::Format;
use super::login::{self, LoginOptions, StepLocation};
use crate::bench::{self, Calls, DeniedPoll, Percentiles, Plan};
use crate::cli::FAILED;
use crate::output::{self, Output};
use reprieve_policy_host::harness::LoginFacts;
use reprieve_store::StoreConfig;

/// Number of denied polls to measure for comparison; takes a second or less.
const POLLS: u32 = 2_000;

/// Measure the cost of a policy: latency, throughput, memory, share of a denied poll
///
/// Each user polls once per minute of virtual time, and passed logins are authenticated. Calls are
/// made as in the proxy, one after another on one thread, with a reused and with a fresh instance.
/// Without --standing, the secret is known. Use a release build on an idle machine.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Built-in policy, or path of a component
    #[arg(value_name = "POLICY")]
    policy: String,
    /// Setting of the policy; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Number of users
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    users: u32,
    /// Number of decisions with reused instances
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    calls: u32,
    /// Number of decisions with a fresh instance each
    #[arg(long, value_name = "N", default_value_t = 1000)]
    fresh: u32,
    /// Store of the policy: memory, file:PATH, or a URL such as redis://127.0.0.1:6379
    #[arg(long, value_name = "STORE", default_value = "memory", value_parser = StoreConfig::from_argument)]
    store: StoreConfig,
    /// Poll with a login of a scenario and its settings: FILE:LINE, with the line of its step. Names
    /// and times are those of the measurement
    #[arg(long, value_name = "FILE:LINE", conflicts_with_all = login::OPTIONS)]
    scenario: Option<StepLocation>,
    #[command(flatten)]
    login: LoginOptions,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (facts, mut settings) = match &arguments.scenario {
        Some(location) => {
            let scenario = location.scenario(&arguments.policy)?;
            let facts = scenario.login_facts(location.line).context("the login is gone")?;
            (facts, scenario.settings().to_vec())
        }
        None => (arguments.login.facts(""), Vec::new()),
    };
    for (key, value) in super::settings(&arguments.set)? {
        settings.retain(|(other, _)| *other != key);
        settings.push((key, value));
    }
    let plan = Plan {
        component: arguments.policy.clone(),
        settings,
        login: facts,
        users: arguments.users,
        calls: arguments.calls,
        fresh_calls: arguments.fresh,
        store: arguments.store.clone(),
    };
    let shows_progress = std::io::stderr().is_terminal();
    let calls = bench::measure(&plan, |done, all| {
        if shows_progress {
            let percent = u64::from(done) * 100 / u64::from(all.max(1));
            // Overwrites the same line, and clears it at the end.
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
        login: LoginFacts::new(""),
        calls: 20_000,
        fresh_calls: 0,
        store: StoreConfig::default(),
        ..plan
    };
    let interval = bench::measure(&own, |_, _| {})?;
    let poll = bench::denied_poll(POLLS)?;
    let share = share(&calls, &interval, poll);
    match arguments.format {
        Format::Human => print_text(arguments, &calls, poll, share)?,
        Format::Json => print_json(arguments, &calls, poll, share)?,
    }
    Ok(if calls.failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// Share of this policy's decision in the CPU time of a denied poll.
fn share(calls: &Calls, interval: &Calls, poll: DeniedPoll) -> f64 {
    let rest = poll.cpu_per_poll.saturating_sub(interval.reused.p50).as_secs_f64();
    let own = calls.reused.p50.as_secs_f64();
    own / (rest + own).max(1e-12)
}

fn print_text(arguments: &Arguments, calls: &Calls, poll: DeniedPoll, share: f64) -> anyhow::Result<()> {
    let line = |name: &str, value: &str| writeln!(Output, "{name:<10} {value}");
    if cfg!(debug_assertions) {
        line("warning", "this is a debug build of reprieve; a release build is several times faster")?;
    }
    let compiled = match calls.compiling {
        Some(time) => format!("compiled in {:.0} ms", time.as_secs_f64() * 1e3),
        None => "compiled code from the policy cache".to_owned(),
    };
    line("policy", &format!("{}, {} bytes, {compiled}", arguments.policy, calls.component_bytes))?;
    line("decide", &format!("{}   {:.0} per second", times(&calls.reused), calls.decisions_per_s))?;
    line("observe", &times(&calls.outcomes))?;
    if calls.fresh.count > 0 {
        line("fresh", &format!("{}   one instance per call", times(&calls.fresh)))?;
    }
    line("cpu", &format!("{} per call on average", microseconds(calls.cpu_per_call)))?;
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
            "{} KiB at the start, {} KiB at the peak, {} KiB at the end; {} instances replaced",
            before >> 10,
            highest >> 10,
            after >> 10,
            calls.recycled
        ),
    )?;
    line(
        "share",
        &format!(
            "{:.1} % of a denied poll, which takes {} of CPU time with the policy interval ({} polls measured)",
            share * 100.0,
            microseconds(poll.cpu_per_poll),
            poll.polls
        ),
    )?;
    Ok(())
}

fn times(times: &Percentiles) -> String {
    if times.count == 0 {
        return "none".to_owned();
    }
    format!(
        "p50 {:>9}   p99 {:>9}   max {:>9}",
        microseconds(times.p50),
        microseconds(times.p99),
        microseconds(times.max)
    )
}

fn microseconds(time: Duration) -> String {
    format!("{:.2} µs", time.as_secs_f64() * 1e6)
}

fn print_json(arguments: &Arguments, calls: &Calls, poll: DeniedPoll, share: f64) -> anyhow::Result<()> {
    let percentiles = |times: &Percentiles| {
        let us = |time: Duration| time.as_secs_f64() * 1e6;
        json!({ "count": times.count, "p50_us": us(times.p50), "p99_us": us(times.p99), "max_us": us(times.max) })
    };
    let report = json!({
        "policy": arguments.policy,
        "debug_build": cfg!(debug_assertions),
        "component_bytes": calls.component_bytes,
        "compile_ms": calls.compiling.map(|time| time.as_secs_f64() * 1e3),
        "users": arguments.users,
        "decide": percentiles(&calls.reused),
        "decisions_per_s": calls.decisions_per_s,
        "observe": percentiles(&calls.outcomes),
        "fresh": percentiles(&calls.fresh),
        "cpu_us": calls.cpu_per_call.as_secs_f64() * 1e6,
        "passed": calls.passed,
        "failed": calls.failed,
        "memory": {
            "start_bytes": calls.memory.0,
            "peak_bytes": calls.memory.1,
            "end_bytes": calls.memory.2,
            "instances_replaced": calls.recycled,
        },
        "denied_poll": { "polls": poll.polls, "cpu_us": poll.cpu_per_poll.as_secs_f64() * 1e6, "share": share },
    });
    output::json(&report)
}
