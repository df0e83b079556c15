//! `reprieve policy`: tools for policy authors.

mod bench;
mod decide;
mod fuzz;
mod inspect;
mod login;
mod new;
mod test;

use std::process::ExitCode;

use clap::Subcommand;

/// Create, test and measure policies.
///
/// POLICY is the name of a built-in policy, such as interval, or the path of a component.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    New(new::Arguments),
    Test(test::Arguments),
    Decide(decide::Arguments),
    Bench(bench::Arguments),
    Fuzz(fuzz::Arguments),
    Inspect(inspect::Arguments),
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Subcommands::New(arguments) => new::run(arguments),
        Subcommands::Test(arguments) => test::run(arguments),
        Subcommands::Decide(arguments) => decide::run(arguments),
        Subcommands::Bench(arguments) => bench::run(arguments),
        Subcommands::Fuzz(arguments) => fuzz::run(arguments),
        Subcommands::Inspect(arguments) => inspect::run(arguments),
    }
}

/// Format of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Text for people
    #[default]
    Human,
    /// One JSON object
    Json,
}

/// Parses `--set` options, keeping their order.
pub(super) fn settings(set: &[String]) -> anyhow::Result<Vec<(String, String)>> {
    set.iter()
        .map(|pair| match pair.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(anyhow::anyhow!("--set {pair}: use KEY=VALUE, such as interval=5m")),
        })
        .collect()
}
