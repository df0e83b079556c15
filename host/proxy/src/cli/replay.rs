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
use crate::output::{Output, tell};
use reprieve_replay::{
    self as replay, Format, LogFile, Plan, PlayedPolicy, Progress, Report, WithoutLogins, report,
};

/// Find out what a policy would have done with the logins of a log
///
/// The policy is asked about each login, in the log's own time, as the proxy would ask it. Nothing
/// is sent anywhere, and nothing but the log is needed: yesterday's log of the mail server you have
/// will do. It tells what would have reached the mail server and what not, hour by hour and for
/// those who poll the most.
///
///   reprieve replay /var/log/mail.log
///   reprieve replay /var/log/mail.log* --set interval=5m --report relief.html
///   journalctl -u dovecot -o short-iso | reprieve replay - --login-cost 14ms
///   reprieve replay decisions.jsonl --policy ./mine.wasm --against interval
///
/// Logs may be compressed (gzip, zstd), and named in any order: their logins are put into the order
/// of their times. Those of several servers are played side by side. Lines that cannot be read are
/// counted and shown; if they are most of a log, there is no report. For a log without logins it
/// says what the log contains.
///
/// Of the secret it supposes what the log allows: whoever was let in had the user's, and whoever was
/// refused had not. It supposes that each login that was let in has left a snapshot. Reprieve's own
/// decision log tells both, and what the policy said then: without --against, differences to that
/// are told.
///
/// Exit codes: 0 done, 1 no login was found, 2 usage, a log or a policy that cannot be read.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Logs; - is standard input
    #[arg(value_name = "LOG", required = true)]
    logs: Vec<String>,
    /// Built-in policy or path of a component
    #[arg(long, value_name = "P", default_value = "interval")]
    policy: String,
    /// A setting of the policy; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Another policy, to tell the differences to
    #[arg(long, value_name = "P")]
    against: Option<String>,
    /// A setting of the other policy; without --against it is the same policy, set otherwise
    #[arg(long, value_name = "KEY=VALUE")]
    against_set: Vec<String>,
    /// Who wrote the logs [default: found out by the first login of each]
    #[arg(long, value_enum, hide_possible_values = false)]
    format: Option<Format>,
    /// The time zone of times in the logs that name none, and where days change for the policy
    /// [default: this machine's]
    #[arg(long, value_name = "ZONE")]
    time_zone: Option<String>,
    /// The year of each log's first line, where lines have none [default: by the file's date]
    #[arg(long, value_name = "YEAR", value_parser = clap::value_parser!(i16).range(1970..=9999))]
    year: Option<i16>,
    /// Names of pools that the policy may choose, the virtual server's own first
    #[arg(long, value_name = "POOL,…", value_delimiter = ',', default_value = "mail")]
    pools: Vec<String>,
    /// What a login costs the mail server, such as 14ms [default: as measured, where the log tells]
    #[arg(long, value_name = "TIME", value_parser = login_cost)]
    login_cost: Option<Duration>,
    /// How many of those who poll the most are told
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    top: u32,
    /// How the report on standard output looks
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    output_format: OutputFormat,
    /// Write the report as a page with charts to a file, too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Write each decision as a line of JSON to a file
    #[arg(long, value_name = "FILE")]
    decisions: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum OutputFormat {
    /// A table
    #[default]
    Human,
    /// One JSON object
    Json,
    /// A page with charts, in one file
    Html,
}

fn login_cost(text: &str) -> Result<Duration, String> {
    reprieve_settings::duration(text).ok_or_else(|| "a time is written as 14ms or 1s".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let plan = plan(arguments)?;
    let mut decisions = arguments.decisions.as_ref().map(create).transpose()?;
    let progress = Progress::default();
    let shown = Shown::start(&plan, &progress);
    let out = decisions.as_mut().map(|out| out as &mut dyn std::io::Write);
    let found = replay::run(&plan, out, &progress);
    drop(shown);
    let found = found?;
    let problems = &found.logs.problems;
    if !problems.mostly_unread.is_empty() {
        let unread: Vec<_> = problems.mostly_unread.iter().map(ToString::to_string).collect();
        anyhow::bail!(
            "there is no report, because most of the logins in a log could not be read:\n  {}\n{}",
            unread.join("\n  "),
            what_to_do(arguments)
        );
    }
    if let Some(path) = &arguments.report {
        let mut file = create(path)?;
        file.write_all(report::page(&found).as_bytes())
            .and_then(|()| file.flush())
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    show(arguments.output_format, &found)?;
    if found.span.is_none() {
        tell!("reprieve: no POP3 login was found; {}", what_to_do(arguments));
        for WithoutLogins { log, saw } in &found.logs.problems.without_logins {
            tell!("  {log} has {saw}");
        }
        return Ok(ExitCode::from(FAILED));
    }
    Ok(ExitCode::SUCCESS)
}

fn what_to_do(arguments: &Arguments) -> &'static str {
    match arguments.format {
        Some(Format::Nginx) => "nginx tells of logins in its error log at level info (error_log … info)",
        Some(_) => "is it the right --format?",
        None => "is it a log of a POP3 server? --format names the formats that can be read",
    }
}

fn plan(arguments: &Arguments) -> anyhow::Result<Plan> {
    let zone = match &arguments.time_zone {
        None => TimeZone::system(),
        Some(name) => TimeZone::get(name).map_err(|_| {
            anyhow::anyhow!("--time-zone {name}: there is no such time zone; an example is Europe/Berlin")
        })?,
    };
    let policy = PlayedPolicy {
        component: arguments.policy.clone(),
        settings: super::policy::settings(&arguments.set)?,
    };
    let is_compared = arguments.against.is_some() || !arguments.against_set.is_empty();
    let against = is_compared
        .then(|| -> anyhow::Result<_> {
            Ok(PlayedPolicy {
                component: arguments.against.clone().unwrap_or_else(|| arguments.policy.clone()),
                settings: super::policy::settings(&arguments.against_set)?,
            })
        })
        .transpose()?;
    let logs: Vec<LogFile> = arguments.logs.iter().map(|name| name.as_str().into()).collect();
    let stdins = logs.iter().filter(|log| **log == LogFile::Stdin).count();
    anyhow::ensure!(stdins < 2, "standard input can be read only once");
    Ok(Plan {
        logs,
        format: arguments.format,
        zone,
        year: arguments.year,
        policy,
        against,
        pools: arguments.pools.clone(),
        login_cost: arguments.login_cost,
        top: arguments.top as usize,
    })
}

fn create(path: &PathBuf) -> anyhow::Result<BufWriter<File>> {
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(BufWriter::with_capacity(256 << 10, file))
}

fn show(format: OutputFormat, found: &Report) -> anyhow::Result<()> {
    let mut out = Output;
    match format {
        OutputFormat::Human => out.write_all(report::table(found).as_bytes())?,
        OutputFormat::Json => found.write_json(&mut out)?,
        OutputFormat::Html => out.write_all(report::page(found).as_bytes())?,
    }
    out.flush()?;
    Ok(())
}

/// A bar on the terminal, as long as the replay goes on.
struct Shown {
    /// Dropping it ends the thread.
    ended: Option<mpsc::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Shown {
    fn start(plan: &Plan, progress: &Progress) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { ended: None, thread: None };
        }
        let octets: Option<u64> = plan.logs.iter().map(LogFile::octets).sum();
        let (bar, template) = match octets {
            Some(octets) => {
                (ProgressBar::new(octets), "{msg} {wide_bar} {bytes} of {total_bytes}, {eta} left")
            }
            None => (ProgressBar::new_spinner(), "{spinner} {msg} {bytes}"),
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        let progress = progress.clone();
        let (ended, ending) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            while ending.recv_timeout(Duration::from_millis(100)) == Err(RecvTimeoutError::Timeout) {
                bar.set_message(format!("{} lines", progress.lines.load(Ordering::Relaxed)));
                bar.set_position(progress.octets.load(Ordering::Relaxed));
                bar.tick();
            }
            bar.finish_and_clear();
        });
        Self { ended: Some(ended), thread: Some(thread) }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        drop(self.ended.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
