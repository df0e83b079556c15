//! `reprieve policy fuzz`

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use super::login;
use crate::cli::FAILED;
use crate::output::Output;
use reprieve_policy_host::Cache;
use reprieve_policy_host::fuzz::{Counterexample, Fuzz, FuzzReport, Invariant};
use reprieve_policy_host::harness::Harness;
use reprieve_settings::DURATION_EXAMPLES;

/// Throw generated logins at a policy, and check what should hold for any policy
///
/// Logins come in virtual time: at midnight, at changes to daylight saving time, on leap days, after
/// the clock was set back, with odd names, from all kinds of clients. The first invariant that does
/// not hold is reported, with a small scenario that fails in `reprieve policy test`.
///
///   failure         no call of the policy fails
///   own-memory      fresh instances decide as reused ones do
///   retry-after     a login passes that many seconds later, and not two seconds earlier
///   reset           a known user passes after two days without logins
///   wrong-password  rejected logins change no later decision about the user
///   other-users     logins of other users change no decision about the user
///   unknown         a login is not refused because its secret is unknown
///   new-mail        new mail is no reason to deny a login
///   store           the store does not grow if each day has the same number of new users
///
/// Switch off what contradicts the purpose of a policy: one that limits the logins of a network breaks
/// other-users.
///
/// Exit codes: 0 all invariants held, 1 one did not, 2 the component is not a policy or rejects its
/// settings.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Built-in policy, or path of a component
    #[arg(value_name = "POLICY")]
    policy: String,
    /// Setting of the policy; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Pools that the policy can choose from; the first is the default pool
    #[arg(long, value_name = "POOL,…", value_delimiter = ',', default_value = "mail")]
    pools: Vec<String>,
    /// Do not check an invariant; can be repeated
    #[arg(long, value_name = "INVARIANT", value_parser = login::words(&Invariant::ALL))]
    without: Vec<Invariant>,
    /// Seed of the generated logins and of the policy's random numbers
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Number of generated histories, each with up to 12 logins
    #[arg(long, value_name = "N", default_value_t = 1000)]
    runs: u64,
    /// Stop after this long, even if there are runs left [default: no limit]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    time: Option<Duration>,
    /// Write the scenario to a file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    reprieve_settings::duration(text).ok_or_else(|| format!("use a duration such as {DURATION_EXAMPLES}"))
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let pools: Vec<_> = arguments.pools.iter().map(String::as_str).collect();
    let mut builder = Harness::of(&arguments.policy).pools(&pools).seed(arguments.seed);
    for (key, value) in super::settings(&arguments.set)? {
        builder = builder.setting(&key, &value);
    }
    if let Some(cache) = Cache::usual_folder().and_then(|folder| Cache::open(&folder).ok()) {
        builder = builder.cache(cache);
    }
    let fuzz = Fuzz {
        builder,
        seed: arguments.seed,
        runs: arguments.runs,
        time: arguments.time,
        without: arguments.without.clone(),
    };
    let report = fuzz.run()?;
    print(arguments, &report)?;
    Ok(if report.counterexample.is_some() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn print(arguments: &Arguments, report: &FuzzReport) -> anyhow::Result<()> {
    let FuzzReport { runs, logins, unconfirmed, counterexample } = report;
    let seed = arguments.seed;
    if *unconfirmed > 0 {
        writeln!(
            Output,
            "{unconfirmed} violations did not happen again when their scenario was played; is a limit too close?"
        )?;
    }
    let Some(found) = counterexample else {
        writeln!(Output, "all invariants held in {runs} runs with {logins} logins (seed {seed})")?;
        return Ok(());
    };
    let Counterexample { invariant, expected, got, scenario } = found;
    writeln!(Output, "{} does not hold (run {runs}, seed {seed})", invariant.name())?;
    writeln!(Output, "  {}", invariant.rule())?;
    writeln!(Output, "  expected: {expected}")?;
    writeln!(Output, "  got:      {got}")?;
    match &arguments.output {
        Some(path) => {
            std::fs::write(path, scenario).with_context(|| format!("cannot write {}", path.display()))?;
            writeln!(Output, "the scenario is in {}", path.display())?;
        }
        None => writeln!(Output, "\n{scenario}")?,
    }
    Ok(())
}
