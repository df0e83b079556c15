//! A configuration without a file: `--listen`, `--backend` and the like.

use std::net::SocketAddr;

use super::reader::Error;
use super::schema::{Config, PoolConfig, VirtualServerConfig, check_node};

/// What the command line says in place of a file.
#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// `host:port` of each mail server.
    pub backend: Vec<String>,
    /// A built-in policy's name or a file's path.
    pub policy: Option<String>,
    /// `KEY=VALUE` for the policy.
    pub set: Vec<String>,
    /// Threads that serve connections.
    pub threads: Option<usize>,
}

impl CommandLine {
    /// Makes a configuration of one virtual server, `pop3`, with one pool, `mail`.
    ///
    /// # Errors
    /// What is wrong, with the option and a remedy.
    pub fn config(&self) -> Result<Config, Error> {
        let mut config = Config::empty();
        let mut nodes = Vec::new();
        for node in &self.backend {
            nodes.push(check_node(node).map_err(|why| Error::general("--backend", why))?);
        }
        let mut server = VirtualServerConfig::new("pop3", self.listen.clone(), "mail");
        if let Some(policy) = &self.policy {
            server.policy.component.clone_from(policy);
            "--policy".clone_into(&mut server.policy.place);
        }
        for pair in &self.set {
            let Some((key, value)) = pair.split_once('=') else {
                return Err(Error::general(
                    "--set",
                    format!("has {pair:?}; a setting is written as KEY=VALUE, such as interval=10m"),
                ));
            };
            server.policy.settings.push((key.to_owned(), value.to_owned()));
        }
        config.virtual_servers.push(server);
        config.pools.push(PoolConfig::new("mail", nodes));
        if let Some(threads) = self.threads {
            config.threads = threads;
        }
        Ok(config)
    }
}
