//! The circumstances of a test: settings, start time, rules, limits and store.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::recorder::{LogBuffer, Recorder};
use super::{BackendOutcome, Harness, LogLine, time};
use crate::{
    BreakerSettings, Cache, Ending, Engine, EngineSize, Evaluator, Limits, LoadError, Lookups, OnFailure,
    PolicyOptions, Prepared, Rules, Unverifiable, Verify, load_source,
};
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;

/// Describes a [`Harness`]. Everything except the component has a default.
#[derive(Clone, Debug)]
pub struct HarnessBuilder {
    component: String,
    settings: Vec<(String, String)>,
    zone: TimeZone,
    /// Not parsed yet, because the zone may be set later.
    start: String,
    virtual_server: String,
    pools: Vec<String>,
    rules: Rules,
    outcome: BackendOutcome,
    limits: Limits,
    store_quota: u64,
    store: Vec<(String, Vec<u8>)>,
    lookups: FixedLookups,
    seed: u64,
    cache: Option<Cache>,
}

impl HarnessBuilder {
    pub(super) fn new(component: &str) -> Self {
        Self {
            component: component.to_owned(),
            settings: Vec::new(),
            zone: TimeZone::UTC,
            start: "2026-03-10T12:00:00".to_owned(),
            virtual_server: "pop3".to_owned(),
            pools: vec!["mail".to_owned()],
            rules: Rules::default(),
            outcome: Ending::Authenticated.into(),
            limits: Limits::default(),
            store_quota: 64 << 20,
            store: Vec::new(),
            lookups: FixedLookups::default(),
            seed: 0,
            cache: None,
        }
    }

    /// Sets a setting of the policy; replaces an earlier value.
    #[must_use]
    pub fn setting(mut self, key: &str, value: &str) -> Self {
        match self.settings.iter_mut().find(|(other, _)| other == key) {
            Some((_, before)) => value.clone_into(before),
            None => self.settings.push((key.to_owned(), value.to_owned())),
        }
        self
    }

    pub(crate) fn pool_names(&self) -> &[String] {
        &self.pools
    }

    pub(crate) fn settings(&self) -> &[(String, String)] {
        &self.settings
    }

    pub(crate) fn component(&self) -> &str {
        &self.component
    }

    /// Time zone of the virtual server, such as `Europe/Berlin` [default: UTC].
    ///
    /// # Errors
    /// The time zone is unknown.
    pub fn time_zone(mut self, name: &str) -> anyhow::Result<Self> {
        self.zone = TimeZone::get(name)
            .map_err(|_| anyhow::anyhow!("{name:?} is not a time zone; an example is \"Europe/Berlin\""))?;
        Ok(self)
    }

    /// Start of virtual time, in the time zone or with an offset
    /// [default: `2026-03-10T12:00:00`].
    ///
    /// # Errors
    /// The text is not a date and time.
    pub fn start(mut self, time: &str) -> anyhow::Result<Self> {
        time::parse_time(time, &self.zone).map_err(|why| anyhow::anyhow!("the start {why}"))?;
        time.clone_into(&mut self.start);
        Ok(self)
    }

    /// Name of the virtual server [default: `pop3`].
    #[must_use]
    pub fn virtual_server(mut self, name: &str) -> Self {
        name.clone_into(&mut self.virtual_server);
        self
    }

    /// Pools that verdicts may name; the first is the virtual server's default pool
    /// [default: `mail`].
    #[must_use]
    pub fn pools(mut self, names: &[&str]) -> Self {
        self.pools = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// Disposition of logins if the policy fails [default: pass].
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.rules.on_failure = on_failure;
        self
    }

    /// Whether only users with a known secret are answered in the mail server's place [default: on].
    #[must_use]
    pub fn verify(mut self, verify: Verify) -> Self {
        self.rules.verify = verify;
        self
    }

    /// Disposition of denied logins whose secret Reprieve never sees [default: pass].
    #[must_use]
    pub fn unverifiable(mut self, unverifiable: Unverifiable) -> Self {
        self.rules.unverifiable = unverifiable;
        self
    }

    /// Outcome of logins that are passed to the mail server [default: authenticated].
    #[must_use]
    pub fn outcome(mut self, outcome: impl Into<BackendOutcome>) -> Self {
        self.outcome = outcome.into();
        self
    }

    /// Time, memory and other limits of the policy.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Maximum size of the store in bytes [default: 64 MiB].
    #[must_use]
    pub fn store_quota(mut self, bytes: u64) -> Self {
        self.store_quota = bytes;
        self
    }

    /// Adds an entry to the initial store.
    #[must_use]
    pub fn stored(mut self, key: &str, value: &[u8]) -> Self {
        self.store.push((key.to_owned(), value.to_vec()));
        self
    }

    /// Adds a lookup table, or replaces it. `lines`: keys and values, which may be empty.
    #[must_use]
    pub fn lookup(mut self, table: &str, lines: &[(&str, &str)]) -> Self {
        let lines = lines.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        self.lookups.tables.insert(table.to_owned(), lines);
        self
    }

    /// Removes all entries from the initial store.
    #[must_use]
    pub(crate) fn empty_store(mut self) -> Self {
        self.store.clear();
        self
    }

    /// Seed of the policy's random numbers, which are the same for the same seed [default: 0].
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Replaces the seed by another one.
    #[must_use]
    pub(crate) fn another_seed(mut self) -> Self {
        self.seed = self.seed.wrapping_add(1);
        self
    }

    /// Cache for compiled components [default: none].
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Loads the policy and configures it.
    ///
    /// # Errors
    /// The policy cannot be loaded or rejects its settings ([`LoadError`]).
    pub fn build(self) -> anyhow::Result<Harness> {
        self.build_with_log(&mut Vec::new())
    }

    /// Like [`build`](Self::build), and appends the policy's log lines from its start and from
    /// `configure` to `start_log`, also if it fails.
    ///
    /// # Errors
    /// See [`build`](Self::build).
    pub fn build_with_log(self, start_log: &mut Vec<LogLine>) -> anyhow::Result<Harness> {
        let prepared = self.prepare()?;
        self.build_prepared(&prepared, start_log)
    }

    /// Compiles and links the policy, for several harnesses with the same limits.
    ///
    /// # Errors
    /// The component cannot be read or is not a policy ([`LoadError`]).
    pub(crate) fn prepare(&self) -> anyhow::Result<Prepared> {
        let bytes = load_source(&self.component).map_err(anyhow::Error::msg)?;
        let size = EngineSize { memory: self.limits.memory, stack: self.limits.stack, instances: 8 };
        let engine = Engine::new(size, self.cache.as_ref())?;
        let clock = ManualClock::new(0);
        let namespace = Namespace::exact_in_memory(self.store_quota, clock.clone());
        let options = PolicyOptions {
            limits: self.limits.clone(),
            ..PolicyOptions::new(&self.virtual_server, &self.component, namespace, clock)
        };
        Ok(runtime()?.block_on(Prepared::new(engine, &bytes, &options))?)
    }

    /// Configures a policy that [`prepare`](Self::prepare) has compiled, and appends its log lines to
    /// `start_log`, also if it fails.
    ///
    /// # Errors
    /// The policy does not start or rejects its settings ([`LoadError`]).
    pub(crate) fn build_prepared(
        self,
        prepared: &Prepared,
        start_log: &mut Vec<LogLine>,
    ) -> anyhow::Result<Harness> {
        let start = time::parse_time(&self.start, &self.zone).map_err(anyhow::Error::msg)?;
        let clock = ManualClock::new(start);
        let runtime = runtime()?;
        let namespace = Namespace::exact_in_memory(self.store_quota, clock.clone());
        for (key, value) in &self.store {
            runtime.block_on(namespace.set(key, value, None))??;
        }
        let (recorder, lines) = (Arc::<Recorder>::default(), Arc::<LogBuffer>::default());
        let watched = namespace.intercepted_by(recorder.clone());
        let options = PolicyOptions {
            settings: self.settings,
            limits: self.limits,
            // Every call must reach the policy.
            breaker: BreakerSettings { failures: 0, ..BreakerSettings::default() },
            on_failure: self.rules.on_failure,
            pools: self.pools.clone(),
            seed: Some(self.seed),
            lines: Some(lines.clone()),
            lookups: Arc::new(self.lookups),
            ..PolicyOptions::new(&self.virtual_server, &self.component, watched, clock.clone())
        };
        let policy = runtime.block_on(prepared.configure(options));
        start_log.extend(lines.take());
        let evaluator = Evaluator::new(policy?);
        // Creates the instance for decisions, which repeats the log and store operations of the check.
        runtime.block_on(evaluator.warm_up())?;
        recorder.take();
        lines.take();
        Ok(Harness {
            runtime,
            evaluator,
            namespace,
            clock,
            recorder,
            lines,
            zone: self.zone,
            virtual_server: self.virtual_server,
            pools: Arc::new(self.pools.clone()),
            pool: self.pools.into_iter().next().unwrap_or_else(|| "mail".to_owned()),
            rules: self.rules,
            outcome: self.outcome,
            known_secrets: HashSet::new(),
            snapshots: HashSet::new(),
            new_mail: HashSet::new(),
            uses_fresh_instances: false,
            logins: 0,
        })
    }
}

/// Lookup tables of a test, by their names.
#[derive(Clone, Debug, Default)]
struct FixedLookups {
    tables: BTreeMap<String, BTreeMap<String, String>>,
}

impl Lookups for FixedLookups {
    fn get(&self, table: &str, key: &str) -> Option<Option<Box<str>>> {
        let table = self.tables.get(table)?;
        Some(table.get(key).map(|value| value.as_str().into()))
    }

    fn contains(&self, table: &str, key: &str) -> Option<bool> {
        Some(self.tables.get(table)?.contains_key(key))
    }

    fn names(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// The policy's own error message, if [`HarnessBuilder::build`] failed because the policy rejected
/// its settings.
#[must_use]
pub fn settings_error(error: &anyhow::Error) -> Option<&str> {
    match error.downcast_ref::<LoadError>() {
        Some(LoadError::Settings { why, .. }) => Some(why),
        _ => None,
    }
}
