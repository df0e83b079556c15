//! Connecting to Redis: to one server, to the master that sentinels name, or to a cluster.

use std::path::{Path, PathBuf};
use std::time::Duration;

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::sentinel::{SentinelClientBuilder, SentinelServerType};
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode, Value,
};

use crate::config::{RedisHome, RedisKind};
use crate::secret_file;

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
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        let client_tls = match &home.certificate {
            Some(files) => {
                Some(ClientTlsConfig { client_cert: read(&files.chain)?, client_key: read(&files.key)? })
            }
            None => None,
        };
        let root_cert = home.ca.as_deref().map(read).transpose()?;
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

    /// How long connecting may take.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Connects. The connection lives on the runtime that this is called on.
    pub async fn connect(&self) -> RedisResult<Link> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.timeout))
            .set_response_timeout(Some(self.timeout));
        match &self.kind {
            RedisKind::One => {
                let mut last = RedisError::from((ErrorKind::InvalidClientConfig, "no server is named"));
                for node in &self.nodes {
                    let client = match &self.certificates {
                        Some(certificates) => Client::build_with_tls(node.clone(), certificates.clone())?,
                        None => Client::open(node.clone())?,
                    };
                    match client.get_multiplexed_async_connection_with_config(&config).await {
                        Ok(connection) => return Ok(Link::One(connection)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
            RedisKind::Sentinel { service } => {
                let settings = self.nodes[0].redis_settings();
                let addresses = self.nodes.iter().map(|node| node.addr().clone());
                let mut builder =
                    SentinelClientBuilder::new(addresses, service.as_str(), SentinelServerType::Master)?
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
                let connection = builder.build()?.get_async_connection_with_config(&config).await?;
                Ok(Link::One(connection))
            }
            RedisKind::Cluster => {
                let mut builder = redis::cluster::ClusterClientBuilder::new(self.nodes.clone())
                    .connection_timeout(self.timeout)
                    .response_timeout(self.timeout)
                    .retries(1);
                if let Some(certificates) = &self.certificates {
                    builder = builder.certs(certificates.clone());
                }
                Ok(Link::Cluster(builder.build()?.get_async_connection().await?))
            }
        }
    }
}

/// An error's words without what it was about: a URL has a password.
pub(super) fn words(error: &RedisError) -> String {
    match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        _ if error.kind() == ErrorKind::InvalidClientConfig => error.category().to_owned(),
        _ => error.to_string(),
    }
}
