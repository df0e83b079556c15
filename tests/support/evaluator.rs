//! An evaluator whose policy misbehaves at each decision, for tests of the policy host alone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reprieve_policy_host::{
    BreakerSettings, Cache, Engine, EngineSize, Evaluator, Limits, Policy, PolicyOptions,
};
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;

use crate::support::guests;

/// Starts the policy `tests/guests/hostile` with tight limits and without a circuit breaker.
pub async fn hostile(
    how: &str,
    clock: &Arc<ManualClock>,
    namespace: &Namespace,
    change: impl FnOnce(&mut PolicyOptions),
) -> Evaluator {
    let bytes = std::fs::read(guests::hostile()).unwrap();
    let limits = Limits {
        time: Duration::from_millis(1),
        wait: Duration::from_millis(5),
        memory: 4 << 20,
        ..Limits::default()
    };
    let size = EngineSize { memory: limits.memory, stack: limits.stack, instances: 4 };
    let cache = Cache::open(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")).unwrap();
    let mut options = PolicyOptions {
        settings: vec![("at".to_owned(), "decide".to_owned()), ("how".to_owned(), how.to_owned())],
        limits,
        breaker: BreakerSettings { failures: 0, ..BreakerSettings::default() },
        ..PolicyOptions::new("pop3", "hostile", namespace.clone(), clock.clone())
    };
    change(&mut options);
    Evaluator::new(Policy::load(Engine::new(size, Some(&cache)).unwrap(), &bytes, options).await.unwrap())
}
