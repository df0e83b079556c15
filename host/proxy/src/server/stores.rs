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
use reprieve_store::{self as store, Home, Namespace, Space};
use reprieve_store::{Share, StoreConfig, StoreHome};

/// Passwords, certificates and secrets of the stores: what only a privileged process may read.
#[derive(Debug)]
pub struct StoreKeys(Vec<OneKeys>);

#[derive(Debug)]
struct OneKeys {
    /// The virtual server that has it for itself; None for the one of all others.
    of: Option<String>,
    config: StoreConfig,
    keys: store::Keys,
    secret: Option<Secret>,
}

impl StoreKeys {
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
            let keys = store::Keys::read(config).with_context(|| config.place.clone())?;
            let secret = config.secret_file.as_deref().map(secret_file::long_secret).transpose();
            let secret = secret.map_err(|why| anyhow::anyhow!("{}: `secret-file`: {why}", config.place))?;
            Ok(OneKeys { of, config: config.clone(), keys, secret })
        });
        Ok(Self(read.collect::<anyhow::Result<_>>()?))
    }
}

/// A store that is open.
#[derive(Clone, Debug)]
pub struct Store {
    /// The virtual server that has it for itself; None for the one of all others.
    pub of: Option<String>,
    /// The store itself.
    pub home: Arc<Home>,
    /// What is remembered of users.
    pub registry: Arc<Registry>,
    /// Makes their keys and tags.
    pub tagger: Arc<Tagger>,
}

/// All stores of a process.
#[derive(Debug)]
pub(super) struct Stores {
    all: Vec<Store>,
    /// Namespaces of policies with their quotas, by store and name.
    quotas: HashMap<(usize, String), u64>,
}

impl Stores {
    /// Opens them.
    ///
    /// # Errors
    /// Which cannot be opened, with its place in the configuration.
    pub fn open(
        keys: StoreKeys,
        config: &Config,
        clock: &Arc<dyn Clock>,
        only_check: bool,
    ) -> anyhow::Result<Self> {
        let mut all: Vec<Store> = Vec::new();
        let mut paths = Vec::new();
        for OneKeys { of, config: store, keys, secret } in keys.0 {
            let place = || store.place.clone();
            if let StoreHome::File(file) = &store.home {
                anyhow::ensure!(
                    !paths.contains(&file.path),
                    "{}: `path`: {} is the file of another store already; put that one into [store], for all",
                    store.place,
                    file.path.display()
                );
                let folder = file.path.parent().unwrap_or(Path::new("/"));
                anyhow::ensure!(
                    folder.is_dir(),
                    "{}: `path`: the folder {} does not exist; make it, for whom Reprieve runs as",
                    store.place,
                    folder.display()
                );
                paths.push(file.path.clone());
            }
            let home = if only_check {
                Home::in_memory(clock.clone())
            } else {
                Home::open(keys, clock.clone()).with_context(place)?
            };
            let home = Arc::new(home);
            let (memory, trust) = (config.maildrop_memory, config.maildrop_trust);
            let (registry, tagger) = match (&secret, store.share) {
                (Some(secret), Share::Tags | Share::TagsAndSnapshots) => {
                    let tagger = Tagger::keyed(secret.expose());
                    (Registry::shared(memory, trust, &home, &tagger, store.share)?, tagger)
                }
                _ => {
                    let tagger = Tagger::new().map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
                    (Registry::new(memory, trust), tagger)
                }
            };
            all.push(Store { of, home, registry: Arc::new(registry), tagger: Arc::new(tagger) });
        }
        Ok(Self { all, quotas: HashMap::new() })
    }

    /// The store of a virtual server, and its policy's part of it.
    ///
    /// # Errors
    /// Where it is to share a namespace of another quota.
    pub fn of(&mut self, server: &VirtualServerConfig) -> anyhow::Result<(Store, Namespace)> {
        let own = server.store.as_ref().map(|_| server.name.as_str());
        let found = self.all.iter().position(|store| store.of.as_deref() == own);
        let index = found.context("a virtual server has no store")?;
        let name = server.namespace.as_ref().unwrap_or(&server.name);
        let quota = server.policy.store_quota;
        let known = *self.quotas.entry((index, name.clone())).or_insert(quota);
        anyhow::ensure!(
            known == quota,
            "{}: virtual server {}: its `store-quota` is {quota} octets, but the namespace {name:?} that it shares has one of {known}",
            server.policy.place,
            server.name
        );
        let store = self.all[index].clone();
        let namespace = store.home.namespace(Space::for_policies(&namespace_of(name), quota));
        Ok((store, namespace))
    }

    /// Begins anew with which virtual servers share namespaces.
    pub fn forget_quotas(&mut self) {
        self.quotas.clear();
    }

    /// All of them.
    pub fn all(&self) -> Vec<Store> {
        self.all.clone()
    }
}

/// What the namespace of a policy is called in a store.
fn namespace_of(name: &str) -> String {
    format!("policy:{name}")
}
