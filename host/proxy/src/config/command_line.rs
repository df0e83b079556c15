//! A configuration without a file: `--listen`, `--backend` and the like.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::file::Config;
use super::pool::{PoolConfig, parse_node_address};
use super::tls::{NodeTlsMode, ServerTls};
use super::virtual_server::VirtualServerConfig;
use reprieve_settings::{CertificateFiles, Error};

/// What the command line says in place of a file.
#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Addresses to listen on for TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// The certificate and its key, for TLS and STLS.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// How TLS begins towards the mail servers.
    pub backend_tls: Option<NodeTlsMode>,
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
            nodes.push(parse_node_address(node).map_err(|why| Error::general("--backend", why))?);
        }
        let mut server = VirtualServerConfig::new("pop3", self.listen.clone(), "mail");
        server.listen_tls.clone_from(&self.listen_tls);
        if let Some((chain, key)) = &self.certificate {
            let location = "--certificate".to_owned();
            server.tls = Some(ServerTls::new(CertificateFiles {
                chain: chain.clone(),
                key: key.clone(),
                location: location.into(),
            }));
        }
        if let Some(policy) = &self.policy {
            server.policy.component.clone_from(policy);
            server.policy.location = "--policy".into();
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
        let mut pool = PoolConfig::new("mail", nodes);
        pool.tls.mode = self.backend_tls.unwrap_or(NodeTlsMode::Off);
        pool.tls.location = "--backend-tls".into();
        config.pools.push(pool);
        if let Some(threads) = self.threads {
            config.threads = threads;
        }
        Ok(config)
    }
}
