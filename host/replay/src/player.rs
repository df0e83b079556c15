//! Puts logins to a policy as the host would, at the times at which they happened.

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

use super::entry::Entry;
use super::said::Said;
use reprieve_policy_host::Verify;
use reprieve_policy_host::harness::Becomes;
use reprieve_policy_host::{
    Backend, BreakerSettings, Cache, Claim, Client, Ending, Engine, EngineSize, Judge, Limits, Lines, Login,
    Mechanism, OnFailure, Outcome, Policy, PolicyOptions, Session, Standing, Verdict, digest, endpoint,
    load_source, moment,
};
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;

/// How long a secret is known after the mail server has accepted it: `maildrop.trust`.
const TRUST_MS: u64 = 24 * 3600 * 1000;
/// Octets that the users may take whose secrets are known: some four million. A log that names
/// more is hostile, or of a larger site than one process serves; the others' are unknown.
const MOST_OCTETS: usize = 512 << 20;
/// Octets of a user beside the name.
const USER_OCTETS: usize = 96;
/// Octets that the policy may keep: `store-quota`.
const STORE_QUOTA: u64 = 64 << 20;
/// Lines of the policy's own that are kept.
const LINES_KEPT: usize = 5;

/// The policy that is to be played.
#[derive(Clone, Debug)]
pub struct PlayedPolicy {
    /// A built-in policy's name or a file's path.
    pub component: String,
    /// Settings in their order.
    pub settings: Vec<(String, String)>,
}

/// What became of a login.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What the host knew of the secret.
    pub standing: Standing,
    /// What the policy said.
    pub said: Said,
    /// What the host made of it.
    pub becomes: Becomes,
    /// Why, where that is not what the policy said.
    pub why: Option<&'static str>,
}

impl Decision {
    /// Whether the login does not reach a mail server. One that is posed and was posed then goes
    /// on as it went on.
    #[must_use]
    pub fn relieves(&self, entry: &Entry) -> bool {
        match self.becomes {
            Becomes::Passed => false,
            Becomes::Posed => !entry.is_upgraded(),
            Becomes::Refused | Becomes::Disconnected => true,
        }
    }
}

/// The policy's own lines, the first of them.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct OwnLines {
    /// How many.
    pub count: u64,
    /// The first.
    pub first: Vec<String>,
}

#[derive(Debug, Default)]
struct KeptLines(Mutex<OwnLines>);

impl Lines for KeptLines {
    fn line(&self, level: Level, text: &str) {
        let mut kept = self.0.lock();
        kept.count += 1;
        if kept.first.len() < LINES_KEPT {
            kept.first.push(format!("{}: {text}", level.as_str().to_lowercase()));
        }
    }
}

/// Plays one policy. Its store is in memory, and its own.
pub struct Player {
    runtime: Runtime,
    judge: Judge,
    clock: Arc<ManualClock>,
    zone: TimeZone,
    pool: String,
    policy: PlayedPolicy,
    lines: Arc<KeptLines>,
    /// When each user's secret was accepted last, in milliseconds since 1970.
    accepted: HashMap<String, u64>,
    accepted_octets: usize,
    /// Outcomes that are not there yet, by their time.
    coming: BTreeMap<(u64, u64), Coming>,
    logins: u64,
    failed_outcomes: u64,
}

struct Coming {
    outcome: Outcome,
    learns: bool,
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Player {
    /// Loads a policy. `pools`: names that it may choose, the virtual server's own first.
    /// `zone`: where its days change.
    ///
    /// # Errors
    /// Where it cannot be loaded or refuses its settings, in one sentence.
    pub fn load(policy: PlayedPolicy, zone: TimeZone, pools: &[String]) -> anyhow::Result<Self> {
        let octets = load_source(&policy.component).map_err(anyhow::Error::msg)?;
        let limits = Limits::default();
        let cache = Cache::usual_folder().and_then(|folder| Cache::open(&folder).ok());
        let size = EngineSize { memory: limits.memory, stack: limits.stack, instances: 2 };
        let engine = Engine::new(size, cache.as_ref())?;
        let clock = ManualClock::new(0);
        let lines = Arc::<KeptLines>::default();
        let options = PolicyOptions {
            settings: policy.settings.clone(),
            // A replay wants each call made.
            breaker: BreakerSettings { failures: 0, ..BreakerSettings::default() },
            pools: pools.to_vec(),
            seed: Some(0),
            lines: Some(lines.clone()),
            ..PolicyOptions::new(
                "replay",
                &policy.component,
                Namespace::in_memory(STORE_QUOTA, clock.clone()),
                clock.clone(),
            )
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let judge = Judge::new(runtime.block_on(Policy::load(engine, &octets, options))?);
        runtime.block_on(judge.warm_up())?;
        *lines.0.lock() = OwnLines::default();
        let pool = pools.first().cloned().unwrap_or_else(|| "mail".to_owned());
        Ok(Self {
            runtime,
            judge,
            clock,
            zone,
            pool,
            policy,
            lines,
            accepted: HashMap::new(),
            accepted_octets: 0,
            coming: BTreeMap::new(),
            logins: 0,
            failed_outcomes: 0,
        })
    }

    /// Has somebody log in as the log tells.
    pub fn play(&mut self, entry: &Entry) -> Decision {
        self.let_outcomes_come(entry.at_ms);
        self.clock.set(entry.at_ms);
        self.logins += 1;
        let recorded = entry.recorded.as_deref();
        let recorded_standing = recorded.and_then(|recorded| recorded.standing);
        let standing = recorded_standing.unwrap_or_else(|| self.standing(entry));
        let login = self.login(entry, standing);
        let verdict = at_once(&self.runtime, self.judge.decide(&login));
        let mut becomes = Becomes::of(&verdict, standing, Verify::On, OnFailure::Pass);
        let mut why = match (&verdict, becomes) {
            (Ok(Verdict::Deny(_)), Becomes::Passed) if is_digest(entry.mechanism) => Some("unverifiable"),
            (Ok(Verdict::Deny(_)), Becomes::Passed) => Some("unverified"),
            (Err(_), _) => Some("policy-failure"),
            _ => None,
        };
        if recorded.is_some_and(|recorded| recorded.no_snapshot)
            && becomes == Becomes::Posed
            && matches!(&verdict, Ok(Verdict::Deny(deny)) if deny.manner == reprieve_policy_host::Manner::Unchanged)
        {
            (becomes, why) = (Becomes::Passed, Some("no-snapshot"));
        }
        let said = Said::of(&verdict);
        if becomes == Becomes::Passed
            && let Some(ending) = ending(entry, standing)
        {
            let note = match verdict {
                Ok(Verdict::Pass(pass)) => pass.note,
                _ => None,
            };
            let at_ms = recorded.and_then(|recorded| recorded.outcome_at_ms).unwrap_or(entry.at_ms);
            let outcome = Outcome {
                session: login.session,
                client: login.client,
                claim: login.claim,
                time: if at_ms == entry.at_ms { login.time } else { moment(at_ms, &self.zone) },
                node: recorded.and_then(|recorded| recorded.node.clone()),
                latency_ms: entry.latency_ms.unwrap_or(0),
                ending,
                note,
            };
            let learns = recorded_standing.is_none() && !is_digest(entry.mechanism);
            let coming = Coming { outcome, learns };
            if at_ms > entry.at_ms {
                self.coming.insert((at_ms, self.logins), coming);
            } else {
                self.observe(coming);
            }
        }
        Decision { standing, said, becomes, why }
    }

    /// Tells the policy the outcomes that are still to come. At the end of the logs.
    pub fn finish(&mut self) {
        self.let_outcomes_come(u64::MAX);
    }

    /// Calls of `observe` that failed.
    #[must_use]
    pub fn failed_outcomes(&self) -> u64 {
        self.failed_outcomes
    }

    /// The policy.
    #[must_use]
    pub fn policy(&self) -> &PlayedPolicy {
        &self.policy
    }

    /// SHA-256 of its octets, in hex digits.
    #[must_use]
    pub fn sha256(&self) -> String {
        digest::hex(&self.judge.policy().sha256())
    }

    /// The lines that it wrote.
    #[must_use]
    pub fn own_lines(&self) -> OwnLines {
        self.lines.0.lock().clone()
    }

    /// A client that has seen +OK and comes back is judged with that recorded.
    fn let_outcomes_come(&mut self, until_ms: u64) {
        while let Some(first) = self.coming.first_entry() {
            if first.key().0 > until_ms {
                return;
            }
            let coming = first.remove();
            self.observe(coming);
        }
    }

    fn observe(&mut self, Coming { outcome, learns }: Coming) {
        let at_ms = outcome.time.unix_ms;
        self.clock.set(at_ms);
        if learns && outcome.ending == Ending::Authenticated {
            let user = &outcome.claim.user;
            let has_room = self.accepted_octets < MOST_OCTETS;
            match self.accepted.get_mut(user) {
                Some(at) => *at = at_ms,
                None if has_room => {
                    self.accepted_octets += user.len() + USER_OCTETS;
                    self.accepted.insert(user.clone(), at_ms);
                }
                None => {}
            }
        }
        self.failed_outcomes += u64::from(at_once(&self.runtime, self.judge.observe(&outcome)).is_err());
    }

    /// What the host would know of the secret, where the log does not tell. Whoever is let in
    /// has presented the user's secret, and whoever is refused has not.
    fn standing(&self, entry: &Entry) -> Standing {
        if is_digest(entry.mechanism) {
            return Standing::Unknown;
        }
        match self.accepted.get(&entry.user) {
            None => Standing::Unknown,
            Some(at)
                if entry.outcome != Some(Ending::Rejected) && entry.at_ms <= at.saturating_add(TRUST_MS) =>
            {
                Standing::Known
            }
            Some(_) => Standing::Changed,
        }
    }

    fn login(&self, entry: &Entry, standing: Standing) -> Login {
        let recorded = entry.recorded.as_deref();
        let backend = recorded.and_then(|recorded| recorded.backend.clone());
        Login {
            session: Session {
                virtual_server: recorded.map_or("pop3", |recorded| &*recorded.virtual_server).to_owned(),
                id: recorded
                    .map_or_else(|| format!("replay-{}", self.logins), |recorded| recorded.id.clone()),
            },
            client: Client {
                peer: endpoint(entry.peer),
                local: endpoint(entry.local),
                tls: entry.tls.clone(),
            },
            claim: Claim {
                user: entry.user.clone(),
                authorization_id: entry.authorization_id.clone(),
                mechanism: entry.mechanism,
                standing,
            },
            time: moment(entry.at_ms, &self.zone),
            backend: backend.unwrap_or_else(|| Backend {
                pool: self.pool.clone(),
                nodes: 1,
                healthy_nodes: 1,
                sessions: 0,
                waiting: 0,
                login_latency_ms: None,
            }),
        }
    }
}

/// Most calls are over before they wait for anything, and a runtime takes its time to begin.
fn at_once<T>(runtime: &Runtime, call: impl Future<Output = T>) -> T {
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

/// How a login that passes ends. Of one that did not reach a mail server then, it is known
/// where the secret was.
fn ending(entry: &Entry, standing: Standing) -> Option<Ending> {
    entry.outcome.or_else(|| (standing == Standing::Known).then_some(Ending::Authenticated))
}

/// Whether the host never sees the secret.
fn is_digest(mechanism: Mechanism) -> bool {
    matches!(mechanism, Mechanism::Apop | Mechanism::CramMd5 | Mechanism::ScramSha256)
}
