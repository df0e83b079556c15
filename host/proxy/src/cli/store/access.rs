//! Access to the stores of a configuration: through the running server that has them open, or
//! directly.

use crate::admin::{Client, ClientError};
use crate::config::Config;
use crate::server::{KnownUser, Page, PageRequest, StoreAdmin, StoreStats};
use reprieve_store::StoreBackend;

pub(super) enum StoreAccess {
    /// The stores are open in this process.
    Direct(StoreAdmin),
    /// A running server has the stores open.
    Server(Client),
}

impl StoreAccess {
    pub async fn to(config: &Config) -> anyhow::Result<Self> {
        if let Some(socket) = &config.admin.socket {
            let client = Client::new(socket);
            match client.status().await {
                Ok(_) => return Ok(Self::Server(client)),
                // No server is running.
                Err(ClientError::Unreachable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let servers = config.virtual_servers.iter();
        let stores = servers.map(|server| server.store.as_ref().unwrap_or(&config.store));
        if stores.into_iter().all(|store| matches!(store.backend, StoreBackend::Memory)) {
            let obstacle = if config.admin.socket.is_some() {
                "no reprieve answers at its admin socket"
            } else {
                "its configuration has no admin.socket"
            };
            anyhow::bail!("the store is in the memory of a running reprieve, and {obstacle}");
        }
        Ok(Self::Direct(StoreAdmin::open(config)?))
    }

    pub async fn stats(&self) -> anyhow::Result<Vec<StoreStats>> {
        Ok(match self {
            Self::Direct(tool) => tool.stats().await,
            Self::Server(client) => client.store_stats().await?,
        })
    }

    pub async fn page(&self, request: PageRequest) -> anyhow::Result<Page> {
        Ok(match self {
            Self::Direct(tool) => tool.page(request).await?,
            Self::Server(client) => client.store_page(&request).await?,
        })
    }

    pub async fn put(&self, page: Page) -> anyhow::Result<usize> {
        Ok(match self {
            Self::Direct(tool) => tool.put(page).await?,
            Self::Server(client) => client.store_put(&page).await?,
        })
    }

    pub async fn delete(&self, page: Page) -> anyhow::Result<usize> {
        Ok(match self {
            Self::Direct(tool) => tool.delete(page).await?,
            Self::Server(client) => client.store_delete(&page).await?,
        })
    }

    pub async fn user(&self, user: &str) -> anyhow::Result<Vec<KnownUser>> {
        Ok(match self {
            Self::Direct(tool) => tool.user(user).await,
            Self::Server(client) => client.store_user(user).await?,
        })
    }

    pub async fn forget(&self, user: &str) -> anyhow::Result<usize> {
        Ok(match self {
            Self::Direct(tool) => tool.forget(user).await?,
            Self::Server(client) => client.store_forget(user).await?,
        })
    }

    /// Writes pending changes. A running server does that by itself.
    pub async fn save(&self) -> bool {
        match self {
            Self::Direct(tool) => tool.save().await,
            Self::Server(_) => true,
        }
    }
}
