//! `reprieve run`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::config::{CommandLine, Config};
use crate::logging;
use crate::server::{Options, Server};

/// Serve: listen, ask the policy, pass or pose.
///
/// Either with a configuration file, or with everything on the command line:
///
///   reprieve run --config /etc/reprieve.toml
///
///   reprieve run --listen 127.0.0.1:1110 --backend 127.0.0.1:110 --set interval=5m
///
/// SIGTERM and Ctrl-C drain: nothing new is accepted, sessions end by themselves; a second
/// signal ends at once.
#[derive(Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "backend", "policy", "set"], required_unless_present = "listen")]
    config: Option<PathBuf>,
    /// Address to listen on, with its port; may be given several times
    #[arg(long, value_name = "ADDR", requires = "backend")]
    listen: Vec<SocketAddr>,
    /// Mail server to pass to, as HOST:PORT; several share the load
    #[arg(long, value_name = "ADDR", requires = "listen")]
    backend: Vec<String>,
    /// Built-in policy or path of a component [default: interval]
    #[arg(long, value_name = "P")]
    policy: Option<String>,
    /// A setting of the policy, such as interval=5m or manner=busy; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Threads that serve connections [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    #[command(flatten)]
    log: LogArguments,
}

/// How the log looks.
#[derive(Debug, clap::Args)]
pub(super) struct LogArguments {
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    log_format: logging::Format,
    /// What to log: error, warn, info, debug, or by part, such as warn,session=info
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

impl Arguments {
    fn config(&self) -> anyhow::Result<Config> {
        let threads = self.threads.map(usize::from);
        match &self.config {
            Some(path) => {
                let mut config = super::read_config(path)?;
                config.threads = threads.unwrap_or(config.threads);
                Ok(config)
            }
            None => Ok(CommandLine {
                listen: self.listen.clone(),
                backend: self.backend.clone(),
                policy: self.policy.clone(),
                set: self.set.clone(),
                threads,
            }
            .config()?),
        }
    }
}

/// A connection takes a descriptor, and another one at a mail server; some are needed beside.
fn fit_to_descriptors(config: &mut Config, descriptors: u64) {
    let room = u32::try_from(descriptors.saturating_sub(100) / 2).unwrap_or(u32::MAX).max(1);
    match config.max_connections {
        Some(wanted) if wanted > room => tracing::warn!(
            descriptors,
            needed = u64::from(wanted) * 2 + 100,
            "fewer file descriptors than max-connections can need; raise the limit (ulimit -n, LimitNOFILE)"
        ),
        None if Config::MAX_CONNECTIONS > room => {
            tracing::info!(descriptors, "max-connections is {room}, as many as file descriptors allow");
            config.max_connections = Some(room);
        }
        _ => {}
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let mut config = arguments.config()?;
    let _log = logging::start(arguments.log.log_format, &arguments.log.log_level)?;
    fit_to_descriptors(&mut config, crate::rlimit::raise_descriptors());
    let drain_timeout = config.drain_timeout;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for signals")?;
        // The policy compiles meanwhile; the first signal still counts.
        let server = tokio::task::spawn_blocking(move || Server::start(config, Options::default())).await??;
        for (name, addresses) in server.addresses() {
            for address in addresses {
                tracing::info!(server = name, %address, "listening");
            }
        }
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!(
            at_most_s = drain_timeout.as_secs(),
            "draining: no new connections; sessions end by themselves"
        );
        let drained = tokio::task::spawn_blocking(move || server.shutdown(drain_timeout));
        tokio::select! {
            _ = drained => tracing::info!("drained"),
            _ = terminate.recv() => tracing::warn!("ended at once by a second signal"),
            _ = interrupt.recv() => tracing::warn!("ended at once by a second signal"),
        }
        anyhow::Ok(())
    })?;
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}
