//! `reprieve ctl`

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::admin::{Client, PolicyStatus, Remote, Status, USUAL_SOCKET};
use crate::config::NodeMode;
use crate::output::{Output, say, tell};
use crate::server::Change;
use crate::top::duration as up;
use reprieve_secrets::secret_file;
use reprieve_store::Health;
use reprieve_text::escape;

/// Ask or tell a running Reprieve.
///
/// By its admin socket (`admin.socket` in its configuration), or by one of its addresses
/// (`admin.listen`) with a token.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Its admin socket
    #[arg(long, value_name = "PATH", default_value = USUAL_SOCKET, env = "REPRIEVE_SOCKET", global = true)]
    socket: PathBuf,
    /// One of its addresses, in place of the socket: http://HOST:PORT or https://HOST:PORT
    #[arg(long, value_name = "URL", global = true)]
    url: Option<String>,
    /// File whose first line is the token to show at --url
    #[arg(long, value_name = "FILE", env = "REPRIEVE_TOKEN_FILE", global = true)]
    token_file: Option<PathBuf>,
    /// Who has signed the certificate at --url (PEM) [default: whom the machine trusts]
    #[arg(long, value_name = "FILE", global = true)]
    ca: Option<PathBuf>,
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, clap::Subcommand)]
enum Subcommands {
    /// How it is: virtual servers, pools, nodes
    Status {
        /// As one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Have another policy judge at a virtual server, from the next login on
    ///
    /// It is compiled, configured and tried first; where it cannot judge, the one in force stays.
    /// Sessions that are under way end with the policy that judged them. It holds until the next
    /// reload or start: the configuration is for longer.
    Swap {
        /// Name of the virtual server
        #[arg(value_name = "VIRTUAL-SERVER")]
        server: String,
        /// Built-in policy or path of a component
        #[arg(value_name = "P", required_unless_present = "back")]
        policy: Option<String>,
        #[command(flatten)]
        how: How,
        /// Swap back to the policy before this one
        #[arg(long, conflicts_with_all = ["policy", "set", "no_settings", "sha256"])]
        back: bool,
    },
    /// Have a policy judge beside the one in force, without any consequence
    ///
    /// It has a store of its own. `status` shows where the two differ, and the log says why.
    Shadow {
        /// Name of the virtual server
        #[arg(value_name = "VIRTUAL-SERVER")]
        server: String,
        /// Built-in policy or path of a component
        #[arg(value_name = "P", required_unless_present = "off")]
        policy: Option<String>,
        #[command(flatten)]
        how: How,
        /// End it
        #[arg(long, conflicts_with_all = ["policy", "set", "no_settings", "sha256"])]
        off: bool,
    },
    /// Take up the configuration file as it is now
    ///
    /// All of it that can be taken up while it serves is, at once; the rest is named. Where
    /// something is wrong with it, nothing changes.
    Reload,
    /// Accept nothing more, let sessions end, and end
    Drain,
    /// Whether a mail server gets logins
    ///
    /// `drain` gives it no new ones and lets its sessions end; `disabled` ends them too. It holds
    /// until the next start: the configuration's `mode` is for longer.
    Node {
        /// Name of the pool
        pool: String,
        /// The mail server, as the configuration writes it
        node: String,
        /// What is to become of it
        mode: NodeMode,
    },
}

/// How a policy is to be.
#[derive(Debug, clap::Args)]
struct How {
    /// A setting; may be given several times, and then these are all [default: those of the policy that
    /// it takes the place of]
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// None of the settings of the policy that it takes the place of, only those of --set
    #[arg(long)]
    no_settings: bool,
    /// SHA-256 that the component must have
    #[arg(long, value_name = "HEX")]
    sha256: Option<String>,
}

impl How {
    fn change(&self, policy: &str) -> anyhow::Result<Change> {
        let settings = match (&*self.set, self.no_settings) {
            ([], false) => None,
            (set, _) => Some(super::policy::settings(set)?),
        };
        // The process that serves may have another folder.
        let component = match Path::new(policy).canonicalize() {
            Ok(path) => path.to_str().context("the component's path is not in UTF-8")?.to_owned(),
            Err(_) => policy.to_owned(),
        };
        Ok(Change { component, settings, sha256: self.sha256.clone() })
    }
}

impl Arguments {
    fn client(&self) -> anyhow::Result<Client> {
        let Some(url) = &self.url else {
            anyhow::ensure!(self.ca.is_none(), "--ca is for --url, which is not given");
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
                say!("{}", serde_json::to_string(&status)?);
            } else {
                Output.write_all(shown(&status).as_bytes())?;
            }
        }
        Subcommands::Swap { server, policy, how, .. } => {
            match policy {
                Some(policy) => runtime.block_on(client.swap(server, &how.change(policy)?))?,
                None => runtime.block_on(client.swap_back(server))?,
            }
            say!("{}", policy_of(&runtime.block_on(client.status())?, server));
        }
        Subcommands::Shadow { server, policy, how, .. } => {
            let change = policy.as_deref().map(|policy| how.change(policy)).transpose()?;
            runtime.block_on(client.shadow(server, change.as_ref()))?;
            say!("virtual server {server}: {} in the shadow", policy.as_deref().unwrap_or("nothing"));
        }
        Subcommands::Reload => {
            let done = runtime.block_on(client.reload())?;
            if done.changed.is_empty() && done.needs_restart.is_empty() {
                say!("nothing has changed");
            }
            for line in &done.changed {
                say!("{line}");
            }
            done.warnings.iter().for_each(|line| tell!("warning: {line}"));
            done.needs_restart.iter().for_each(|key| tell!("warning: {key} waits for a restart"));
        }
        Subcommands::Drain => {
            runtime.block_on(client.drain())?;
            say!("draining");
        }
        Subcommands::Node { pool, node, mode } => {
            runtime.block_on(client.set_node(pool, node, *mode))?;
            say!("pool {pool}, node {node}: {}", mode.name());
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What judges at a virtual server, in words.
fn policy_of(status: &Status, server: &str) -> String {
    let found = status.virtual_servers.iter().find(|known| known.name == server);
    found.map_or_else(
        || format!("virtual server {server} is gone"),
        |known| {
            let PolicyStatus { component, sha256, version, .. } = &known.policy;
            let digest = sha256.get(..12).unwrap_or_default();
            format!("virtual server {server}: policy {component} {digest}, version {version}")
        },
    )
}

/// What others have said, without characters that a terminal obeys or that turn a line around.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if escape::is_active(letter) { '?' } else { letter }).collect()
}

fn shown(status: &Status) -> String {
    use std::fmt::Write as _;
    let polls = status.passed + status.denied;
    let relief = match polls {
        0 => String::new(),
        polls => format!(" ({:.1} %)", status.relieved as f64 / polls as f64 * 100.0),
    };
    let mut text = format!(
        "reprieve {}, up {}: {} passed, {} denied, {} relieved{relief}\n",
        status.version,
        up(status.uptime_s),
        status.passed,
        status.denied,
        status.relieved
    );
    for server in &status.virtual_servers {
        let (policy, counters) = (&server.policy, &server.counters);
        let _ = writeln!(text, "virtual server {} at {}", server.name, server.addresses.join(", "));
        let _ = writeln!(
            text,
            "  {} passed, {} denied, {} relieved, {} upgraded; pool {}",
            counters.passed, counters.denied, counters.relieved, counters.upgrades, server.pool
        );
        let troubles: Vec<_> = [
            (counters.unreachable, "logins that no mail server judged"),
            (counters.pool_full, "logins that found no room at a mail server"),
            (counters.failed_upgrades, "upgrades that failed"),
            (counters.refused_connections, "connections too many"),
            (counters.failed_handshakes, "connections without a handshake"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        if !troubles.is_empty() {
            let _ = writeln!(text, "  {}", troubles.join(", "));
        }
        for user in &server.unrelieved {
            let _ = writeln!(
                text,
                "  not relieved: {}, {} denied logins passed today ({}): {}",
                user.user, user.logins, user.reason, user.explanation
            );
        }
        let digest = policy.sha256.get(..12).unwrap_or_default();
        let paused = if policy.paused { ", PAUSED" } else { "" };
        let failures = match policy.failures {
            0 => String::new(),
            count => format!(", {count} failures"),
        };
        let _ = writeln!(
            text,
            "  policy {} {digest} version {}{failures}{paused}",
            policy.component, policy.version
        );
        if let Some(shadow) = &server.shadow {
            let _ = writeln!(
                text,
                "  in the shadow {}: {} judged, would have passed {}, denied {}; {} left out, {:.1} s of CPU time",
                shadow.policy.component,
                shadow.would_pass + shadow.would_deny + shadow.failures,
                shadow.would_pass,
                shadow.would_deny,
                shadow.left_out,
                shadow.cpu_s
            );
            let differences = shadow.differences.iter().filter(|(_, count)| **count > 0);
            let differences: Vec<_> = differences.map(|(kind, count)| format!("{kind} {count}")).collect();
            if !differences.is_empty() {
                let _ = writeln!(text, "    differs: {}", differences.join(", "));
            }
        }
    }
    for pool in &status.pools {
        let latency = pool.login_latency_ms.map(|ms| format!(", a login takes {ms} ms")).unwrap_or_default();
        let _ = writeln!(text, "pool {}: {} waiting{latency}", pool.name, pool.queued);
        let width = pool.nodes.iter().map(|node| node.name.len()).max().unwrap_or_default();
        for node in &pool.nodes {
            let health = if node.healthy { "up" } else { "down" };
            let backup = if node.backup { ", backup" } else { "" };
            let why = node.last_error.as_ref().map(|why| format!(": {}", plain(why))).unwrap_or_default();
            let _ = writeln!(
                text,
                "  {:width$}  {health:4}  {:8}  {} sessions{backup}{why}",
                node.name,
                node.mode.name(),
                node.sessions
            );
        }
    }
    for store in &status.stores {
        let place = store.place.as_ref().map(|place| format!(" at {place}")).unwrap_or_default();
        let health = match &store.health {
            Health::Well => "well".to_owned(),
            Health::OutOfReach { why } => format!("out of reach: {}", plain(why)),
            Health::InMemory { why } => format!("in memory only: {}", plain(why)),
        };
        let _ = writeln!(text, "store: {}{place}, {health}", store.home);
    }
    if let Some(log) = &status.decision_log {
        let _ = writeln!(text, "decision log: {} lines written, {} dropped", log.written, log.dropped);
    }
    text
}
