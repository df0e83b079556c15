//! `reprieve run`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use crate::admin::{AdminKeys, Doors, Open, Predecessor};
use crate::config::{CommandLine, Config, NodeTlsMode};
use crate::logging;
use crate::privileges;
use crate::server::{Control, Keys, Options, Prepared, Server, Sockets};
use crate::service_manager;
use crate::watch::Watch;

/// How often files are looked at that are watched.
const LOOK: Duration = Duration::from_secs(1);
/// How long an end at once waits for lines of the decision log that are on their way.
const LAST_LINES: Duration = Duration::from_secs(2);

/// Serve: listen, ask the policy, pass or pose.
///
/// Either with a configuration file, or with everything on the command line:
///
///   reprieve run --config /etc/reprieve.toml
///
///   reprieve run --listen 127.0.0.1:1110 --backend 127.0.0.1:110 --set interval=5m
///
///   reprieve run --listen 0.0.0.0:110 --listen-tls 0.0.0.0:995 --certificate fullchain.pem
///       --key privkey.pem --backend mail.example:995 --backend-tls implicit
///
/// SIGTERM and Ctrl-C drain: nothing new is accepted, sessions end by themselves; a second
/// signal ends at once. SIGHUP takes up the configuration file as it is now, and reads the
/// certificates again, and opens the decision log anew.
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Arguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["listen", "listen_tls", "certificate", "backend", "backend_tls", "policy", "set"], required_unless_present_any = ["listen", "listen_tls"])]
    config: Option<PathBuf>,
    /// Address to listen on, with its port; may be given several times
    #[arg(long, value_name = "ADDR", requires = "backend")]
    listen: Vec<SocketAddr>,
    /// Address to listen on for TLS (POP3S), with its port; may be given several times
    #[arg(long, value_name = "ADDR", requires_all = ["backend", "certificate"])]
    listen_tls: Vec<SocketAddr>,
    /// Certificate chain (PEM), for --listen-tls and for STLS at --listen
    #[arg(long, value_name = "FILE", requires = "key")]
    certificate: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// TLS towards the mail servers, whose certificates must be right [default: off]
    #[arg(long, value_enum, value_name = "MODE", requires = "backend")]
    backend_tls: Option<NodeTlsMode>,
    /// Mail server to pass to, as HOST:PORT; several share the load
    #[arg(long, value_name = "ADDR")]
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
    /// Who to become once the ports are open, where it starts as root
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Take the place of the process that serves at the configuration's admin socket: no connection
    /// is refused. Where nobody does, just start
    #[arg(long, requires = "config")]
    take_over: bool,
    #[command(flatten)]
    log: LogArguments,
}

/// How the log looks.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LogArguments {
    /// How log lines look
    #[arg(long, value_enum, default_value_t)]
    log_format: logging::Format,
    /// What to log: error, warn, info, debug, or by part, such as warn,session=info
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

impl Arguments {
    /// The configuration as it is now. `descriptors`: as many as the process may have.
    fn configured(&self, descriptors: u64) -> anyhow::Result<Config> {
        let mut config = self.config()?;
        if let Some(user) = &self.user {
            config.user = Some(user.clone());
        }
        fit_to_descriptors(&mut config, descriptors);
        Ok(config)
    }

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
                listen_tls: self.listen_tls.clone(),
                certificate: self.certificate.clone().zip(self.key.clone()),
                backend_tls: self.backend_tls,
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

/// Does first what may need root, and the rest as somebody who is not.
fn start(config: Config, take_over: bool) -> anyhow::Result<(Server, Doors, Option<Predecessor>)> {
    let asked = if take_over { Predecessor::ask(&config)? } else { None };
    let (predecessor, sockets) = match asked {
        Some((predecessor, inherited)) => (Some(predecessor), Sockets::open_with(&config, inherited)?),
        None => (None, Sockets::open(&config)?),
    };
    let keys = Keys::read(&config)?;
    let doors = Doors::open(&config.admin, AdminKeys::read(&config.admin)?, predecessor.is_some())?;
    match &config.user {
        Some(user) => privileges::become_user(user, config.group.as_deref())?,
        None if privileges::is_root() => {
            tracing::warn!("serving as root; set `user` (--user) to somebody who may do less");
        }
        None => {}
    }
    let server = Server::serve_at(Prepared::with_keys(config, Options::default(), keys)?, sockets)?;
    Ok((server, doors, predecessor))
}

/// Takes commands, in the place of whoever did before.
async fn take_commands(
    doors: Doors,
    server: &Server,
    recent: &logging::Recent,
    predecessor: Option<Predecessor>,
) -> anyhow::Result<Open> {
    let takes_over = predecessor.is_some();
    if let Some(predecessor) = predecessor {
        tokio::task::spawn_blocking(move || predecessor.retire()).await??;
    }
    if let Some(tls) = doors.tls() {
        server.also_reload("admin", tls.clone());
    }
    doors.serve(&server.view(), recent, takes_over)
}

/// What `systemctl status` shows.
fn serving(server: &Server) -> String {
    let servers = server.addresses().into_iter().map(|(name, addresses)| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        format!("{name} at {}", addresses.join(", "))
    });
    format!("serving {}", servers.collect::<Vec<_>>().join("; "))
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // Read before there is a log, so that what is wrong stands alone.
    arguments.config()?;
    let log = logging::start(arguments.log.log_format, &arguments.log.log_level)?;
    let descriptors = crate::rlimit::raise_descriptors();
    let config = arguments.configured(descriptors)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).context("cannot watch for signals")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot watch for signals")?;
        // The policy compiles meanwhile; the first signal still counts.
        let mut hang_up = signal(SignalKind::hangup()).context("cannot watch for signals")?;
        let take_over = arguments.take_over;
        let (server, doors, predecessor) =
            tokio::task::spawn_blocking(move || start(config, take_over)).await??;
        let control = server.control();
        control.reload_from({
            let arguments = arguments.clone();
            move || arguments.configured(descriptors)
        });
        for (name, addresses) in server.addresses() {
            for address in addresses {
                tracing::info!(server = name, %address, "listening");
            }
        }
        let commands = take_commands(doors, &server, log.recent(), predecessor).await?;
        service_manager::ready(&serving(&server));
        let mut ending = control.ending();
        let mut watch = Watch::default();
        let mut certificates_at = Instant::now();
        loop {
            let config = control.config();
            if config.watch {
                let files = arguments.config.iter().cloned().chain(control.components());
                if watch.look(files) {
                    reload(&control).await?;
                }
            }
            let next_certificates = config.certificate_check.map(|every| certificates_at + every);
            let next_look = config.watch.then(|| Instant::now() + LOOK);
            let next = [next_certificates, next_look].into_iter().flatten().min();
            let next = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = ending.wait_for(|ending| *ending) => break,
                _ = hang_up.recv() => {
                    service_manager::reloading();
                    reload(&control).await?;
                    service_manager::ready(&serving(&server));
                }
                () = next => {}
            }
            if next_certificates.is_some_and(|at| Instant::now() >= at) {
                certificates_at = Instant::now();
                let control = control.clone();
                // Files are read aside: signals are heard meanwhile.
                tokio::task::spawn_blocking(move || control.look_at_certificates()).await?;
            }
        }
        drop(commands);
        let drain_timeout = control.config().drain_timeout;
        service_manager::stopping(drain_timeout);
        tracing::info!(
            at_most_s = drain_timeout.as_secs(),
            "draining: no new connections; sessions end by themselves"
        );
        let journal = server.journal().cloned();
        let drained = tokio::task::spawn_blocking(move || server.shutdown(drain_timeout));
        tokio::select! {
            _ = drained => tracing::info!("drained"),
            _ = terminate.recv() => tracing::warn!("ended at once by a second signal"),
            _ = interrupt.recv() => tracing::warn!("ended at once by a second signal"),
        }
        if let Some(journal) = journal {
            // Even then what sessions have told of themselves is not lost.
            tokio::task::spawn_blocking(move || journal.close(LAST_LINES)).await?;
        }
        anyhow::Ok(())
    })?;
    runtime.shutdown_background();
    Ok(ExitCode::SUCCESS)
}

/// Takes up what has changed, aside. What is wrong with it stands in the log.
async fn reload(control: &Control) -> anyhow::Result<()> {
    let control = control.clone();
    let _ = tokio::task::spawn_blocking(move || control.reload_again()).await?;
    Ok(())
}
