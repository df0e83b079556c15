//! `reprieve policy test`

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::{FAILED, WRONG};
use crate::output::{self, Output, tell};
use crate::watch::{Stamp, stamp};
use reprieve_policy_host::Cache;
use reprieve_policy_host::scenario::{self, Format, Played, Scenario};

/// How often `--watch` looks for changes.
const LOOK: Duration = Duration::from_millis(200);
/// For how long files have to stay as they are before they are tested: whoever writes one may
/// empty it first, and a build writes several.
const SETTLED: Duration = Duration::from_millis(50);

/// Test a policy by scenarios, in virtual time and without sockets.
///
/// A scenario is a TOML file with steps: who logs in when, and what the policy is to say.
///
///   [[step]]
///   login = "alice"
///   expect = "pass"
///
///   [[step]]
///   after = "1m"
///   login = "alice"
///   expect = { manner = "unchanged", retry-after = 540 }
///
/// P is a built-in policy's name, such as interval, or the path of a component.
/// A file that cannot be read does not keep the others from being tested.
/// Exit codes: 0 all as expected, 1 something was not, 2 a file that cannot be read.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Built-in policy or path of a component
    #[arg(value_name = "P")]
    policy: String,
    /// Scenario files
    #[arg(value_name = "SCENARIO", required = true)]
    scenarios: Vec<PathBuf>,
    /// How the report looks
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write the report to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A setting of the policy, in place of the scenarios'; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed of the policy's randomness, in place of the scenarios'
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Test again whenever the policy or a scenario changes, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if !arguments.watch {
        let played = play(arguments)?;
        report(arguments, &played)?;
        return Ok(if played.iter().any(|one| one.unreadable.is_some()) {
            ExitCode::from(WRONG)
        } else if played.iter().all(Played::is_good) {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FAILED)
        });
    }
    loop {
        let seen = settled(arguments);
        let played = play(arguments);
        if changed(arguments) != seen {
            // Nobody knows which of both was tested.
            continue;
        }
        // A file that is wrong is no reason to end: the next change mends it.
        if let Err(error) = played.and_then(|played| report(arguments, &played)) {
            if output::failure().is_some() {
                return Err(error);
            }
            tell!("reprieve: {error:#}");
        }
        tell!("watching {} and {} scenario files; Ctrl-C ends", arguments.policy, arguments.scenarios.len());
        while changed(arguments) == seen {
            std::thread::sleep(LOOK);
        }
    }
}

/// Waits until nobody writes the files any more; how they are then.
fn settled(arguments: &Arguments) -> Vec<Stamp> {
    let mut seen = changed(arguments);
    loop {
        std::thread::sleep(SETTLED);
        let now = changed(arguments);
        if now == seen {
            return seen;
        }
        seen = now;
    }
}

/// How each file is now.
fn changed(arguments: &Arguments) -> Vec<Stamp> {
    let policy = Path::new(&arguments.policy);
    let files = std::iter::once(policy).chain(arguments.scenarios.iter().map(PathBuf::as_path));
    files.map(stamp).collect()
}

/// Plays all scenarios.
fn play(arguments: &Arguments) -> anyhow::Result<Vec<Played>> {
    let settings = super::settings(&arguments.set)?;
    let cache = Cache::usual_folder().and_then(|folder| Cache::open(&folder).ok());
    let mut played = Vec::new();
    let mut all = Vec::new();
    for path in &arguments.scenarios {
        match read(path, &arguments.policy) {
            Ok(scenarios) => all.extend(scenarios),
            // The others are played all the same.
            Err(error) => {
                played.push(Played::unreadable(&path.display().to_string(), format!("{error:#}")));
            }
        }
    }
    if all.is_empty() {
        let why: Vec<_> = played.iter().filter_map(|one| one.unreadable.as_deref()).collect();
        anyhow::bail!("{}", why.join("\nreprieve: "));
    }
    for scenario in &mut all {
        for (key, value) in &settings {
            scenario.set(key, value);
        }
        if let Some(seed) = arguments.seed {
            scenario.seed(seed);
        }
        if let Some(cache) = &cache {
            scenario.cache(cache.clone());
        }
        played.push(scenario.play()?);
    }
    Ok(played)
}

fn read(path: &Path, policy: &str) -> anyhow::Result<Vec<Scenario>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the scenario {name}"))?;
    Ok(Scenario::parse(&text, &name, policy)?)
}

/// Writes the report to where it is wanted.
fn report(arguments: &Arguments, played: &[Played]) -> anyhow::Result<()> {
    match &arguments.output {
        Some(path) => {
            let mut report = Vec::new();
            scenario::write(&mut report, arguments.format, &arguments.policy, played, false)?;
            std::fs::write(path, report).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => {
            let colour =
                Output::is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            scenario::write(&mut Output, arguments.format, &arguments.policy, played, colour)?;
            Output.flush()?;
        }
    }
    Ok(())
}
