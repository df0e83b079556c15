//! Asks a policy about the logins of a log, as the proxy would at the time of each login.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use jiff::tz::TimeZone;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::runtime::Runtime;
use tracing::Level;

use super::entry::{Entry, Recorded};
use super::recorded_verdict::RecordedVerdict;
use reprieve_policy_host::{
    Action, Backend, Because, BreakerSettings, Cache, Cause, Claim, Client, Decided, Disposition, Ending,
    Engine, EngineSize, Evaluator, Facts, Freshness, Limits, Lines, Login, Maildrop, MemoryKey, Outcome,
    Policy, PolicyOptions, Pools, Rules, Session, Standing, Verdict, digest, dispose, load_source, moment,
};
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;

/// How long a secret stays known after the mail server has accepted it: the default of
/// `maildrop.credential-ttl`.
const CREDENTIAL_TTL_MS: u64 = 24 * 3600 * 1000;
/// Memory limit in bytes for users with a known secret, enough for about four million. A log with
/// more is hostile, or from a site that is too large for one process; the secrets of further users
/// stay unknown.
const MAX_USER_BYTES: usize = 512 << 20;
/// Memory of a user in bytes, without the name.
const USER_BYTES: usize = 96;
/// Bytes that the policy may keep: the default of `store-quota`.
const STORE_QUOTA: u64 = 64 << 20;
/// How many log lines of the policy are kept.
const MAX_LOG_LINES: usize = 5;

/// A policy to replay logs with.
#[derive(Clone, Debug)]
pub struct PolicySource {
    /// Name of a built-in policy, or path of a component.
    pub component: String,
    /// Settings in the order of the command line.
    pub settings: Vec<(String, String)>,
}

/// What would have happened to a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the host would have known about the secret.
    pub standing: Standing,
    /// Verdict of the policy.
    pub verdict: RecordedVerdict,
    /// What would have happened after the host's rules.
    pub disposition: Disposition,
}

impl Decision {
    /// Whether the login does not reach a mail server. If the log says that a posed session
    /// continued at the mail server, it is assumed to do so again.
    #[must_use]
    pub fn is_relieved(&self, entry: &Entry) -> bool {
        match self.disposition.action {
            Action::Passed => false,
            Action::Posed => !entry.is_upgraded(),
            Action::Refused | Action::Disconnected => true,
        }
    }
}

/// What the policy has logged.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub struct PolicyLog {
    /// Number of lines.
    pub count: u64,
    /// The first lines.
    pub first: Vec<String>,
}

#[derive(Debug, Default)]
struct LogRecorder(Mutex<PolicyLog>);

impl Lines for LogRecorder {
    fn line(&self, level: Level, text: &str) {
        let mut log = self.0.lock();
        log.count += 1;
        if log.first.len() < MAX_LOG_LINES {
            log.first.push(format!("{}: {text}", level.as_str().to_lowercase()));
        }
    }
}

/// Replays logins with one policy, which has a store of its own in memory.
pub struct Player {
    runtime: Runtime,
    rules: Rules,
    evaluator: Evaluator,
    clock: Arc<ManualClock>,
    zone: TimeZone,
    default_pool: String,
    pools: Arc<dyn Pools>,
    policy: PolicySource,
    log: Arc<LogRecorder>,
    /// Time of each user's last accepted login, in milliseconds since 1970.
    accepted: HashMap<String, u64>,
    accepted_bytes: usize,
    /// Outcomes that are later than the current login, by time and number of the login.
    pending: BTreeMap<(u64, u64), PendingOutcome>,
    logins: u64,
    failed_outcomes: u64,
}

struct PendingOutcome {
    outcome: Arc<Outcome>,
    /// Whether the user's standing is derived from outcomes.
    sets_standing: bool,
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Player {
    /// Loads a policy. `pools` are the pools that it may choose, the default pool first; its days
    /// begin at midnight in `zone`.
    ///
    /// # Errors
    /// If it cannot be loaded or rejects its settings.
    pub fn load(
        policy: PolicySource,
        rules: Rules,
        zone: TimeZone,
        pools: &[String],
    ) -> anyhow::Result<Self> {
        let component = load_source(&policy.component).map_err(anyhow::Error::msg)?;
        let limits = Limits::default();
        let cache = Cache::usual_folder().and_then(|folder| Cache::open(&folder).ok());
        let size = EngineSize { memory: limits.memory, stack: limits.stack, instances: 2 };
        let engine = Engine::new(size, cache.as_ref())?;
        let clock = ManualClock::new(0);
        let log = Arc::<LogRecorder>::default();
        let options = PolicyOptions {
            settings: policy.settings.clone(),
            // Never open the circuit breaker: each login needs a decision.
            breaker: BreakerSettings { failures: 0, ..BreakerSettings::default() },
            pools: pools.to_vec(),
            seed: Some(0),
            lines: Some(log.clone()),
            ..PolicyOptions::new(
                "replay",
                &policy.component,
                Namespace::in_memory(STORE_QUOTA, clock.clone()),
                clock.clone(),
            )
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let evaluator = Evaluator::new(runtime.block_on(Policy::load(engine, &component, options))?);
        runtime.block_on(evaluator.warm_up())?;
        *log.0.lock() = PolicyLog::default();
        Ok(Self {
            runtime,
            rules,
            evaluator,
            clock,
            zone,
            pools: Arc::new(pools.to_vec()),
            default_pool: pools.first().cloned().unwrap_or_else(|| "mail".to_owned()),
            policy,
            log,
            accepted: HashMap::new(),
            accepted_bytes: 0,
            pending: BTreeMap::new(),
            logins: 0,
            failed_outcomes: 0,
        })
    }

    /// Asks the policy about a login and, if the login passes, reports its outcome to the policy.
    /// Logins must be in order of time. `freshness`: what signals of new mail say about the user.
    pub fn play(&mut self, entry: &Entry, freshness: Freshness) -> Decision {
        self.observe_until(entry.at_ms);
        self.clock.set(entry.at_ms);
        self.logins += 1;
        let recorded = entry.recorded.as_deref();
        let recorded_standing = recorded.and_then(|recorded| recorded.standing);
        let standing = recorded_standing.unwrap_or_else(|| self.standing(entry));
        let login = Arc::new(self.login(entry, standing, freshness));
        let result = run_ready(&self.runtime, self.evaluator.decide(&login));
        // A secret is known or has changed only after a session, which leaves a snapshot.
        let has_snapshot = recorded.and_then(|recorded| recorded.because) != Some(Because::NoSnapshot)
            && standing != Standing::Unknown;
        let facts = Facts::of(&login, result.as_ref().ok().and_then(Verdict::pass), has_snapshot);
        let disposition = dispose(Decided::from(&result), facts, self.rules);
        let verdict = RecordedVerdict::of(&result);
        if disposition.action == Action::Passed
            && let Some(ending) = ending(entry, standing)
        {
            let note = result.ok().and_then(|verdict| verdict.note().map(str::to_owned));
            let sets_standing = recorded_standing.is_none() && !entry.mechanism.hides_secret();
            let outcome = self.outcome(entry, login, disposition.cause(), ending, note);
            self.add_outcome(entry.at_ms, PendingOutcome { outcome, sets_standing });
        }
        Decision { standing, verdict, disposition }
    }

    /// Reports the remaining outcomes to the policy. Call it at the end of the logs.
    pub fn finish(&mut self) {
        self.observe_until(u64::MAX);
    }

    /// Number of outcomes at which the policy failed.
    #[must_use]
    pub fn failed_outcomes(&self) -> u64 {
        self.failed_outcomes
    }

    /// The policy as it was given.
    #[must_use]
    pub fn policy(&self) -> &PolicySource {
        &self.policy
    }

    /// SHA-256 of the component in hexadecimal.
    #[must_use]
    pub fn sha256(&self) -> String {
        digest::hex(&self.evaluator.policy().sha256())
    }

    /// What the policy has logged.
    #[must_use]
    pub fn policy_log(&self) -> PolicyLog {
        self.log.0.lock().clone()
    }

    /// Reports an outcome now, or later if it is after the login at `login_ms`: the policy decides
    /// about logins in between without knowing it.
    fn add_outcome(&mut self, login_ms: u64, pending: PendingOutcome) {
        let at_ms = pending.outcome.time.unix_ms;
        if at_ms > login_ms {
            self.pending.insert((at_ms, self.logins), pending);
        } else {
            self.observe(pending);
        }
    }

    /// Reports all outcomes up to this time, so that the policy knows them when it decides next.
    fn observe_until(&mut self, until_ms: u64) {
        while let Some(first) = self.pending.first_entry() {
            if first.key().0 > until_ms {
                return;
            }
            let pending = first.remove();
            self.observe(pending);
        }
    }

    fn observe(&mut self, PendingOutcome { outcome, sets_standing }: PendingOutcome) {
        let at_ms = outcome.time.unix_ms;
        self.clock.set(at_ms);
        if sets_standing && outcome.ending == Ending::Authenticated {
            let user = &outcome.login.claim.user;
            let has_room = self.accepted_bytes < MAX_USER_BYTES;
            match self.accepted.get_mut(user) {
                Some(accepted_ms) => *accepted_ms = at_ms,
                None if has_room => {
                    self.accepted_bytes += user.len() + USER_BYTES;
                    self.accepted.insert(user.clone(), at_ms);
                }
                None => {}
            }
        }
        let result = run_ready(&self.runtime, self.evaluator.observe(&outcome));
        self.failed_outcomes += u64::from(result.is_err());
    }

    /// What the host would know about the secret, if the log does not have it. Accepted logins are
    /// assumed to have the user's secret, rejected ones another.
    fn standing(&self, entry: &Entry) -> Standing {
        if entry.mechanism.hides_secret() {
            return Standing::Unknown;
        }
        match self.accepted.get(&entry.user) {
            None => Standing::Unknown,
            Some(accepted_ms)
                if entry.outcome != Some(Ending::Rejected)
                    && entry.at_ms <= accepted_ms.saturating_add(CREDENTIAL_TTL_MS) =>
            {
                Standing::Known
            }
            Some(_) => Standing::Changed,
        }
    }

    fn login(&self, entry: &Entry, standing: Standing, freshness: Freshness) -> Login {
        let recorded = entry.recorded.as_deref();
        let backend = recorded.and_then(|recorded| recorded.backend.clone());
        Login {
            session: Session {
                virtual_server: recorded.map_or("pop3", |recorded| &*recorded.virtual_server).into(),
                id: recorded
                    .map_or_else(|| format!("replay-{}", self.logins), |recorded| recorded.id.clone())
                    .into(),
                earlier_logins: 0,
            },
            client: Client { peer: entry.peer, local: entry.local, tls: entry.tls.clone() },
            claim: Claim {
                user: entry.user.clone(),
                authorization_id: entry.authorization_id.clone(),
                key: MemoryKey::new(&entry.user, entry.authorization_id.as_deref()),
                mechanism: entry.mechanism,
                standing,
            },
            time: moment(entry.at_ms, &self.zone),
            backend: backend.unwrap_or_else(|| Backend::idle(&self.default_pool)),
            pools: self.pools.clone(),
            maildrop: Maildrop { freshness, ..Maildrop::default() },
        }
    }

    fn outcome(
        &self,
        entry: &Entry,
        login: Arc<Login>,
        cause: Cause,
        ending: Ending,
        note: Option<String>,
    ) -> Arc<Outcome> {
        let recorded: Option<&Recorded> = entry.recorded.as_deref();
        let at_ms = recorded.and_then(|recorded| recorded.outcome_at_ms).unwrap_or(entry.at_ms);
        let time = if at_ms == entry.at_ms { login.time } else { moment(at_ms, &self.zone) };
        Arc::new(Outcome {
            cause,
            time,
            node: recorded.and_then(|recorded| recorded.node.as_deref()).map(Into::into),
            latency_ms: entry.latency_ms.unwrap_or(0),
            note,
            ..Outcome::new(login, ending)
        })
    }
}

/// Runs a call of the policy. Most calls are ready at the first poll, which avoids the cost of
/// `block_on`.
fn run_ready<T>(runtime: &Runtime, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    let entered = runtime.enter();
    match call.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => {
            drop(entered);
            runtime.block_on(call)
        }
    }
}

/// The outcome of a login that passes. If the login did not reach a mail server, the outcome can be
/// predicted only for a known secret.
fn ending(entry: &Entry, standing: Standing) -> Option<Ending> {
    entry.outcome.or_else(|| (standing == Standing::Known).then_some(Ending::Authenticated))
}
