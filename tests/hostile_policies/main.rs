//! Hostile policies: what the administrator is told, what the client sees, and that others go
//! on. What happens stands in `tests/HOSTILE.md`, which this suite compares with what it sees;
//! with REPRIEVE_WRITE_TABLE=1 it writes it.

#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;
mod worlds;

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use jiff::tz::TimeZone;
use reprieve::config::Config;
use reprieve::server::{Options, Server};
use reprieve_policy_host::harness::{Becomes, Trial, Who};
use reprieve_policy_host::{
    BreakerSettings, Cache, Engine, EngineSize, Failure, Judge, Limits, Policy, PolicyOptions, Verdict,
};
use reprieve_store::Namespace;
use reprieve_store::clock::ManualClock;
use support::account::{Account, PASSWORD, Security};
use support::dialogue::Dialogue;
use support::setup::{NOON, mail_server};
use support::{components, guests};
use tracing::field::{Field, Visit};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Everything that is logged in this process: each event's fields, its level and target among them.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<serde_json::Map<String, serde_json::Value>>>>);

impl<S: tracing::Subscriber> Layer<S> for Log {
    fn on_event(&self, event: &tracing::Event<'_>, _context: Context<'_, S>) {
        let mut fields = Fields(serde_json::Map::new());
        fields.0.insert("target".to_owned(), event.metadata().target().into());
        fields.0.insert("level".to_owned(), event.metadata().level().as_str().into());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }
}

struct Fields(serde_json::Map<String, serde_json::Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}

fn log() -> &'static Log {
    static LOG: OnceLock<Log> = OnceLock::new();
    LOG.get_or_init(|| {
        let log = Log::default();
        let seen = log.clone().with_filter(tracing_subscriber::filter::LevelFilter::INFO);
        tracing_subscriber::registry().with(seen).init();
        log
    })
}

/// The lines of a virtual server's policy, as JSON.
fn lines_of(server: &str) -> Vec<serde_json::Value> {
    let lines = log().0.lock().unwrap();
    let lines = lines.iter().filter(|line| {
        let is = |field, value: &str| line.get(field).is_some_and(|found| found == value);
        is("server", server) && is("target", "policy")
    });
    lines.cloned().map(serde_json::Value::Object).collect()
}

/// A server with two virtual servers: one with a policy, and its neighbour with the default.
struct Pair {
    server: Server,
    clock: Arc<ManualClock>,
    name: String,
}

impl Pair {
    fn start(name: &str, policy: &str, node: std::net::SocketAddr) -> anyhow::Result<Self> {
        log();
        let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled");
        let text = format!(
            r#"
threads = 1
policy-cache = {cache:?}
[pool.mail]
nodes = ["{node}"]
check = "off"
[[virtual-server]]
name = "{name}"
listen = ["127.0.0.1:0"]
pool = "mail"
[virtual-server.policy]
{policy}
[[virtual-server]]
name = "neighbour"
listen = ["127.0.0.1:0"]
pool = "mail"
"#
        );
        let clock = ManualClock::new(NOON);
        let config = Config::parse(&text, "test.toml")?;
        let server = Server::start(config, Options { clock: Some(clock.clone()), ..Options::default() })?;
        Ok(Self { server, clock, name: name.to_owned() })
    }

    fn account(&self, server: &str) -> Account {
        Account {
            server: self.server.address(server),
            user: "alice".to_owned(),
            password: PASSWORD.to_owned(),
            security: Security::Cleartext,
        }
    }

    /// What a client is answered to PASS.
    fn answer(&self) -> String {
        let mut session = Dialogue::open(self.server.address(&self.name));
        session.ok("USER alice");
        session.send(&format!("PASS {PASSWORD}"));
        let answer = session.line();
        if answer.starts_with("+OK") {
            assert!(session.ok("STAT").starts_with("1 "), "the maildrop itself");
            session.quit();
        }
        answer
    }

    fn neighbour_is_served(&self) {
        let mut session = Dialogue::log_in(&self.account("neighbour"));
        assert!(session.ok("STAT").starts_with("1 "));
        session.quit();
    }

    fn metrics(&self) -> reprieve_policy_host::MetricsSnapshot {
        self.server.policy_metrics(&self.name).expect("its metrics")
    }

    /// What the log says of a failure or an overrun.
    fn told(&self) -> String {
        let lines = lines_of(&self.name);
        let failed = |line: &&serde_json::Value| {
            line["message"].as_str().is_some_and(|text| text.starts_with("policy failed"))
        };
        let counted = |line: &&serde_json::Value| !line["count"].is_null();
        let line = lines.iter().find(failed).or_else(|| lines.iter().find(counted));
        let line = line.unwrap_or_else(|| panic!("{}: the log says nothing", self.name));
        assert!(line["policy"].as_str().is_some_and(|policy| policy.ends_with("hostile.wasm")), "{line}");
        line["message"].as_str().expect("a message").to_owned()
    }
}

fn hostile(at: &str, how: &str, more: &str) -> String {
    format!("component = {:?}\nsettings = {{ at = \"{at}\", how = \"{how}\" }}\n{more}", guests::hostile())
}

/// What is done at `decide`, and the kind of failure that is counted.
const FAILURES: [(&str, &str, &str); 29] = [
    ("spin", "loops for ever", "time"),
    ("spin-store", "asks the store for ever", "time"),
    ("spin-clock", "asks for the time for ever", "time"),
    ("memory", "allocates megabytes for ever", "memory"),
    ("small-memory", "allocates small pieces for ever", "memory"),
    ("hoard-streams", "opens standard output for ever, and begins a line in each", "trap"),
    ("recurse", "calls itself for ever", "stack"),
    ("sleep", "sleeps for an hour", "wait"),
    ("sleep-often", "sleeps a millisecond for ever", "wait"),
    ("trap", "panics", "trap"),
    ("unreachable", "executes `unreachable`", "trap"),
    ("divide", "divides by zero", "trap"),
    ("out-of-bounds", "reads outside its memory", "trap"),
    ("exit", "ends the process", "trap"),
    ("long-note", "returns a note of 100,000 octets", "verdict"),
    ("giant-note", "returns a note of 8 MiB", "strings"),
    ("giant-user", "returns a user name of 8 MiB", "strings"),
    ("giant-reason", "returns a reason of 8 MiB", "strings"),
    ("long-reason", "returns a reason of 65 octets", "verdict"),
    ("forged-reason", "returns a reason with a line feed", "verdict"),
    ("unknown-pool", "names a pool that does not exist", "verdict"),
    ("smuggling-user", "returns a user name with CR LF and a command", "verdict"),
    ("nul-user", "returns a user name with NUL", "verdict"),
    ("blank-user", "returns a blank user name", "verdict"),
    ("long-user", "returns a user name of 249 octets", "verdict"),
    ("invalid-string", "returns a string that is not UTF-8", "trap"),
    ("bad-pointer", "returns a string outside its memory", "trap"),
    ("bad-discriminant", "returns a manner that does not exist", "trap"),
    ("giant-value", "passes the store a value of 8 MiB", "strings"),
];

/// What goes beyond a limit without failing the call, and the kind that is counted.
const OVERRUNS: [(&str, &str, &str); 6] = [
    ("fill-store", "fills the store", "store-quota"),
    ("store-too-long", "passes the store a value of 65,537 octets", "store-length"),
    ("flood-log", "writes 100,000 lines to the log", "log-lines"),
    ("flood-output", "writes 20,000 lines to standard output and error", "log-lines"),
    ("long-line", "writes a line of 5,000 octets", "log-line"),
    ("absurd-delay", "refuses with a delay of 49 days", "delay"),
];

/// A row of the table: component, what it does, what the administrator is told, what the
/// client sees.
type Row = (String, String, String, String);

fn failures_at_decide(rows: &mut Vec<Row>) {
    let mail = mail_server(1);
    for (how, what, kind) in FAILURES {
        // On a busy machine even a short way to another limit may take longer than usual.
        let limits = if kind == "time" { "" } else { "limits = { time = \"5s\" }\n" };
        let pair = Pair::start(how, &hostile("decide", how, limits), mail.address()).unwrap();
        pair.neighbour_is_served();
        let answer = pair.answer();
        assert!(answer.starts_with("+OK"), "{how}: {answer}");
        pair.neighbour_is_served();
        let metrics = pair.metrics();
        assert_eq!(metrics.failed(kind), 1, "{how}: {metrics:?}");
        assert_eq!(metrics.failures.iter().map(|(_, count)| count).sum::<u64>(), 1, "{how}: {metrics:?}");
        let told = pair.told();
        drop(pair);
        let pair = Pair::start(
            &format!("{how}-deny"),
            &hostile("decide", how, &format!("{limits}on-failure = \"deny\"")),
            mail.address(),
        )
        .unwrap();
        let answer = pair.answer();
        assert!(answer.starts_with("-ERR [SYS/TEMP]"), "{how}: {answer}");
        rows.push((
            format!("`decide`: {how}"),
            what.to_owned(),
            told,
            "passes; with `on-failure = \"deny\"` -ERR [SYS/TEMP]".to_owned(),
        ));
    }
}

fn overruns_at_decide(rows: &mut Vec<Row>) {
    let mail = mail_server(1);
    let limits = "store-quota = \"1MiB\"\nlimits = { time = \"2s\", delay = \"10ms\" }";
    for (how, what, kind) in OVERRUNS {
        let pair = Pair::start(how, &hostile("decide", how, limits), mail.address()).unwrap();
        let answer = pair.answer();
        pair.neighbour_is_served();
        let metrics = pair.metrics();
        assert!(metrics.overran(kind) >= 1, "{how}: {metrics:?}");
        assert_eq!(metrics.failures.iter().map(|(_, count)| count).sum::<u64>(), 0, "{how}: {metrics:?}");
        let refused = how == "absurd-delay";
        assert_eq!(answer.starts_with("-ERR [LOGIN-DELAY]"), refused, "{how}: {answer}");
        assert_eq!(answer.starts_with("+OK"), !refused, "{how}: {answer}");
        // What a policy writes stays within its own lines, and within their number.
        let lines = lines_of(how);
        assert!(lines.len() < 500, "{how}: {} lines", lines.len());
        assert!(
            lines.iter().all(|line| !line["message"].as_str().unwrap_or("").contains(['\r', '\n', '\u{1b}'])),
            "{how}"
        );
        let seen = if refused { "is refused, as judged, after `limits.delay`" } else { "passes" };
        rows.push((format!("`decide`: {how}"), what.to_owned(), pair.told(), seen.to_owned()));
    }
}

fn failures_at_observe(rows: &mut Vec<Row>) {
    let mail = mail_server(1);
    for (how, what, kind) in FAILURES
        .into_iter()
        .filter(|(how, ..)| ["trap", "spin", "memory", "recurse", "sleep", "exit"].contains(how))
    {
        let name = format!("observe-{how}");
        let limits = if kind == "time" { "" } else { "limits = { time = \"5s\" }\n" };
        let pair = Pair::start(&name, &hostile("observe", how, limits), mail.address()).unwrap();
        assert!(pair.answer().starts_with("+OK"), "{how}");
        pair.neighbour_is_served();
        assert_eq!(pair.metrics().failed(kind), 1, "{how}");
        rows.push((
            format!("`observe`: {how}"),
            what.to_owned(),
            pair.told(),
            "is let in, as the mail server said".to_owned(),
        ));
    }
}

const WIT: &str = include_str!("../../wit/policy.wit");

/// The WIT of a world that lacks an export.
fn without(function: &str) -> String {
    let line = WIT
        .lines()
        .find(|line| line.trim_start().starts_with(&format!("export {function}:")))
        .expect("the export");
    WIT.replace(line, "")
}

/// What cannot be loaded, and what the administrator must be told beside file and line.
fn misfits() -> Vec<(&'static str, &'static str, Vec<u8>, &'static str)> {
    let interval = reprieve_policy_host::load_source("interval").unwrap().into_owned();
    let numbers: Vec<u8> =
        (0..100_000_u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let mut damaged = interval.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    let mut preview3 = interval.clone();
    preview3[4] = 0x63;
    vec![
        ("empty", "is an empty file", Vec::new(), "the file is empty"),
        ("text", "is a text", b"#!/bin/sh\n".to_vec(), "it is not WebAssembly"),
        ("random", "is made of random octets", numbers, "it is not WebAssembly"),
        ("core-module", "is a core module", b"\0asm\x01\0\0\0".to_vec(), "wasm-tools component new"),
        ("head-only", "ends after five octets", b"\0asm\x0d".to_vec(), "it is cut off"),
        ("truncated", "is cut off in the middle", interval[..middle].to_vec(), "cut off or damaged"),
        ("damaged", "is damaged in the middle", damaged, "it cannot be compiled"),
        ("unknown-version", "is of an unknown version of WebAssembly", preview3, "cannot be compiled"),
        (
            "deep",
            "has a function with 20,000 blocks in each other",
            components::with_functions(&interval, &[nested(20_000)]),
            "20000 blocks in each other",
        ),
        (
            "loops",
            "has a function with 5,000 loops in each other",
            components::with_functions(&interval, &[components::loops(5_000, 100)]),
            "5000 loops in each other",
        ),
        (
            "functions",
            "has a million functions",
            components::with_functions(&worlds::of(WIT), &vec![vec![0, 0x0b]; 1_000_000]),
            "functions, and the most is",
        ),
        (
            "long-function",
            "has a function of five megabytes",
            components::with_functions(&interval, &[[vec![0], vec![0x01; 5 << 20], vec![0x0b]].concat()]),
            "bytes of code in one function",
        ),
        (
            "costly-stranger",
            "has a function with 5,000 loops in each other, and nothing of a policy",
            components::with_functions(b"\0asm\x0d\0\x01\0", &[components::loops(5_000, 100)]),
            "it exports nothing",
        ),
        ("empty-component", "is a component of nothing", b"\0asm\x0d\0\x01\0".to_vec(), "it exports nothing"),
        (
            "without-configure",
            "lacks `configure`",
            worlds::of(&without("configure")),
            "does not export configure",
        ),
        ("without-decide", "lacks `decide`", worlds::of(&without("decide")), "does not export decide"),
        ("without-observe", "lacks `observe`", worlds::of(&without("observe")), "does not export observe"),
        (
            "wrong-signature",
            "has a `decide` of another type",
            worlds::of(&WIT.replace(
                "export decide: func(login: login) -> verdict;",
                "export decide: func(login: login) -> bool;",
            )),
            "no policy for this host",
        ),
        (
            "wrong-world",
            "is a component of another world",
            worlds::of("package acme:tool@1.0.0; world policy { export run: func(); }"),
            "it exports run, but not",
        ),
        (
            "wrong-version",
            "is built for reprieve:policy@0.2.0",
            worlds::of(&WIT.replace("reprieve:policy@0.1.0", "reprieve:policy@0.2.0")),
            "this host speaks reprieve:policy@0.1.0",
        ),
        (
            "wants-secrets",
            "imports an interface of its own",
            worlds::of(
                &WIT.replace("import store;", "import vault;\n    import store;").replace(
                    "/// A policy.\nworld",
                    "interface vault { password: func() -> string; }\nworld",
                ),
            ),
            "which this host does not have; reprieve:policy@0.1.0 has types, store and log",
        ),
        (
            "wants-function",
            "imports a function",
            worlds::of(
                &WIT.replace("import store;", "import password: func() -> string;\n    import store;"),
            ),
            "it imports password, which this host does not have",
        ),
    ]
}

fn load_failures(rows: &mut Vec<Row>) {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let mut refuse = |name: &str, what: &str, policy: &str, expected: &str| {
        let error = match Pair::start(name, policy, mail.address()) {
            Ok(_) => panic!("{name}: it started"),
            Err(error) => format!("{error:#}"),
        };
        assert!(error.contains(expected), "{name}: {error}");
        // Where the mistake is: file and line, virtual server.
        let place = format!("test.toml:12: virtual server {name}: ");
        let told = error.strip_prefix(&place).unwrap_or_else(|| panic!("{name}: {error}"));
        let told = told.replace(&format!("{}/", folder.path().display()), "");
        let told = told.replace(&folder.path().display().to_string(), "folder");
        // The rest tells where in a file that a compiler has made.
        let told = told.split(": wasm[").next().unwrap_or_default();
        let told = told.split(": failed to ").next().unwrap_or_default();
        let told = told.replace(&guests::hostile().display().to_string(), "hostile.wasm");
        rows.push((
            format!("at the start: {name}"),
            what.to_owned(),
            told,
            "nothing: the start is refused".to_owned(),
        ));
    };
    for (name, what, octets, expected) in misfits() {
        let path = folder.path().join(format!("{name}.wasm"));
        std::fs::write(&path, octets).unwrap();
        refuse(name, what, &format!("component = {path:?}"), expected);
    }
    refuse("folder", "is a folder", &format!("component = {:?}", folder.path()), "cannot read the component");
    let large = format!("component = {:?}\nlimits = {{ component = \"10KiB\" }}", guests::hostile());
    refuse("large", "is larger than it may be", &large, "limits.component");
    let pinned = format!("component = {:?}\nsha256 = \"{}\"", guests::hostile(), "0".repeat(64));
    refuse("not-pinned", "is not the one that `sha256` pins", &pinned, "its SHA-256 is");
    for (how, what, expected) in [
        ("refuse-settings", "refuses its settings", "not to my liking"),
        ("trap", "panics", "could not be started"),
        ("spin", "loops for ever", "limits.start"),
        ("memory", "allocates for ever", "limits.memory"),
        ("recurse", "calls itself for ever", "limits.stack"),
        ("sleep", "sleeps for an hour", "limits.wait"),
        ("exit", "ends the process", "could not be started"),
    ] {
        refuse(
            &format!("configure-{how}"),
            &format!("{what} at `configure`"),
            &hostile("configure", how, "limits = { start = \"100ms\" }"),
            expected,
        );
    }
}

#[test]
fn what_hostile_policies_do_stands_in_the_table() {
    let mut rows = Vec::new();
    failures_at_decide(&mut rows);
    overruns_at_decide(&mut rows);
    failures_at_observe(&mut rows);
    load_failures(&mut rows);
    assert!(rows.len() >= 60);
    let mut table = String::from(
        "# Hostile policies\n\nWhat the suite in `tests/hostile.rs` saw, which compares this page with what it sees. In each of these cases the other virtual server of the process was served before and after.\n\n| component | what it does | what the administrator is told | what the client sees |\n| --- | --- | --- | --- |\n",
    );
    for (component, what, told, seen) in rows {
        let told = told.replace('|', "\\|").replace('\n', " ");
        // Digests and numbers of octets follow from the compiler's version.
        let told = hide_what_changes(&told);
        let _ = writeln!(table, "| {component} | {what} | {told} | {seen} |");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the workspace")
        .join("tests/HOSTILE.md");
    if std::env::var_os("REPRIEVE_WRITE_TABLE").is_some() {
        std::fs::write(&path, &table).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for (number, (written, seen)) in written.lines().zip(table.lines()).enumerate() {
        assert_eq!(written, seen, "tests/HOSTILE.md:{}: REPRIEVE_WRITE_TABLE=1 writes it anew", number + 1);
    }
    assert_eq!(
        written.lines().count(),
        table.lines().count(),
        "REPRIEVE_WRITE_TABLE=1 writes tests/HOSTILE.md anew"
    );
}

/// Digests, offsets and sizes of components that a compiler has made.
fn hide_what_changes(text: &str) -> String {
    let mut out = String::new();
    for word in text.split(' ') {
        let digits = word.bytes().filter(u8::is_ascii_hexdigit).count();
        let is_number = !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_digit());
        let changes = digits == 64
            || word.contains("..")
            || word.contains("0x")
            || (is_number && text.contains("limits.component") && word.len() > 5)
            || (is_number && text.contains("compiled"))
            || word.ends_with(')') && word.starts_with(|c: char| c.is_ascii_digit());
        out.push_str(if changes { "…" } else { word });
        out.push(' ');
    }
    out.trim_end().to_owned()
}

#[test]
fn a_policy_finds_no_files_environment_arguments_or_network() {
    let mut trial = Trial::of(&guests::hostile().display().to_string())
        .setting("at", "decide")
        .setting("how", "look-around")
        .build()
        .unwrap();
    let decision = trial.login("alice");
    assert_eq!(decision.pass().expect("a pass").note.as_deref(), Some(format!("{:?}", [false; 8]).as_str()));
}

#[test]
fn a_call_of_its_own_instance_leaves_nothing_for_the_next() {
    let mail = mail_server(1);
    for (isolation, recycled) in [("reuse", 3), ("call", 20)] {
        let name = format!("grow-{isolation}");
        let more = format!("isolation = \"{isolation}\"\nlimits = {{ memory = \"24MiB\", time = \"1s\" }}");
        let pair = Pair::start(&name, &hostile("decide", "grow", &more), mail.address()).unwrap();
        for _ in 0..20 {
            assert!(pair.answer().starts_with("+OK"));
        }
        let metrics = pair.metrics();
        assert_eq!(metrics.failures.iter().map(|(_, count)| count).sum::<u64>(), 0, "{metrics:?}");
        assert!(metrics.started >= recycled, "{isolation}: {metrics:?}");
    }
}

#[test]
fn a_policy_that_fails_now_and_then_is_not_paused() {
    let mail = mail_server(1);
    let pair = Pair::start(
        "now-and-then",
        &hostile("decide", "fail-each-third", "breaker = { failures = 2 }"),
        mail.address(),
    )
    .unwrap();
    for _ in 0..12 {
        assert!(pair.answer().starts_with("+OK"));
    }
    let metrics = pair.metrics();
    assert_eq!((metrics.failed("trap"), metrics.pauses), (4, 0), "{metrics:?}");
}

#[test]
fn a_policy_that_always_fails_is_paused_longer_and_longer_and_heals_by_a_trial() {
    let mail = mail_server(1);
    let more = "on-failure = \"deny\"\nbreaker = { failures = 3, pause = \"10s\", longest-pause = \"15s\" }";
    let pair = Pair::start("always", &hostile("decide", "trap", more), mail.address()).unwrap();
    let failed = || pair.metrics().failed("trap");
    for _ in 0..6 {
        assert!(pair.answer().starts_with("-ERR [SYS/TEMP]"));
    }
    assert_eq!(
        (failed(), pair.server.counters().policy_pauses),
        (3, 3),
        "it is not called while it is paused"
    );
    // One trial after ten seconds, the next after fifteen.
    for (seconds, expected) in [(9, 3), (1, 4), (14, 4), (1, 5), (15, 6)] {
        pair.clock.advance(Duration::from_secs(seconds));
        pair.answer();
        pair.answer();
        assert_eq!(failed(), expected, "after {seconds} s");
    }
    pair.neighbour_is_served();
    let loud: Vec<_> = lines_of("always").into_iter().filter(|line| line["level"] == "ERROR").collect();
    assert_eq!(loud.len(), 1, "it is said once, loudly: {loud:?}");
    let words = loud[0]["message"].as_str().unwrap();
    assert!(words.contains("3 times in a row") && words.contains("logins are refused meanwhile"), "{words}");
    assert_eq!(loud[0]["call"], "decide");
}

#[tokio::test]
async fn a_trial_that_succeeds_ends_the_pause() {
    let clock = ManualClock::new(NOON);
    let namespace = Namespace::in_memory(1 << 20, clock.clone());
    let judge = judge("decide", "fail-until-told", &clock, &namespace, |options| {
        options.breaker = BreakerSettings { failures: 2, ..BreakerSettings::default() };
    })
    .await;
    let login = Who::new("alice").login("pop3", "1", NOON, &TimeZone::UTC);
    for _ in 0..2 {
        assert!(matches!(judge.decide(&login).await, Err(Failure::Trap(_))));
    }
    assert!(judge.policy().is_paused());
    assert_eq!(judge.decide(&login).await.unwrap_err(), Failure::Paused);
    namespace.set("told", b"", None).await.unwrap().unwrap();
    assert_eq!(judge.decide(&login).await.unwrap_err(), Failure::Paused, "not before its time");
    clock.advance(Duration::from_secs(1));
    assert!(matches!(judge.decide(&login).await, Ok(Verdict::Pass(_))));
    assert!(!judge.policy().is_paused());
    assert!(judge.decide(&login).await.is_ok());
}

async fn judge(
    at: &str,
    how: &str,
    clock: &Arc<ManualClock>,
    namespace: &Namespace,
    change: impl FnOnce(&mut PolicyOptions),
) -> Judge {
    let octets = std::fs::read(guests::hostile()).unwrap();
    let limits = Limits {
        time: Duration::from_millis(1),
        wait: Duration::from_millis(5),
        memory: 4 << 20,
        ..Limits::default()
    };
    let size = EngineSize { memory: limits.memory, stack: limits.stack, instances: 4 };
    let cache = Cache::open(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("compiled")).unwrap();
    let mut options = PolicyOptions {
        settings: vec![("at".to_owned(), at.to_owned()), ("how".to_owned(), how.to_owned())],
        limits,
        breaker: BreakerSettings { failures: 0, ..BreakerSettings::default() },
        ..PolicyOptions::new("pop3", "hostile", namespace.clone(), clock.clone())
    };
    change(&mut options);
    Judge::new(Policy::load(Engine::new(size, Some(&cache)).unwrap(), &octets, options).await.unwrap())
}

#[test]
fn a_failure_at_the_outcome_does_not_hide_behind_good_decisions() {
    let mail = mail_server(1);
    let pair =
        Pair::start("outcome", &hostile("observe", "trap", "breaker = { failures = 3 }"), mail.address())
            .unwrap();
    for _ in 0..6 {
        assert!(pair.answer().starts_with("+OK"));
    }
    let metrics = pair.metrics();
    assert_eq!((metrics.failed("trap"), metrics.pauses), (3, 1), "{metrics:?}");
    let mut trial = Trial::of("interval").build().unwrap();
    assert_eq!(trial.login("alice").becomes, Becomes::Passed);
}

/// The body of a function with blocks in each other.
fn nested(depth: usize) -> Vec<u8> {
    [vec![0], [0x02, 0x40].repeat(depth), vec![0x0b; depth], vec![0x0b]].concat()
}
