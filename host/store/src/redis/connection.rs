//! Connections to Redis: to one server, to the master that sentinels name, or to a cluster.

use std::path::PathBuf;
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode, Value,
};

use crate::{RedisKind, RedisSettings};
use reprieve_secrets::secret_file;

/// How long it takes to give up on a silent sentinel: the library's own limits for connecting and
/// for the answer.
const SENTINEL_TIMEOUT: Duration = Duration::from_millis(1500);

/// A multiplexed connection; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Connection {
    pub async fn run(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Self::One(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        };
        into_result(answer?)
    }

    /// Runs a command on the master that holds `key`.
    pub async fn run_at(&mut self, key: &str, command: Cmd) -> RedisResult<Value> {
        match self {
            Self::One(_) => self.run(&command).await,
            Self::Cluster(connection) => {
                let route = Route::with_key(key.as_bytes(), SlotAddr::Master);
                let node = SingleNodeRoutingInfo::SpecificNode(route);
                into_result(connection.route_command(command, RoutingInfo::SingleNode(node)).await?)
            }
        }
    }
}

/// The library returns an error reply of the server as a value.
fn into_result(answer: Value) -> RedisResult<Value> {
    match answer {
        Value::ServerError(error) => Err(error.into()),
        answer => Ok(answer),
    }
}

/// Addresses, passwords and certificates. It contains secrets and has no `Debug`.
pub(super) struct Target {
    kind: RedisKind,
    nodes: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
    timeout: Duration,
    sentinel_login: (Option<String>, Option<String>),
}

impl Target {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// If a file or a URL is wrong.
    pub fn new(settings: &RedisSettings) -> Result<Self, String> {
        let line = |path: &Option<PathBuf>| {
            let secret = path.as_deref().map(secret_file::first_line).transpose()?;
            Ok::<_, String>(secret.map(|secret| String::from_utf8_lossy(secret.expose()).into_owned()))
        };
        let password = line(&settings.password_file)?;
        let mut nodes = Vec::new();
        for url in &settings.urls {
            let info = String::from_utf8_lossy(url.expose())
                .into_owned()
                .into_connection_info()
                .map_err(|error| describe(&error))?;
            let mut login = info.redis_settings().clone();
            if let Some(user) = &settings.user {
                login = login.set_username(user);
            }
            if let Some(password) = &password {
                login = login.set_password(password);
            }
            if let Some(database) = settings.database {
                login = login.set_db(i64::from(database));
            }
            nodes.push(info.set_redis_settings(login));
        }
        let client_tls = match &settings.certificate {
            Some(files) => {
                Some(ClientTlsConfig {
                    client_cert: secret_file::read(&files.chain)?,
                    // The library keeps a copy to reconnect with; it cannot be wiped.
                    client_key: secret_file::read_secret(&files.key)?.to_vec(),
                })
            }
            None => None,
        };
        let root_cert = settings.ca.as_deref().map(secret_file::read).transpose()?;
        let has_own = client_tls.is_some() || root_cert.is_some();
        let certificates = has_own.then_some(TlsCertificates { client_tls, root_cert });
        let sentinel_password = line(&settings.sentinel_password_file)?;
        Ok(Self {
            kind: settings.kind.clone(),
            nodes,
            certificates,
            // Connecting takes more round trips than an operation.
            timeout: settings.timeout.max(Duration::from_millis(250)),
            sentinel_login: (settings.sentinel_user.clone(), sentinel_password),
        })
    }

    /// The addresses, without passwords.
    pub fn address(&self) -> String {
        let nodes = self.nodes.iter().map(|node| node.addr().to_string());
        nodes.collect::<Vec<_>>().join(", ")
    }

    /// Longest time that one step of connecting may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Longest time that opening this many connections may take: enough for every address but the
    /// last to time out.
    pub fn connect_timeout(&self, connections: usize) -> Duration {
        let addresses = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let connections = u32::try_from(connections).unwrap_or(u32::MAX);
        let each = match &self.kind {
            RedisKind::Sentinel { .. } => SENTINEL_TIMEOUT,
            RedisKind::One | RedisKind::Cluster => self.timeout,
        };
        each.saturating_mul(addresses).saturating_add(self.timeout.saturating_mul(connections))
    }

    /// Opens this many connections, all to the same server or cluster. They are driven by the
    /// runtime that calls this.
    pub async fn connect(&self, connections: usize) -> RedisResult<Vec<Connection>> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let mut opened = Vec::with_capacity(connections);
        let client = match &self.kind {
            RedisKind::One => {
                let (client, first) = self.first_that_answers(&config).await?;
                opened.push(Connection::One(first));
                client
            }
            RedisKind::Sentinel { service } => self.master(service).await?,
            RedisKind::Cluster => {
                let mut builder = redis::cluster::ClusterClientBuilder::new(self.nodes.clone())
                    .connection_timeout(self.timeout)
                    .response_timeout(self.timeout)
                    .retries(1);
                if let Some(certificates) = &self.certificates {
                    builder = builder.certs(certificates.clone());
                }
                let client = builder.build()?;
                while opened.len() < connections {
                    opened.push(Connection::Cluster(client.get_async_connection().await?));
                }
                return Ok(opened);
            }
        };
        while opened.len() < connections {
            opened.push(Connection::One(client.get_multiplexed_async_connection_with_config(&config).await?));
        }
        Ok(opened)
    }

    /// The first address at which a server answers, and a connection to it.
    async fn first_that_answers(
        &self,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<(Client, MultiplexedConnection)> {
        let mut last = RedisError::from((ErrorKind::InvalidClientConfig, "no address is configured"));
        for node in &self.nodes {
            let client = match &self.certificates {
                Some(certificates) => Client::build_with_tls(node.clone(), certificates.clone())?,
                None => Client::open(node.clone())?,
            };
            match client.get_multiplexed_async_connection_with_config(config).await {
                Ok(connection) => return Ok((client, connection)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Asks the sentinels for the master of a service; returns a client for it.
    async fn master(&self, service: &str) -> RedisResult<Client> {
        let settings = self.nodes[0].redis_settings();
        let addresses = self.nodes.iter().map(|node| node.addr().clone());
        let mut builder = SentinelClientBuilder::new(addresses, service, SentinelServerType::Master)?
            .set_client_to_redis_db(settings.db());
        if let Some(user) = settings.username() {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = settings.password() {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(user) = &self.sentinel_login.0 {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = &self.sentinel_login.1 {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if self.nodes.iter().any(|node| matches!(node.addr(), ConnectionAddr::TcpTls { .. })) {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_tls_mode(TlsMode::Secure);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()?.async_get_client().await
    }
}

/// Describes an error for logs and administrators: without the URL, which may contain a password,
/// shortened, and without control characters that a server may have sent.
pub(super) fn describe(error: &RedisError) -> String {
    const MAX_CHARS: usize = 200;
    let text = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ if error.kind() == ErrorKind::InvalidClientConfig => error.category().to_owned(),
        _ => error.to_string(),
    };
    let mut plain: String = text
        .chars()
        .take(MAX_CHARS)
        .map(|one| if reprieve_text::escape::is_active(one) { ' ' } else { one })
        .collect();
    if plain.len() < text.len() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_a_server_is_shortened_and_has_no_control_characters() {
        let message = format!("NOISE \u{1b}[2J\nreprieve: it works {}", "x".repeat(100_000));
        let error = redis::parse_redis_value(format!("-{}\r\n", message.replace('\n', "\x0b")).as_bytes());
        let Ok(Value::ServerError(error)) = error else { panic!("{error:?}") };
        let description = describe(&error.into());
        assert!(description.starts_with("NOISE  [2J reprieve: it works xxx"), "{description}");
        assert!(description.len() < 250 && !description.contains(char::is_control), "{description}");
    }
}
