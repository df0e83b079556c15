//! Components that are refused when they are loaded.

use super::pair::{Pair, hostile};
use super::table::Row;
use crate::support::{components, guests, mail_server};
use crate::worlds;

const WIT: &str = include_str!("../../wit/v0.1/policy.wit");

/// The WIT of a world that lacks an export.
pub fn without(function: &str) -> String {
    let line = WIT
        .lines()
        .find(|line| line.trim_start().starts_with(&format!("export {function}:")))
        .expect("the export");
    WIT.replace(line, "")
}

/// Components that cannot be loaded, and the expected error in addition to file and line. One table, so
/// long.
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
        ("random", "is made of random bytes", numbers, "it is not WebAssembly"),
        ("core-module", "is a core module", b"\0asm\x01\0\0\0".to_vec(), "wasm-tools component new"),
        ("head-only", "ends after five bytes", b"\0asm\x0d".to_vec(), "the file is truncated"),
        ("truncated", "ends in the middle", interval[..middle].to_vec(), "truncated or damaged"),
        ("damaged", "is damaged in the middle", damaged, "it cannot be compiled"),
        ("unknown-version", "is of an unknown version of WebAssembly", preview3, "cannot be compiled"),
        (
            "deep",
            "has a function with blocks nested 20,000 deep",
            components::with_functions(&interval, &[nested(20_000)]),
            "blocks nested 20000 deep",
        ),
        (
            "loops",
            "has a function with loops nested 5,000 deep",
            components::with_functions(&interval, &[components::loops(5_000, 100)]),
            "loops nested 5000 deep",
        ),
        (
            "functions",
            "has a million functions",
            components::with_functions(&worlds::of(WIT), &vec![vec![0, 0x0b]; 1_000_000]),
            "functions; the limit is",
        ),
        (
            "long-function",
            "has a function of five megabytes",
            components::with_functions(&interval, &[[vec![0], vec![0x01; 5 << 20], vec![0x0b]].concat()]),
            "bytes of code in one function",
        ),
        (
            "costly-stranger",
            "has a function with loops nested 5,000 deep, and no exports",
            components::with_functions(b"\0asm\x0d\0\x01\0", &[components::loops(5_000, 100)]),
            "it exports nothing",
        ),
        ("empty-component", "is an empty component", b"\0asm\x0d\0\x01\0".to_vec(), "it exports nothing"),
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
            "not a policy for this host",
        ),
        (
            "wrong-world",
            "is a component of another world",
            worlds::of("package acme:tool@1.0.0; world policy { export run: func(); }"),
            "it exports run instead of",
        ),
        (
            "wrong-version",
            "is built for reprieve:policy@0.3.0",
            worlds::of(&WIT.replace("reprieve:policy@0.1.0", "reprieve:policy@0.3.0")),
            "this host has 0.1.0 and 0.2.0",
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
            "which this host does not have; reprieve:policy@0.1.0 has types, store, log",
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

/// The WIT of the contract 0.2 in one file, with a change.
fn changed(from: &str, to: &str) -> String {
    let files = [
        include_str!("../../wit/v0.2/types.wit"),
        include_str!("../../wit/v0.2/facts.wit"),
        include_str!("../../wit/v0.2/effects.wit"),
        include_str!("../../wit/v0.2/worlds.wit"),
    ];
    let is_package = |line: &&str| line.starts_with("package ");
    let package = files[0].lines().find(is_package).expect("the package").to_owned();
    let rest = files.iter().flat_map(|file| file.lines()).filter(|line| !is_package(line));
    let wit = std::iter::once(package.as_str()).chain(rest).collect::<Vec<_>>().join("\n");
    assert!(wit.contains(from), "{from}");
    wit.replace(from, to)
}

/// Components with one difference from the contract 0.2, as [`misfits`] has them.
fn misfits_of_0_2() -> Vec<(&'static str, &'static str, Vec<u8>, &'static str)> {
    let policy = |from: &str, to: &str| worlds::of(&changed(from, to));
    vec![
        (
            "without-handler",
            "imports the contract 0.2, and exports nothing",
            policy("    export handler;", ""),
            "it exports nothing instead of reprieve:policy/handler",
        ),
        (
            "without-handler-observe",
            "lacks `observe` in `handler`",
            policy("    observe: func(outcome: outcome, memory: memory) -> option<memory>;", ""),
            "it does not export observe of reprieve:policy/handler@0.2.0",
        ),
        (
            "wrong-handler",
            "has a `decide` of another type in `handler`",
            policy(
                "decide: func(login: login, memory: memory) -> verdict;",
                "decide: func(login: login, memory: memory) -> bool;",
            ),
            "its reprieve:policy/handler has other types",
        ),
        (
            "wrong-memory",
            "has five numbers in `memory`",
            policy("record memory { first: u32,", "record memory { zeroth: u32, first: u32,"),
            "its reprieve:policy/handler has other types",
        ),
        (
            "without-describe",
            "exports `settings` without `describe`",
            worlds::of_world(
                &changed("    describe: func() -> list<setting>;", "    names: func() -> list<setting>;"),
                "policy-with-settings",
            ),
            "it does not export describe of reprieve:policy/settings@0.2.0",
        ),
        (
            "wrong-settings",
            "has a `describe` of another type in `settings`",
            worlds::of_world(
                &changed("describe: func() -> list<setting>;", "describe: func() -> list<string>;"),
                "policy-with-settings",
            ),
            "its reprieve:policy/settings has other types",
        ),
        (
            "wrong-sessions",
            "has an `ended` of another type in `sessions`",
            worlds::of_world(
                &changed(
                    "ended: func(session: summary, memory: memory) -> option<memory>;",
                    "ended: func(session: summary, memory: memory) -> bool;",
                ),
                "policy-with-sessions",
            ),
            "its reprieve:policy/sessions has other types",
        ),
        (
            "newer-fact",
            "imports a fact that is not in the contract",
            policy("interface claim {", "interface claim { password: func() -> string;"),
            "it needs password of reprieve:policy/claim@0.2.0",
        ),
        (
            "other-fact",
            "imports a fact with another type",
            policy("    user: func() -> string;", "    user: func() -> u32;"),
            "it imports user of reprieve:policy/claim@0.2.0",
        ),
        (
            "newer-interface",
            "imports an interface that is not in the contract",
            policy(
                "world imports {",
                "interface vault { password: func() -> string; }\nworld imports { import vault;",
            ),
            "); run it with a newer Reprieve",
        ),
        (
            "two-versions",
            "imports the `log` of 0.1, and exports the `handler` of 0.2",
            worlds::of(&format!(
                "package test:test;\n{}\n{}\nworld policy {{ import reprieve:policy/log@0.1.0; export \
                 reprieve:policy/handler@0.2.0; }}",
                nested_package(WIT),
                nested_package(&changed("", ""))
            )),
            "it was built for two versions of reprieve:policy",
        ),
    ]
}

/// A package in the form in which one file can have several.
fn nested_package(wit: &str) -> String {
    let (before, rest) = wit.split_once("package ").expect("the package");
    let (name, interfaces) = rest.split_once(';').expect("its name");
    format!("{before}package {name} {{ {interfaces} }}")
}

pub fn load_failures(rows: &mut Vec<Row>) {
    let mail = mail_server(1);
    let folder = tempfile::tempdir().unwrap();
    let mut refuse = |name: &str, what: &str, policy: &str, expected: &str| {
        let error = match Pair::start(name, policy, mail.address()) {
            Ok(_) => panic!("{name}: it started"),
            Err(error) => format!("{error:#}"),
        };
        assert!(error.contains(expected), "{name}: {error}");
        // The location: file, line, virtual server.
        let place = format!("test.toml:12: virtual server {name}: ");
        let told = error.strip_prefix(&place).unwrap_or_else(|| panic!("{name}: {error}"));
        let told = told.replace(&format!("{}/", folder.path().display()), "");
        let told = told.replace(&folder.path().display().to_string(), "directory");
        // The rest is an offset in a compiler's output.
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
    for (name, what, bytes, expected) in misfits().into_iter().chain(misfits_of_0_2()) {
        let path = folder.path().join(format!("{name}.wasm"));
        std::fs::write(&path, bytes).unwrap();
        refuse(name, what, &format!("component = {path:?}"), expected);
    }
    refuse(
        "directory",
        "is a directory",
        &format!("component = {:?}", folder.path()),
        "cannot read the component",
    );
    let large = format!("component = {:?}\nlimits = {{ component = \"10KiB\" }}", guests::hostile());
    refuse("large", "is larger than it may be", &large, "limits.component");
    let pinned = format!("component = {:?}\nsha256 = \"{}\"", guests::hostile(), "0".repeat(64));
    refuse("not-pinned", "is not the one that `sha256` pins", &pinned, "its SHA-256 is");
    for (how, what, expected) in [
        ("refuse-settings", "refuses its settings", "refused by the test"),
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

/// The body of a function with nested blocks.
fn nested(depth: usize) -> Vec<u8> {
    [vec![0], [0x02, 0x40].repeat(depth), vec![0x0b; depth], vec![0x0b]].concat()
}
