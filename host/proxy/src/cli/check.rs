//! `reprieve check`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::admin::AdminKeys;
use crate::config::reference::json_schema;
use crate::config::{PolicyCache, exposed_warning, missing_directory};
use crate::output::{self, errln, outln};
use crate::privileges;
use crate::server::{Options, Prepared, ServerKeys};
use reprieve_policy_host::Cache;
use reprieve_policy_host::Verify;

/// Check a configuration without starting.
///
/// Parses the file, reads the certificates and secrets that it names, and loads and configures each
/// policy. A mistake is reported with its file, line, key and remedy. No port is opened, no mail
/// server is contacted, and the store is not touched.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Configuration file (TOML)
    #[arg(short, long, value_name = "FILE", default_value = super::DEFAULT_CONFIG)]
    config: PathBuf,
    /// Instead of checking, print the JSON Schema of the configuration, for editors
    #[arg(long)]
    schema: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.schema {
        output::json(&json_schema())?;
        return Ok(ExitCode::SUCCESS);
    }
    let config = super::read_config(&arguments.config)?;
    AdminKeys::read(&config.admin)?;
    let keys = ServerKeys::read(&config)?;
    if privileges::is_root() {
        // Read the other files with the permissions that `run` has.
        privileges::become_service_user(&config)?;
    }
    if let PolicyCache::Directory(directory) = &config.policy_cache
        && let Some(user) = Cache::of_a_service_user(directory)
    {
        errln!(
            "warning: policy-cache {} belongs to user {user}, so Reprieve must run as {user}; this check runs as root and does not use it",
            directory.display()
        );
    }
    let options = Options { without_stores: true, ..Options::default() };
    let prepared = Prepared::with_keys(config, options, keys)?;
    for server in &prepared.config().virtual_servers {
        let encrypted = server.listen_tls.iter().map(|address| format!("{address} (TLS)"));
        let listen: Vec<_> = server.listen.iter().map(ToString::to_string).chain(encrypted).collect();
        outln!(
            "virtual server {}: {} → pool {}, policy {}",
            server.name,
            listen.join(", "),
            server.pool,
            server.policy.component
        );
    }
    for server in prepared.config().virtual_servers.iter().filter(|server| server.verify == Verify::Off) {
        errln!("warning: virtual server {}: {}", server.name, crate::config::VERIFY_OFF);
    }
    for address in prepared.config().admin.exposed() {
        errln!("warning: {}", exposed_warning(address));
    }
    if let Some((key, directory)) = prepared.config().admin.missing_socket_directory() {
        errln!("warning: {} (the systemd unit creates /run/reprieve)", missing_directory(key, directory));
    }
    outln!("{}: valid", arguments.config.display());
    Ok(ExitCode::SUCCESS)
}
