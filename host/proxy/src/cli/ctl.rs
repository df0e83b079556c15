//! `reprieve ctl`

mod status;

use std::ffi::OsString;
use std::io::{BufRead as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;

use crate::admin::{Client, DEFAULT_SOCKET, PolicyStatus, Remote, Status};
use crate::config::NodeMode;
use crate::new_mail::bodies;
use crate::output::{Output, errln, outln};
use crate::server::PolicyChange;
use reprieve_secrets::secret_file;

/// Longest wait for room in the queue of the datagram socket: a delivery waits for it.
const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(1);

/// Heading of the options that choose the server, in the help.
const CONNECTION: &str = "Connection";

/// Control a running Reprieve.
///
/// Connects to its admin socket (`admin.socket` in its configuration), or with --url to one of its
/// admin addresses (`admin.listen`).
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Admin socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET, env = "REPRIEVE_SOCKET", global = true, help_heading = CONNECTION)]
    socket: PathBuf,
    /// Admin address to use instead of the socket: http://HOST:PORT or https://HOST:PORT
    #[arg(long, value_name = "URL", global = true, help_heading = CONNECTION)]
    url: Option<String>,
    /// File whose first line is the admin token for --url
    #[arg(long, value_name = "FILE", env = "REPRIEVE_TOKEN_FILE", global = true, help_heading = CONNECTION)]
    token_file: Option<PathBuf>,
    /// CA certificates for --url (PEM) [default: the system trust store]
    #[arg(long, value_name = "FILE", global = true, help_heading = CONNECTION)]
    ca: Option<PathBuf>,
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommands {
    /// Show the status of virtual servers, pools, nodes and stores
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Replace the policy of a virtual server
    ///
    /// The new policy is compiled, configured and tried first; if it cannot be used, the current one
    /// stays active. Sessions in progress report their outcome to the policy that judged them. The
    /// change lasts until the next reload or restart; to make it permanent, change the configuration.
    Swap {
        /// Name of the virtual server
        #[arg(value_name = "VIRTUAL-SERVER")]
        server: String,
        /// Built-in policy, or path of a component
        #[arg(value_name = "POLICY", required_unless_present = "back")]
        policy: Option<String>,
        #[command(flatten)]
        options: PolicyArguments,
        /// Restore the previous policy
        #[arg(long, conflicts_with_all = ["policy", "set", "no_settings", "sha256"])]
        back: bool,
    },
    /// Run a shadow policy, without effect on logins, to compare it with the active policy
    ///
    /// The shadow policy has its own store. `status` shows how often the verdicts differ; the log has
    /// the details.
    Shadow {
        /// Name of the virtual server
        #[arg(value_name = "VIRTUAL-SERVER")]
        server: String,
        /// Built-in policy, or path of a component
        #[arg(value_name = "POLICY", required_unless_present = "off")]
        policy: Option<String>,
        #[command(flatten)]
        options: PolicyArguments,
        /// Remove the shadow policy
        #[arg(long, conflicts_with_all = ["policy", "set", "no_settings", "sha256"])]
        off: bool,
    },
    /// Reload the configuration file
    ///
    /// Settings that require a restart are reported and left unchanged. If the file is invalid,
    /// nothing is changed.
    Reload,
    /// Stop accepting connections, wait for sessions to end, and exit
    Drain,
    /// Enable, drain or disable a mail server
    ///
    /// The change lasts until the next restart; to make it permanent, set the node's `mode` in the
    /// configuration.
    Node {
        /// Name of the pool
        pool: String,
        /// Address of the mail server as in the configuration
        node: String,
        /// New mode
        mode: NodeMode,
    },
    /// Tell Reprieve that users have new mail
    ///
    /// Their next login passes. For scripts that deliver mail, after the message has been stored. Name the
    /// users as the mail server does. Exit code 0: the signals have been written; with --datagram: they
    /// have been sent.
    NewMail {
        /// Users with new mail
        #[arg(value_name = "USER", required_unless_present = "stdin")]
        users: Vec<OsString>,
        /// Also read users from standard input, one per line
        #[arg(long)]
        stdin: bool,
        /// Pool of the mail server that has the mail [default: all with `notifications`]
        #[arg(long, value_name = "NAME")]
        pool: Option<String>,
        /// Send the signals to this socket (`admin.new-mail-socket`) instead, which every user may use,
        /// and do not wait for an answer
        #[arg(long, value_name = "PATH", conflicts_with = "pool")]
        datagram: Option<PathBuf>,
    },
}

/// Options for a new policy.
#[derive(Debug, clap::Args)]
struct PolicyArguments {
    /// Setting of the policy; can be repeated, and replaces all settings [default: settings of the
    /// replaced policy; for a first shadow policy, of the active policy]
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Start with no settings, instead of those of the replaced policy
    #[arg(long)]
    no_settings: bool,
    /// Expected SHA-256 of the component
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

impl PolicyArguments {
    fn change(&self, policy: &str) -> anyhow::Result<PolicyChange> {
        let settings = match (&*self.set, self.no_settings) {
            ([], false) => None,
            (set, _) => Some(super::policy::settings(set)?),
        };
        // The server process may have another working directory.
        let component = match Path::new(policy).canonicalize() {
            Ok(path) => path.to_str().context("the component's path is not valid UTF-8")?.to_owned(),
            Err(_) => policy.to_owned(),
        };
        Ok(PolicyChange { component, settings, sha256: self.sha256.clone() })
    }
}

impl Arguments {
    fn client(&self) -> anyhow::Result<Client> {
        let Some(url) = &self.url else {
            anyhow::ensure!(self.ca.is_none(), "--ca requires --url");
            return Ok(Client::new(&self.socket));
        };
        let token = self.token_file.as_deref().map(secret_file::first_line_or_pipe).transpose();
        let token = token.map_err(|why| anyhow::anyhow!("--token-file: {why}"))?;
        Ok(Client::remote(Remote::new(url, self.ca.as_deref(), token)?))
    }
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = arguments.client()?;
    match &arguments.command {
        Subcommands::Status { json } => {
            let status = runtime.block_on(client.status())?;
            if *json {
                outln!("{}", serde_json::to_string(&status)?);
            } else {
                Output.write_all(status::text(&status).as_bytes())?;
            }
        }
        Subcommands::Swap { server, policy, options, .. } => {
            match policy {
                Some(policy) => runtime.block_on(client.swap(server, &options.change(policy)?))?,
                None => runtime.block_on(client.swap_back(server))?,
            }
            outln!("{}", policy_of(&runtime.block_on(client.status())?, server));
        }
        Subcommands::Shadow { server, policy, options, .. } => {
            let change = policy.as_deref().map(|policy| options.change(policy)).transpose()?;
            runtime.block_on(client.shadow(server, change.as_ref()))?;
            outln!("virtual server {server}: shadow policy {}", policy.as_deref().unwrap_or("removed"));
        }
        Subcommands::Reload => {
            let done = runtime.block_on(client.reload())?;
            if done.changed.is_empty() && done.needs_restart.is_empty() {
                outln!("no changes");
            }
            for line in &done.changed {
                outln!("{line}");
            }
            done.warnings.iter().for_each(|line| errln!("warning: {line}"));
            done.needs_restart
                .iter()
                .for_each(|key| errln!("warning: the change of {key} takes effect after a restart"));
        }
        Subcommands::Drain => {
            runtime.block_on(client.drain())?;
            outln!("draining");
        }
        Subcommands::Node { pool, node, mode } => {
            runtime.block_on(client.set_node(pool, node, *mode))?;
            outln!("pool {pool}, node {node}: {}", mode.name());
        }
        Subcommands::NewMail { users, stdin, pool, datagram } => {
            let mut users: Vec<Vec<u8>> = users.iter().map(|user| user.as_bytes().to_vec()).collect();
            if *stdin {
                let lines = std::io::stdin().lock().split(b'\n');
                users.extend(lines.collect::<Result<Vec<_>, _>>().context("cannot read standard input")?);
            }
            if let Some(path) = datagram {
                send_datagrams(path, &users)?;
                return Ok(ExitCode::SUCCESS);
            }
            let done = runtime.block_on(client.new_mail(pool.as_deref(), &users))?;
            outln!("{} remembered, {} unknown", done.remembered, done.unknown);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Sends signals to the datagram socket. Waits for room in its queue.
fn send_datagrams(path: &Path, users: &[Vec<u8>]) -> anyhow::Result<()> {
    let send = || {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(DATAGRAM_TIMEOUT))?;
        bodies(users).iter().try_for_each(|body| socket.send_to(body, path).map(drop))
    };
    send().with_context(|| {
        format!(
            "cannot send to {}; is Reprieve running, and is this the `admin.new-mail-socket` of its configuration?",
            path.display()
        )
    })
}

/// Describes the policy of a virtual server.
fn policy_of(status: &Status, server: &str) -> String {
    let found = status.virtual_servers.iter().find(|known| known.name == server);
    found.map_or_else(
        || format!("virtual server {server} no longer exists"),
        |known| {
            let PolicyStatus { component, sha256, version, .. } = &known.policy;
            let digest = sha256.get(..12).unwrap_or_default();
            format!("virtual server {server}: policy {component} {digest}, version {version}")
        },
    )
}
