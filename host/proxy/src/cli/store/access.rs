//! A way to the stores: by the server that has them open, or directly.

use crate::admin::{Client, ClientError};
use crate::config::Config;
use crate::server::{Page, PageRequest, KnownUser, StoreStats, StoreAdmin};
use reprieve_store::StoreBackend;

pub(super) enum Access {
    Here(StoreAdmin),
    There(Client),
}

impl Access {
    pub async fn of(config: &Config) -> anyhow::Result<Self> {
        if let Some(socket) = &config.admin.socket {
            let client = Client::new(socket);
            match client.status().await {
                Ok(_) => return Ok(Self::There(client)),
                // Nobody runs.
                Err(ClientError::Unreachable { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let servers = config.virtual_servers.iter();
        let stores = servers.map(|server| server.store.as_ref().unwrap_or(&config.store));
        if stores.into_iter().all(|store| matches!(store.backend, StoreBackend::Memory)) {
            let why = if config.admin.socket.is_some() {
                "no reprieve answers at its admin socket"
            } else {
                "its configuration has no admin.socket by which it could be asked"
            };
            anyhow::bail!("the store is in the memory of a running reprieve, and {why}");
        }
        Ok(Self::Here(StoreAdmin::open(config)?))
    }

    pub async fn stats(&self) -> anyhow::Result<Vec<StoreStats>> {
        Ok(match self {
            Self::Here(tool) => tool.stats().await,
            Self::There(client) => client.store_stats().await?,
        })
    }

    pub async fn page(&self, request: PageRequest) -> anyhow::Result<Page> {
        Ok(match self {
            Self::Here(tool) => tool.page(request).await?,
            Self::There(client) => client.store_page(&request).await?,
        })
    }

    pub async fn put(&self, page: Page) -> anyhow::Result<usize> {
        Ok(match self {
            Self::Here(tool) => tool.put(page).await?,
            Self::There(client) => client.store_put(&page).await?,
        })
    }

    pub async fn delete(&self, page: Page) -> anyhow::Result<usize> {
        Ok(match self {
            Self::Here(tool) => tool.delete(page).await?,
            Self::There(client) => client.store_delete(&page).await?,
        })
    }

    pub async fn user(&self, user: &str) -> anyhow::Result<Vec<KnownUser>> {
        Ok(match self {
            Self::Here(tool) => tool.user(user).await,
            Self::There(client) => client.store_user(user).await?,
        })
    }

    pub async fn forget(&self, user: &str) -> anyhow::Result<usize> {
        Ok(match self {
            Self::Here(tool) => tool.forget(user).await?,
            Self::There(client) => client.store_forget(user).await?,
        })
    }

    /// Saves what is written behind. A server does that by itself.
    pub async fn save(&self) -> bool {
        match self {
            Self::Here(tool) => tool.save().await,
            Self::There(_) => true,
        }
    }
}
