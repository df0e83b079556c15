//! A namespace whose server is at the other end of a stream, for fuzz targets: their server answers
//! anything.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;

use super::connection::Connection;
use super::scripts::Scripts;
use super::{Connections, Monitor, RedisNamespace, Shared, StoreEpoch};
use crate::namespace::NamespaceBackend;
use crate::{Namespace, NamespaceConfig};

/// A namespace without a server to reconnect to: what fails once stays unreachable. `slots`: hash
/// slots over which it is spread. None if the stream is closed.
pub async fn namespace_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    config: NamespaceConfig,
    slots: usize,
    timeout: Duration,
) -> Option<Namespace> {
    let info = RedisConnectionInfo::default().set_skip_set_lib_name();
    let (connection, driver) =
        MultiplexedConnection::new_with_config(&info, stream, AsyncConnectionConfig::default()).await.ok()?;
    tokio::spawn(driver);
    let connections = Connections { all: vec![Connection::One(connection)], next: 0.into() };
    let shared = Arc::new(Shared {
        connections: ArcSwapOption::from_pointee(connections),
        epoch: StoreEpoch::default(),
        failed: Notify::new(),
        monitor: Monitor::default(),
        scripts: Scripts::new(),
        timeout,
        address: "stream".to_owned(),
        cleared: tokio::sync::mpsc::unbounded_channel().0,
    });
    Some(NamespaceBackend::Redis(RedisNamespace::new(shared, "reprieve:", config, slots)).into())
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn sizes_that_no_server_can_have_do_not_overflow() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        tokio::spawn(async move {
            let mut command = [0; 1 << 12];
            while let Ok(1..) = theirs.read(&mut command).await {
                theirs.write_all(format!(":{}\r\n", i64::MAX).as_bytes()).await.unwrap();
            }
        });
        let config = NamespaceConfig::for_policies("pop3", 1 << 20);
        let namespace = namespace_over(ours, config, 4, Duration::from_secs(10)).await.unwrap();
        assert_eq!(namespace.usage().await, Ok(u64::MAX));
    }
}
