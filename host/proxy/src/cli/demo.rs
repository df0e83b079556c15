//! `reprieve demo`

use std::process::ExitCode;

use crate::demo;
use crate::output::Output;

/// Run a demonstration: a small mail server, Reprieve in front of it and polling clients.
///
/// The clients first poll the mail server directly, then through Reprieve, all in one process. Every
/// answer is checked, all figures are measured, and a summary is printed at the end.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Duration of the measurement, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = demo::Options::default().seconds)]
    seconds: u64,
    /// Number of clients
    #[arg(long, value_name = "N", default_value_t = demo::Options::default().clients)]
    clients: usize,
    /// Interval of the policy, such as 10s
    #[arg(long, value_name = "DURATION", default_value_t = demo::Options::default().interval)]
    interval: String,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let options = demo::Options {
        seconds: arguments.seconds,
        clients: arguments.clients,
        interval: arguments.interval.clone(),
    };
    let report = demo::run(&options, &mut Output, Output::is_terminal())?;
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(super::FAILED) })
}
