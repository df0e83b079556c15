//! What administrators do with stores: look at them and at what they know of a user, forget
//! him, and carry entries from one home to another. By a running server or without one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::View;
use super::stores::{OpenedStore, ConfiguredStores, Stores};
use crate::config::{Config, VirtualServerConfig};
use crate::maildrop::{Description, UserKey};
use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
use reprieve_pop3::user_name::{NameCase, from_readable};
use reprieve_store::clock::{Clock, SystemClock};
use reprieve_store::{Cursor, Entry, NamespaceSize, Refused, NamespaceConfig, StoreStatus, Unavailable};

/// A virtual server as a tool sees it.
#[derive(Clone, Debug)]
struct Server {
    name: String,
    pool: String,
    name_case: NameCase,
    master_separator: Option<u8>,
    store: OpenedStore,
}

impl Server {
    fn new(config: &VirtualServerConfig, store: OpenedStore) -> Self {
        Self {
            name: config.name.clone(),
            pool: config.pool.clone(),
            name_case: config.name_case,
            master_separator: config.master_separator,
            store,
        }
    }
}

/// Works on the stores of a configuration.
#[derive(Clone, Debug)]
pub struct StoreAdmin {
    servers: Vec<Server>,
    stores: Vec<OpenedStore>,
    clock: Arc<dyn Clock>,
}

/// A store at a glance.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoreStats {
    /// The virtual server that has it for itself; None for the one of all others.
    pub of: Option<String>,
    /// How it does.
    pub status: StoreStatus,
    /// Users that are remembered in the process, tags and snapshots.
    pub users_in_memory: usize,
    /// What they take there, in octets.
    pub octets_in_memory: u64,
    /// Its namespaces, as far as they could be seen.
    pub namespaces: Vec<NamespaceSize>,
    /// Why not all of them could be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unseen: Option<String>,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PageRequest {
    /// The virtual server that has the store for itself.
    pub of: Option<String>,
    /// The namespace.
    pub namespace: String,
    /// Where the page before ended.
    pub from: Option<Cursor>,
}

/// Some entries of a namespace.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Page {
    /// The virtual server that has the store for itself.
    pub of: Option<String>,
    /// The namespace.
    pub namespace: String,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page begins, if there is one.
    pub next: Option<Cursor>,
}

/// What the host remembers of a user at a virtual server.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KnownUser {
    /// The virtual server.
    pub virtual_server: String,
    /// What is known.
    pub known: Description,
}

impl StoreAdmin {
    /// For a server that runs.
    #[must_use]
    pub fn of(view: &View) -> Self {
        let servers =
            view.servers().into_iter().map(|server| Server::new(&server.shared.config, server.shared.store));
        Self { servers: servers.collect(), stores: view.stores().to_vec(), clock: view.clock().clone() }
    }

    /// For the stores of a configuration, where no server has them.
    ///
    /// # Errors
    /// Which cannot be opened.
    pub fn open(config: &Config) -> anyhow::Result<Self> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut stores = Stores::open(ConfiguredStores::read(config)?, config, &clock, false)?;
        let servers = config.virtual_servers.iter().map(|server| {
            // Its namespace is opened here with the quota that it has.
            let (store, _) = stores.of(server)?;
            Ok(Server::new(server, store))
        });
        let servers = servers.collect::<anyhow::Result<_>>()?;
        Ok(Self { servers, stores: stores.all(), clock })
    }

    /// All stores at a glance.
    pub async fn stats(&self) -> Vec<StoreStats> {
        let mut all = Vec::new();
        for store in &self.stores {
            let (mut namespaces, mut unseen) = (Vec::new(), None);
            match store.store.names().await {
                Err(Unavailable(why)) => unseen = Some(why),
                Ok(names) => {
                    for name in names {
                        let namespace = store.store.namespace(NamespaceConfig::for_policies(&name, u64::MAX));
                        match namespace.usage().await {
                            Ok(octets) => namespaces.push(NamespaceSize { name, bytes: octets }),
                            Err(Unavailable(why)) => unseen = Some(why),
                        }
                    }
                }
            }
            all.push(StoreStats {
                of: store.of.clone(),
                status: store.store.status(),
                users_in_memory: store.registry.users(),
                octets_in_memory: store.registry.octets(),
                namespaces,
                unseen,
            });
        }
        all
    }

    /// Some entries.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn page(&self, request: PageRequest) -> Result<Page, Unavailable> {
        let PageRequest { of, namespace, from } = request;
        let (entries, next) = self.store(of.as_deref())?.store.entries(&namespace, from).await?;
        Ok(Page { of, namespace, entries, next })
    }

    /// Writes entries, whatever is there; those whose time is over are left out. Returns how
    /// many were written.
    ///
    /// # Errors
    /// Where the store cannot be reached, or has no room for one.
    pub async fn put(&self, page: Page) -> Result<usize, Unavailable> {
        let store = &self.store(page.of.as_deref())?.store;
        let namespace = store.namespace(NamespaceConfig::for_policies(&page.namespace, u64::MAX));
        let now_ms = self.clock.now_ms();
        let mut written = 0;
        for entry in page.entries {
            let ttl = match entry.expires {
                Some(expires) if expires <= now_ms => continue,
                Some(expires) => Some(std::time::Duration::from_millis(expires - now_ms)),
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

    /// Forgets entries: only their keys count. Returns how many there were.
    ///
    /// # Errors
    /// Where the store cannot be reached.
    pub async fn delete(&self, page: Page) -> Result<usize, Unavailable> {
        let store = &self.store(page.of.as_deref())?.store;
        let namespace = store.namespace(NamespaceConfig::for_policies(&page.namespace, u64::MAX));
        let mut gone = 0;
        for entry in page.entries {
            gone += usize::from(namespace.delete(&entry.key).await?);
        }
        Ok(gone)
    }

    /// What the host remembers of a user.
    pub async fn user(&self, user: &str) -> Vec<KnownUser> {
        let mut found = Vec::new();
        for server in &self.servers {
            let registry = &server.store.registry;
            if let Some(known) = registry.describe(server.key(user), self.clock.now_ms()).await {
                found.push(KnownUser { virtual_server: server.name.clone(), known });
            }
        }
        found
    }

    /// Forgets what the host remembers of a user. Returns at how many virtual servers it did.
    ///
    /// # Errors
    /// Where a store cannot be reached.
    pub async fn forget(&self, user: &str) -> Result<usize, Unavailable> {
        let mut forgotten = 0;
        for server in &self.servers {
            forgotten += usize::from(server.store.registry.forget(server.key(user)).await?);
        }
        Ok(forgotten)
    }

    /// Saves what is written behind. False where that is not possible.
    pub async fn save(&self) -> bool {
        let mut saved = true;
        for store in &self.stores {
            saved &= store.store.save().await;
        }
        saved
    }

    fn store(&self, of: Option<&str>) -> Result<&OpenedStore, Unavailable> {
        let found = self.stores.iter().find(|store| store.of.as_deref() == of);
        found.ok_or_else(|| {
            let of = of.map_or_else(|| "all virtual servers".to_owned(), |of| format!("virtual server {of}"));
            Unavailable(format!("there is no store of {of}"))
        })
    }
}

impl Server {
    fn key(&self, user: &str) -> UserKey {
        let name = from_readable(user);
        let credentials = Credentials::new(&name, Secret::new(b""), Mechanism::UserPass)
            .separated_by(self.master_separator);
        self.store.tagger.user(&self.pool, &credentials.identity(self.name_case))
    }
}

/// Whether a key is about a user: his name stands in it, in any case, with no letter or digit
/// beside it.
#[must_use]
pub fn is_about(key: &str, user: &str) -> bool {
    let (key, user) = (key.to_lowercase(), user.to_lowercase());
    let joins = |character: Option<char>| {
        character.is_some_and(|character| character.is_alphanumeric() || "@.-_+".contains(character))
    };
    key.match_indices(&user).any(|(at, found)| {
        !joins(key[..at].chars().next_back()) && !joins(key[at + found.len()..].chars().next())
    })
}

#[cfg(test)]
mod tests {
    use super::is_about;

    #[test]
    fn a_key_is_about_a_user_where_his_whole_name_stands_in_it() {
        for key in ["anna", "ANNA", "user:anna", "anna/2026-11-24", "anna\0boss", "last anna"] {
            assert!(is_about(key, "anna"), "{key:?}");
        }
        for key in ["annalena", "hanna", "anna@example.com", "anna.b", "anna-2", "ann"] {
            assert!(!is_about(key, "anna"), "{key:?}");
        }
        assert!(is_about("u=Anna@Example.com;", "anna@example.com"));
    }
}
