//! Measures the calls of a policy, made as the proxy makes them: by an evaluator on a current-thread
//! runtime, with a store in memory or another one. Each user polls once per minute of virtual time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::tz::TimeZone;
use tokio::runtime::Runtime;

use super::histogram::{Percentiles, Times};
use reprieve_metrics::cpu_time;
use reprieve_policy_host::harness::LoginFacts;
use reprieve_policy_host::{
    BreakerSettings, Cache, Ending, Engine, EngineSize, Evaluator, Limits, Outcome, Policy, PolicyOptions,
    Verdict, load_source,
};
use reprieve_store::clock::ManualClock;
use reprieve_store::{Namespace, NamespaceConfig, Store, StoreConfig, StoreSecrets};

/// What to measure.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Name of a built-in policy, or path of a component.
    pub component: String,
    /// Settings in the order of the command line.
    pub settings: Vec<(String, String)>,
    /// The login of each poll, except for the user's name.
    pub login: LoginFacts,
    /// Number of users who poll.
    pub users: u32,
    /// Number of decisions by a reused instance.
    pub calls: u32,
    /// Number of decisions that start an instance each.
    pub fresh_calls: u32,
    /// Store of the policy.
    pub store: StoreConfig,
}

/// Measurements of a policy's calls.
#[derive(Clone, Debug)]
pub struct Calls {
    /// Size of the component in bytes.
    pub component_bytes: usize,
    /// Time to compile the component; none if the compiled code was in the cache.
    pub compiling: Option<Duration>,
    /// Decisions by a reused instance.
    pub reused: Percentiles,
    /// Decisions that start an instance each.
    pub fresh: Percentiles,
    /// Outcomes.
    pub outcomes: Percentiles,
    /// Average CPU time of a decision or an outcome.
    pub cpu_per_call: Duration,
    /// Sequential decisions per second of elapsed time.
    pub decisions_per_s: f64,
    /// Number of decisions that let the login pass.
    pub passed: u64,
    /// Number of calls that failed.
    pub failed: u64,
    /// Memory of an instance in bytes: before the first call, the maximum, and at the end.
    pub memory: (u64, u64, u64),
    /// Number of instances that were replaced because of their age or memory.
    pub recycled: u64,
}

/// Virtual time in which each user polls once.
const ROUND_MS: u64 = 60_000;
/// Virtual time of the first poll: Tuesday, 10 March 2026, noon.
const START_MS: u64 = 1_773_144_000_000;

/// Measures a policy. `progress` is called with the number of decisions so far and in total.
///
/// # Errors
/// If the policy cannot be loaded.
pub fn measure(plan: &Plan, mut progress: impl FnMut(u32, u32)) -> anyhow::Result<Calls> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut bench = Bench::load(plan, &runtime)?;
    let memory_at_start = bench.evaluator.idle_memory();
    let mut reused = Times::new(plan.calls as usize);
    let mut outcomes = Times::new(plan.calls as usize);
    let mut max_memory = memory_at_start;
    let (mut deciding, mut cpu) = (Duration::ZERO, Duration::ZERO);
    for number in 0..plan.calls {
        let poll = runtime.block_on(bench.poll());
        reused.add(poll.decision);
        deciding += poll.decision;
        cpu += poll.cpu;
        if let Some(outcome) = poll.outcome {
            outcomes.add(outcome);
        }
        if number % 1024 == 0 {
            max_memory = max_memory.max(bench.evaluator.idle_memory());
            progress(number, plan.calls);
        }
    }
    let memory_at_end = bench.evaluator.idle_memory();
    let (passed, failed) = (bench.passed, bench.failed);
    let recycled = bench.evaluator.policy().metrics().overran("recycled-instances");

    let mut fresh = Times::new(plan.fresh_calls as usize);
    for _ in 0..plan.fresh_calls {
        bench.evaluator.forget_instances();
        fresh.add(runtime.block_on(bench.poll()).decision);
    }
    progress(plan.calls, plan.calls);
    runtime.block_on(bench.namespace.purge())?;
    let outcomes = outcomes.percentiles();
    let calls = u32::try_from(outcomes.count).unwrap_or(u32::MAX).saturating_add(plan.calls).max(1);
    Ok(Calls {
        component_bytes: bench.component_bytes,
        compiling: bench.compiling,
        reused: reused.percentiles(),
        fresh: fresh.percentiles(),
        outcomes,
        cpu_per_call: cpu / calls,
        decisions_per_s: f64::from(plan.calls) / deciding.as_secs_f64().max(1e-9),
        passed,
        failed,
        memory: (memory_at_start, max_memory.max(memory_at_end), memory_at_end),
        recycled,
    })
}

/// A loaded policy and the users who poll.
struct Bench {
    evaluator: Evaluator,
    namespace: Namespace,
    /// Keeps the connections of the namespace.
    _store: Store,
    clock: Arc<ManualClock>,
    component_bytes: usize,
    compiling: Option<Duration>,
    login: LoginFacts,
    users: u32,
    polls: u64,
    passed: u64,
    failed: u64,
}

/// Measurements of one poll.
struct Poll {
    decision: Duration,
    /// None if the login did not pass.
    outcome: Option<Duration>,
    /// CPU time of both.
    cpu: Duration,
}

impl Bench {
    fn load(plan: &Plan, runtime: &Runtime) -> anyhow::Result<Self> {
        let component = load_source(&plan.component).map_err(anyhow::Error::msg)?;
        let limits = Limits::default();
        let cache = Cache::usual_folder().and_then(|folder| Cache::open(&folder).ok());
        let size = EngineSize { memory: limits.memory, stack: limits.stack, instances: 4 };
        let engine = Engine::new(size, cache.as_ref())?;
        let clock = ManualClock::new(START_MS);
        let store = Store::open(StoreSecrets::read(&plan.store)?, clock.clone())?;
        // A namespace of this process, so that other data in the store is not touched.
        let namespace =
            store.namespace(NamespaceConfig::for_policies(&format!("bench-{}", std::process::id()), 1 << 30));
        let options = PolicyOptions {
            settings: plan.settings.clone(),
            breaker: BreakerSettings { failures: 0, ..BreakerSettings::default() },
            pools: vec!["mail".to_owned()],
            seed: Some(0),
            ..PolicyOptions::new("bench", &plan.component, namespace.clone(), clock.clone())
        };
        let began = Instant::now();
        let policy = runtime.block_on(Policy::load(engine, &component, options))?;
        let was_cached = cache.is_some_and(|cache| cache.hits_and_misses().0 > 0);
        let compiling = (!was_cached).then(|| began.elapsed());
        let evaluator = Evaluator::new(policy);
        runtime.block_on(evaluator.warm_up())?;
        Ok(Self {
            evaluator,
            namespace,
            _store: store,
            clock,
            component_bytes: component.len(),
            compiling,
            login: plan.login.clone(),
            users: plan.users.max(1),
            polls: 0,
            passed: 0,
            failed: 0,
        })
    }

    /// The next user's poll: a decision and, if it passes, its outcome.
    async fn poll(&mut self) -> Poll {
        let user = self.polls % u64::from(self.users);
        let now_ms = START_MS + self.polls * ROUND_MS / u64::from(self.users);
        self.polls += 1;
        self.clock.set(now_ms);
        let facts = LoginFacts { user: format!("user-{user}@example.org"), ..self.login.clone() };
        let login = facts.login("bench", "bench", now_ms, &TimeZone::UTC);
        let cpu_before = cpu_time::of_this_thread();
        let began = Instant::now();
        let verdict = self.evaluator.decide(&login).await;
        let decision = began.elapsed();
        let mut poll =
            Poll { decision, outcome: None, cpu: cpu_time::of_this_thread().saturating_sub(cpu_before) };
        match verdict {
            Ok(Verdict::Deny(_)) => {}
            Err(_) => self.failed += 1,
            Ok(Verdict::Pass(pass)) => {
                self.passed += 1;
                let outcome = Arc::new(Outcome {
                    node: Some("192.0.2.25:110".into()),
                    latency_ms: 10,
                    note: pass.note,
                    ..Outcome::new(login, Ending::Authenticated)
                });
                let cpu_before = cpu_time::of_this_thread();
                let began = Instant::now();
                let observed = self.evaluator.observe(&outcome).await;
                poll.outcome = Some(began.elapsed());
                poll.cpu += cpu_time::of_this_thread().saturating_sub(cpu_before);
                self.failed += u64::from(observed.is_err());
            }
        }
        poll
    }
}
