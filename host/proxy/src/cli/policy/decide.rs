//! `reprieve policy decide`

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::Format;
use crate::cli::FAILED;
use crate::output::{self, Output, tell};
use reprieve_policy_host::harness::{Attempt, Becomes, Decision, LogLine, Trial, Who, in_words, refusal};
use reprieve_policy_host::{Cache, Standing, Worded};
use reprieve_store::clock::{Clock as _, SystemClock};

/// Explain one decision: the verdict, what the host makes of it, log lines, what was done to
/// the store, and what it cost.
///
///   reprieve policy decide interval --user alice --last 1m --set interval=10m
///
/// Exit codes: 0 decided, 1 the policy failed or refused its settings, 2 usage.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Built-in policy or path of a component
    #[arg(value_name = "P")]
    policy: String,
    /// Who logs in
    #[arg(long)]
    user: String,
    /// When, such as 2026-03-10T12:00:00 in the time zone [default: now]
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// How long ago the user's last login was authenticated, such as 5m [default: never]
    #[arg(long, value_name = "DURATION")]
    last: Option<String>,
    /// A setting of the policy; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The virtual server's time zone
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    time_zone: String,
    /// The client's address
    #[arg(long, value_name = "ADDR", default_value = "192.0.2.1")]
    peer: IpAddr,
    /// What the host knows of the secret [default: known after --last, else unknown]
    #[arg(long, value_enum)]
    standing: Option<StandingWord>,
    /// Name of the pool that the login would go to; others that the policy may choose follow
    #[arg(long, value_name = "POOL,…", value_delimiter = ',', default_value = "mail")]
    pools: Vec<String>,
    /// Nodes in the pool
    #[arg(long, value_name = "N", default_value_t = 1)]
    nodes: u32,
    /// Nodes that can be reached [default: all]
    #[arg(long, value_name = "N")]
    healthy_nodes: Option<u32>,
    /// Sessions at the nodes
    #[arg(long, value_name = "N", default_value_t = 0)]
    sessions: u32,
    /// Logins that wait for a node
    #[arg(long, value_name = "N", default_value_t = 0)]
    waiting: u32,
    /// Recent login latency of the nodes, in milliseconds
    #[arg(long, value_name = "MS")]
    latency: Option<u32>,
    /// Seed of the policy's randomness
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// How the report looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StandingWord {
    /// The mail server has accepted this very secret
    Known,
    /// It has accepted another one
    Changed,
    /// Nothing is known
    Unknown,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let pools: Vec<_> = arguments.pools.iter().map(String::as_str).collect();
    let mut builder =
        Trial::of(&arguments.policy).time_zone(&arguments.time_zone)?.pools(&pools).seed(arguments.seed);
    for (key, value) in super::settings(&arguments.set)? {
        builder = builder.setting(&key, &value);
    }
    if let Some(cache) = Cache::usual_folder().and_then(|folder| Cache::open(&folder).ok()) {
        builder = builder.cache(cache);
    }
    let mut start_log = Vec::new();
    let mut trial = match builder.build_and_tell(&mut start_log) {
        Ok(trial) => trial,
        Err(error) if refusal(&error).is_some() => {
            for line in &start_log {
                tell!("log at the start: {line}");
            }
            tell!("reprieve: {error:#}");
            return Ok(ExitCode::from(FAILED));
        }
        Err(error) => return Err(error),
    };
    match &arguments.at {
        Some(at) => trial.go_to(at).with_context(|| format!("--at {at}"))?,
        None => trial.set_now_ms(SystemClock.now_ms()),
    }
    let now_ms = trial.now_ms();
    let mut who = Who::new(&arguments.user);
    who.peer = SocketAddr::new(arguments.peer, who.peer.port());
    who.backend.nodes = arguments.nodes;
    who.backend.healthy_nodes = arguments.healthy_nodes.unwrap_or(arguments.nodes);
    who.backend.sessions = arguments.sessions;
    who.backend.waiting = arguments.waiting;
    who.backend.login_latency_ms = arguments.latency;
    if let Some(last) = &arguments.last {
        let last = reprieve_settings::duration(last)
            .with_context(|| format!("--last {last}: a duration reads like 90s, 10m or 1h"))?;
        trial.set_now_ms(now_ms.saturating_sub(u64::try_from(last.as_millis()).unwrap_or(u64::MAX)));
        let before = trial.login(Attempt::by(who.clone()));
        if before.becomes != Becomes::Passed {
            tell!("reprieve: the login before this one did not pass: {}", before.verdict_in_words());
        }
        trial.set_now_ms(now_ms);
    }
    let mut attempt = Attempt::by(who);
    if let Some(standing) = arguments.standing {
        attempt = attempt.standing(match standing {
            StandingWord::Known => Standing::Known,
            StandingWord::Changed => Standing::Changed,
            StandingWord::Unknown => Standing::Unknown,
        });
    }
    let decision = trial.login(attempt);
    match arguments.format {
        Format::Human => human(&trial, &decision, &start_log)?,
        Format::Json => machine(&trial, &decision, &start_log)?,
    }
    Ok(if decision.failure().is_some() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// What the host makes of the verdict, and why.
fn consequence(decision: &Decision) -> &'static str {
    match (decision.becomes, decision.deny().is_some(), decision.verdict.is_err()) {
        (Becomes::Passed, true, _) => {
            "the login goes on to the mail server all the same: only it can tell whether the secret is right"
        }
        (Becomes::Passed, _, true) => "the login goes on to the mail server (on-failure = \"pass\")",
        (Becomes::Passed, ..) => "the login goes on to the mail server",
        (Becomes::Posed, ..) => "the client is let in and answered by Reprieve",
        (Becomes::Refused, ..) => "the login is answered with -ERR",
        (Becomes::Disconnected, ..) => "the connection is closed",
    }
}

fn human(trial: &Trial, decision: &Decision, start_log: &[LogLine]) -> anyhow::Result<()> {
    let line = |name: &str, value: &str| writeln!(Output, "{name:<10} {value}");
    line("at", &in_words(decision.at_ms, trial.zone()))?;
    line(
        "user",
        &format!(
            "{:?}, secret {}",
            decision.user,
            format!("{:?}", decision.standing).trim_start_matches("Standing::").to_lowercase()
        ),
    )?;
    line("verdict", &decision.verdict_in_words())?;
    line("then", consequence(decision))?;
    if let Some((ending, failure)) = &decision.observed {
        let how = failure
            .as_ref()
            .map_or_else(|| "taken".to_owned(), |failure| format!("failure {}: {failure}", failure.kind()));
        line(
            "outcome",
            &format!("{}: {how}", format!("{ending:?}").trim_start_matches("Ending::").to_lowercase()),
        )?;
    }
    let in_words = |lines: &[LogLine]| lines.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (name, lines) in [
        ("store", decision.store.clone()),
        ("start log", in_words(start_log)),
        ("log", in_words(&decision.log)),
    ] {
        for (number, text) in lines.iter().enumerate() {
            line(if number == 0 { name } else { "" }, text)?;
        }
    }
    line(
        "time",
        &format!(
            "{:.1} µs of CPU for the decision (a first call; see policy bench)",
            decision.computing.as_secs_f64() * 1e6
        ),
    )?;
    line("memory", &format!("{} KiB", decision.memory >> 10))?;
    Ok(())
}

fn machine(trial: &Trial, decision: &Decision, start_log: &[LogLine]) -> anyhow::Result<()> {
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
            "delay-ms": pass.delay_ms,
        }),
        (_, Some(deny)) => json!({
            "verdict": "deny",
            "manner": deny.manner.word(),
            "code": deny.code.map(Worded::word),
            "retry-after": deny.retry_after,
            "reason": deny.reason,
            "delay-ms": deny.delay_ms,
        }),
        _ => json!({ "verdict": null }),
    };
    let report = json!({
        "at": in_words(decision.at_ms, trial.zone()),
        "unix-ms": decision.at_ms,
        "user": decision.user,
        "verdict": verdict,
        "becomes": decision.becomes.word(),
        "failure": decision.failure().map(|failure| json!({ "kind": failure.kind(), "words": failure.to_string() })),
        "store": decision.store,
        "start-log": in_json(start_log),
        "log": in_json(&decision.log),
        "cpu-us": decision.computing.as_secs_f64() * 1e6,
        "memory": decision.memory,
    });
    output::json(&report)
}
