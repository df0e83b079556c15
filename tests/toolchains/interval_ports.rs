//! The default policy in other languages: the ports in `tests/ports` return the same verdicts as
//! `interval`. `policies/build` builds them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::support::proxy::NOON;
use jiff::tz::TimeZone;
use reprieve_policy_host::harness::LoginFacts;
use reprieve_policy_host::{
    Cache, Cause, Deny, Ending, Engine, EngineSize, Evaluator, Manner, Outcome, Policy, PolicyOptions,
    Standing, Verdict, load_source,
};
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;

/// Languages that `interval` is ported to.
const PORTS: [&str; 7] = ["c", "cpp", "go", "javascript", "python", "wat", "zig"];
/// Logins per port, over all settings.
const LOGINS: usize = 10_000;

/// Settings, each with an equal share of the logins.
const SETTINGS: [&[(&str, &str)]; 10] = [
    &[],
    &[("interval", "90s"), ("manner", "busy")],
    &[("interval", "1h"), ("reset", "never"), ("manner", "refuse")],
    &[("start", "login"), ("manner", "empty")],
    &[("manner", "disconnect"), ("interval", "1d")],
    &[("memory-limit", "1KiB"), ("start", "login"), ("interval", "2h")],
    &[("interval", "0s")],
    &[("interval", "1500ms"), ("reset", "daily"), ("memory-limit", "4000B")],
    &[("interval", "1h1m30s"), ("busy-after", "2")],
    &[("upgrades", "ignore"), ("busy-after", "3"), ("start", "login")],
];

/// A deterministic random number generator (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.next() % most
    }
}

/// A login, its outcome if it reaches the mail server, and whether it is upgraded if it is denied.
struct Poll {
    facts: LoginFacts,
    unix_ms: u64,
    ending: Ending,
    upgrades: bool,
}

fn polls(seed: u64, count: usize) -> Vec<Poll> {
    let mut numbers = Numbers(seed);
    let mut users: Vec<String> = (0..12).map(|number| format!("user{number}@example.org")).collect();
    users.extend(["Alice", "alice", "ALICE", "äÄ", "ÄÄ", "İ", "", " ", "a\u{0}b", "😀"].map(str::to_owned));
    // Longer than the store's limit for keys in bytes, but not in characters.
    users.extend(["x".repeat(1024), "x".repeat(1025), "é".repeat(600), "Y".repeat(4000)]);
    let mut unix_ms = NOON;
    let mut polls = Vec::with_capacity(count);
    for _ in 0..count {
        match numbers.below(100) {
            // A clock that is set back, and a long break.
            0 => unix_ms -= numbers.below(7_200_000),
            1 => unix_ms += numbers.below(14_400_000),
            2..6 => unix_ms += numbers.below(900_000),
            6..20 => {}
            _ => unix_ms += numbers.below(8_000),
        }
        let user = &users[usize::try_from(numbers.below(users.len() as u64)).expect("a small number")];
        let mut facts = LoginFacts::new(user);
        if numbers.below(8) == 0 {
            // A master user, whose name may be empty or look like a null value.
            let acting = ["alice", "user1@example.org", "😀", "null", ""];
            let acting = acting[usize::try_from(numbers.below(acting.len() as u64)).expect("a small number")];
            facts.authorization_id = Some(acting.to_owned());
        }
        facts.standing = match numbers.below(4) {
            0 => Standing::Unknown,
            1 => Standing::Changed,
            _ => Standing::Known,
        };
        let ending = match numbers.below(10) {
            0 => Ending::Rejected,
            1 => Ending::Unreachable,
            2 => Ending::Abandoned,
            _ => Ending::Authenticated,
        };
        polls.push(Poll { facts, unix_ms, ending, upgrades: numbers.below(4) == 0 });
    }
    polls
}

/// A policy with a separate clock and store.
struct Implementation {
    runtime: tokio::runtime::Runtime,
    engine: Arc<Engine>,
    bytes: Vec<u8>,
    name: String,
}

impl Implementation {
    fn new(name: &str) -> Self {
        let bytes = load_source(name).unwrap_or_else(|error| panic!("{error}")).into_owned();
        // Large components take seconds to compile and are loaded once per settings.
        let cache = Cache::open(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")).expect("a folder");
        let size = EngineSize { memory: 64 << 20, stack: 512 << 10, instances: 4 };
        Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime"),
            engine: Engine::new(size, Some(&cache)).expect("an engine"),
            bytes,
            name: name.to_owned(),
        }
    }

    fn load(&self, settings: &[(&str, &str)], clock: &Arc<ManualClock>) -> Result<Arc<Policy>, String> {
        let namespace = Namespace::exact_in_memory(64 << 10, clock.clone());
        let mut options = PolicyOptions::new("pop3", &self.name, namespace, clock.clone());
        options.settings = settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        // Generous, for busy machines.
        options.limits.time = std::time::Duration::from_secs(2);
        options.limits.start = std::time::Duration::from_secs(20);
        self.runtime
            .block_on(Policy::load(self.engine.clone(), &self.bytes, options))
            .map_err(|error| error.to_string())
    }

    /// All verdicts as text.
    fn verdicts(&self, settings: &[(&str, &str)], polls: &[Poll]) -> Vec<String> {
        let clock = ManualClock::new(NOON);
        let zone = TimeZone::get("Europe/Berlin").expect("a time zone");
        let evaluator = Evaluator::new(self.load(settings, &clock).unwrap_or_else(|error| panic!("{error}")));
        self.runtime.block_on(async {
            let mut verdicts = Vec::with_capacity(polls.len());
            for poll in polls {
                // The store's clock is not set back: whether entries expire must not depend on it.
                clock.set(clock.now_ms().max(poll.unix_ms));
                let login = poll.facts.login("pop3", "1", poll.unix_ms, &zone);
                let verdict = evaluator
                    .decide(&login)
                    .await
                    .unwrap_or_else(|failure| panic!("{}: {failure}", self.name));
                verdicts.push(format!("{verdict:?}"));
                let cause = match verdict {
                    Verdict::Pass(_) => Cause::Verdict,
                    Verdict::Deny(Deny { manner: Manner::Unchanged, .. }) if poll.upgrades => Cause::Upgrade,
                    Verdict::Deny(_) => continue,
                };
                let outcome = Arc::new(Outcome { cause, latency_ms: 1, ..Outcome::new(login, poll.ending) });
                let observed = evaluator.observe(&outcome).await;
                observed.unwrap_or_else(|failure| panic!("{}: {failure}", self.name));
            }
            verdicts
        })
    }
}

fn port(language: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    let path = root.join("target/policies").join(format!("interval-{language}.wasm"));
    assert!(path.exists(), "{} is not built; build it with: policies/build", path.display());
    path
}

#[test]
fn every_port_of_interval_gives_the_same_verdicts_over_ten_thousand_logins() {
    let original = Implementation::new("interval");
    let ports: Vec<_> =
        PORTS.iter().map(|name| Implementation::new(&port(name).display().to_string())).collect();
    let mut denied = 0;
    for (seed, settings) in (0..).zip(SETTINGS) {
        let polls = polls(seed, LOGINS / SETTINGS.len());
        let expected = original.verdicts(settings, &polls);
        denied += expected.iter().filter(|verdict| verdict.contains("Deny")).count();
        for port in &ports {
            let given = port.verdicts(settings, &polls);
            let differs = expected.iter().zip(&given).position(|(expected, given)| expected != given);
            if let Some(at) = differs {
                let Poll { facts, unix_ms, ending, .. } = &polls[at];
                panic!(
                    "{} differs with {settings:?} at login {at} ({facts:?} at {unix_ms}, {ending:?}):\n  interval: {}\n  it:       {}",
                    port.name, expected[at], given[at]
                );
            }
        }
    }
    // Both verdicts must occur.
    assert!((LOGINS / 5..LOGINS * 4 / 5).contains(&denied), "{denied} of {LOGINS} are denied");
}

#[test]
fn every_port_of_interval_rejects_the_same_settings_by_name() {
    let clock = ManualClock::new(NOON);
    for port in PORTS.map(|name| Implementation::new(&port(name).display().to_string())) {
        for (key, value) in [
            ("intervall", "1m"),
            ("interval", "soon"),
            ("interval", "10"),
            ("interval", "-1s"),
            ("interval", "99999999999999999999d"),
            ("reset", "weekly"),
            ("memory-limit", "12 furlongs"),
            ("manner", "rude"),
            ("start", "never"),
            ("upgrades", "sometimes"),
            ("busy-after", "-1"),
            ("busy-after", "4294967296"),
            ("case", "fold"),
        ] {
            let Err(error) = port.load(&[(key, value)], &clock) else {
                panic!("{}: {key} = {value} is taken", port.name);
            };
            assert!(error.contains(&format!("`{key}`")), "{}: {key} = {value}: {error}", port.name);
        }
    }
}
