//! A configuration from command-line options, without a file.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::file::Config;
use super::lookup::parse_lookup;
use super::node::parse_node_address;
use super::pool::PoolConfig;
use super::tls::{NodeTlsMode, ServerTls};
use super::virtual_server::VirtualServerConfig;
use reprieve_settings::{CertificateFiles, Error};

/// The options that replace a configuration file.
#[derive(Clone, Debug, Default)]
pub struct CommandLine {
    /// Listen addresses without TLS.
    pub listen: Vec<SocketAddr>,
    /// Listen addresses with TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// Paths of the certificate chain and its private key, for TLS and STLS.
    pub certificate: Option<(PathBuf, PathBuf)>,
    /// How TLS starts on connections to the mail servers.
    pub backend_tls: Option<NodeTlsMode>,
    /// `host:port` of each mail server.
    pub backend: Vec<String>,
    /// Name of a built-in policy, or the path of a component.
    pub policy: Option<String>,
    /// Settings of the policy, as `KEY=VALUE`.
    pub set: Vec<String>,
    /// Lookup tables, as `NAME=FILE`.
    pub lookup: Vec<String>,
    /// Threads that serve connections.
    pub threads: Option<usize>,
}

impl CommandLine {
    /// Builds a configuration of one virtual server, `pop3`, with one pool, `mail`.
    ///
    /// # Errors
    /// The first mistake, with its option and a remedy.
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
        for pair in &self.lookup {
            let lookup = parse_lookup(pair).map_err(|why| Error::general("--lookup", why))?;
            if server.lookups.iter().any(|known| known.name == lookup.name) {
                return Err(Error::general("--lookup", format!("has the name {:?} twice", lookup.name)));
            }
            server.lookups.push(lookup);
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
