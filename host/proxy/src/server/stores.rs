//! The stores of a process: opened once each, and what each virtual server has of them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::config::{Config, VirtualServerConfig};
use crate::maildrop::{Registry, Tagger};
use reprieve_secrets::Secret;
use reprieve_secrets::secret_file;
use reprieve_store::clock::Clock;
use reprieve_store::{self as store, Store, Namespace, NamespaceConfig};
use reprieve_store::{Share, StoreConfig, StoreBackend};

/// Passwords, certificates and secrets of the stores: what only a privileged process may read.
#[derive(Debug)]
pub struct ConfiguredStores(Vec<ConfiguredStore>);

#[derive(Debug)]
struct ConfiguredStore {
    /// The virtual server that has it for itself; None for the one of all others.
    of: Option<String>,
    config: StoreConfig,
    keys: store::StoreSecrets,
    secret: Option<Secret>,
}

impl ConfiguredStores {
    /// Reads what the configuration names.
    ///
    /// # Errors
    /// Which file is not what it should be, with its place in the configuration.
    pub fn read(config: &Config) -> anyhow::Result<Self> {
        let own = config.virtual_servers.iter().filter_map(|server| {
            let store = server.store.as_ref()?;
            Some((Some(server.name.clone()), store))
        });
        let of_all = config.virtual_servers.iter().any(|server| server.store.is_none());
        let all = of_all.then_some((None, &config.store)).into_iter().chain(own);
        let read = all.map(|(of, config)| {
            let keys = store::StoreSecrets::read(config).with_context(|| config.location.clone())?;
            let secret = config.secret_file.as_deref().map(secret_file::long_secret).transpose();
            let secret = secret.map_err(|why| anyhow::anyhow!("{}: `secret-file`: {why}", config.location))?;
            Ok(ConfiguredStore { of, config: config.clone(), keys, secret })
        });
        Ok(Self(read.collect::<anyhow::Result<_>>()?))
    }
}

/// A store that is open.
#[derive(Clone, Debug)]
pub struct OpenedStore {
    /// The virtual server that has it for itself; None for the one of all others.
    pub of: Option<String>,
    /// The store itself.
    pub store: Arc<Store>,
    /// What is remembered of users.
    pub registry: Arc<Registry>,
    /// Makes their keys and tags.
    pub tagger: Arc<Tagger>,
}

/// All stores of a process.
#[derive(Debug)]
pub(super) struct Stores {
    all: Vec<OpenedStore>,
    /// Namespaces of policies with their quotas, by store and name.
    quotas: HashMap<(usize, String), u64>,
}

impl Stores {
    /// Opens them.
    ///
    /// # Errors
    /// Which cannot be opened, with its place in the configuration.
    pub fn open(
        keys: ConfiguredStores,
        config: &Config,
        clock: &Arc<dyn Clock>,
        only_check: bool,
    ) -> anyhow::Result<Self> {
        let mut all: Vec<OpenedStore> = Vec::new();
        let mut paths = Vec::new();
        for ConfiguredStore { of, config: store, keys, secret } in keys.0 {
            let location = || store.location.clone();
            if let StoreBackend::File(file) = &store.backend {
                anyhow::ensure!(
                    !paths.contains(&file.path),
                    "{}: `path`: {} is the file of another store already; put that one into [store], for all",
                    store.location,
                    file.path.display()
                );
                let folder = file.path.parent().unwrap_or(Path::new("/"));
                anyhow::ensure!(
                    folder.is_dir(),
                    "{}: `path`: the folder {} does not exist; make it, for whom Reprieve runs as",
                    store.location,
                    folder.display()
                );
                paths.push(file.path.clone());
            }
            let opened = if only_check {
                Store::in_memory(clock.clone())
            } else {
                Store::open(keys, clock.clone()).with_context(location)?
            };
            let opened = Arc::new(opened);
            let (memory, trust) = (config.maildrop_memory, config.credential_ttl);
            let (registry, tagger) = match (&secret, store.share) {
                (Some(secret), Share::Tags | Share::TagsAndSnapshots) => {
                    let tagger = Tagger::keyed(secret.expose());
                    (Registry::shared(memory, trust, &opened, &tagger, store.share)?, tagger)
                }
                _ => {
                    let tagger = Tagger::new().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
                    (Registry::new(memory, trust), tagger)
                }
            };
            all.push(OpenedStore { of, store: opened, registry: Arc::new(registry), tagger: Arc::new(tagger) });
        }
        Ok(Self { all, quotas: HashMap::new() })
    }

    /// The store of a virtual server, and its policy's part of it.
    ///
    /// # Errors
    /// Where it is to share a namespace of another quota.
    pub fn of(&mut self, server: &VirtualServerConfig) -> anyhow::Result<(OpenedStore, Namespace)> {
        let own = server.store.as_ref().map(|_| server.name.as_str());
        let found = self.all.iter().position(|store| store.of.as_deref() == own);
        let index = found.context("a virtual server has no store")?;
        let name = server.namespace.as_ref().unwrap_or(&server.name);
        let quota = server.policy.store_quota;
        let known = *self.quotas.entry((index, name.clone())).or_insert(quota);
        anyhow::ensure!(
            known == quota,
            "{}: virtual server {}: its `store-quota` is {quota} octets, but the namespace {name:?} that it shares has one of {known}",
            server.policy.location,
            server.name
        );
        let store = self.all[index].clone();
        let namespace = store.store.namespace(NamespaceConfig::for_policies(&namespace_of(name), quota));
        Ok((store, namespace))
    }

    /// Begins anew with which virtual servers share namespaces.
    pub fn forget_quotas(&mut self) {
        self.quotas.clear();
    }

    /// All of them.
    pub fn all(&self) -> Vec<OpenedStore> {
        self.all.clone()
    }
}

/// What the namespace of a policy is called in a store.
fn namespace_of(name: &str) -> String {
    format!("policy:{name}")
}
