//! A policy's calls, made as the proxy makes them: by a judge, on a current-thread runtime,
//! before a store in memory or another. Users poll once a minute of virtual time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;

use super::histogram::{Percentiles, Times};
use reprieve_metrics::cpu_time;
use reprieve_policy_host::harness::Who;
use reprieve_policy_host::{
    BreakerSettings, Cache, Ending, Engine, EngineSize, Evaluator, Limits, Outcome, Policy, PolicyOptions,
    Verdict, load_source, moment,
};
use reprieve_store::StoreConfig;
use reprieve_store::clock::ManualClock;
use reprieve_store::{Store, StoreSecrets, NamespaceConfig};

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A built-in policy's name or a file's path.
    pub component: String,
    /// Settings in their order.
    pub settings: Vec<(String, String)>,
    /// Users who poll.
    pub users: u32,
    /// Decisions by instances that are used again.
    pub calls: u32,
    /// Decisions by an instance of their own.
    pub fresh_calls: u32,
    /// Where its state is kept.
    pub store: StoreConfig,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Calls {
    /// Octets of the component.
    pub octets: usize,
    /// Time to compile it; none if its code was in the cache.
    pub compiling: Option<Duration>,
    /// Decisions by an instance that is used again.
    pub reused: Percentiles,
    /// Decisions by an instance of their own, its start included.
    pub fresh: Percentiles,
    /// Outcomes.
    pub outcomes: Percentiles,
    /// CPU time of a decision or an outcome, all of them together divided by their number.
    pub computing: Duration,
    /// Decisions a second, one after the other, by the time on the wall.
    pub a_second: f64,
    /// Decisions that let the login pass.
    pub passed: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Octets of memory of an instance before the first call, at its highest, and at the end.
    pub memory: (u64, u64, u64),
    /// Instances that were replaced because they had grown or were old.
    pub recycled: u64,
}

/// A minute of virtual time passes while all users poll once.
const ROUND_MS: u64 = 60_000;
/// Tuesday, 10 March 2026, noon.
const START_MS: u64 = 1_773_144_000_000;

/// Measures a policy. `progress` is told how many of how many decisions were made.
///
/// # Errors
/// Where the policy cannot be loaded.
pub fn measure(plan: &Plan, mut progress: impl FnMut(u32, u32)) -> anyhow::Result<Calls> {
    let octets = load_source(&plan.component).map_err(anyhow::Error::msg)?;
    let limits = Limits::default();
    let cache = Cache::usual_folder().and_then(|folder| Cache::open(&folder).ok());
    let size = EngineSize { memory: limits.memory, stack: limits.stack, instances: 4 };
    let engine = Engine::new(size, cache.as_ref())?;
    let clock = ManualClock::new(START_MS);
    let store = Store::open(StoreSecrets::read(&plan.store)?, clock.clone())?;
    // Of this measurement alone: what others keep in the same store stays.
    let namespace = store.namespace(NamespaceConfig::for_policies(&format!("bench-{}", std::process::id()), 1 << 30));
    let options = PolicyOptions {
        settings: plan.settings.clone(),
        breaker: BreakerSettings { failures: 0, ..BreakerSettings::default() },
        pools: vec!["mail".to_owned()],
        seed: Some(0),
        ..PolicyOptions::new("bench", &plan.component, namespace.clone(), clock.clone())
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = Instant::now();
    let policy = runtime.block_on(Policy::load(engine, &octets, options))?;
    let was_cached = cache.is_some_and(|cache| cache.hits_and_misses().0 > 0);
    let compiling = (!was_cached).then(|| began.elapsed());
    let judge = Evaluator::new(policy);
    runtime.block_on(judge.warm_up())?;
    let mut bench = Bench { judge, clock, users: plan.users.max(1), polls: 0, passed: 0, failed: 0 };
    let memory_at_start = bench.judge.idle_memory();

    let mut reused = Times::new(plan.calls as usize);
    let mut outcomes = Times::new(plan.calls as usize);
    let mut highest = memory_at_start;
    let mut deciding = Duration::ZERO;
    let mut computing = Duration::ZERO;
    for number in 0..plan.calls {
        let polled = runtime.block_on(bench.poll());
        reused.add(polled.decision);
        deciding += polled.decision;
        computing += polled.computing;
        if let Some(outcome) = polled.outcome {
            outcomes.add(outcome);
        }
        if number % 1024 == 0 {
            highest = highest.max(bench.judge.idle_memory());
            progress(number, plan.calls);
        }
    }
    let memory_at_end = bench.judge.idle_memory();
    let (passed, failed) = (bench.passed, bench.failed);
    let recycled = bench.judge.policy().metrics().overran("recycled-instances");

    let mut fresh = Times::new(plan.fresh_calls as usize);
    for _ in 0..plan.fresh_calls {
        bench.judge.forget_instances();
        fresh.add(runtime.block_on(bench.poll()).decision);
    }
    progress(plan.calls, plan.calls);
    runtime.block_on(namespace.purge())?;
    let outcomes = outcomes.percentiles();
    let calls = u32::try_from(outcomes.count).unwrap_or(u32::MAX).saturating_add(plan.calls).max(1);
    Ok(Calls {
        octets: octets.len(),
        compiling,
        reused: reused.percentiles(),
        fresh: fresh.percentiles(),
        outcomes,
        computing: computing / calls,
        a_second: f64::from(plan.calls) / deciding.as_secs_f64().max(1e-9),
        passed,
        failed,
        memory: (memory_at_start, highest.max(memory_at_end), memory_at_end),
        recycled,
    })
}

struct Bench {
    judge: Evaluator,
    clock: Arc<ManualClock>,
    users: u32,
    polls: u64,
    passed: u64,
    failed: u64,
}

struct Polled {
    decision: Duration,
    outcome: Option<Duration>,
    computing: Duration,
}

impl Bench {
    /// The next user's poll: a decision and, where it passes, its outcome.
    async fn poll(&mut self) -> Polled {
        let user = self.polls % u64::from(self.users);
        let now_ms = START_MS + self.polls * ROUND_MS / u64::from(self.users);
        self.polls += 1;
        self.clock.set(now_ms);
        let login =
            Who::new(&format!("user-{user}@example.org")).login("bench", "bench", now_ms, &TimeZone::UTC);
        let cpu = cpu_time::of_this_thread();
        let began = Instant::now();
        let verdict = self.judge.decide(&login).await;
        let decision = began.elapsed();
        let mut computing = cpu_time::of_this_thread().saturating_sub(cpu);
        let mut outcome = None;
        match verdict {
            Ok(Verdict::Deny(_)) => {}
            Err(_) => self.failed += 1,
            Ok(Verdict::Pass(pass)) => {
                self.passed += 1;
                let told = Outcome {
                    session: login.session,
                    client: login.client,
                    claim: login.claim,
                    time: moment(now_ms, &TimeZone::UTC),
                    node: Some("192.0.2.25:110".to_owned()),
                    latency_ms: 10,
                    ending: Ending::Authenticated,
                    note: pass.note,
                };
                let cpu = cpu_time::of_this_thread();
                let began = Instant::now();
                let observed = self.judge.observe(&told).await;
                outcome = Some(began.elapsed());
                computing += cpu_time::of_this_thread().saturating_sub(cpu);
                self.failed += u64::from(observed.is_err());
            }
        }
        Polled { decision, outcome, computing }
    }
}
