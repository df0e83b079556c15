//! Policies that import nothing that can wait are called on the thread's own stack. They are held by the same
//! limits as the others, and one that has kept a thread for long gets a stack of its own.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use jiff::tz::TimeZone;
use reprieve_policy_host::harness::LoginFacts;
use reprieve_policy_host::{
    BreakerSettings, Cache, Engine, EngineSize, Evaluator, Failure, Limits, Login, Mechanism, Policy,
    PolicyOptions, Verdict,
};
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::support::proxy::NOON;

/// A policy that passes every login, but does what `body` says for one with the mechanism PLAIN.
fn component(body: &str) -> Vec<u8> {
    let module = format!(
        r#"(module
            (memory (export "memory") 1)
            (func $recurse (param i32) (result i32)
                (i32.add (i32.const 1) (call $recurse (i32.add (local.get 0) (i32.const 1)))))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
            (func (export "reprieve:policy/handler@0.2.0#configure") (param i32 i32) (result i32) (i32.const 0))
            (func (export "reprieve:policy/handler@0.2.0#decide")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                (if (i32.eq (local.get 1) (i32.const 1)) (then {body}))
                (i32.const 0))
            (func (export "reprieve:policy/handler@0.2.0#observe")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                (i32.const 0)))"#
    );
    let mut module = wat::parse_str(module).expect("the module");
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit/v0.2");
    let (package, _) = resolve.push_dir(&folder).expect("the WIT");
    let world = resolve.select_world(&[package], Some("policy")).expect("its world");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embedding the WIT");
    ComponentEncoder::default().module(&module).expect("a module").encode().expect("a component")
}

/// What a policy does, in WebAssembly, and the kind of failure.
const MISBEHAVIOUR: [(&str, &str, &str); 5] = [
    ("spin", "(loop $again (br $again))", "time"),
    ("recurse", "(drop (call $recurse (i32.const 0)))", "stack"),
    ("trap", "(unreachable)", "trap"),
    ("memory", "(loop $again (drop (memory.grow (i32.const 16))) (br $again))", "memory"),
    ("bad-pointer", "(return (i32.const 100000))", "trap"),
];

struct Direct {
    runtime: tokio::runtime::Runtime,
    evaluator: Evaluator,
}

impl Direct {
    fn start(body: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let limits = Limits { memory: 4 << 20, ..Limits::default() };
        let size = EngineSize { memory: limits.memory, stack: limits.stack, instances: 4 };
        let cache = Cache::open(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")).expect("a cache");
        let engine = Engine::new(size, Some(&cache)).expect("an engine");
        let clock = ManualClock::new(NOON);
        let namespace = Namespace::in_memory(1 << 20, clock.clone());
        let options = PolicyOptions {
            limits,
            breaker: BreakerSettings { failures: 0, ..BreakerSettings::default() },
            ..PolicyOptions::new("pop3", "direct", namespace, clock)
        };
        let policy = runtime.block_on(Policy::load(engine, &component(body), options)).expect("a policy");
        let evaluator = Evaluator::new(policy);
        runtime.block_on(evaluator.warm_up()).expect("an instance");
        Self { runtime, evaluator }
    }

    fn decide(&self, mechanism: Mechanism) -> Result<Verdict, Failure> {
        self.runtime.block_on(self.evaluator.decide(&login(mechanism)))
    }

    /// Whether a decision ends without waiting once.
    fn ends_at_once(&self, mechanism: Mechanism) -> bool {
        let _entered = self.runtime.enter();
        let login = login(mechanism);
        let decision = pin!(self.evaluator.decide(&login));
        decision.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    fn warm_up(&self) {
        self.runtime.block_on(self.evaluator.warm_up()).expect("an instance");
    }
}

fn login(mechanism: Mechanism) -> Arc<Login> {
    LoginFacts { mechanism, ..LoginFacts::new("alice") }.login("pop3", "id", NOON, &TimeZone::UTC)
}

fn passes(decided: &Result<Verdict, Failure>) -> bool {
    matches!(decided, Ok(Verdict::Pass(_)))
}

#[test]
fn a_direct_call_is_held_by_the_limits() {
    for (how, body, kind) in MISBEHAVIOUR {
        let direct = Direct::start(body);
        assert!(direct.ends_at_once(Mechanism::UserPass), "{how}");
        let failure = direct.decide(Mechanism::Plain).expect_err(how);
        assert_eq!(failure.kind(), kind, "{how}: {failure}");
        // A new instance, on a stack of its own, and then a direct call again.
        for _ in 0..3 {
            let decided = direct.decide(Mechanism::UserPass);
            assert!(passes(&decided), "{how}: {decided:?}");
        }
    }
}

#[test]
fn a_policy_that_kept_the_thread_for_long_gets_a_stack_of_its_own() {
    let direct = Direct::start("(loop $again (br $again))");
    assert!(direct.ends_at_once(Mechanism::Plain), "a direct call cannot yield");
    direct.warm_up();
    assert!(!direct.ends_at_once(Mechanism::Plain), "it yields from now on");
    direct.warm_up();
    assert!(passes(&direct.decide(Mechanism::UserPass)));
}

#[test]
fn a_thread_with_a_small_stack_does_not_overflow() {
    let direct = Direct::start("(drop (call $recurse (i32.const 0)))");
    let small = std::thread::Builder::new().stack_size(512 << 10);
    let thread = small.spawn(move || {
        let failure = direct.decide(Mechanism::Plain).expect_err("recursion without end");
        assert_eq!(failure.kind(), "stack");
        direct.warm_up();
        assert!(passes(&direct.decide(Mechanism::UserPass)));
    });
    thread.expect("a thread").join().expect("the decisions");
}
