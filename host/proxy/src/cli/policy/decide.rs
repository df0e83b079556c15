//! `reprieve policy decide`

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::Format;
use super::login::{self, LoginOptions, StepLocation};
use crate::cli::FAILED;
use crate::output::{self, Output, errln};
use reprieve_policy_host::harness::{Decision, Harness, LogLine, TestLogin, format_time, settings_error};
use reprieve_policy_host::{Action, Because, Cache, ENDINGS, Ending, Worded};
use reprieve_settings::DURATION_EXAMPLES;
use reprieve_store::clock::{Clock as _, SystemClock};

/// Explain one decision: verdict, disposition, log lines, store operations and cost
///
///   reprieve policy decide interval --user alice --last 1m --set interval=10m
///   reprieve policy decide interval --scenario scenarios/days.toml:12
///
/// Without --standing, the secret is known after --last, and otherwise unknown.
/// Exit codes: 0 the policy returned a verdict, 1 it failed or rejected its settings, 2 usage error.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Built-in policy, or path of a component
    #[arg(value_name = "POLICY")]
    policy: String,
    /// User name of the login
    #[arg(long, required_unless_present = "scenario")]
    user: Option<String>,
    /// Explain a login of a scenario, after all earlier steps: FILE:LINE, with the line of its step
    #[arg(long, value_name = "FILE:LINE", conflicts_with_all = ["user", "at", "last", "outcome", "time_zone", "pools", "seed"])]
    #[arg(conflicts_with_all = login::OPTIONS)]
    scenario: Option<StepLocation>,
    /// Time of the login in --time-zone, such as 2026-03-10T12:00:00 [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Time since the user's last authenticated login, such as 5m [default: none]
    #[arg(long, value_name = "DURATION")]
    last: Option<String>,
    /// Setting of the policy; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Time zone of the virtual server
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// Pools that the policy can choose from; the first is the default pool
    #[arg(long, value_name = "POOL,…", value_delimiter = ',', default_value = "mail")]
    pools: Vec<String>,
    /// Outcome if the login is passed to the mail server
    #[arg(long, value_name = "OUTCOME", default_value = "authenticated", value_parser = login::words(&ENDINGS))]
    outcome: Ending,
    #[command(flatten)]
    login: LoginOptions,
    /// Seed for the policy's random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut start_log = Vec::new();
    let played = match &arguments.scenario {
        Some(location) => play_scenario(arguments, location, &mut start_log),
        None => play_login(arguments, &mut start_log),
    };
    let (harness, decision) = match played {
        Ok(played) => played,
        Err(error) if settings_error(&error).is_some() => {
            for line in &start_log {
                errln!("start log: {line}");
            }
            errln!("reprieve: {error:#}");
            return Ok(ExitCode::from(FAILED));
        }
        Err(error) => return Err(error),
    };
    match arguments.format {
        Format::Human => print_text(&harness, &decision, &start_log)?,
        Format::Json => print_json(&harness, &decision, &start_log)?,
    }
    Ok(if decision.failure().is_some() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn cache() -> Option<Cache> {
    Cache::usual_folder().and_then(|folder| Cache::open(&folder).ok())
}

/// Plays a scenario up to the login in the given line.
fn play_scenario(
    arguments: &Arguments,
    location: &StepLocation,
    start_log: &mut Vec<LogLine>,
) -> anyhow::Result<(Harness, Decision)> {
    let mut scenario = location.scenario(&arguments.policy)?;
    for (key, value) in super::settings(&arguments.set)? {
        scenario.set(&key, &value);
    }
    if let Some(cache) = cache() {
        scenario.cache(cache);
    }
    let played = scenario.play_until(location.line, start_log)?;
    played.with_context(|| format!("the scenario {:?} does not reach line {}", scenario.name, location.line))
}

/// Plays the login that the options describe, after the one of `--last`.
fn play_login(arguments: &Arguments, start_log: &mut Vec<LogLine>) -> anyhow::Result<(Harness, Decision)> {
    let pools: Vec<_> = arguments.pools.iter().map(String::as_str).collect();
    let mut builder =
        Harness::of(&arguments.policy).time_zone(&arguments.time_zone)?.pools(&pools).seed(arguments.seed);
    for (key, value) in super::settings(&arguments.set)? {
        builder = builder.setting(&key, &value);
    }
    if let Some(cache) = cache() {
        builder = builder.cache(cache);
    }
    let mut harness = builder.build_with_log(start_log)?;
    match &arguments.at {
        Some(at) => harness.set_time(at).with_context(|| format!("--at {at}"))?,
        None => harness.set_now_ms(SystemClock.now_ms()),
    }
    let now_ms = harness.now_ms();
    let facts = arguments.login.facts(arguments.user.as_deref().unwrap_or_default());
    if let Some(last) = &arguments.last {
        let last = reprieve_settings::duration(last)
            .with_context(|| format!("--last {last}: use a duration such as {DURATION_EXAMPLES}"))?;
        harness.set_now_ms(now_ms.saturating_sub(u64::try_from(last.as_millis()).unwrap_or(u64::MAX)));
        let previous = harness.login(TestLogin::new(facts.clone()));
        if previous.action() != Action::Passed {
            errln!("reprieve: the previous login (--last) did not pass: {}", previous.describe_verdict());
        }
        harness.set_now_ms(now_ms);
    }
    let mut test_login = TestLogin::new(facts).outcome(arguments.outcome);
    if let Some(standing) = arguments.login.standing {
        test_login = test_login.standing(standing);
    }
    let decision = harness.login(test_login);
    Ok((harness, decision))
}

/// Describes the disposition of the login.
fn consequence(decision: &Decision) -> &'static str {
    match (decision.action(), decision.deny().is_some(), decision.verdict.is_err()) {
        (Action::Passed, true, _) if decision.disposition.because == Some(Because::NewMail) => {
            "the login is passed to the mail server nevertheless, because the user has new mail"
        }
        (Action::Passed, true, _) => {
            "the login is passed to the mail server nevertheless, because only it can verify the secret"
        }
        (Action::Passed, _, true) => "the login is passed to the mail server (on-failure = \"pass\")",
        (Action::Passed, ..) => "the login is passed to the mail server",
        (Action::Posed, ..) => "Reprieve accepts the login and answers in the mail server's place",
        (Action::Refused, ..) => "the login is answered with -ERR",
        (Action::Disconnected, ..) => "the connection is closed",
    }
}

fn print_text(harness: &Harness, decision: &Decision, start_log: &[LogLine]) -> anyhow::Result<()> {
    let line = |name: &str, value: &str| writeln!(Output, "{name:<10} {value}");
    line("at", &format_time(decision.at_ms, harness.zone()))?;
    let (standing, freshness) = (decision.standing.word(), decision.freshness.name());
    line("user", &format!("{:?}, secret {standing}, freshness {freshness}", decision.user))?;
    line("verdict", &decision.describe_verdict())?;
    line("then", consequence(decision))?;
    if let Some((ending, failure)) = &decision.observed {
        let how = failure.as_ref().map_or_else(
            || "observed".to_owned(),
            |failure| format!("failure {}: {failure}", failure.kind()),
        );
        line("outcome", &format!("{}: {how}", ending.word()))?;
    }
    let as_text = |lines: &[LogLine]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (name, lines) in [
        ("store", decision.store.clone()),
        ("start log", as_text(start_log)),
        ("log", as_text(&decision.log)),
    ] {
        for (number, text) in lines.iter().enumerate() {
            line(if number == 0 { name } else { "" }, text)?;
        }
    }
    line(
        "time",
        &format!(
            "{:.1} µs of CPU for the decision (first call of an instance; see reprieve policy bench)",
            decision.decide_cpu.as_secs_f64() * 1e6
        ),
    )?;
    line("memory", &format!("{} KiB", decision.memory_bytes >> 10))?;
    Ok(())
}

fn print_json(harness: &Harness, decision: &Decision, start_log: &[LogLine]) -> anyhow::Result<()> {
    let in_json = |lines: &[LogLine]| -> Vec<_> {
        let lines = lines.iter();
        lines.map(|line| json!({ "level": line.level.as_str().to_lowercase(), "text": line.text })).collect()
    };
    let verdict = match (decision.pass(), decision.deny()) {
        (Some(pass), _) => json!({
            "verdict": "pass",
            "pool": pass.pool,
            "user": pass.user,
            "note": pass.note,
            "delay_ms": pass.delay_ms,
        }),
        (_, Some(deny)) => json!({
            "verdict": "deny",
            "manner": deny.manner.word(),
            "otherwise": deny.otherwise.map(Worded::word),
            "despite_new_mail": deny.despite_new_mail,
            "code": deny.code.map(Worded::word),
            "text": deny.text,
            "retry_after_s": deny.retry_after,
            "reason": deny.reason,
            "note": deny.note,
            "delay_ms": deny.delay_ms,
        }),
        _ => json!({ "verdict": null }),
    };
    let report = json!({
        "at": format_time(decision.at_ms, harness.zone()),
        "unix_ms": decision.at_ms,
        "user": decision.user,
        "freshness": decision.freshness.name(),
        "verdict": verdict,
        "disposition": decision.action().name(),
        "because": decision.disposition.because.map(Because::name),
        "failure": decision.failure().map(|failure| json!({ "kind": failure.kind(), "message": failure.to_string() })),
        "store": decision.store,
        "start_log": in_json(start_log),
        "log": in_json(&decision.log),
        "cpu_us": decision.decide_cpu.as_secs_f64() * 1e6,
        "memory_bytes": decision.memory_bytes,
    });
    output::json(&report)
}
