//! `reprieve policy test`

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::cli::{FAILED, WRONG};
use crate::file_watch::{Stamp, stamp};
use crate::output::{self, Output, errln};
use reprieve_policy_host::Cache;
use reprieve_policy_host::scenario::{self, Format, Scenario, ScenarioResult};

/// Time between two checks for changes with `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_millis(200);
/// Time that all files must be unchanged before they are tested, because editors may truncate a file
/// first, and a build writes several files.
const SETTLE_TIME: Duration = Duration::from_millis(50);

/// Test a policy with scenarios, in virtual time and without network connections
///
/// A scenario is a TOML file with steps: logins at given times, with the expected verdicts.
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
/// POLICY is the name of a built-in policy, such as interval, or the path of a component.
/// Each scenario is played with reused instances and with a fresh instance for each call. If the
/// results differ, the policy keeps state in its own memory, and the scenario fails.
/// If a file cannot be read, the others are still tested.
///
/// Exit codes: 0 all scenarios passed, 1 a scenario failed, 2 a file cannot be read, the component is
/// not a policy, or there is no scenario to test.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Built-in policy, or path of a component
    #[arg(value_name = "POLICY")]
    policy: String,
    /// Scenario files, and directories: all .toml files in them and in their subdirectories
    #[arg(value_name = "SCENARIO", required = true)]
    scenarios: Vec<PathBuf>,
    /// Test only scenarios whose name contains NAME; can be repeated
    #[arg(long, value_name = "NAME")]
    run: Vec<String>,
    /// Format of the report
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Write the report to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Setting of the policy, overrides the scenarios; can be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Seed for the policy's random numbers, overrides the scenarios
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Test again whenever the policy or a scenario changes, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if !arguments.watch {
        let results = play(arguments)?;
        report(arguments, &results)?;
        return Ok(if results.iter().any(|one| one.unreadable.is_some()) {
            ExitCode::from(WRONG)
        } else if results.iter().all(ScenarioResult::succeeded) {
            ExitCode::SUCCESS
        } else {
            ExitCode::from(FAILED)
        });
    }
    loop {
        let seen = settled(arguments);
        let results = play(arguments);
        if stamps(arguments) != seen {
            // It is unknown which version was tested.
            continue;
        }
        // Keep watching after an error: the next change may fix it.
        if let Err(error) = results.and_then(|results| report(arguments, &results)) {
            if output::first_error().is_some() {
                return Err(error);
            }
            errln!("reprieve: {error:#}");
        }
        errln!(
            "watching {} and {} scenario files; press Ctrl-C to stop",
            arguments.policy,
            files(&arguments.scenarios).len()
        );
        while stamps(arguments) == seen {
            std::thread::sleep(WATCH_INTERVAL);
        }
    }
}

/// Waits until the files are stable, and returns their state.
fn settled(arguments: &Arguments) -> Vec<Stamp> {
    let mut seen = stamps(arguments);
    loop {
        std::thread::sleep(SETTLE_TIME);
        let now = stamps(arguments);
        if now == seen {
            return seen;
        }
        seen = now;
    }
}

/// Returns the current state of each file.
fn stamps(arguments: &Arguments) -> Vec<Stamp> {
    let scenarios = files(&arguments.scenarios);
    std::iter::once(Path::new(&arguments.policy))
        .chain(scenarios.iter().map(PathBuf::as_path))
        .map(stamp)
        .collect()
}

/// The given files, and the scenario files in the given folders. Hidden ones are not included.
fn files(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in paths {
        match path.is_dir() {
            // A folder that cannot be read is reported like a file that cannot be read.
            true if collect(path, &mut files).is_ok() => {}
            _ => files.push(path.clone()),
        }
    }
    files
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let mut entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        // Symbolic links to folders are not followed, so that there are no cycles.
        if entry.file_type()?.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    Ok(())
}

fn play(arguments: &Arguments) -> anyhow::Result<Vec<ScenarioResult>> {
    let settings = super::settings(&arguments.set)?;
    let cache = Cache::usual_folder().and_then(|folder| Cache::open(&folder).ok());
    let files = files(&arguments.scenarios);
    let read: Vec<_> = files.iter().map(|path| (path, read(path, &arguments.policy))).collect();
    let names: Vec<_> = read
        .iter()
        .filter_map(|(_, scenarios)| scenarios.as_ref().ok())
        .flatten()
        .map(|scenario| scenario.name.clone())
        .collect();
    if names.is_empty() {
        let why: Vec<_> =
            read.iter().filter_map(|(_, one)| Some(format!("{:#}", one.as_ref().err()?))).collect();
        anyhow::ensure!(!why.is_empty(), "there are no .toml files in the given folders");
        anyhow::bail!("{}", why.join("\nreprieve: "));
    }
    let is_chosen = |name: &str| {
        arguments.run.is_empty() || arguments.run.iter().any(|part| name.contains(part.as_str()))
    };
    anyhow::ensure!(
        names.iter().any(|name| is_chosen(name)),
        "no name of a scenario contains {:?} (--run); there are:\n  {}",
        arguments.run.join(" or "),
        names.join("\n  ")
    );
    let mut results = Vec::new();
    for (path, scenarios) in read {
        let scenarios = match scenarios {
            Ok(scenarios) => scenarios,
            // The other files are tested nevertheless.
            Err(error) => {
                let name = path.display().to_string();
                results.push(ScenarioResult::unreadable(&name, format!("{error:#}")));
                continue;
            }
        };
        for mut scenario in scenarios.into_iter().filter(|scenario| is_chosen(&scenario.name)) {
            for (key, value) in &settings {
                scenario.set(key, value);
            }
            if let Some(seed) = arguments.seed {
                scenario.seed(seed);
            }
            if let Some(cache) = &cache {
                scenario.cache(cache.clone());
            }
            results.push(scenario.play()?);
        }
    }
    Ok(results)
}

fn read(path: &Path, policy: &str) -> anyhow::Result<Vec<Scenario>> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the scenario {name}"))?;
    Ok(Scenario::parse(&text, &name, policy)?)
}

/// Writes the report to `--output` or standard output.
fn report(arguments: &Arguments, results: &[ScenarioResult]) -> anyhow::Result<()> {
    match &arguments.output {
        Some(path) => {
            let mut report = Vec::new();
            scenario::write(&mut report, arguments.format, &arguments.policy, results, false)?;
            std::fs::write(path, report).with_context(|| format!("cannot write {}", path.display()))?;
        }
        None => {
            let colour =
                Output::is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            scenario::write(&mut Output, arguments.format, &arguments.policy, results, colour)?;
            Output.flush()?;
        }
    }
    Ok(())
}
