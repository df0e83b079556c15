//! What a trial begins with.

use std::collections::HashSet;
use std::sync::Arc;

use jiff::tz::TimeZone;

use super::recorder::{Lines, Recorder};
use super::{Happens, LogLine, Trial, time};
use crate::{
    BreakerSettings, Cache, Ending, Engine, EngineSize, Evaluator, Limits, LoadError, OnFailure, Policy,
    PolicyOptions, Rules, Unverifiable, Verify, load_source,
};
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;

/// Describes a trial. Everything has a default but the component.
#[derive(Clone, Debug)]
pub struct Builder {
    component: String,
    settings: Vec<(String, String)>,
    zone: TimeZone,
    /// In words, because the zone may be set later.
    start: String,
    virtual_server: String,
    pools: Vec<String>,
    rules: Rules,
    outcome: Happens,
    limits: Limits,
    store_quota: u64,
    store: Vec<(String, Vec<u8>)>,
    seed: u64,
    cache: Option<Cache>,
}

impl Builder {
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
            seed: 0,
            cache: None,
        }
    }

    /// A setting of the policy. One that was given before is replaced.
    #[must_use]
    pub fn setting(mut self, key: &str, value: &str) -> Self {
        match self.settings.iter_mut().find(|(other, _)| other == key) {
            Some((_, before)) => value.clone_into(before),
            None => self.settings.push((key.to_owned(), value.to_owned())),
        }
        self
    }

    /// The virtual server's time zone, such as `Europe/Berlin`; else UTC.
    ///
    /// # Errors
    /// Where there is no such time zone.
    pub fn time_zone(mut self, name: &str) -> anyhow::Result<Self> {
        self.zone = TimeZone::get(name)
            .map_err(|_| anyhow::anyhow!("{name:?} is no time zone; an example is \"Europe/Berlin\""))?;
        Ok(self)
    }

    /// When it begins: `2026-03-10T12:00:00`, in the time zone, or with an offset.
    ///
    /// # Errors
    /// Where the text is no date and time.
    pub fn start(mut self, moment: &str) -> anyhow::Result<Self> {
        time::moment(moment, &self.zone).map_err(|why| anyhow::anyhow!("the start {why}"))?;
        moment.clone_into(&mut self.start);
        Ok(self)
    }

    /// Name of the virtual server; else `pop3`.
    #[must_use]
    pub fn virtual_server(mut self, name: &str) -> Self {
        name.clone_into(&mut self.virtual_server);
        self
    }

    /// Pools that verdicts may name, the virtual server's own first; else `mail` alone.
    #[must_use]
    pub fn pools(mut self, names: &[&str]) -> Self {
        self.pools = names.iter().map(|name| (*name).to_owned()).collect();
        self
    }

    /// What happens to logins that a failed policy has not judged; else they pass.
    #[must_use]
    pub fn on_failure(mut self, on_failure: OnFailure) -> Self {
        self.rules.on_failure = on_failure;
        self
    }

    /// Whether posing needs a proven user; else it does.
    #[must_use]
    pub fn verify(mut self, verify: Verify) -> Self {
        self.rules.verify = verify;
        self
    }

    /// What happens to denied logins whose secret Reprieve never sees; else they pass.
    #[must_use]
    pub fn unverifiable(mut self, unverifiable: Unverifiable) -> Self {
        self.rules.unverifiable = unverifiable;
        self
    }

    /// What happens to logins that go on to a mail server; else they are authenticated.
    #[must_use]
    pub fn outcome(mut self, happens: impl Into<Happens>) -> Self {
        self.outcome = happens.into();
        self
    }

    /// What the policy may use.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Octets that it may keep; else 64 MiB.
    #[must_use]
    pub fn store_quota(mut self, octets: u64) -> Self {
        self.store_quota = octets;
        self
    }

    /// Something that the store holds at the start.
    #[must_use]
    pub fn stored(mut self, key: &str, value: &[u8]) -> Self {
        self.store.push((key.to_owned(), value.to_vec()));
        self
    }

    /// The store begins empty, whatever it was to hold.
    #[must_use]
    pub(crate) fn nothing_stored(mut self) -> Self {
        self.store.clear();
        self
    }

    /// Seed of the policy's randomness; else 0. The same seed gives the same numbers.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Where compiled code is kept; else nowhere.
    #[must_use]
    pub fn cache(mut self, cache: Cache) -> Self {
        self.cache = Some(cache);
        self
    }

    /// Loads the policy and configures it.
    ///
    /// # Errors
    /// Where the policy cannot be loaded or refuses its settings ([`LoadError`]), in one
    /// sentence.
    pub fn build(self) -> anyhow::Result<Trial> {
        self.build_and_tell(&mut Vec::new())
    }

    /// The same. `told`: what the policy writes to its log at the start and in `configure`, also if
    /// it refuses its settings.
    ///
    /// # Errors
    /// As above.
    pub fn build_and_tell(self, told: &mut Vec<LogLine>) -> anyhow::Result<Trial> {
        let octets = load_source(&self.component).map_err(anyhow::Error::msg)?;
        let start = time::moment(&self.start, &self.zone).map_err(anyhow::Error::msg)?;
        let clock = ManualClock::new(start);
        let size = EngineSize { memory: self.limits.memory, stack: self.limits.stack, instances: 4 };
        let engine = Engine::new(size, self.cache.as_ref())?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let namespace = Namespace::exact_in_memory(self.store_quota, clock.clone());
        for (key, value) in &self.store {
            runtime.block_on(namespace.set(key, value, None))??;
        }
        let (recorder, lines) = (Arc::<Recorder>::default(), Arc::<Lines>::default());
        let watched = namespace.intercepted_by(recorder.clone());
        let options = PolicyOptions {
            settings: self.settings,
            limits: self.limits,
            // A trial wants each call made.
            breaker: BreakerSettings { failures: 0, ..BreakerSettings::default() },
            on_failure: self.rules.on_failure,
            pools: self.pools.clone(),
            seed: Some(self.seed),
            lines: Some(lines.clone()),
            ..PolicyOptions::new(&self.virtual_server, &self.component, watched, clock.clone())
        };
        let policy = runtime.block_on(Policy::load(engine, &octets, options));
        told.extend(lines.take());
        let judge = Evaluator::new(policy?);
        // A second instance, which does the same.
        runtime.block_on(judge.warm_up())?;
        recorder.take();
        lines.take();
        Ok(Trial {
            runtime,
            judge,
            namespace,
            clock,
            recorder,
            lines,
            zone: self.zone,
            virtual_server: self.virtual_server,
            pool: self.pools.into_iter().next().unwrap_or_else(|| "mail".to_owned()),
            rules: self.rules,
            outcome: self.outcome,
            known: HashSet::new(),
            seen: HashSet::new(),
            logins: 0,
        })
    }
}

/// The refusal of settings in a trial that could not be built, in the policy's words.
#[must_use]
pub fn refusal(error: &anyhow::Error) -> Option<&str> {
    match error.downcast_ref::<LoadError>() {
        Some(LoadError::Settings { why, .. }) => Some(why),
        _ => None,
    }
}
