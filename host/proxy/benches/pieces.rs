//! What the pieces of a poll cost: `cargo bench --bench pieces`. A filter takes some of them:
//! `cargo bench --bench pieces -- store`.
//!
//! Decisions are made by `interval` and by each port of it that `policies/build` has built.

use std::future::Future;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use jiff::tz::TimeZone;
use reprieve_policy_host::harness::LoginFacts;
use reprieve_policy_host::{
    Engine, EngineSize, Evaluator, Limits, Login, Policy, PolicyOptions, Verdict, load_source,
};
use reprieve_pop3::capability::Capabilities;
use reprieve_pop3::command::Command;
use reprieve_pop3::line::{COMMAND_LIMIT, LineBuffer, NextLine};
use reprieve_pop3::posed::PosedMaildrop;
use reprieve_pop3::snapshot::{Row, Snapshot};
use reprieve_store::clock::{Clock, ManualClock};
use reprieve_store::{Batch, BatchWrite, Committed, Expected, Lifetime, Namespace};

fn main() {
    divan::main();
}

/// Tuesday, 10 March 2026, noon.
const NOON_MS: u64 = 1_773_144_000_000;

mod protocol {
    use super::*;

    #[divan::bench(args = ["USER alice@example.org", "STAT", "UIDL 17", "RETR 4294967295", "NONSENSE"])]
    fn parse_command(line: &str) -> bool {
        matches!(Command::parse(black_box(line.as_bytes())), Command::Quit)
    }

    #[divan::bench]
    fn find_lines(bencher: Bencher<'_, '_>) {
        let session = b"USER alice@example.org\r\nPASS secret\r\nSTAT\r\nQUIT\r\n";
        bencher.counter(ItemsCount::new(4_u32)).bench_local(|| {
            let mut lines = LineBuffer::default();
            lines.push(black_box(session));
            let mut found = 0;
            while lines.next_line(COMMAND_LIMIT) == NextLine::Line {
                found += lines.line().len();
            }
            found
        });
    }

    fn maildrop(messages: u32) -> PosedMaildrop {
        let ids: Vec<_> = (0..messages).map(|number| format!("0000{number:08x}4a5b6c7d")).collect();
        let rows = ids.iter().map(|id| Row { size: 20_000, unique_id: id.as_bytes() });
        PosedMaildrop::new(Arc::new(Snapshot::pack(rows).expect("a maildrop")))
    }

    #[divan::bench(consts = [20, 1_000])]
    fn pose_stat<const MESSAGES: u32>(bencher: Bencher<'_, '_>) {
        pose(bencher, MESSAGES, Command::Stat);
    }

    #[divan::bench(consts = [20, 1_000])]
    fn pose_uidl<const MESSAGES: u32>(bencher: Bencher<'_, '_>) {
        pose(bencher, MESSAGES, Command::Uidl(None));
    }

    fn pose(bencher: Bencher<'_, '_>, messages: u32, command: Command<'static>) {
        let (maildrop, capabilities) = (maildrop(messages), Capabilities::default());
        let mut out = Vec::with_capacity(64 << 10);
        bencher.bench_local(move || {
            out.clear();
            maildrop.command(black_box(command), &capabilities, &mut out);
            out.len()
        });
    }
}

mod tags {
    use reprieve::maildrop::Tagger;
    use reprieve_pop3::credential::{Credentials, Mechanism, Secret};

    use super::*;

    #[divan::bench]
    fn key_of_user(bencher: Bencher<'_, '_>) {
        let tagger = Tagger::new().expect("randomness");
        bencher.bench_local(|| tagger.user("mail", black_box(b"alice@example.org")));
    }

    #[divan::bench]
    fn tag_of_secret(bencher: Bencher<'_, '_>) {
        let tagger = Tagger::new().expect("randomness");
        let credentials =
            Credentials::new(b"alice@example.org", Secret::new(b"correct horse"), Mechanism::UserPass);
        let user = tagger.user("mail", b"alice@example.org");
        bencher.bench_local(|| tagger.tag(user, black_box(&credentials)));
    }
}

mod decisions {
    use super::*;

    /// The ports that were built, and the built-in policy.
    fn policies() -> Vec<String> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/policies");
        let mut found = vec!["interval".to_owned()];
        let built = std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
        found.extend(
            built
                .filter(|path| path.extension().is_some_and(|extension| extension == "wasm"))
                .filter(|path| {
                    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("interval-"))
                })
                .map(|path| path.display().to_string()),
        );
        found.sort();
        found
    }

    fn login(user: &str) -> Arc<Login> {
        LoginFacts::new(user).login("bench", "bench", NOON_MS, &TimeZone::UTC)
    }

    /// A denial, as most polls are: the user's clock was started a minute ago.
    #[divan::bench(args = policies(), sample_count = 50, sample_size = 200)]
    fn deny(bencher: Bencher<'_, '_>, component: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let limits = Limits::default();
        let size = EngineSize { memory: limits.memory, stack: limits.stack, instances: 4 };
        let engine = Engine::new(size, None).expect("an engine");
        let clock = ManualClock::new(NOON_MS);
        let namespace = Namespace::in_memory(1 << 30, clock.clone());
        let options = PolicyOptions {
            settings: vec![("start".to_owned(), "login".to_owned())],
            ..PolicyOptions::new("bench", component, namespace, clock)
        };
        let bytes = load_source(component).expect("a component");
        let policy = runtime.block_on(Policy::load(engine, &bytes, options)).expect("a policy");
        let evaluator = Evaluator::new(policy);
        let login = login("alice@example.org");
        // With start = "login" the first one starts the clock.
        assert!(matches!(runtime.block_on(evaluator.decide(&login)), Ok(Verdict::Pass(_))));
        // As in a session: within a task, not by entering the runtime for each decision.
        let _entered = runtime.enter();
        bencher.bench_local(|| {
            let mut decision = pin!(evaluator.decide(black_box(&login)));
            // A call that takes longer may yield.
            let verdict = loop {
                if let Poll::Ready(verdict) = decision.as_mut().poll(&mut Context::from_waker(Waker::noop()))
                {
                    break verdict;
                }
            };
            assert!(matches!(verdict, Ok(Verdict::Deny(_))));
        });
    }
}

mod store {
    use super::*;

    const USERS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
    const DAY: Option<Duration> = Some(Duration::from_secs(86_400));

    struct Filled {
        runtime: tokio::runtime::Runtime,
        namespace: Namespace,
        users: u32,
        next: u32,
    }

    impl Filled {
        fn new(users: u32) -> Self {
            let clock: Arc<dyn Clock> = ManualClock::new(NOON_MS);
            let namespace = Namespace::in_memory(1 << 32, clock);
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async {
                for user in 0..users {
                    namespace.set(&key(user), &[7; 12], DAY).await.expect("memory").expect("room");
                }
            });
            Self { runtime, namespace, users, next: 1 }
        }

        /// Another user each time, with no order that a cache could learn.
        fn user(&mut self) -> String {
            self.next = self.next.wrapping_mul(2_654_435_761).wrapping_add(12_345);
            key(self.next % self.users)
        }
    }

    fn key(user: u32) -> String {
        format!("user{user:07}@example.org")
    }

    #[divan::bench(args = USERS)]
    fn get(bencher: Bencher<'_, '_>, users: u32) {
        let mut filled = Filled::new(users);
        bencher.bench_local(move || {
            let key = filled.user();
            filled.runtime.block_on(filled.namespace.get(&key)).expect("memory").expect("an entry")
        });
    }

    #[divan::bench(args = USERS)]
    fn set(bencher: Bencher<'_, '_>, users: u32) {
        let mut filled = Filled::new(users);
        bencher.bench_local(move || {
            let key = filled.user();
            filled
                .runtime
                .block_on(filled.namespace.set(&key, &[9; 12], DAY))
                .expect("memory")
                .expect("room");
        });
    }

    /// A policy's memory of a user, read and written back.
    #[divan::bench(args = USERS)]
    fn get_and_commit(bencher: Bencher<'_, '_>, users: u32) {
        let mut filled = Filled::new(users);
        bencher.bench_local(move || {
            let key = filled.user();
            filled.runtime.block_on(async {
                let seen = filled.namespace.get(&key).await.expect("memory").expect("an entry");
                let expected = [Expected { key: &key, value: Some(&seen) }];
                let lifetime = Lifetime::For(Duration::from_secs(86_400));
                let writes = [BatchWrite { key: &key, value: Some(&[9; 12]), lifetime }];
                let batch = Batch { expected: &expected, clear: false, writes: &writes };
                assert_eq!(filled.namespace.commit(&batch).await, Ok(Ok(Committed::Done)));
            });
        });
    }
}

mod registry {
    use reprieve::maildrop::{
        LeftMaildrop, MaildropSession, MaybeReady, Opening, Registry, Tag, Tagger, UserKey,
    };
    use reprieve_pop3::credential::{Credentials, Mechanism, Secret};
    use reprieve_pop3::snapshot::{Row, Snapshot};

    use super::*;

    const USERS: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];

    /// Users of this process, each with an accepted secret and a snapshot of one message.
    struct Filled {
        runtime: tokio::runtime::Runtime,
        registry: Registry,
        tagger: Tagger,
        users: u32,
        next: u32,
    }

    impl Filled {
        fn new(users: u32) -> Self {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            let registry = Registry::new(1 << 32, Duration::from_secs(86_400));
            let tagger = Tagger::new().expect("randomness");
            let filled = Self { runtime, registry, tagger, users, next: 1 };
            for number in 0..users {
                filled.pass(filled.user(number));
            }
            filled
        }

        fn user(&self, number: u32) -> (UserKey, Tag) {
            let name = format!("user{number:07}@example.org");
            let credentials =
                Credentials::new(name.as_bytes(), Secret::new(b"correct horse"), Mechanism::UserPass);
            let user = self.tagger.user("mail", name.as_bytes());
            (user, self.tagger.tag(user, &credentials))
        }

        /// Another user each time, in no order that a cache could learn.
        fn next_user(&mut self) -> (UserKey, Tag) {
            self.next = self.next.wrapping_mul(2_654_435_761).wrapping_add(12_345);
            self.user(self.next % self.users)
        }

        /// A session from the login to the end.
        fn pass(&self, (user, tag): (UserKey, Tag)) {
            let fetched = self.runtime.block_on(self.registry.look(user, Some(&tag), NOON_MS));
            let opening = Opening {
                user,
                tag: Some(tag),
                route: None,
                accepted_ms: NOON_MS,
                fetched,
                expects_signals: false,
            };
            let session: MaildropSession = match self.registry.begin(opening) {
                MaybeReady::Ready(session) => session,
                MaybeReady::Pending(session) => self.runtime.block_on(session),
            };
            let snapshot = Snapshot::pack([Row { size: 1, unique_id: b"1" }]).expect("a valid unique-id");
            let end = LeftMaildrop::without_deletions(snapshot, NOON_MS);
            assert!(self.registry.commit(session, end).is_none());
        }
    }

    /// What a denied login needs.
    #[divan::bench(args = USERS)]
    fn look(bencher: Bencher<'_, '_>, users: u32) {
        let mut filled = Filled::new(users);
        bencher.bench_local(move || {
            let (user, tag) = filled.next_user();
            let fetched = filled.runtime.block_on(filled.registry.look(user, Some(&tag), NOON_MS));
            filled.registry.last_seen(&fetched, user).expect("a snapshot")
        });
    }

    /// A signal of new mail, applied to its user.
    #[divan::bench(args = USERS)]
    fn signal(bencher: Bencher<'_, '_>, users: u32) {
        let mut filled = Filled::new(users);
        bencher.bench_local(move || {
            let (user, _) = filled.next_user();
            filled.runtime.block_on(filled.registry.hear(user, NOON_MS, NOON_MS)).expect("no store")
        });
    }

    /// What a passed login needs.
    #[divan::bench(args = USERS)]
    fn pass(bencher: Bencher<'_, '_>, users: u32) {
        let mut filled = Filled::new(users);
        bencher.bench_local(move || {
            let user = filled.next_user();
            filled.pass(user);
        });
    }
}
