//! The stores of a process: each is opened once, and virtual servers use them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{Config, VirtualServerConfig};
use crate::maildrop::{Registry, Tagger};
use reprieve_secrets::{Secret, secret_file};
use reprieve_store::clock::Clock;
use reprieve_store::{Namespace, NamespaceConfig, Share, Store, StoreBackend, StoreConfig, StoreSecrets};

/// The configured stores with their passwords, certificates and secrets, which only a privileged
/// process may be able to read.
#[derive(Debug)]
pub struct ConfiguredStores(Vec<ConfiguredStore>);

#[derive(Debug)]
struct ConfiguredStore {
    /// The virtual server that the store is for; None for the one that all others share.
    virtual_server: Option<String>,
    config: StoreConfig,
    secrets: StoreSecrets,
    /// Content of `secret-file`.
    share_secret: Option<Secret>,
}

impl ConfiguredStores {
    /// Reads the files that the configuration names.
    ///
    /// # Errors
    /// If a file cannot be read or does not contain what it should; with the key that names it.
    pub fn read(config: &Config) -> anyhow::Result<Self> {
        let own = config.virtual_servers.iter().filter_map(|server| {
            let store = server.store.as_ref()?;
            Some((Some(server.name.clone()), store))
        });
        let is_shared = config.virtual_servers.iter().any(|server| server.store.is_none());
        let all = is_shared.then_some((None, &config.store)).into_iter().chain(own);
        let read = all.map(|(virtual_server, config)| {
            let secrets = StoreSecrets::read(config).with_context(|| config.location.clone())?;
            let share_secret = config.secret_file.as_deref().map(secret_file::long_secret).transpose();
            let share_secret = share_secret
                .map_err(|error| anyhow::anyhow!("{}: `secret-file`: {error}", config.location))?;
            Ok(ConfiguredStore { virtual_server, config: config.clone(), secrets, share_secret })
        });
        Ok(Self(read.collect::<anyhow::Result<_>>()?))
    }
}

/// A store that is open, and the registry of users that belongs to it.
#[derive(Clone, Debug)]
pub struct OpenedStore {
    /// The virtual server that the store is for; None for the one that all others share.
    pub virtual_server: Option<String>,
    /// The store itself.
    pub store: Arc<Store>,
    /// What is remembered about users.
    pub registry: Arc<Registry>,
    /// Makes the keys and tags of users.
    pub tagger: Arc<Tagger>,
}

impl OpenedStore {
    /// Opens a store; in memory if it is only to be checked.
    fn open(
        configured: ConfiguredStore,
        config: &Config,
        clock: &Arc<dyn Clock>,
        only_check: bool,
    ) -> anyhow::Result<Self> {
        let ConfiguredStore { virtual_server, config: settings, secrets, share_secret } = configured;
        let store = if only_check {
            Store::in_memory(clock.clone())
        } else {
            Store::open(secrets, clock.clone()).with_context(|| settings.location.clone())?
        };
        let (memory, credential_ttl) = (config.maildrop_memory, config.credential_ttl);
        let (registry, tagger) = match (&share_secret, settings.share) {
            (Some(secret), share @ (Share::Tags | Share::TagsAndSnapshots)) => {
                let tagger = Tagger::keyed(secret.expose());
                (Registry::shared(memory, credential_ttl, &store, &tagger, share)?, tagger)
            }
            _ => {
                let tagger = Tagger::new().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
                (Registry::new(memory, credential_ttl), tagger)
            }
        };
        Ok(Self {
            virtual_server,
            store: Arc::new(store),
            registry: Arc::new(registry),
            tagger: Arc::new(tagger),
        })
    }
}

/// All stores of a process.
#[derive(Debug)]
pub(super) struct Stores {
    all: Vec<OpenedStore>,
    /// Quotas of the namespaces of policies, by store and namespace.
    quotas: HashMap<(usize, String), u64>,
}

impl Stores {
    /// Opens all stores. `only_check`: opens none of them, but checks the configuration.
    ///
    /// # Errors
    /// If a store cannot be opened; with its place in the configuration.
    pub fn open(
        configured: ConfiguredStores,
        config: &Config,
        clock: &Arc<dyn Clock>,
        only_check: bool,
    ) -> anyhow::Result<Self> {
        let mut paths = Vec::new();
        for ConfiguredStore { config: store, .. } in &configured.0 {
            let StoreBackend::File(file) = &store.backend else { continue };
            check_path(store, &file.path, &paths)?;
            paths.push(file.path.clone());
        }
        let all = configured.0.into_iter().map(|store| OpenedStore::open(store, config, clock, only_check));
        Ok(Self { all: all.collect::<anyhow::Result<_>>()?, quotas: HashMap::new() })
    }

    /// The store of a virtual server, and the namespace of its policy.
    ///
    /// # Errors
    /// If another virtual server shares the namespace with another quota.
    pub fn for_server(&mut self, server: &VirtualServerConfig) -> anyhow::Result<(OpenedStore, Namespace)> {
        let own = server.store.as_ref().map(|_| server.name.as_str());
        let found = self.all.iter().position(|store| store.virtual_server.as_deref() == own);
        let index = found.context("a virtual server has no store")?;
        let name = server.namespace.as_ref().unwrap_or(&server.name);
        let quota = server.policy.store_quota;
        let known = *self.quotas.entry((index, name.clone())).or_insert(quota);
        anyhow::ensure!(
            known == quota,
            "{}: virtual server {}: its `store-quota` is {quota} bytes, but {known} bytes at another virtual server with the same namespace {name:?}",
            server.policy.location,
            server.name
        );
        let opened = self.all[index].clone();
        let namespace = opened.store.namespace(NamespaceConfig::for_policies(&policy_namespace(name), quota));
        Ok((opened, namespace))
    }

    /// Forgets which virtual servers share namespaces, before a reload looks again.
    pub fn forget_quotas(&mut self) {
        self.quotas.clear();
    }

    /// All stores.
    pub fn all(&self) -> Vec<OpenedStore> {
        self.all.clone()
    }
}

/// Checks the path of a store in a file.
fn check_path(store: &StoreConfig, path: &Path, others: &[std::path::PathBuf]) -> anyhow::Result<()> {
    anyhow::ensure!(
        !others.iter().any(|other| other == path),
        "{}: `path`: {} is the file of another store already; to share a store, configure it once, in [store]",
        store.location,
        path.display()
    );
    let directory = path.parent().unwrap_or(Path::new("/"));
    anyhow::ensure!(
        directory.is_dir(),
        "{}: `path`: the directory {} does not exist; create it, owned by the user that Reprieve runs as",
        store.location,
        directory.display()
    );
    Ok(())
}

/// Namespace of a policy in a store.
pub(super) fn policy_namespace(name: &str) -> String {
    format!("policy:{name}")
}
