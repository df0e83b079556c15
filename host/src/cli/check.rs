//! `reprieve check`

use std::path::PathBuf;
use std::process::ExitCode;

use crate::admin::AdminKeys;
use crate::config::{Verify, exposed_warning};
use crate::output::{say, tell};
use crate::server::{Options, Prepared};

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
    let prepared = Prepared::new(config, Options { without_stores: true, ..Options::default() })?;
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
