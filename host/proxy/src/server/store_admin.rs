//! Administration of stores: status, entries, what is known about a user, and moving entries from
//! one backend to another; on a running server, or on the stores of a configuration.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::View;
use super::stores::{ConfiguredStores, OpenedStore, Stores, policy_namespace};
use crate::config::{Config, VirtualServerConfig};
use crate::maildrop::{Description, UserKey};
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::user_name::{NameSpelling, from_readable, readable};
use reprieve_store::clock::{Clock, SystemClock};
use reprieve_store::{
    Cursor, Entry, Namespace, NamespaceConfig, NamespaceSize, Refused, StoreStatus, Unavailable,
};

/// What administration needs to know about a virtual server.
#[derive(Clone, Debug)]
struct Server {
    name: String,
    pool: String,
    name_spelling: NameSpelling,
    master_separator: Option<u8>,
    opened: OpenedStore,
}

impl Server {
    fn new(config: &VirtualServerConfig, opened: OpenedStore) -> Self {
        Self {
            name: config.name.clone(),
            pool: config.pool.clone(),
            name_spelling: config.name_spelling.clone(),
            master_separator: config.master_separator,
            opened,
        }
    }

    fn key(&self, user: &str) -> UserKey {
        let name = from_readable(user);
        let credentials = Credentials::new(&name, Secret::new(b""), Mechanism::UserPass)
            .split_master_user(self.master_separator);
        self.opened.tagger.user(&self.pool, &credentials.identity(&self.name_spelling).bytes())
    }
}

/// Administers all stores of a configuration.
#[derive(Clone, Debug)]
pub struct StoreAdmin {
    servers: Vec<Server>,
    stores: Vec<OpenedStore>,
    clock: Arc<dyn Clock>,
}

/// Status and size of a store.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoreStats {
    /// The virtual server that the store is for; None for the one that all others share.
    pub virtual_server: Option<String>,
    /// State and counters.
    pub status: StoreStatus,
    /// Number of users in the memory of the process.
    pub users_in_memory: usize,
    /// Bytes that they take there.
    pub bytes_in_memory: u64,
    /// All namespaces whose size is known.
    pub namespaces: Vec<NamespaceSize>,
    /// Why the list of namespaces is not complete, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A request for a page of entries.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PageRequest {
    /// The virtual server that the store is for; None for the one that all others share.
    pub virtual_server: Option<String>,
    /// The namespace.
    pub namespace: String,
    /// [`Page::next`] of the page before; None for the first.
    pub from: Option<Cursor>,
}

/// Some entries of a namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page {
    /// The virtual server that the store is for; None for the one that all others share.
    pub virtual_server: Option<String>,
    /// The namespace.
    pub namespace: String,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page starts, if there is one.
    pub next: Option<Cursor>,
}

/// What is remembered about a user at a virtual server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnownUser {
    /// The virtual server.
    pub virtual_server: String,
    /// What is known.
    pub known: Description,
}

impl StoreAdmin {
    /// Administers the stores of a running server.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let servers =
            view.servers().into_iter().map(|server| Server::new(&server.shared.config, server.shared.store));
        Self { servers: servers.collect(), stores: view.stores().to_vec(), clock: view.clock().clone() }
    }

    /// Opens the stores of a configuration that no server has open.
    ///
    /// # Errors
    /// If a store cannot be opened.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut stores = Stores::open(ConfiguredStores::read(config)?, config, &clock, false)?;
        let servers = config.virtual_servers.iter().map(|server| {
            // Also opens the namespace of its policy, with its quota.
            let (opened, _) = stores.for_server(server)?;
            Ok(Server::new(server, opened))
        });
        let servers = servers.collect::<anyhow::Result<_>>()?;
        Ok(Self { servers, stores: stores.all(), clock })
    }

    /// Status and size of all stores.
    pub async fn stats(&self) -> Vec<StoreStats> {
        let mut all = Vec::new();
        for opened in &self.stores {
            let (mut namespaces, mut error) = (Vec::new(), None);
            match opened.store.names().await {
                Err(Unavailable(reason)) => error = Some(reason),
                Ok(names) => {
                    for name in names {
                        let namespace =
                            opened.store.namespace(NamespaceConfig::for_policies(&name, u64::MAX));
                        match namespace.usage().await {
                            Ok(bytes) => namespaces.push(NamespaceSize { name, bytes }),
                            Err(Unavailable(reason)) => error = Some(reason),
                        }
                    }
                }
            }
            all.push(StoreStats {
                virtual_server: opened.virtual_server.clone(),
                status: opened.store.status(),
                users_in_memory: opened.registry.users(),
                bytes_in_memory: opened.registry.bytes(),
                namespaces,
                error,
            });
        }
        all
    }

    /// A page of entries.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn page(&self, request: PageRequest) -> Result<Page, Unavailable> {
        let PageRequest { virtual_server, namespace, from } = request;
        let opened = self.opened(virtual_server.as_deref())?;
        let (entries, next) = opened.store.entries(&namespace, from).await?;
        Ok(Page { virtual_server, namespace, entries, next })
    }

    /// Writes entries, replacing existing ones. Expired ones are skipped. Returns how many were
    /// written.
    ///
    /// # Errors
    /// If the store cannot be reached, or refuses an entry.
    pub async fn put(&self, page: Page) -> Result<usize, Unavailable> {
        let namespace = self.namespace(&page)?;
        let now_ms = self.clock.now_ms();
        let mut written = 0;
        for entry in page.entries {
            let ttl = match entry.expires {
                Some(expires) if expires <= now_ms => continue,
                Some(expires) => Some(Duration::from_millis(expires - now_ms)),
                None => None,
            };
            match namespace.set(&entry.key, &entry.value, ttl).await? {
                Ok(()) => written += 1,
                Err(refused @ (Refused::Quota | Refused::TooLong | Refused::NotANumber)) => {
                    return Err(Unavailable(format!("{} in {}: {refused}", entry.key, page.namespace)));
                }
            }
        }
        Ok(written)
    }

    /// Deletes the entries with these keys. Returns how many existed.
    ///
    /// # Errors
    /// If the store cannot be reached.
    pub async fn delete(&self, page: Page) -> Result<usize, Unavailable> {
        let namespace = self.namespace(&page)?;
        let mut deleted = 0;
        for entry in page.entries {
            deleted += usize::from(namespace.delete(&entry.key).await?);
        }
        Ok(deleted)
    }

    /// What is remembered about a user at each virtual server that knows them.
    pub async fn user(&self, user: &str) -> Vec<KnownUser> {
        let mut found = Vec::new();
        for server in &self.servers {
            let registry = &server.opened.registry;
            if let Some(known) = registry.describe(server.key(user), self.clock.now_ms()).await {
                found.push(KnownUser { virtual_server: server.name.clone(), known });
            }
        }
        found
    }

    /// Forgets a user at all virtual servers. Returns how many of them knew the user.
    ///
    /// # Errors
    /// If a store cannot be reached.
    pub async fn forget(&self, user: &str) -> Result<usize, Unavailable> {
        let mut forgotten = 0;
        for server in &self.servers {
            forgotten += usize::from(server.opened.registry.forget(server.key(user)).await?);
        }
        Ok(forgotten)
    }

    /// Writes pending changes of stores in files. Returns false if that fails.
    pub async fn save(&self) -> bool {
        let mut saved = true;
        for opened in &self.stores {
            saved &= opened.store.save().await;
        }
        saved
    }

    fn opened(&self, virtual_server: Option<&str>) -> Result<&OpenedStore, Unavailable> {
        let found = self.stores.iter().find(|opened| opened.virtual_server.as_deref() == virtual_server);
        found.ok_or_else(|| {
            let of = virtual_server.map_or_else(String::new, |name| format!(" for virtual server {name}"));
            Unavailable(format!("there is no store{of}"))
        })
    }

    fn namespace(&self, page: &Page) -> Result<Namespace, Unavailable> {
        let opened = self.opened(page.virtual_server.as_deref())?;
        Ok(opened.store.namespace(NamespaceConfig::for_policies(&page.namespace, u64::MAX)))
    }
}

/// The spellings under which the policies of a namespace may know a user: as given, and as the virtual
/// servers of the namespace write it.
#[must_use]
pub fn spellings(config: &Config, page: &Page, user: &str) -> Vec<String> {
    let own_store = |server: &VirtualServerConfig| server.store.as_ref().map(|_| server.name.clone());
    let servers = config.virtual_servers.iter().filter(|server| {
        let name = server.namespace.as_ref().unwrap_or(&server.name);
        policy_namespace(name) == page.namespace && own_store(server) == page.virtual_server
    });
    let canonical =
        |server: &VirtualServerConfig| readable(&server.name_spelling.canonical(&from_readable(user)));
    std::iter::once(user.to_owned()).chain(servers.map(canonical)).collect()
}

/// Whether a key contains a user's whole name, in any case: with no letter or digit beside it, and
/// no character that often occurs in names.
#[must_use]
pub fn contains_user(key: &str, user: &str) -> bool {
    let (key, user) = (key.to_lowercase(), user.to_lowercase());
    let continues = |character: Option<char>| {
        character.is_some_and(|character| character.is_alphanumeric() || "@.-_+".contains(character))
    };
    key.match_indices(&user).any(|(at, found)| {
        !continues(key[..at].chars().next_back()) && !continues(key[at + found.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::contains_user;

    #[test]
    fn a_key_belongs_to_a_user_if_it_contains_their_whole_name() {
        for key in ["anna", "ANNA", "user:anna", "anna/2026-11-24", "anna\0boss", "last anna"] {
            assert!(contains_user(key, "anna"), "{key:?}");
        }
        for key in ["annalena", "hanna", "anna@example.com", "anna.b", "anna-2", "ann"] {
            assert!(!contains_user(key, "anna"), "{key:?}");
        }
        assert!(contains_user("u=Anna@Example.com;", "anna@example.com"));
    }
}
