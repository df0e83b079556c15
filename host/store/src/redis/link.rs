//! Connecting to Redis: to one server, to the master that sentinels name, or to a cluster.

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

use crate::{RedisHome, RedisKind};
use reprieve_secrets::secret_file;

/// How long a sentinel may take to say that it has nothing to say: what the library gives it to
/// be connected to and to answer.
const SENTINEL_PATIENCE: Duration = Duration::from_millis(1500);

/// A connection that many use at once, each as if it were his own.
#[derive(Clone)]
pub(super) enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    pub async fn run(&mut self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self {
            Self::One(connection) => connection.req_packed_command(command).await,
            Self::Cluster(connection) => connection.req_packed_command(command).await,
        };
        told(answer?)
    }

    /// Runs a command at the master that holds a key, whatever the command says.
    pub async fn run_where(&mut self, key: &str, command: Cmd) -> RedisResult<Value> {
        match self {
            Self::One(_) => self.run(&command).await,
            Self::Cluster(connection) => {
                let route = Route::with_key(key.as_bytes(), SlotAddr::Master);
                let node = SingleNodeRoutingInfo::SpecificNode(route);
                told(connection.route_command(command, RoutingInfo::SingleNode(node)).await?)
            }
        }
    }
}

/// An error that the server tells comes as a value.
fn told(answer: Value) -> RedisResult<Value> {
    match answer {
        Value::ServerError(error) => Err(error.into()),
        answer => Ok(answer),
    }
}

/// Where to connect to, with all that is needed for it. It holds passwords, and shows nothing.
pub(super) struct Target {
    kind: RedisKind,
    nodes: Vec<ConnectionInfo>,
    certificates: Option<TlsCertificates>,
    timeout: Duration,
    sentinel_login: (Option<String>, Option<String>),
}

impl Target {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(home: &RedisHome) -> Result<Self, String> {
        let line = |path: &Option<PathBuf>| {
            let secret = path.as_deref().map(secret_file::first_line).transpose()?;
            Ok::<_, String>(secret.map(|secret| String::from_utf8_lossy(secret.expose()).into_owned()))
        };
        let password = line(&home.password_file)?;
        let mut nodes = Vec::new();
        for url in &home.urls {
            let info = String::from_utf8_lossy(url.expose())
                .into_owned()
                .into_connection_info()
                .map_err(|error| words(&error))?;
            let mut settings = info.redis_settings().clone();
            if let Some(user) = &home.user {
                settings = settings.set_username(user);
            }
            if let Some(password) = &password {
                settings = settings.set_password(password);
            }
            if let Some(database) = home.database {
                settings = settings.set_db(i64::from(database));
            }
            nodes.push(info.set_redis_settings(settings));
        }
        let client_tls = match &home.certificate {
            Some(files) => {
                Some(ClientTlsConfig {
                    client_cert: secret_file::read(&files.chain)?,
                    // The library keeps it for as long as it may connect.
                    client_key: secret_file::read_secret(&files.key)?.to_vec(),
                })
            }
            None => None,
        };
        let root_cert = home.ca.as_deref().map(secret_file::read).transpose()?;
        let own = client_tls.is_some() || root_cert.is_some();
        let certificates = own.then_some(TlsCertificates { client_tls, root_cert });
        let sentinel_password = line(&home.sentinel_password_file)?;
        Ok(Self {
            kind: home.kind.clone(),
            nodes,
            certificates,
            // Connecting takes some more round trips than an operation.
            timeout: home.timeout.max(Duration::from_millis(250)),
            sentinel_login: (home.sentinel_user.clone(), sentinel_password),
        })
    }

    /// The servers as they may be told: without passwords.
    pub fn address(&self) -> String {
        let nodes = self.nodes.iter().map(|node| node.addr().to_string());
        nodes.collect::<Vec<_>>().join(", ")
    }

    /// How long the first command may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// How long connecting may take, with so many connections: as long as it takes to find out
    /// that all but the last of the addresses are silent.
    pub fn patience(&self, connections: usize) -> Duration {
        let addresses = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        let connections = u32::try_from(connections).unwrap_or(u32::MAX);
        let each = match &self.kind {
            RedisKind::Sentinel { .. } => SENTINEL_PATIENCE,
            RedisKind::One | RedisKind::Cluster => self.timeout,
        };
        each.saturating_mul(addresses).saturating_add(self.timeout.saturating_mul(connections))
    }

    /// Connects so often to one and the same server or cluster. The connections live on the
    /// runtime that this is called on.
    pub async fn connect(&self, connections: usize) -> RedisResult<Vec<Link>> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        let mut links = Vec::with_capacity(connections);
        let client = match &self.kind {
            RedisKind::One => {
                let (client, first) = self.first_that_answers(&config).await?;
                links.push(Link::One(first));
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
                while links.len() < connections {
                    links.push(Link::Cluster(client.get_async_connection().await?));
                }
                return Ok(links);
            }
        };
        while links.len() < connections {
            links.push(Link::One(client.get_multiplexed_async_connection_with_config(&config).await?));
        }
        Ok(links)
    }

    /// The first of the addresses at which a server answers, and a connection to it.
    async fn first_that_answers(
        &self,
        config: &AsyncConnectionConfig,
    ) -> RedisResult<(Client, MultiplexedConnection)> {
        let mut last = RedisError::from((ErrorKind::InvalidClientConfig, "no server is named"));
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

    /// The master of a service, as sentinels name it.
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

/// An error's words, for logs and administrators: without what it was about, because a URL has
/// a password; and as short and plain as they can be told, whatever a server answers.
pub(super) fn words(error: &RedisError) -> String {
    const MOST: usize = 200;
    let words = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ if error.kind() == ErrorKind::InvalidClientConfig => error.category().to_owned(),
        _ => error.to_string(),
    };
    let mut plain: String = words
        .chars()
        .take(MOST)
        .map(|one| if reprieve_text::escape::is_active(one) { ' ' } else { one })
        .collect();
    if plain.len() < words.len() {
        plain.push('…');
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_told_short_and_plain() {
        let said = format!("NOISE \u{1b}[2J\nreprieve: all is well {}", "x".repeat(100_000));
        let error = redis::parse_redis_value(format!("-{}\r\n", said.replace('\n', "\x0b")).as_bytes());
        let Ok(Value::ServerError(error)) = error else { panic!("{error:?}") };
        let told = words(&error.into());
        assert!(told.starts_with("NOISE  [2J reprieve: all is well xxx"), "{told}");
        assert!(told.len() < 250 && !told.contains(char::is_control), "{told}");
    }
}
