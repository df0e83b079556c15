//! Layers: what each crate of `host/` and each module of the proxy must not know, so that a change in
//! one place stays there. docs/architecture.md explains the layers.
//!
//! Tests are free to use everything: code under `#[cfg(test)]` is not read.

mod imports;
mod look_alikes;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use imports::{imports, test_modules};

const HOST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A crate, or a module of the proxy.
struct Layer {
    /// Its folder in `host/`, or its module in `host/proxy/src`.
    name: &'static str,
    /// The only other layers that it may use.
    uses: &'static [&'static str],
    /// Paths that its sources must not import.
    imports_no: &'static [&'static str],
    /// Packages that it must not pull in, directly or through others.
    builds_no: &'static [&'static str],
    because: &'static str,
}

const CRATES: [Layer; 12] = [
    Layer {
        name: "pop3",
        uses: &["secrets"],
        imports_no: &["std::net", "std::fs", "std::time", "std::thread", "std::env", "std::process", "tokio"],
        builds_no: &["tokio", "wasmtime"],
        because: "tests and fuzzers run the protocol code that serves: it has no I/O and no clock",
    },
    Layer {
        name: "store",
        uses: &["containers", "metrics", "secrets", "settings", "sync", "text"],
        imports_no: &["axum", "hyper", "wasmtime"],
        builds_no: &["axum", "hyper", "wasmtime", "reprieve-pop3"],
        because: "a store keeps keys and values for policies and proxies alike",
    },
    Layer {
        name: "policy",
        uses: &["metrics", "settings", "store", "sync", "text"],
        imports_no: &["tokio::net", "std::net::TcpStream", "rustls", "redis"],
        builds_no: &["axum", "hyper", "redis", "redb", "hickory-resolver", "rustls", "reprieve-pop3"],
        because: "authors of policies build the test harness without an HTTP server, Redis and DNS",
    },
    Layer {
        name: "replay",
        uses: &["policy", "store", "text"],
        imports_no: &["tokio::net", "rustls", "redis"],
        builds_no: &["axum", "hyper", "redis", "hickory-resolver", "rustls", "reprieve-pop3"],
        because: "a replay reads logs and calls a policy: it serves nobody",
    },
    Layer {
        name: "mailserver",
        uses: &["metrics"],
        imports_no: &["std::fs"],
        builds_no: &["reprieve-pop3", "wasmtime"],
        because: "a mistake in the proxy's POP3 code must not be hidden by the same one in the backend",
    },
    Layer {
        name: "text",
        uses: &[],
        imports_no: &["std::fs", "std::thread", "tokio"],
        builds_no: &["tokio"],
        because: "every layer uses it",
    },
    Layer {
        name: "metrics",
        uses: &[],
        imports_no: &["std::net", "std::fs", "tokio"],
        builds_no: &["tokio"],
        because: "it counts, and knows nothing about what is counted or where it is shown",
    },
    Layer {
        name: "containers",
        uses: &[],
        imports_no: &["std::net", "std::fs", "std::time", "std::thread"],
        builds_no: &["tokio", "hashbrown"],
        because: "a container is judged by memory and speed alone, and must be usable everywhere",
    },
    Layer {
        name: "secrets",
        uses: &[],
        imports_no: &["std::net", "tokio"],
        builds_no: &["tokio"],
        because: "it reads, keeps and wipes secrets, and sends them nowhere",
    },
    Layer {
        name: "lookup",
        uses: &[],
        imports_no: &["std::net", "std::thread", "tokio", "tracing"],
        builds_no: &["tokio"],
        because: "it finds keys in files, and knows neither who asks nor when a file is to be read again",
    },
    Layer {
        name: "sync",
        uses: &[],
        imports_no: &["std::net", "std::fs", "std::thread", "tokio"],
        builds_no: &["tokio", "shuttle"],
        because: "it costs nothing: without a test's configuration it only passes on what others made",
    },
    Layer {
        name: "settings",
        uses: &[],
        imports_no: &["std::net", "std::fs", "tokio"],
        builds_no: &["tokio"],
        because: "it knows how settings are written, not which exist and what they start",
    },
];

/// The modules of the proxy; `cli` may use all of them.
const MODULES: [Layer; 22] = [
    Layer {
        name: "config",
        uses: &[],
        imports_no: &["tokio", "rustls", "wasmtime", "std::net::TcpStream"],
        because: "reading a configuration starts nothing, so that `check` and a reload can do it first",
        ..MODULE
    },
    Layer {
        name: "net",
        uses: &["config"],
        imports_no: &["reprieve_pop3", "reprieve_policy_host", "reprieve_store"],
        because: "sockets and TLS do not depend on the protocol that they carry",
        ..MODULE
    },
    Layer {
        name: "pool",
        uses: &["config", "net", "new_mail", "time"],
        imports_no: &["reprieve_policy_host", "reprieve_store"],
        because: "it finds a node for a login that has passed, for whatever reason",
        ..MODULE
    },
    Layer {
        name: "new_mail",
        imports_no: &["reprieve_pop3", "reprieve_store"],
        because: "sources tell of deliveries; what follows for users is the server's and the registry's matter",
        ..MODULE
    },
    Layer {
        name: "maildrop",
        uses: &["time"],
        imports_no: &["reprieve_policy_host", "std::net", "std::fs", "tokio::net"],
        because: "what is remembered of users does not depend on how they connect",
        ..MODULE
    },
    Layer {
        name: "session",
        uses: &["config", "decision_log", "maildrop", "net", "new_mail", "pool", "time", "traces"],
        imports_no: &["wasmtime", "axum", "std::fs"],
        because: "a session carries out verdicts: it knows nothing of how it is built, controlled or watched",
        ..MODULE
    },
    Layer {
        name: "decision_log",
        uses: &["config", "net"],
        imports_no: &["reprieve_pop3", "tokio::net"],
        because: "it writes what a session tells it, on a thread of its own",
        ..MODULE
    },
    Layer {
        name: "traces",
        uses: &["config", "decision_log", "net"],
        imports_no: &["reprieve_pop3"],
        because: "spans are made of the same events as lines of the decision log",
        ..MODULE
    },
    Layer {
        name: "server",
        uses: &[
            "config",
            "decision_log",
            "file_watch",
            "maildrop",
            "net",
            "new_mail",
            "pool",
            "session",
            "time",
            "traces",
        ],
        imports_no: &["axum"],
        because: "it builds everything, and is controlled by the admin interface, not the reverse",
        ..MODULE
    },
    Layer {
        name: "admin",
        uses: &[
            "config",
            "decision_log",
            "logging",
            "maildrop",
            "net",
            "new_mail",
            "pool",
            "server",
            "session",
        ],
        because: "it shows and controls a running server",
        ..MODULE
    },
    Layer {
        name: "top",
        uses: &["admin", "config", "output", "session", "terminal"],
        imports_no: &["reprieve_policy_host", "reprieve_pop3"],
        because: "it shows what the admin interface answers, and nothing else",
        ..MODULE
    },
    Layer {
        name: "demo",
        uses: &["config", "new_mail", "server", "terminal"],
        imports_no: &["reprieve_pop3"],
        because: "its clients are independent of the code that they measure",
        ..MODULE
    },
    Layer {
        name: "bench",
        uses: &["config", "maildrop", "server"],
        because: "it measures parts of the proxy",
        ..MODULE
    },
    Layer { name: "privileges", uses: &["config"], because: "it runs before anything is started", ..MODULE },
    Layer { name: "logging", because: "every module logs", ..MODULE },
    Layer { name: "file_watch", because: "it does not know what the files are for", ..MODULE },
    Layer { name: "output", because: "it writes to the standard output for all commands", ..MODULE },
    Layer { name: "terminal", because: "it does not know what is drawn", ..MODULE },
    Layer { name: "template", because: "it writes a new policy's files", ..MODULE },
    Layer { name: "time", because: "everything that the simulation runs waits by it", ..MODULE },
    Layer {
        name: "fuzzing",
        uses: &["config", "maildrop", "net", "new_mail"],
        because: "it shows parsers to fuzz targets, and does nothing itself",
        ..MODULE
    },
    Layer { name: "service_manager", because: "it tells systemd what others decide", ..MODULE },
];

const MODULE: Layer = Layer { name: "", uses: &[], imports_no: &[], builds_no: &[], because: "" };

/// The name of a crate's package.
fn package(folder: &str) -> String {
    match folder {
        "policy" => "reprieve-policy-host".to_owned(),
        folder => format!("reprieve-{folder}"),
    }
}

/// The dependencies in a Cargo.toml that the layer must not have.
fn wrong_dependencies(layer: &Layer, cargo_toml: &str) -> Vec<String> {
    let allowed: BTreeSet<_> = layer.uses.iter().map(|folder| package(folder)).collect();
    let manifest: toml::Table = cargo_toml.parse().expect("a Cargo.toml");
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let names = dependencies.into_iter().flat_map(toml::Table::keys).cloned();
    // Only what no build of the product has may depend on the configuration: see tests/schedules.
    let platforms = manifest.get("target").and_then(toml::Value::as_table);
    let of_platforms = platforms.into_iter().flat_map(toml::Table::keys).cloned();
    let of_platforms = of_platforms.filter(|platform| platform != "cfg(shuttle)");
    names
        .filter(|name| name.starts_with("reprieve") && !allowed.contains(name))
        .chain(manifest.keys().filter(|key| *key == "build-dependencies").cloned())
        .chain(of_platforms)
        .collect()
}

/// The paths in a source file that the layer must not import. `module`: where the file is in its
/// crate.
fn wrong_imports(layer: &Layer, others: &[&str], module: &[&str], source: &str) -> Vec<String> {
    let is_wrong = |path: &String| {
        let within = |forbidden: &str| path == forbidden || path.starts_with(&format!("{forbidden}::"));
        let other = path.strip_prefix("crate::").and_then(|rest| rest.split("::").next());
        let is_other = other
            .is_some_and(|name| name != layer.name && others.contains(&name) && !layer.uses.contains(&name));
        is_other || layer.imports_no.iter().any(|forbidden| within(forbidden))
    };
    imports(source, module).into_iter().filter(is_wrong).collect()
}

/// The source files below a folder, without those that only tests compile, each with its module.
fn sources(folder: &Path, module: &[String], found: &mut Vec<(PathBuf, Vec<String>, String)>) {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let mut only_tests: Vec<Vec<String>> = Vec::new();
    for path in files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let source = std::fs::read_to_string(path).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let mut own = module.to_vec();
        if !["lib", "main", "mod"].contains(&stem) {
            own.push(stem.to_owned());
        }
        only_tests.extend(test_modules(&source).into_iter().map(|name| [&own[..], &[name]].concat()));
        found.push((path.clone(), own, source));
    }
    for path in folders {
        sources(&path, &[module, &[path.file_name().unwrap().to_str().unwrap().to_owned()]].concat(), found);
    }
    found.retain(|(_, module, _)| !only_tests.iter().any(|test| module.starts_with(test)));
}

fn check_sources(layer: &Layer, others: &[&str], folder: &Path, module: &[String]) {
    let mut found = Vec::new();
    if folder.is_dir() {
        sources(folder, module, &mut found);
    }
    let file = folder.with_extension("rs");
    if let (false, Ok(source)) = (module.is_empty(), std::fs::read_to_string(&file)) {
        found.push((file, module.to_vec(), source));
    }
    assert!(!found.is_empty(), "{} has no sources", layer.name);
    for (path, module, source) in found {
        let module: Vec<_> = module.iter().map(String::as_str).collect();
        let wrong = wrong_imports(layer, others, &module, &source);
        assert!(wrong.is_empty(), "{} must not import {wrong:?}: {}", path.display(), layer.because);
    }
}

#[test]
fn crates_depend_only_on_the_layers_below_them() {
    for layer in &CRATES {
        let cargo_toml = std::fs::read_to_string(format!("{HOST}/{}/Cargo.toml", layer.name)).unwrap();
        let wrong = wrong_dependencies(layer, &cargo_toml);
        assert!(wrong.is_empty(), "{} must not depend on {wrong:?}: {}", layer.name, layer.because);
    }
}

/// Of the policy host this is the harness that authors of policies build.
#[test]
fn no_crate_pulls_in_packages_of_other_layers() {
    for layer in CRATES.iter().filter(|layer| !layer.builds_no.is_empty()) {
        let tree = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--edges", "normal", "--prefix", "none", "--package"])
            .arg(package(layer.name))
            .current_dir(HOST)
            .output()
            .expect("running cargo");
        assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
        let tree = String::from_utf8(tree.stdout).unwrap();
        let packages: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        assert!(packages.contains(&*package(layer.name)));
        let wrong: Vec<_> = layer.builds_no.iter().filter(|name| packages.contains(**name)).collect();
        assert!(wrong.is_empty(), "{} must not pull in {wrong:?}: {}", layer.name, layer.because);
    }
}

#[test]
fn no_source_imports_what_its_layer_must_not_know() {
    for layer in &CRATES {
        check_sources(layer, &[], &PathBuf::from(format!("{HOST}/{}/src", layer.name)), &[]);
    }
    let modules: Vec<_> = MODULES.iter().map(|layer| layer.name).chain(["cli"]).collect();
    for layer in &MODULES {
        let folder = PathBuf::from(format!("{HOST}/proxy/src/{}", layer.name));
        check_sources(layer, &modules, &folder, &[layer.name.to_owned()]);
    }
}

#[test]
fn the_tables_have_every_crate_and_module() {
    let crates = std::fs::read_dir(HOST).unwrap().map(|entry| entry.unwrap());
    let crates = crates.filter(|entry| entry.path().join("src").is_dir());
    let names: BTreeSet<_> = crates.map(|entry| entry.file_name().into_string().unwrap()).collect();
    let known: BTreeSet<_> =
        CRATES.iter().map(|layer| layer.name.to_owned()).chain(["proxy".into()]).collect();
    assert_eq!(names, known);
    let lib = std::fs::read_to_string(format!("{HOST}/proxy/src/lib.rs")).unwrap();
    let declared: BTreeSet<_> = lib
        .lines()
        .filter_map(|line| line.trim_start_matches("pub ").strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    // `rlimit` has no imports at all, and only the unit tests have `simulation`.
    let others = ["cli", "rlimit", "simulation"];
    let known: BTreeSet<_> = MODULES.iter().map(|layer| layer.name).chain(others).collect();
    assert_eq!(declared, known);
}

#[test]
fn planted_violations_are_found() {
    let layer = |layers: &'static [Layer], name| layers.iter().find(|layer| layer.name == name).unwrap();
    let (pop3, pool) = (layer(&CRATES, "pop3"), layer(&MODULES, "pool"));
    let manifest = "[dependencies]\nreprieve-secrets = { path = \"../secrets\" }\nreprieve-store = \"1\"\n";
    assert_eq!(wrong_dependencies(pop3, manifest), ["reprieve-store"]);
    let manifest = "[target.'cfg(unix)'.dependencies]\nlibc = \"1\"\n[target.'cfg(shuttle)'.dependencies]\n";
    assert_eq!(wrong_dependencies(pop3, manifest), ["cfg(unix)"]);
    for (source, wrong) in [
        ("use std::net::TcpStream;", "std::net"),
        ("use std::{fmt, fs::File};", "std::fs"),
        ("async fn f() { tokio::task::yield_now().await }", "tokio::task"),
    ] {
        assert_eq!(wrong_imports(pop3, &[], &["relay"], source), [wrong], "{source}");
    }
    let others = ["config", "net", "pool", "session"];
    for source in [
        "use crate::session::Counters;",
        "use crate::{\n    config::Config,\n    session::{self, Counters},\n};",
        "fn f() -> super::super::session::Counters { todo!() }",
        "use super::{super::session, Pool};",
    ] {
        assert_eq!(
            wrong_imports(pool, &others, &["pool", "connect"], source),
            ["crate::session"],
            "{source}"
        );
    }
    for source in [
        "use crate::net::Wire; use super::session::Own; use std::fmt;",
        "// use crate::session::Counters;\n/* crate::session */ const TEXT: &str = \"crate::session::x\";",
        "#[cfg(test)]\nmod tests {\n    use crate::session::Counters;\n}",
        "const RAW: &str = r#\"use \"crate::session;\"#; fn f<'a>(quote: &'a char) -> bool { *quote == '\"' }",
    ] {
        assert_eq!(wrong_imports(pool, &others, &["pool", "connect"], source), [""; 0], "{source}");
    }
    assert_eq!(test_modules("#[cfg(test)]\nmod damage;\nmod part;"), ["damage"]);
}
