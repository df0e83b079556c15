//! `reprieve replay`

use std::fs::File;
use std::io::{BufWriter, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;

use super::FAILED;
use crate::output::{Output, errln};
use reprieve_policy_host::{OnFailure, Rules, Unverifiable, Verify};
use reprieve_replay::{
    self as replay, Format, LogSource, LogWithoutLogins, Plan, PolicySource, Problems, Progress, Report,
    Selection, report,
};

/// Replay logs with a policy and report what it would have done
///
/// Reprieve asks the policy about each login in the logs, at the time of the login, as the proxy
/// would. It sends nothing to any server. The report shows how many logins would have reached the
/// mail server: in total, per hour, and for the users who poll most.
///
/// If the logs also have deliveries (of Postfix, Dovecot, Exim or Courier), the report shows how much
/// longer new mail would have waited because of the policy, without signals of new mail and with them.
///
///   reprieve replay /var/log/mail.log
///   reprieve replay /var/log/mail.log* --set interval=5m --report relief.html
///   reprieve replay /var/log/dovecot.log /var/log/exim4/mainlog
///   journalctl -u dovecot -o short-iso | reprieve replay - --login-cost 14ms
///   reprieve replay decisions.jsonl --policy ./mine.wasm --against interval
///   reprieve replay decisions.jsonl --user alice --to-scenario -o alice.toml
///
/// Logs can be given in any order and can be compressed (gzip, zstd). Logins of several logs are merged
/// by time. Lines that cannot be read are counted and shown; if most of a log cannot be read, there
/// is no report. If a log has no logins, Reprieve says what it contains instead.
///
/// Logs do not contain passwords. An accepted login is assumed to use the user's password and to
/// leave a snapshot, a rejected login to use another password. Reprieve's decision log needs no such
/// assumptions. It also records the verdicts made then: without --against, the policy is compared
/// with them.
///
/// With --to-scenario, no policy is asked: the logins become a scenario for `reprieve policy test`,
/// and what was decided becomes its expectations. Name the policy's settings of that time with --set.
///
/// Exit codes: 0 success, 1 no login was found, 2 usage error, or an unreadable log or policy.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Log files; - is standard input
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<String>,
    /// Built-in policy or path of a component
    #[arg(long, value_name = "POLICY", default_value = "interval")]
    policy: String,
    /// Setting of the policy; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Second policy to compare the first one with
    #[arg(long, value_name = "POLICY")]
    against: Option<String>,
    /// Setting of the second policy; can be repeated. Without --against, the second policy is the
    /// first one with these settings
    #[arg(long, value_name = "KEY=VALUE")]
    against_set: Vec<String>,
    /// Software that wrote the logs [default: detected from the first login of each]
    #[arg(long, value_enum, hide_possible_values = false)]
    format: Option<Format>,
    /// Time zone of timestamps that have none, and of the policy's days [default: the system's]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// Year of each log's first line, if timestamps have no year [default: from the file's date]
    #[arg(long, value_name = "YEAR", value_parser = clap::value_parser!(i16).range(1970..=9999))]
    year: Option<i16>,
    /// Only logins of this user, written as in the log, and deliveries to them; can be repeated
    #[arg(long, value_name = "USER")]
    user: Vec<String>,
    /// Only logins of this virtual server, which only Reprieve's own logs name
    #[arg(long, value_name = "NAME")]
    virtual_server: Option<String>,
    /// Only logins from this time on, in --time-zone or with an offset, such as 2026-11-27T22:00
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Only logins before this time
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Pools that the policy may choose, the default pool first [default: mail; with --to-scenario,
    /// those in the log]
    #[arg(long, value_name = "POOL,…", value_delimiter = ',')]
    pools: Vec<String>,
    /// The virtual server's setting `verify`
    #[arg(long, value_name = "on|off", default_value = "on", value_parser = choice(&[("on", Verify::On), ("off", Verify::Off)]))]
    verify: Verify,
    /// The virtual server's setting `on-failure`
    #[arg(long, value_name = "pass|deny", default_value = "pass", value_parser = choice(&[("pass", OnFailure::Pass), ("deny", OnFailure::Deny)]))]
    on_failure: OnFailure,
    /// The virtual server's setting `unverifiable`
    #[arg(long, value_name = "pass|refuse", default_value = "pass", value_parser = choice(&[("pass", Unverifiable::Pass), ("refuse", Unverifiable::Refuse)]))]
    unverifiable: Unverifiable,
    /// Time that a login costs the mail server, such as 14ms [default: as measured in the log]
    #[arg(long, value_name = "TIME", value_parser = login_cost)]
    login_cost: Option<Duration>,
    /// Number of top pollers to show
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    top: u32,
    /// Format of the report on standard output
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
    /// Also write the report to a file, as a page with charts
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Also write each decision to a file, as a line of JSON
    #[arg(long, value_name = "FILE")]
    decisions: Option<PathBuf>,
    /// Write the logins of a decision log as a scenario for `policy test`, instead of a report
    #[arg(long, conflicts_with_all = ["policy", "against", "against_set", "login_cost", "top", "output_format", "report", "decisions"])]
    to_scenario: bool,
    /// File for the scenario [default: standard output]
    #[arg(short, long, value_name = "FILE", requires = "to_scenario")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum OutputFormat {
    /// A table
    #[default]
    Human,
    /// One JSON object
    Json,
    /// A self-contained page with charts
    Html,
}

/// Parses one of these words.
fn choice<T: Copy + Send + Sync + 'static>(
    choices: &'static [(&'static str, T)],
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let found = choices.iter().find(|(name, _)| *name == text);
        let names = || choices.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(" or ");
        found.map(|(_, value)| *value).ok_or_else(|| format!("must be {}", names()))
    }
}

fn login_cost(text: &str) -> Result<Duration, String> {
    reprieve_settings::duration(text).ok_or_else(|| "use a duration such as 14ms or 1s".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let plan = plan(arguments)?;
    if arguments.to_scenario {
        return write_scenario(arguments, &plan);
    }
    let mut decisions = arguments.decisions.as_ref().map(create).transpose()?;
    let progress = Progress::default();
    let progress_bar = ProgressDisplay::start(&plan, &progress);
    let out = decisions.as_mut().map(|out| out as &mut dyn std::io::Write);
    let result = replay::run(&plan, out, &progress);
    drop(progress_bar);
    let result = result?;
    refuse_mostly_unread(arguments, &result.logs.problems)?;
    if let Some(path) = &arguments.report {
        let mut file = create(path)?;
        file.write_all(report::page(&result).as_bytes())
            .and_then(|()| file.flush())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    print(arguments.output_format, &result)?;
    if result.span.is_none() {
        return Ok(report_no_login(arguments, &plan, &result.logs.problems));
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the scenario of `--to-scenario`.
fn write_scenario(arguments: &Arguments, plan: &Plan) -> anyhow::Result<ExitCode> {
    let progress = Progress::default();
    let progress_bar = ProgressDisplay::start(plan, &progress);
    let result = replay::to_scenario(plan, &progress);
    drop(progress_bar);
    let scenario = result.context("cannot make a scenario")?;
    refuse_mostly_unread(arguments, &scenario.problems)?;
    if scenario.logins == 0 {
        return Ok(report_no_login(arguments, plan, &scenario.problems));
    }
    match &arguments.output {
        Some(path) => std::fs::write(path, &scenario.text)
            .with_context(|| format!("cannot write {}", path.display()))?,
        None => Output.write_all(scenario.text.as_bytes())?,
    }
    Ok(ExitCode::SUCCESS)
}

fn refuse_mostly_unread(arguments: &Arguments, problems: &Problems) -> anyhow::Result<()> {
    let unread: Vec<_> = problems.mostly_unread.iter().map(ToString::to_string).collect();
    anyhow::ensure!(
        unread.is_empty(),
        "no report, because most of a log could not be read:\n  {}\n{}",
        unread.join("\n  "),
        advice(arguments)
    );
    Ok(())
}

fn report_no_login(arguments: &Arguments, plan: &Plan, problems: &Problems) -> ExitCode {
    if !plan.selection.is_everything() && problems.without_logins.is_empty() {
        errln!("reprieve: no login is selected by --user, --virtual-server, --since and --until");
        return ExitCode::from(FAILED);
    }
    errln!("reprieve: no POP3 login was found; {}", advice(arguments));
    for LogWithoutLogins { log, contents } in &problems.without_logins {
        errln!("  {log} has {contents}");
    }
    ExitCode::from(FAILED)
}

/// What to check if a log has no readable logins.
fn advice(arguments: &Arguments) -> &'static str {
    match arguments.format {
        Some(Format::Nginx) => "nginx logs logins only at level info (error_log … info)",
        Some(_) => "is --format right?",
        None => "is it the log of a POP3 server? `reprieve replay --help` lists the formats",
    }
}

fn plan(arguments: &Arguments) -> anyhow::Result<Plan> {
    let zone = match &arguments.time_zone {
        None => TimeZone::system(),
        Some(name) => TimeZone::get(name).map_err(|_| {
            anyhow::anyhow!("--time-zone {name}: unknown time zone; an example is Europe/Berlin")
        })?,
    };
    let policy = PolicySource {
        component: arguments.policy.clone(),
        settings: super::policy::settings(&arguments.set)?,
    };
    let is_compared = arguments.against.is_some() || !arguments.against_set.is_empty();
    let baseline = is_compared
        .then(|| -> anyhow::Result<_> {
            Ok(PolicySource {
                component: arguments.against.clone().unwrap_or_else(|| arguments.policy.clone()),
                settings: super::policy::settings(&arguments.against_set)?,
            })
        })
        .transpose()?;
    let logs: Vec<LogSource> = arguments.logs.iter().map(|name| name.as_str().into()).collect();
    let selection = Selection {
        users: arguments.user.clone(),
        virtual_server: arguments.virtual_server.clone(),
        since_ms: arguments.since.as_deref().map(|text| time("--since", text, &zone)).transpose()?,
        until_ms: arguments.until.as_deref().map(|text| time("--until", text, &zone)).transpose()?,
    };
    let mut pools = arguments.pools.clone();
    if pools.is_empty() && !arguments.to_scenario {
        pools.push("mail".to_owned());
    }
    let stdins = logs.iter().filter(|log| **log == LogSource::Stdin).count();
    anyhow::ensure!(stdins < 2, "standard input can be given only once");
    Ok(Plan {
        logs,
        format: arguments.format,
        zone,
        year: arguments.year,
        selection,
        policy,
        baseline,
        rules: Rules {
            verify: arguments.verify,
            on_failure: arguments.on_failure,
            unverifiable: arguments.unverifiable,
        },
        pools,
        login_cost: arguments.login_cost,
        top_pollers: arguments.top as usize,
    })
}

/// Parses the time of an option: a date with or without a time, in the zone or with an offset.
fn time(option: &str, text: &str, zone: &TimeZone) -> anyhow::Result<u64> {
    let absolute = text.parse::<jiff::Timestamp>().ok();
    let local = || {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        Some(zone.to_ambiguous_zoned(civil).compatible().ok()?.timestamp())
    };
    absolute
        .or_else(local)
        .and_then(|at| u64::try_from(at.as_millisecond()).ok())
        .with_context(|| format!("{option} {text}: not a date and time; an example is 2026-11-27T22:00"))
}

fn create(path: &PathBuf) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::with_capacity(256 << 10, file))
}

fn print(format: OutputFormat, report: &Report) -> anyhow::Result<()> {
    let mut out = Output;
    match format {
        OutputFormat::Human => out.write_all(report::table(report).as_bytes())?,
        OutputFormat::Json => report.write_json(&mut out)?,
        OutputFormat::Html => out.write_all(report::page(report).as_bytes())?,
    }
    out.flush()?;
    Ok(())
}

/// A progress bar on the terminal, removed when this is dropped.
struct ProgressDisplay {
    /// Dropping it ends the thread.
    running: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl ProgressDisplay {
    fn start(plan: &Plan, progress: &Progress) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { running: None, thread: None };
        }
        let bytes: Option<u64> = plan.logs.iter().map(LogSource::bytes).sum();
        let (bar, template) = match bytes {
            Some(bytes) => (ProgressBar::new(bytes), "{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left"),
            None => (ProgressBar::new_spinner(), "{spinner} {msg} {bytes}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let progress = progress.clone();
        let (running, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while ended.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                bar.set_message(format!("{} lines", progress.lines.load(Ordering::Relaxed)));
                bar.set_position(progress.bytes.load(Ordering::Relaxed));
                bar.tick();
            }
            bar.finish_and_clear();
        });
        Self { running: Some(running), thread: Some(thread) }
    }
}

impl Drop for ProgressDisplay {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
