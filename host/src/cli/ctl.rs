//! `reprieve ctl`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::admin::{Client, Status, USUAL_SOCKET};
use crate::config::NodeMode;
use crate::store::Health;

/// Ask or tell a running Reprieve, by its admin socket (`admin.socket` in its configuration).
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Its admin socket
    #[arg(long, value_name = "PATH", default_value = USUAL_SOCKET, env = "REPRIEVE_SOCKET", global = true)]
    socket: PathBuf,
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

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let client = Client::new(&arguments.socket);
    match &arguments.command {
        Subcommands::Status { json } => {
            let status = runtime.block_on(client.status())?;
            if *json {
                println!("{}", serde_json::to_string(&status)?);
            } else {
                print!("{}", shown(&status));
            }
        }
        Subcommands::Node { pool, node, mode } => {
            runtime.block_on(client.set_node(pool, node, *mode))?;
            println!("pool {pool}, node {node}: {}", mode.name());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn shown(status: &Status) -> String {
    use std::fmt::Write as _;
    let mut text = format!(
        "reprieve {}, up {} s: {} passed, {} denied, {} relieved\n",
        status.version, status.uptime_s, status.passed, status.denied, status.relieved
    );
    for server in &status.virtual_servers {
        let (policy, counters) = (&server.policy, &server.counters);
        let _ = writeln!(text, "virtual server {} at {}", server.name, server.addresses.join(", "));
        let _ = writeln!(
            text,
            "  {} passed, {} denied, {} relieved, {} upgraded; pool {}",
            counters.passed, counters.denied, counters.relieved, counters.upgrades, server.pool
        );
        let digest = policy.sha256.get(..12).unwrap_or_default();
        let paused = if policy.paused { ", PAUSED" } else { "" };
        let failures = match policy.failures {
            0 => String::new(),
            count => format!(", {count} failures"),
        };
        let _ = writeln!(text, "  policy {} {digest}{failures}{paused}", policy.component);
    }
    for pool in &status.pools {
        let latency = pool.login_latency_ms.map(|ms| format!(", a login takes {ms} ms")).unwrap_or_default();
        let _ = writeln!(text, "pool {}: {} waiting{latency}", pool.name, pool.queued);
        let width = pool.nodes.iter().map(|node| node.name.len()).max().unwrap_or_default();
        for node in &pool.nodes {
            let health = if node.healthy { "up" } else { "down" };
            let backup = if node.backup { ", backup" } else { "" };
            let why = node.last_error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
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
            Health::OutOfReach { why } => format!("out of reach: {why}"),
            Health::InMemory { why } => format!("in memory only: {why}"),
        };
        let _ = writeln!(text, "store: {}{place}, {health}", store.home);
    }
    text
}
