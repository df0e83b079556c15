//! `reprieve policy`: tools for those who write policies.

use std::process::ExitCode;

use clap::Subcommand;

/// Make, test and measure policies.
///
/// P is a built-in policy's name, such as interval, or the path of a component.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    match arguments.command {}
}
