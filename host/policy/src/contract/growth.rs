//! The contract can grow: a component runs unchanged on a host with a newer contract, and on a host
//! with an older one if that has all that the component imports. Both contracts are made here from
//! `wit/v0.2`: `0.2.0`, and `0.2.1` with three functions more.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use wasmtime::component::{Component, Instance, Linker, ResourceTable, Type, Val};
use wasmtime::{Engine, Store};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::v0_2::VERSION;
use crate::harness::Harness;
use crate::{Ending, diagnostics, load_source};

const BEFORE: &str = "0.2.0";
const AFTER: &str = "0.2.1";
/// What 0.2.1 has in addition: a fact, an option of a verdict, and a fact about an outcome.
const GROWTH: [(&str, &str); 3] = [
    ("claim", "groups: func() -> u32;"),
    ("answer", "priority: func(priority: u32);"),
    ("outcome-details", "attempts: func() -> option<u32>;"),
];
/// The value of the new fact.
const GROUPS: u32 = 5;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace")
}

fn wasm_tools(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    let tool = root().join("target/toolchains/bin/wasm-tools");
    assert!(tool.exists(), "{} is missing; install it with: policies/toolchains/wasm", tool.display());
    let mut child = Command::new(tool)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("starting wasm-tools");
    // It reads all of its input before it writes.
    child.stdin.take().expect("its input").write_all(input).expect("writing to wasm-tools");
    let output = child.wait_with_output().expect("running wasm-tools");
    assert!(output.status.success(), "wasm-tools {arguments:?}");
    output.stdout
}

/// The contract in a folder of its own.
struct Contract {
    version: &'static str,
    folder: tempfile::TempDir,
}

impl Contract {
    fn new(version: &'static str, is_grown: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut added = 0;
        for entry in std::fs::read_dir(root().join("wit/v0.2")).unwrap() {
            let path = entry.unwrap().path();
            let mut text = std::fs::read_to_string(&path).unwrap();
            text = text.replace(&format!("@{VERSION};"), &format!("@{version};"));
            for (interface, declaration) in GROWTH.iter().filter(|_| is_grown) {
                let head = format!("interface {interface} {{");
                added += text.matches(&head).count();
                text = text.replace(&head, &format!("{head} {declaration}"));
            }
            std::fs::write(folder.path().join(path.file_name().unwrap()), text).unwrap();
        }
        assert_eq!(added, if is_grown { GROWTH.len() } else { 0 });
        Self { version, folder }
    }

    fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    /// Its interfaces and their functions.
    fn functions(&self) -> Vec<(String, Vec<String>)> {
        let json = wasm_tools(&["component", "wit", "--json", self.path()], b"");
        let json: Value = serde_json::from_slice(&json).unwrap();
        let interfaces = json["interfaces"].as_array().unwrap().iter();
        interfaces
            .map(|interface| {
                let functions = interface["functions"].as_object().unwrap().keys().cloned();
                (interface["name"].as_str().unwrap().to_owned(), functions.collect())
            })
            .collect()
    }

    /// A policy that refuses each login, and says as `retry-after` what `claim.groups` returns.
    fn policy_with_the_new_fact(&self) -> Vec<u8> {
        let version = self.version;
        let params = |count: usize| "i32 ".repeat(count);
        let module = format!(
            r#"(module
              (import "reprieve:policy/claim@{version}" "groups" (func $groups (result i32)))
              (memory (export "memory") 1)
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 4096))
              (func (export "reprieve:policy/handler@{version}#configure") (param i32 i32) (result i32)
                (i32.const 2048))
              (func (export "reprieve:policy/handler@{version}#decide") (param {decide}) (result i32)
                (i32.store8 (i32.const 1024) (i32.const 1))
                (i32.store8 (i32.const 1025) (i32.const 3))
                (i32.store8 (i32.const 1028) (i32.const 1))
                (i32.store (i32.const 1032) (call $groups))
                (i32.const 1024))
              (func (export "reprieve:policy/handler@{version}#observe") (param {observe}) (result i32)
                (i32.const 2048)))"#,
            decide = params(15),
            observe = params(15),
        );
        let embedded =
            wasm_tools(&["component", "embed", self.path(), "--world", "policy"], module.as_bytes());
        wasm_tools(&["component", "new"], &embedded)
    }
}

/// A built-in policy as if it had been built for another version.
fn built_in(name: &str, version: &str) -> Vec<u8> {
    const PACKAGE: &str = "reprieve:policy/";
    let text = String::from_utf8(wasm_tools(&["print"], &load_source(name).unwrap())).unwrap();
    let (from, to) = (format!("@{VERSION}"), format!("@{version}"));
    let renamed: Vec<_> = text.split(PACKAGE).map(|part| part.replacen(&from, &to, 1)).collect();
    wasm_tools(&["parse"], renamed.join(PACKAGE).as_bytes())
}

struct HostState {
    wasi: WasiCtx,
    resources: ResourceTable,
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

/// A host with every function of a contract. They know nothing: they return 0, an empty text or none.
struct TestHost {
    engine: Engine,
    linker: Linker<HostState>,
}

impl TestHost {
    fn new(contract: &Contract) -> Self {
        let engine = Engine::default();
        let mut linker = Linker::new(&engine);
        wasmtime_wasi::p2::add_to_linker_sync(&mut linker).unwrap();
        for (interface, functions) in contract.functions() {
            let name = format!("reprieve:policy/{interface}@{}", contract.version);
            let mut instance = linker.instance(&name).unwrap();
            for function in functions {
                let is_new = function == "groups";
                instance
                    .func_new(&function, move |_, function, _, results| {
                        for (result, kind) in results.iter_mut().zip(function.results()) {
                            *result = if is_new { Val::U32(GROUPS) } else { nothing(&kind) };
                        }
                        Ok(())
                    })
                    .unwrap();
            }
        }
        Self { engine, linker }
    }

    fn start(&self, component: &[u8]) -> wasmtime::Result<TestPolicy> {
        let component = Component::new(&self.engine, component)?;
        let mut store = Store::new(
            &self.engine,
            HostState { wasi: WasiCtx::builder().build(), resources: ResourceTable::new() },
        );
        let instance = self.linker.instantiate(&mut store, &component)?;
        Ok(TestPolicy { store, instance, memory: memory([0; 4]) })
    }
}

/// The value of a fact that is not known.
fn nothing(kind: &Type) -> Val {
    match kind {
        Type::Bool => Val::Bool(false),
        Type::U16 => Val::U16(0),
        Type::U32 => Val::U32(0),
        Type::String => Val::String(String::new()),
        Type::List(_) => Val::List(Vec::new()),
        Type::Option(_) => Val::Option(None),
        kind => panic!("a function returns {kind:?}, which has no default here"),
    }
}

struct TestPolicy {
    store: Store<HostState>,
    instance: Instance,
    /// What it remembers about the only user.
    memory: Val,
}

impl TestPolicy {
    /// Calls a function of `handler`, which may be that of a compatible version.
    fn call(&mut self, name: &str, arguments: &[Val]) -> Val {
        let store = &mut self.store;
        let handler = self.instance.get_export_index(&mut *store, None, "reprieve:policy/handler@0.2.0");
        let handler = handler.expect("the export handler");
        let function = self.instance.get_export_index(&mut *store, Some(&handler), name).unwrap();
        let function = self.instance.get_func(&mut *store, function).unwrap();
        let mut results = [Val::Bool(false)];
        function.call(&mut *store, arguments, &mut results).unwrap();
        let [result] = results;
        result
    }

    fn configure(&mut self, settings: &[(&str, &str)]) {
        let pair = |(key, value): &(&str, &str)| Val::Tuple(vec![text(key), text(value)]);
        let answer = self.call("configure", &[Val::List(settings.iter().map(pair).collect())]);
        assert_eq!(answer, Val::Result(Ok(None)));
    }

    /// The `retry-after` of a denial; None if the login passes, which is then reported as
    /// authenticated.
    fn login(&mut self, at_ms: u64) -> Option<u32> {
        let standing = || Val::Enum("known".to_owned());
        let login = record(&[
            ("standing", standing()),
            ("mechanism", Val::Enum("user-pass".to_owned())),
            ("encrypted", Val::Bool(false)),
            ("freshness", Val::Enum("unknown".to_owned())),
            ("time", moment(at_ms)),
        ]);
        let verdict = self.call("decide", &[login, self.memory.clone()]);
        let (denied, retry_after) = (option(field(&verdict, "deny")), option(field(&verdict, "retry-after")));
        if let Some(memory) = option(field(&verdict, "remember")) {
            self.memory = memory;
        }
        if denied.is_some() {
            let Some(Val::U32(seconds)) = retry_after else { panic!("{verdict:?}") };
            return Some(seconds);
        }
        let outcome = record(&[
            ("ending", Val::Enum("authenticated".to_owned())),
            ("standing", standing()),
            ("upgrade", Val::Bool(false)),
            ("time", moment(at_ms)),
            ("latency-ms", Val::U32(10)),
        ]);
        if let Some(memory) = option(&self.call("observe", &[outcome, self.memory.clone()])) {
            self.memory = memory;
        }
        None
    }
}

fn text(text: &str) -> Val {
    Val::String(text.to_owned())
}

fn record(fields: &[(&str, Val)]) -> Val {
    Val::Record(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect())
}

fn field<'a>(record: &'a Val, name: &str) -> &'a Val {
    let Val::Record(fields) = record else { panic!("{record:?}") };
    fields.iter().find(|(other, _)| other == name).map(|(_, value)| value).expect("the field")
}

fn option(value: &Val) -> Option<Val> {
    let Val::Option(value) = value else { panic!("{value:?}") };
    value.as_deref().cloned()
}

fn memory(numbers: [u32; 4]) -> Val {
    let names = ["first", "second", "third", "fourth"];
    record(&std::array::from_fn::<_, 4, _>(|index| (names[index], Val::U32(numbers[index]))))
}

/// A time on the day on which the harness starts, Tuesday, 10 March 2026, in UTC.
fn moment(unix_ms: u64) -> Val {
    let unix = u32::try_from(unix_ms / 1000).unwrap();
    record(&[
        ("unix", Val::U32(unix)),
        ("millisecond", Val::U16(0)),
        ("date", record(&[("year", Val::S16(2026)), ("month", Val::U8(3)), ("day", Val::U8(10))])),
        ("weekday", Val::Enum("tuesday".to_owned())),
        ("second-of-day", Val::U32(unix % 86_400)),
    ])
}

/// Minutes from one login to the next.
const PAUSES: [u64; 6] = [0, 4, 5, 1, 9, 1];

/// The answers of a component to a series of logins, on the host of a contract.
fn answers(contract: &Contract, component: &[u8]) -> Vec<Option<u32>> {
    let mut policy = TestHost::new(contract).start(component).unwrap();
    policy.configure(&[("interval", "10m")]);
    let mut now_ms = Harness::of("interval").build().unwrap().now_ms();
    let logins = PAUSES.iter().map(|minutes| {
        now_ms += minutes * 60_000;
        policy.login(now_ms)
    });
    logins.collect()
}

/// Those of the real host.
fn answers_of_the_real_host(component: &str) -> Vec<Option<u32>> {
    let mut harness = Harness::of(component).setting("interval", "10m").build().unwrap();
    let logins = PAUSES.iter().map(|minutes| {
        harness.advance(&format!("{minutes}m")).unwrap();
        let decision = harness.login("alice");
        assert_eq!(decision.failure(), None);
        let passed = decision.pass().map(|_| decision.observed.as_ref().map(|(ending, _)| *ending));
        assert!(passed.is_none_or(|ending| ending == Some(Ending::Authenticated)));
        decision.deny().map(|deny| deny.retry_after.expect("retry-after"))
    });
    logins.collect()
}

#[test]
fn a_component_decides_the_same_on_a_host_with_a_newer_or_older_contract() {
    let expected = [None, Some(360), Some(60), None, Some(60), None];
    assert_eq!(answers_of_the_real_host("interval"), expected);
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("newer.wasm");
    std::fs::write(&newer, built_in("interval", AFTER)).unwrap();
    assert_eq!(answers_of_the_real_host(newer.to_str().unwrap()), expected, "0.2.1 on the real host");
    let (before, after) = (Contract::new(BEFORE, false), Contract::new(AFTER, true));
    assert_eq!(answers(&after, &built_in("interval", BEFORE)), expected, "0.2.0 on a host with 0.2.1");
    assert_eq!(answers(&before, &built_in("interval", AFTER)), expected, "0.2.1 on a host with 0.2.0");
}

#[test]
fn a_component_that_needs_a_newer_fact_runs_only_on_a_host_that_has_it() {
    let (before, after) = (Contract::new(BEFORE, false), Contract::new(AFTER, true));
    let component = after.policy_with_the_new_fact();
    let mut policy = TestHost::new(&after).start(&component).unwrap();
    policy.configure(&[]);
    assert_eq!(policy.login(0), Some(GROUPS));
    let error = TestHost::new(&before).start(&component).err().expect("a host without the fact");
    let why = diagnostics::not_linked(&error);
    assert!(why.starts_with("it needs groups of reprieve:policy/claim@0.2.1, which this host"), "{why}");
}

#[test]
fn the_real_host_names_the_fact_that_it_does_not_have_and_the_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("newer.wasm");
    let load = |component: &[u8]| {
        std::fs::write(&path, component).unwrap();
        format!("{:#}", Harness::of(path.to_str().unwrap()).build().expect_err("it cannot be loaded"))
    };
    let why = load(&Contract::new(VERSION, true).policy_with_the_new_fact());
    let expected = format!(
        "it needs groups of reprieve:policy/claim@{VERSION}, which this host does not have (it has 0.1.0 and \
         {VERSION}); run it with a newer Reprieve, or build it with the wit folder that this one's `reprieve \
         policy new` writes"
    );
    assert!(why.ends_with(&expected), "{why}");
    let why = load(&built_in("interval", "0.3.0"));
    let expected = format!("and this host has 0.1.0 and {VERSION}; build it with the wit folder");
    assert!(why.contains("built for reprieve:policy@0.3.0") && why.contains(&expected), "{why}");
}
