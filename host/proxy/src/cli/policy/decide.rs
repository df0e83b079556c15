//! `reprieve policy decide`

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use anyhow::Context as _;
use serde_json::json;

use super::Format;
use crate::cli::FAILED;
use crate::output::{self, Output, errln};
use reprieve_policy_host::harness::{
    Decision, Harness, LogLine, LoginFacts, TestLogin, format_time, settings_error,
};
use reprieve_policy_host::{Action, Because, Cache, Standing, Worded};
use reprieve_settings::DURATION_EXAMPLES;
use reprieve_store::clock::{Clock as _, SystemClock};

/// Explain one decision: verdict, disposition, log lines, store operations and cost
///
///   reprieve policy decide interval --user alice --last 1m --set interval=10m
///
/// Exit codes: 0 the policy returned a verdict, 1 it failed or rejected its settings, 2 usage.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Built-in policy, or path of a component
    #[arg(value_name = "P")]
    policy: String,
    /// User name of the login
    #[arg(long)]
    user: String,
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
    /// Address of the client
    #[arg(long, value_name = "ADDR", default_value = "192.0.2.1")]
    peer: IpAddr,
    /// What the host knows about the presented secret [default: known with --last, otherwise unknown]
    #[arg(long, value_enum)]
    standing: Option<StandingWord>,
    /// Pools that the policy can choose from; the first is the default pool
    #[arg(long, value_name = "POOL,…", value_delimiter = ',', default_value = "mail")]
    pools: Vec<String>,
    /// Number of nodes in the pool
    #[arg(long, value_name = "N", default_value_t = 1)]
    nodes: u32,
    /// Number of healthy nodes [default: all]
    #[arg(long, value_name = "N")]
    healthy_nodes: Option<u32>,
    /// Number of open sessions at the nodes
    #[arg(long, value_name = "N", default_value_t = 0)]
    sessions: u32,
    /// Number of logins that wait for a node
    #[arg(long, value_name = "N", default_value_t = 0)]
    waiting: u32,
    /// Recent login latency of the nodes, in milliseconds
    #[arg(long, value_name = "MS")]
    latency: Option<u32>,
    /// Seed for the policy's random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum StandingWord {
    /// The mail server has accepted this secret
    Known,
    /// The mail server has accepted another secret
    Changed,
    /// The mail server has accepted no secret yet
    Unknown,
}

impl Arguments {
    /// The user and the state of the pool for the login.
    fn facts(&self) -> LoginFacts {
        let mut facts = LoginFacts::new(&self.user);
        facts.peer = SocketAddr::new(self.peer, facts.peer.port());
        facts.backend.nodes = self.nodes;
        facts.backend.healthy_nodes = self.healthy_nodes.unwrap_or(self.nodes);
        facts.backend.sessions = self.sessions;
        facts.backend.waiting = self.waiting;
        facts.backend.login_latency_ms = self.latency;
        facts
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let pools: Vec<_> = arguments.pools.iter().map(String::as_str).collect();
    let mut builder =
        Harness::of(&arguments.policy).time_zone(&arguments.time_zone)?.pools(&pools).seed(arguments.seed);
    for (key, value) in super::settings(&arguments.set)? {
        builder = builder.setting(&key, &value);
    }
    if let Some(cache) = Cache::usual_folder().and_then(|directory| Cache::open(&directory).ok()) {
        builder = builder.cache(cache);
    }
    let mut start_log = Vec::new();
    let mut harness = match builder.build_with_log(&mut start_log) {
        Ok(harness) => harness,
        Err(error) if settings_error(&error).is_some() => {
            for line in &start_log {
                errln!("start log: {line}");
            }
            errln!("reprieve: {error:#}");
            return Ok(ExitCode::from(FAILED));
        }
        Err(error) => return Err(error),
    };
    match &arguments.at {
        Some(at) => harness.set_time(at).with_context(|| format!("--at {at}"))?,
        None => harness.set_now_ms(SystemClock.now_ms()),
    }
    let now_ms = harness.now_ms();
    let facts = arguments.facts();
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
    let mut test_login = TestLogin::new(facts);
    if let Some(standing) = arguments.standing {
        test_login = test_login.standing(match standing {
            StandingWord::Known => Standing::Known,
            StandingWord::Changed => Standing::Changed,
            StandingWord::Unknown => Standing::Unknown,
        });
    }
    let decision = harness.login(test_login);
    match arguments.format {
        Format::Human => print_text(&harness, &decision, &start_log)?,
        Format::Json => print_json(&harness, &decision, &start_log)?,
    }
    Ok(if decision.failure().is_some() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

/// Describes the disposition of the login.
fn consequence(decision: &Decision) -> &'static str {
    match (decision.action(), decision.deny().is_some(), decision.verdict.is_err()) {
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
    line("user", &format!("{:?}, secret {}", decision.user, decision.standing.word()))?;
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
            "code": deny.code.map(Worded::word),
            "retry_after_s": deny.retry_after,
            "reason": deny.reason,
            "delay_ms": deny.delay_ms,
        }),
        _ => json!({ "verdict": null }),
    };
    let report = json!({
        "at": format_time(decision.at_ms, harness.zone()),
        "unix_ms": decision.at_ms,
        "user": decision.user,
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
