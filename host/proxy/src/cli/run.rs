//! `reprieve run`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::admin::{AdminKeys, AdminServer, Listeners, Predecessor};
use crate::config::{CommandLine, Config, NodeTlsMode};
use crate::file_watch::FileWatch;
use crate::logging;
use crate::net::InheritedSockets;
use crate::privileges;
use crate::server::{Control, Options, Prepared, ReservedSockets, Server, ServerKeys};
use crate::service_manager;

/// Time between two checks of watched files.
const WATCH_INTERVAL: Duration = Duration::from_secs(1);
/// Time between two checks whether the files of lookup tables have changed. They are read at the second
/// check after the change.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(2);
/// Longest wait for the decision log after a second stop signal.
const DECISION_LOG_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for logs and stores after the drain timeout; less than the service manager's margin.
const SHUTDOWN_MARGIN: Duration = Duration::from_secs(7);

/// Run the proxy
///
/// Use a configuration file, or give everything on the command line:
///
///   reprieve run --config /etc/reprieve/reprieve.toml
///
///   reprieve run --listen 127.0.0.1:1110 --backend 127.0.0.1:110 --set interval=5m
///
///   reprieve run --listen 0.0.0.0:110 --listen-tls 0.0.0.0:995 --certificate fullchain.pem
///       --key privkey.pem --backend mail.example:995 --backend-tls implicit
///
/// SIGTERM and Ctrl-C drain: no new connections are accepted, and the process exits when all sessions
/// have ended; a second signal ends them at once. SIGHUP reloads the configuration file and the
/// certificates, and reopens the decision log.
#[derive(Clone, Debug, clap::Args)]
#[command(verbatim_doc_comment)]
#[command(group(clap::ArgGroup::new("addresses").args(["listen", "listen_tls"]).multiple(true)))]
pub(super) struct Arguments {
    /// Configuration file (TOML) [default: /etc/reprieve/reprieve.toml]
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["addresses", "certificate", "backend", "backend_tls", "policy", "set", "lookup"])]
    config: Option<PathBuf>,
    /// Listen address and port; can be repeated
    #[arg(long, value_name = "ADDR", requires = "backend")]
    listen: Vec<SocketAddr>,
    /// Listen address and port for TLS (POP3S); can be repeated
    #[arg(long, value_name = "ADDR", requires_all = ["backend", "certificate"])]
    listen_tls: Vec<SocketAddr>,
    /// Certificate chain (PEM) for --listen-tls, and for STLS on --listen
    #[arg(long, value_name = "FILE", requires_all = ["addresses", "key"])]
    certificate: Option<PathBuf>,
    /// Private key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "certificate")]
    key: Option<PathBuf>,
    /// TLS to the mail servers, with verified certificates [default: off]
    #[arg(long, value_enum, value_name = "MODE", requires = "backend")]
    backend_tls: Option<NodeTlsMode>,
    /// Mail server as HOST:PORT; if repeated, logins are balanced among them
    #[arg(long, value_name = "ADDR", requires = "addresses")]
    backend: Vec<String>,
    /// Built-in policy, or path of a component [default: interval]
    #[arg(long, value_name = "POLICY", requires = "addresses")]
    policy: Option<String>,
    /// Setting of the policy, such as interval=5m; can be repeated
    #[arg(long, value_name = "KEY=VALUE", requires = "addresses")]
    set: Vec<String>,
    /// Lookup table that the policy can read; can be repeated
    #[arg(long, value_name = "NAME=FILE", requires = "addresses")]
    lookup: Vec<String>,
    /// Number of worker threads [default: one per core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// User to switch to after opening the ports, if started as root
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Upgrade without downtime: take over the listening sockets of the process on `admin.socket`,
    /// which then drains; without such a process, start normally
    #[arg(long, conflicts_with = "addresses")]
    take_over: bool,
    #[command(flatten)]
    log: LogArguments,
}

/// Options of the log.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct LogArguments {
    /// Format of log lines
    #[arg(long, value_enum, default_value_t)]
    log_format: logging::Format,
    /// Log level: error, warn, info or debug; also per module, such as warn,session=info
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: String,
}

impl Arguments {
    /// Reads the configuration. `descriptors`: limit of open file descriptors.
    fn configured(&self, descriptors: u64) -> anyhow::Result<Config> {
        let mut config = self.config()?;
        if let Some(user) = &self.user {
            config.user = Some(user.clone());
        }
        fit_to_descriptors(&mut config, descriptors);
        Ok(config)
    }

    /// The configuration file; `None` if the command line has everything.
    fn file(&self) -> Option<PathBuf> {
        let default = || self.listen.is_empty() && self.listen_tls.is_empty();
        self.config.clone().or_else(|| default().then(|| super::DEFAULT_CONFIG.into()))
    }

    fn config(&self) -> anyhow::Result<Config> {
        let threads = self.threads.map(usize::from);
        match self.file() {
            Some(path) => {
                let mut config = super::read_config(&path)?;
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
                lookup: self.lookup.clone(),
                threads,
            }
            .config()?),
        }
    }
}

/// Lowers `max-connections` to what the file descriptors allow: a connection needs two, one of them
/// to the mail server, and about 100 are needed for everything else.
fn fit_to_descriptors(config: &mut Config, descriptors: u64) {
    let room = u32::try_from(descriptors.saturating_sub(100) / 2).unwrap_or(u32::MAX).max(1);
    match config.max_connections {
        Some(wanted) if wanted > room => tracing::warn!(
            descriptors,
            needed = u64::from(wanted) * 2 + 100,
            "max-connections may need more file descriptors than the limit; raise it (ulimit -n, LimitNOFILE)"
        ),
        None if Config::MAX_CONNECTIONS > room => {
            tracing::info!(descriptors, "max-connections is {room}, limited by file descriptors");
            config.max_connections = Some(room);
        }
        _ => {}
    }
}

/// Everything that is opened and read before root privileges are dropped.
struct Opened {
    config: Config,
    keys: ServerKeys,
    sockets: ReservedSockets,
    listeners: Listeners,
}

impl Opened {
    /// Does everything that may require root, then drops root privileges.
    fn open_and_drop_root(config: Config, take_over: bool) -> anyhow::Result<Self> {
        let sockets = ReservedSockets::open(&config, take_over)?;
        let keys = ServerKeys::read(&config)?;
        let listeners = Listeners::open(&config.admin, AdminKeys::read(&config.admin)?, take_over)?;
        privileges::become_service_user(&config)?;
        if privileges::is_root() {
            tracing::warn!("running as root; set `user` (--user) to an unprivileged user");
        }
        Ok(Self { config, keys, sockets, listeners })
    }
}

/// Starts the server; with `take_over`, takes over from a running process. Cancelling this future
/// stops the start after the current step.
async fn start(config: Config, take_over: bool) -> anyhow::Result<(Server, Listeners, Option<Predecessor>)> {
    let socket = config.admin.socket.clone();
    if take_over {
        anyhow::ensure!(
            socket.is_some(),
            "--take-over requires `admin.socket` in the configuration, through which the running process is reached"
        );
    }
    let wanted = socket.filter(|_| take_over);
    // Find errors before the running process hands anything over.
    let tried = take_over.then(|| ServerKeys::read(&config)).transpose()?;
    let Opened { config, keys, sockets, listeners } =
        run_blocking(move || Opened::open_and_drop_root(config, take_over)).await?;
    let (predecessor, inherited) = match wanted {
        None => (None, InheritedSockets::default()),
        Some(socket) => {
            if let Some(keys) = tried {
                let config = config.clone();
                let options = Options { without_stores: true, ..Options::default() };
                drop(run_blocking(move || Prepared::with_keys(config, options, keys)).await?);
            }
            match Predecessor::take_over(&socket).await? {
                Some((predecessor, inherited)) => (Some(predecessor), inherited),
                None => (None, InheritedSockets::default()),
            }
        }
    };
    let server = run_blocking(move || {
        let sockets = sockets.complete(&config, inherited)?;
        Server::serve_at(Prepared::with_keys(config, Options::default(), keys)?, sockets)
    });
    Ok((server.await?, listeners, predecessor))
}

/// Runs slow work on a blocking thread, so that signals are handled meanwhile.
async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
}

/// Starts the admin interface, after telling a replaced process to drain.
async fn serve_admin(
    mut listeners: Listeners,
    server: &Server,
    recent: &logging::Recent,
    predecessor: Option<Predecessor>,
) -> anyhow::Result<AdminServer> {
    let takes_over = predecessor.is_some();
    match predecessor {
        Some(predecessor) => {
            listeners.listen_beside_predecessor()?;
            predecessor.retire().await;
            // Signals of new mail that were on their way to it may be lost.
            server.view().new_mail().take_over();
        }
        None => listeners.listen()?,
    }
    if let Some(tls) = listeners.tls() {
        server.add_certificates("admin", tls.clone());
    }
    listeners.serve(&server.view(), recent, takes_over)
}

/// Status for `systemctl status`.
fn status_line(server: &Server) -> String {
    let servers = server.addresses().into_iter().map(|(name, addresses)| {
        let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
        format!("{name} on {}", addresses.join(", "))
    });
    format!("serving {}", servers.collect::<Vec<_>>().join("; "))
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    // Read before the log starts, so that an error is printed without log lines around it.
    arguments.config()?;
    let log = logging::start(arguments.log.log_format, &arguments.log.log_level)?;
    let descriptors = crate::rlimit::raise_descriptors();
    let config = arguments.configured(descriptors)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = runtime.block_on(serve(arguments, config, descriptors, &log));
    // Blocking work in progress, such as compiling, ends with the process.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// The signals that the process handles, from the beginning of the start.
struct Signals {
    stop: StopSignals,
    hangup: Signal,
}

/// Signals that end the process: SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> anyhow::Result<Self> {
        let watch = |kind| signal(kind).context("cannot watch for signals");
        let stop = StopSignals {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        };
        Ok(Self { stop, hangup: watch(SignalKind::hangup())? })
    }
}

impl StopSignals {
    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn serve(
    arguments: &Arguments,
    config: Config,
    descriptors: u64,
    log: &logging::Logging,
) -> anyhow::Result<()> {
    let mut signals = Signals::watch()?;
    let starting = async {
        let (server, listeners, predecessor) = start(config, arguments.take_over).await?;
        for (name, addresses) in server.addresses() {
            for address in addresses {
                tracing::info!(server = name, %address, "listening");
            }
        }
        let commands = serve_admin(listeners, &server, log.recent(), predecessor).await?;
        anyhow::Ok((server, commands))
    };
    let (server, commands) = tokio::select! {
        started = starting => started?,
        () = signals.stop.received() => {
            tracing::warn!("stopped by a signal during the start");
            return Ok(());
        }
    };
    let control = server.control();
    control.set_source({
        let arguments = arguments.clone();
        move || arguments.configured(descriptors)
    });
    service_manager::ready(&status_line(&server));
    run_until_shutdown(arguments, &server, &control, &mut signals).await?;
    drop(commands);
    drain(server, &control, &mut signals).await;
    Ok(())
}

/// Handles signals and watched files until the process is to end. Reloads run in the background, one
/// at a time.
async fn run_until_shutdown(
    arguments: &Arguments,
    server: &Server,
    control: &Control,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let mut ending = control.ending();
    let mut watch = FileWatch::default();
    let (mut reload, mut look) = (BackgroundJob::default(), BackgroundJob::default());
    let mut read_lookups = BackgroundJob::default();
    let mut certificates_at = Instant::now();
    let mut lookups_at = Instant::now();
    loop {
        let config = control.config();
        if config.watch && watch.has_changed(arguments.file().into_iter().chain(control.components())) {
            reload.wanted = true;
        }
        if config.certificate_check.is_some_and(|every| Instant::now() >= certificates_at + every) {
            certificates_at = Instant::now();
            look.wanted = true;
        }
        let has_lookups = config.virtual_servers.iter().any(|server| !server.lookups.is_empty());
        if has_lookups && Instant::now() >= lookups_at + LOOKUP_INTERVAL {
            lookups_at = Instant::now();
            read_lookups.wanted = true;
        }
        let reloading = control.clone();
        reload.begin(move || {
            service_manager::reloading();
            // Errors are logged.
            let _ = reloading.reload_from_source();
        });
        let looking = control.clone();
        look.begin(move || looking.reload_changed_certificates());
        let reading = control.clone();
        read_lookups.begin(move || reading.reload_changed_lookups());
        let next_certificates = config.certificate_check.map(|every| certificates_at + every);
        let next_look = config.watch.then(|| Instant::now() + WATCH_INTERVAL);
        let next_lookups = has_lookups.then(|| lookups_at + LOOKUP_INTERVAL);
        let next = [next_certificates, next_look, next_lookups].into_iter().flatten().min();
        let next = async {
            match next {
                Some(at) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = signals.stop.received() => return Ok(()),
            _ = ending.wait_for(|ending| *ending) => return Ok(()),
            _ = signals.hangup.recv() => reload.wanted = true,
            done = reload.done() => {
                done?;
                service_manager::ready(&status_line(server));
            }
            done = look.done() => done?,
            done = read_lookups.done() => done?,
            () = next => {}
        }
    }
}

/// A job that runs in the background, one run at a time. A request during a run starts another one
/// afterwards.
#[derive(Default)]
struct BackgroundJob {
    wanted: bool,
    running: Option<JoinHandle<()>>,
}

impl BackgroundJob {
    /// Starts a run if one is requested and none is in progress.
    fn begin(&mut self, work: impl FnOnce() + Send + 'static) {
        if self.wanted && self.running.is_none() {
            self.wanted = false;
            self.running = Some(tokio::task::spawn_blocking(work));
        }
    }

    /// Waits for the current run; never completes if there is none.
    async fn done(&mut self) -> anyhow::Result<()> {
        let Some(running) = &mut self.running else { return std::future::pending().await };
        let done = running.await;
        self.running = None;
        Ok(done?)
    }
}

/// Waits for sessions to end, at most for the drain timeout.
async fn drain(server: Server, control: &Control, signals: &mut Signals) {
    let drain_timeout = control.config().drain_timeout;
    service_manager::stopping(drain_timeout);
    tracing::info!(at_most_s = drain_timeout.as_secs(), "draining: no new connections are accepted");
    let decision_log = server.decision_log().cloned();
    let drained = tokio::task::spawn_blocking(move || server.shutdown(drain_timeout));
    tokio::select! {
        _ = drained => tracing::info!("drained"),
        () = signals.stop.received() => tracing::warn!("stopped at once by a second signal"),
        () = tokio::time::sleep(drain_timeout.saturating_add(SHUTDOWN_MARGIN)) => {
            tracing::error!("stopped before all work was finished");
        }
    }
    if let Some(decision_log) = decision_log {
        // Also after a second signal, finished sessions are logged.
        let _ = tokio::task::spawn_blocking(move || decision_log.close(DECISION_LOG_TIMEOUT)).await;
    }
}
