//! `reprieve run`

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::admin::{AdminKeys, Doors, Open, Predecessor};
use crate::config::{CommandLine, Config, NodeTlsMode};
use crate::logging;
use crate::net::Inherited;
use crate::privileges;
use crate::server::{Control, Keys, Options, Prepared, Reserved, Server};
use crate::service_manager;
use crate::watch::Watch;

/// How often files are looked at that are watched.
const LOOK: Duration = Duration::from_secs(1);
/// How long an end at once waits for lines of the decision log that are on their way.
const LAST_LINES: Duration = Duration::from_secs(2);
/// How long logs and stores may take beyond the drain's time; the service manager waits longer.
const LAST_WORDS: Duration = Duration::from_secs(7);

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

/// What was opened and read while the process was root.
struct Opened {
    config: Config,
    keys: Keys,
    sockets: Reserved,
    doors: Doors,
}

impl Opened {
    /// Does what may need root, and gives it up.
    fn as_root(config: Config, take_over: bool) -> anyhow::Result<Self> {
        let sockets = Reserved::open(&config, take_over)?;
        let keys = Keys::read(&config)?;
        let doors = Doors::open(&config.admin, AdminKeys::read(&config.admin)?, take_over)?;
        privileges::become_service_user(&config)?;
        if privileges::is_root() {
            tracing::warn!("serving as root; set `user` (--user) to somebody who may do less");
        }
        Ok(Self { config, keys, sockets, doors })
    }
}

/// Starts to serve, if wanted in the place of another process. Where this is dropped, it has gone
/// no further than its present step.
async fn start(config: Config, take_over: bool) -> anyhow::Result<(Server, Doors, Option<Predecessor>)> {
    let socket = config.admin.socket.clone();
    if take_over {
        anyhow::ensure!(
            socket.is_some(),
            "--take-over needs `admin.socket` in the configuration, by which the process that serves is asked"
        );
    }
    let wanted = socket.filter(|_| take_over);
    // What is wrong is found before anything is taken from anybody.
    let tried = take_over.then(|| Keys::read(&config)).transpose()?;
    let Opened { config, keys, sockets, doors } = aside(move || Opened::as_root(config, take_over)).await?;
    let (predecessor, inherited) = match wanted {
        None => (None, Inherited::default()),
        Some(socket) => {
            if let Some(keys) = tried {
                let config = config.clone();
                let options = Options { without_stores: true, ..Options::default() };
                drop(aside(move || Prepared::with_keys(config, options, keys)).await?);
            }
            match Predecessor::ask(&socket).await? {
                Some((predecessor, inherited)) => (Some(predecessor), inherited),
                None => (None, Inherited::default()),
            }
        }
    };
    let server = aside(move || {
        let sockets = sockets.completed(&config, inherited)?;
        Server::serve_at(Prepared::with_keys(config, Options::default(), keys)?, sockets)
    });
    Ok((server.await?, doors, predecessor))
}

/// Does something that takes a while, on a thread of its own: signals are heard meanwhile.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> anyhow::Result<T> + Send + 'static,
) -> anyhow::Result<T> {
    tokio::task::spawn_blocking(work).await?
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
        predecessor.retire().await;
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
    let served = runtime.block_on(serve(arguments, config, descriptors, &log));
    // What is still under way aside, such as compiling, ends with the process.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// The signals that the process knows. They are heard from the first moment on.
struct Signals {
    end: EndSignals,
    hang_up: Signal,
}

/// Those that end the process.
struct EndSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn watch() -> anyhow::Result<Self> {
        let watch = |kind| signal(kind).context("cannot watch for signals");
        let end = EndSignals {
            terminate: watch(SignalKind::terminate())?,
            interrupt: watch(SignalKind::interrupt())?,
        };
        Ok(Self { end, hang_up: watch(SignalKind::hangup())? })
    }
}

impl EndSignals {
    async fn heard(&mut self) {
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
        let (server, doors, predecessor) = start(config, arguments.take_over).await?;
        for (name, addresses) in server.addresses() {
            for address in addresses {
                tracing::info!(server = name, %address, "listening");
            }
        }
        let commands = take_commands(doors, &server, log.recent(), predecessor).await?;
        anyhow::Ok((server, commands))
    };
    let (server, commands) = tokio::select! {
        started = starting => started?,
        () = signals.end.heard() => {
            tracing::warn!("ended by a signal before it served");
            return Ok(());
        }
    };
    let control = server.control();
    control.reload_from({
        let arguments = arguments.clone();
        move || arguments.configured(descriptors)
    });
    service_manager::ready(&serving(&server));
    until_the_end(arguments, &server, &control, &mut signals).await?;
    drop(commands);
    drain(server, &control, &mut signals).await;
    Ok(())
}

/// Looks after the files until the process is to end. What it finds is done aside, one thing of
/// each kind at a time.
async fn until_the_end(
    arguments: &Arguments,
    server: &Server,
    control: &Control,
    signals: &mut Signals,
) -> anyhow::Result<()> {
    let mut ending = control.ending();
    let mut watch = Watch::default();
    let (mut reload, mut look) = (Aside::default(), Aside::default());
    let mut certificates_at = Instant::now();
    loop {
        let config = control.config();
        if config.watch && watch.look(arguments.config.iter().cloned().chain(control.components())) {
            reload.wanted = true;
        }
        if config.certificate_check.is_some_and(|every| Instant::now() >= certificates_at + every) {
            certificates_at = Instant::now();
            look.wanted = true;
        }
        let reloading = control.clone();
        reload.begin(move || {
            service_manager::reloading();
            // What is wrong with it stands in the log.
            let _ = reloading.reload_again();
        });
        let looking = control.clone();
        look.begin(move || looking.look_at_certificates());
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
            () = signals.end.heard() => return Ok(()),
            _ = ending.wait_for(|ending| *ending) => return Ok(()),
            _ = signals.hang_up.recv() => reload.wanted = true,
            done = reload.done() => {
                done?;
                service_manager::ready(&serving(server));
            }
            done = look.done() => done?,
            () = next => {}
        }
    }
}

/// Something that is done on a thread of its own, again where it is wanted meanwhile.
#[derive(Default)]
struct Aside {
    wanted: bool,
    under_way: Option<JoinHandle<()>>,
}

impl Aside {
    /// Begins, if that is wanted and not under way.
    fn begin(&mut self, work: impl FnOnce() + Send + 'static) {
        if self.wanted && self.under_way.is_none() {
            self.wanted = false;
            self.under_way = Some(tokio::task::spawn_blocking(work));
        }
    }

    /// Waits until it is done; for ever if nothing is under way.
    async fn done(&mut self) -> anyhow::Result<()> {
        let Some(under_way) = &mut self.under_way else { return std::future::pending().await };
        let done = under_way.await;
        self.under_way = None;
        Ok(done?)
    }
}

/// Lets sessions end by themselves, and ends in any case when their time is over.
async fn drain(server: Server, control: &Control, signals: &mut Signals) {
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
        () = signals.end.heard() => tracing::warn!("ended at once by a second signal"),
        () = tokio::time::sleep(drain_timeout.saturating_add(LAST_WORDS)) => {
            tracing::error!("ended although something is still under way that should have ended");
        }
    }
    if let Some(journal) = journal {
        // Even then what sessions have told of themselves is not lost.
        let _ = tokio::task::spawn_blocking(move || journal.close(LAST_LINES)).await;
    }
}
