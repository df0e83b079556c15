//! `reprieve check`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::admin::AdminKeys;
use crate::config::{PolicyCache, exposed_warning};
use crate::output::{say, tell};
use crate::privileges;
use crate::server::{Keys, Options, Prepared};
use reprieve_policy_host::Cache;
use reprieve_policy_host::Verify;

/// Check a configuration: everything that a start checks, without starting.
///
/// Reads the file, loads and configures each policy, and says what is wrong with the file, the
/// line, the key and what would be right. Nothing is listened on, no mail server is
/// asked, and the store is left alone.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let config = super::read_config(&arguments.config)?;
    AdminKeys::read(&config.admin)?;
    let keys = Keys::read(&config)?;
    if privileges::is_root() {
        // From here on it sees what a start sees.
        privileges::become_service_user(&config)?;
    }
    if let PolicyCache::Folder(folder) = &config.policy_cache
        && let Some(user) = Cache::of_a_service_user(folder)
    {
        tell!(
            "warning: policy-cache {} belongs to user {user}, whom Reprieve must run as; this check, run by root, does not use it",
            folder.display()
        );
    }
    let options = Options { without_stores: true, ..Options::default() };
    let prepared = Prepared::with_keys(config, options, keys)?;
    for server in &prepared.config().virtual_servers {
        let encrypted = server.listen_tls.iter().map(|address| format!("{address} (TLS)"));
        let listen: Vec<_> = server.listen.iter().map(ToString::to_string).chain(encrypted).collect();
        say!(
            "virtual server {}: {} → pool {}, policy {}",
            server.name,
            listen.join(", "),
            server.pool,
            server.policy.component
        );
    }
    for server in prepared.config().virtual_servers.iter().filter(|server| server.verify == Verify::Off) {
        tell!("warning: virtual server {}: {}", server.name, crate::config::VERIFY_OFF);
    }
    for address in prepared.config().admin.exposed() {
        tell!("warning: {}", exposed_warning(address));
    }
    say!("{}: good", arguments.config.display());
    Ok(ExitCode::SUCCESS)
}
