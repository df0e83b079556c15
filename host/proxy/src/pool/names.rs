//! The addresses of nodes that are known by name, for as long as their name servers say.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// However short a name server wants an answer to live.
const LEAST: Duration = Duration::from_secs(1);
/// However long: somebody may have changed it by hand.
const MOST: Duration = Duration::from_secs(300);

/// How long an answer counts of which nobody knows for how long it does.
const BY_SYSTEM: Duration = Duration::from_secs(30);

/// Asks name servers; the system, where it does not tell which.
pub(super) struct Names(Option<TokioResolver>);

impl Names {
    /// `servers`: whom to ask instead of the machine's own name servers.
    pub(super) fn new(servers: &[SocketAddr]) -> io::Result<Self> {
        let builder = if servers.is_empty() {
            match TokioResolver::builder_tokio() {
                Ok(builder) => builder,
                Err(error) => {
                    tracing::info!(%error, "names of nodes are resolved by the system");
                    return Ok(Self(None));
                }
            }
        } else {
            let each = servers.iter().map(|server| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                NameServerConfig::new(server.ip(), true, connections.into())
            });
            TokioResolver::builder_with_config(
                ResolverConfig::from_name_servers(each.collect()),
                TokioRuntimeProvider::default(),
            )
        };
        Ok(Self(Some(builder.build().map_err(io::Error::other)?)))
    }

    /// The addresses of a host, and for how long they count.
    pub(super) async fn find(&self, host: &str, port: u16) -> io::Result<(Vec<SocketAddr>, Duration)> {
        let Some(resolver) = &self.0 else {
            let addresses = tokio::net::lookup_host((host, port)).await?.collect();
            return Ok((addresses, BY_SYSTEM));
        };
        let found = resolver.lookup_ip(host).await.map_err(io::Error::other)?;
        let addresses: Vec<_> = found.iter().map(|ip| SocketAddr::new(ip, port)).collect();
        if addresses.is_empty() {
            return Err(io::Error::other(format!("{host} has no address")));
        }
        let valid = found.valid_until().saturating_duration_since(Instant::now());
        Ok((addresses, valid.clamp(LEAST, MOST)))
    }
}
