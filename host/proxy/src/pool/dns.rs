//! DNS: resolves the host names of nodes and honours the time to live of the answers.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;

/// Shortest time to live that is honoured.
const MIN_TTL: Duration = Duration::from_secs(1);
/// Longest time to live that is honoured, so that corrected records take effect in time.
const MAX_TTL: Duration = Duration::from_secs(300);

/// Time to live of answers from `getaddrinfo`, which reports none.
const SYSTEM_TTL: Duration = Duration::from_secs(30);

/// Queries DNS servers; None if the system's DNS configuration cannot be read: then `getaddrinfo`
/// resolves host names.
pub(super) struct Resolver(Option<TokioResolver>);

impl Resolver {
    /// `servers` replace the system's DNS servers unless empty.
    pub(super) fn new(servers: &[SocketAddr]) -> io::Result<Self> {
        let builder = if servers.is_empty() {
            match TokioResolver::builder_tokio() {
                Ok(builder) => builder,
                Err(error) => {
                    tracing::info!(%error, "host names of nodes are resolved by getaddrinfo");
                    return Ok(Self(None));
                }
            }
        } else {
            let name_servers = servers.iter().map(|server| {
                let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                    connection.port = server.port();
                    connection
                });
                NameServerConfig::new(server.ip(), true, connections.into())
            });
            TokioResolver::builder_with_config(
                ResolverConfig::from_name_servers(name_servers.collect()),
                TokioRuntimeProvider::default(),
            )
        };
        Ok(Self(Some(builder.build().map_err(io::Error::other)?)))
    }

    /// Returns the addresses of a host and their time to live.
    pub(super) async fn lookup(&self, host: &str, port: u16) -> io::Result<(Vec<SocketAddr>, Duration)> {
        let Some(resolver) = &self.0 else {
            let addresses = tokio::net::lookup_host((host, port)).await?.collect();
            return Ok((addresses, SYSTEM_TTL));
        };
        let answer = resolver.lookup_ip(host).await.map_err(io::Error::other)?;
        let addresses: Vec<_> = answer.iter().map(|ip| SocketAddr::new(ip, port)).collect();
        if addresses.is_empty() {
            return Err(io::Error::other(format!("{host} has no address")));
        }
        let time_to_live = answer.valid_until().saturating_duration_since(Instant::now());
        Ok((addresses, time_to_live.clamp(MIN_TTL, MAX_TTL)))
    }
}
