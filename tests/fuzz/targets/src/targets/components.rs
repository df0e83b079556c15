//! Policies. The bytes are a file that an administrator names as the component of a policy: it is
//! inspected, loaded, asked for its settings, configured and called, with small limits.
//!
//! Whatever the file is, each error is a short line without control characters, and so is each line
//! that the policy logs. Nothing computes longer than it may, and verdicts, settings, memory and what is
//! stored are within the limits. Afterwards the host still works: a good policy in the same engine decides
//! as before.
//!
//! The fuzzer's own program makes most of its components with wasm-smith or from a few statements
//! (`tests/fuzz/fuzz_targets/components`); here they are bytes.

mod limits;
mod logins;

use std::sync::{Arc, Mutex, OnceLock};

use reprieve_policy_host::{
    BreakerSettings, ComponentInfo, Ending, Engine, EngineSize, Evaluator, Failure, Limits, LoadError,
    Outcome, Policy, PolicyOptions, Prepared, load_source,
};
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;
use tokio::runtime::Runtime;

use limits::{LIMITS, Taken, check_settings, check_text, check_verdict, in_time};

/// Memory of an instance of the good policy. That of the others is less.
const MEMORY: u64 = 4 << 20;
/// Bytes that a policy may store.
const QUOTA: u64 = 64 << 10;
/// Tools that are kept of a component.
const PRODUCERS: usize = 64;

/// See the head of this file.
pub fn components(data: &[u8]) {
    static HOST: OnceLock<Mutex<Host>> = OnceLock::new();
    inspect(data);
    let host = HOST.get_or_init(|| Mutex::new(Host::new())).lock().expect("an earlier input was in order");
    host.runtime.block_on(async {
        host.run(data).await;
        let opinion = host.opinion().await;
        assert_eq!(opinion, host.expected, "the good policy decides as before");
    });
}

/// What `reprieve policy inspect` says of a file, whatever it is.
fn inspect(data: &[u8]) {
    let info = ComponentInfo::of(data);
    if let Some(damage) = &info.damage {
        check_text(damage);
    }
    let names = info.imports.iter().chain(&info.exports);
    assert!(names.map(String::len).sum::<usize>() <= 2 * data.len());
    assert!(info.modules.iter().all(|module| module.bytes <= data.len()));
    assert!(info.producers.len() <= PRODUCERS);
    assert!(info.wit_version().is_none_or(|version| version.len() < data.len()));
}

/// A host with a good policy and room for one other.
struct Host {
    runtime: Runtime,
    engine: Arc<Engine>,
    good: Evaluator,
    namespace: Namespace,
    /// What the good policy says.
    expected: String,
}

impl Host {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let size = EngineSize { memory: MEMORY, stack: LIMITS.stack, instances: 3 };
        let engine = Engine::new(size, None).expect("an engine");
        let namespace = Namespace::in_memory(QUOTA, ManualClock::new(logins::NOON));
        // What it computes is not measured here.
        let limits =
            Limits { memory: MEMORY, time: limits::SLACK, start: limits::SLACK, ..Limits::default() };
        let options = PolicyOptions { limits, ..options(&namespace) };
        let bytes = load_source("interval").expect("the built-in policy");
        let policy = runtime.block_on(Policy::load(engine.clone(), &bytes, options)).expect("it is loaded");
        let mut host =
            Self { runtime, engine, good: Evaluator::new(policy), namespace, expected: String::new() };
        host.expected = host.runtime.block_on(host.opinion());
        assert!(host.expected.contains("Pass") && host.expected.contains("Deny"), "{}", host.expected);
        host
    }

    /// What the good policy says about a user's first two logins.
    async fn opinion(&self) -> String {
        self.namespace.clear().await.expect("a store in memory");
        let login = logins::login("alice");
        let first = self.good.decide(&login).await;
        let observed = self.good.observe(&Arc::new(Outcome::new(login.clone(), Ending::Authenticated))).await;
        let second = self.good.decide(&login).await;
        format!("{first:?} {observed:?} {second:?}")
    }

    async fn run(&self, data: &[u8]) {
        let namespace = Namespace::in_memory(QUOTA, ManualClock::new(logins::NOON));
        let taken = Arc::<Taken>::default();
        let with = |settings: &[(&str, &str)]| PolicyOptions {
            settings: settings.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
            lines: Some(taken.clone()),
            ..options(&namespace)
        };
        let prepared =
            in_time(limits::COMPILATION, Prepared::new(self.engine.clone(), data, &with(&[]))).await;
        let Some(prepared) = checked_load(prepared) else { return };
        let described = in_time(LIMITS.start * 2, prepared.describe(with(&[]))).await;
        if let Some(settings) = checked_load(described) {
            check_settings(&settings);
        }
        // As `inspect` does, with a setting that hardly any policy has, and without.
        for settings in [&[("?", "\u{1b}[2J")][..], &[]] {
            let configured = in_time(LIMITS.start * 4, prepared.configure(with(settings))).await;
            if let Some(policy) = checked_load(configured) {
                call(Evaluator::new(policy)).await;
            }
        }
        assert!(namespace.usage().await.expect("a store in memory") <= QUOTA);
        taken.check();
    }
}

/// Calls a policy in all ways, until it is paused or has had all calls.
async fn call(policy: Evaluator) {
    let budget = LIMITS.start * 2 + LIMITS.time;
    for round in 0..4 {
        let login = logins::login(["alice", "bob"][round % 2]);
        let note = match checked(in_time(budget, policy.decide(&login)).await) {
            Some(verdict) => {
                check_verdict(&verdict);
                verdict.into_note()
            }
            None => None,
        };
        checked(in_time(budget, policy.observe(&logins::outcome(&login, round, note))).await);
        checked(in_time(budget, policy.ended(&logins::summary(&login))).await);
        assert!(policy.idle_memory() <= LIMITS.memory * LIMITS.instances as u64);
    }
}

fn options(namespace: &Namespace) -> PolicyOptions {
    PolicyOptions {
        limits: LIMITS,
        breaker: BreakerSettings { failures: 3, ..BreakerSettings::default() },
        pools: vec!["main".to_owned(), "spare".to_owned()],
        lookups: Arc::new(logins::Tables),
        seed: Some(1),
        ..PolicyOptions::new("pop3", "fuzzed.wasm", namespace.clone(), ManualClock::new(logins::NOON))
    }
}

fn checked_load<T>(result: Result<T, LoadError>) -> Option<T> {
    result.inspect_err(|error| check_text(&error.to_string())).ok()
}

fn checked<T>(result: Result<T, Failure>) -> Option<T> {
    result.inspect_err(|failure| check_text(&failure.to_string())).ok()
}
