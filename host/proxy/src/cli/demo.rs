//! `reprieve demo`

use std::process::ExitCode;

use crate::demo;
use crate::output::Output;

/// See it work: a small mail server, the proxy before it and clients that poll, in one process.
///
/// First the clients poll the mail server itself, then through Reprieve. Every answer is
/// checked and every figure measured; it ends by itself with a summary.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How long it measures
    #[arg(long, value_name = "SECONDS", default_value_t = demo::Options::default().seconds)]
    seconds: u64,
    /// Clients that poll
    #[arg(long, value_name = "N", default_value_t = demo::Options::default().clients)]
    clients: usize,
    /// The policy's interval
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
