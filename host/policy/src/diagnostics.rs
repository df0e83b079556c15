//! Explains why a file is not a policy that this host can run, and what to do. wasmtime's own messages
//! are for its developers.

use super::component_info::ComponentInfo;
use super::contract::{VERSIONS, Version};
use super::guest_log::harmless;

/// The package of the contract.
const PACKAGE: &str = "reprieve:policy";
/// Functions that a policy for 0.1 exports.
const EXPORTS_0_1: [&str; 3] = ["configure", "decide", "observe"];
/// The interface that a policy for 0.2 exports.
const EXPORT_0_2: &str = "handler";
/// The interfaces that a policy can import: of 0.1, and of 0.2.
const INTERFACES: [(Version, &[&str]); 2] = [
    (Version::V0_1, &["types", "store", "log"]),
    (
        Version::V0_2,
        &[
            "types",
            "claim",
            "client",
            "session",
            "maildrop",
            "pools",
            "outcome-details",
            "answer",
            "store",
            "lookup",
            "log",
        ],
    ),
];
/// What to do about a component that does not fit the contract.
const REBUILD: &str = "build it with the wit folder that `reprieve policy new` writes";
/// Exports that a message names.
const SHOWN: usize = 8;
/// Bytes of a name that a message shows. Names come from a file that nobody has checked yet.
const LONGEST_NAME: usize = 100;

/// Features that this host does not support: a word of the compiler's message, what it means, and
/// what to do.
const FEATURES: [(&str, &str, &str); 6] = [
    (
        "async",
        "asynchronous functions, which came with WASI 0.3",
        "build it for WASI 0.2, with functions that are not async",
    ),
    ("exceptions", "WebAssembly exceptions", "build it without them, as with -fno-exceptions in C++"),
    (
        "gc",
        "WebAssembly's garbage collection",
        "use a compiler that brings its own, as those for Go and JavaScript do",
    ),
    ("threads", "threads", "build it for one thread"),
    ("stack switching", "stack switching", "build it without that"),
    ("error-context", "error contexts, which came with WASI 0.3", "build it for WASI 0.2"),
];
/// The compiler's phrase for an unsupported feature.
const NOT_ENABLED: [&str; 5] = ["not enabled", "disabled", "must be enabled", "requires the", "disallowed"];

/// Refuses a file that is not a component.
pub(super) fn not_a_component(bytes: &[u8]) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    if !bytes.starts_with(b"\0asm") {
        return Err("it is not WebAssembly".to_owned());
    }
    match bytes.get(4..8) {
        Some([1, 0, 0, 0]) => {
            Err("it is a core WebAssembly module, not a component; convert it with: wasm-tools component new"
                .to_owned())
        }
        Some([_, _, 1, 0]) => Ok(()),
        Some(_) => Err("it is WebAssembly of a kind that this host does not know".to_owned()),
        None => Err("the file is truncated".to_owned()),
    }
}

/// Translates a message of the compiler or the parser.
pub(super) fn not_compiled(text: &str) -> String {
    if ["unexpected end", "unexpected EOF", "out of bounds"].iter().any(|sign| text.contains(sign)) {
        return format!("the file is truncated or damaged: {text}");
    }
    if NOT_ENABLED.iter().any(|sign| text.contains(sign)) {
        let (_, what, remedy) = FEATURES.iter().find(|(word, ..)| text.contains(word)).unwrap_or(&(
            "",
            "a feature of WebAssembly",
            "build it without that",
        ));
        return format!("it uses {what}, which policies cannot; {remedy} ({text})");
    }
    format!("it cannot be compiled: {text}")
}

/// The version of the contract that a component was built for. Refuses one with an import that the
/// host does not provide, or without the exports of a policy.
pub(super) fn version(info: &ComponentInfo) -> Result<Version, String> {
    if let Some(damage) = &info.damage {
        return Err(not_compiled(&format!("failed to parse it: {damage}")));
    }
    let mut built_for = None;
    for name in info.imports.iter().chain(&info.exports) {
        let Some((interface, version)) = of_contract(name) else { continue };
        let known = known_version(version).ok_or_else(|| unknown_version(interface, version))?;
        if *built_for.get_or_insert(known) != known {
            return Err("it was built for two versions of reprieve:policy; build it for one".to_owned());
        }
    }
    // A policy that asks for nothing imports nothing.
    let version = built_for.unwrap_or(Version::V0_1);
    for name in &info.imports {
        offered(name, version).map_err(|why| format!("it imports {}, {why}", shown(name)))?;
    }
    has_exports(info, version)?;
    Ok(version)
}

/// The interface and the version of a name in the contract's package.
fn of_contract(name: &str) -> Option<(&str, &str)> {
    let (path, version) = name.split_once('@')?;
    let (package, interface) = path.split_once('/')?;
    (package == PACKAGE).then_some((interface, version))
}

/// A name as a message shows it.
fn shown(name: &str) -> String {
    harmless(name, LONGEST_NAME)
}

fn known_version(version: &str) -> Option<Version> {
    match version {
        _ if version.starts_with("0.1.") => Some(Version::V0_1),
        // Drafts were not compatible.
        _ if version.starts_with("0.2.") && !version.contains('-') => Some(Version::V0_2),
        _ => None,
    }
}

fn unknown_version(interface: &str, version: &str) -> String {
    let (interface, version) = (shown(interface), shown(version));
    format!(
        "it was built for reprieve:policy@{version} (it has {interface}), and this host has {}; {REBUILD}, or run it with a Reprieve that has {version}",
        VERSIONS.join(" and ")
    )
}

fn has_exports(info: &ComponentInfo, version: Version) -> Result<(), String> {
    let has = |name: &str| info.exports.iter().any(|other| other == name);
    let has_interface = |interface: &str| {
        info.exports.iter().filter_map(|name| of_contract(name)).any(|(other, _)| other == interface)
    };
    let missing: Vec<_> = match version {
        Version::V0_1 => EXPORTS_0_1.into_iter().filter(|name| !has(name)).collect(),
        Version::V0_2 if has_interface(EXPORT_0_2) => Vec::new(),
        Version::V0_2 => vec![EXPORT_0_2],
    };
    if missing.is_empty() {
        return Ok(());
    }
    if version == Version::V0_1 && missing.len() < EXPORTS_0_1.len() {
        return Err(format!("it does not export {}, which a policy must", missing.join(" and ")));
    }
    let named = info.exports.iter().take(SHOWN).map(|name| shown(name));
    let more = (info.exports.len() > SHOWN).then(|| "others".to_owned());
    let mut exports: Vec<_> = named.chain(more).collect();
    if exports.is_empty() {
        exports.push("nothing".to_owned());
    }
    Err(format!(
        "it is not a policy: it exports {} instead of reprieve:policy/{EXPORT_0_2}",
        exports.join(", ")
    ))
}

/// Why a component cannot be linked although this host has its version of the contract.
pub(super) fn not_linked(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}");
    let quoted_after = |phrase: &str| Some(text.split_once(phrase)?.1.split_once('`')?.0);
    let import = quoted_after("component imports instance `").filter(|name| name.starts_with(PACKAGE));
    let item = quoted_after("instance export `");
    match (import, item) {
        (Some(interface), Some(function)) if text.ends_with("function implementation is missing") => {
            format!("it needs {function} of {interface}, {}", not_in_this_host())
        }
        (Some(interface), Some(function)) => {
            let (_, why) = text.rsplit_once("has the wrong type: ").unwrap_or_default();
            format!(
                "it imports {function} of {interface} with another type than this host's ({why}); {REBUILD}"
            )
        }
        (None, Some(interface)) if interface.starts_with(PACKAGE) => {
            let function = quoted_after("does not have export `").unwrap_or("a function");
            format!("it does not export {function} of {interface}, which a policy must; {REBUILD}")
        }
        _ => format!("it is not a policy for this host: {text}"),
    }
}

/// Why the functions of an exported interface cannot be called.
pub(super) fn wrong_types(interface: &str, error: &wasmtime::Error) -> String {
    let text = format!("{error:#}");
    let why = text.rsplit("to given type: ").next().unwrap_or(&text);
    format!("its {PACKAGE}/{interface} has other types than this host's ({why}); {REBUILD}")
}

/// What to do about something that a newer contract may have.
fn not_in_this_host() -> String {
    format!(
        "which this host does not have (it has {}); run it with a newer Reprieve, or build it with the wit folder that this one's `reprieve policy new` writes",
        VERSIONS.join(" and ")
    )
}

/// The WASI 0.2 packages that the host provides in virtual form, because language runtimes import
/// them.
const WASI: [&str; 6] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];

/// Refuses an import that the host does not provide, with the remedy.
fn offered(name: &str, built_for: Version) -> Result<(), String> {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let (package, interface) = path.split_once('/').unwrap_or((path, ""));
    match package {
        PACKAGE => {
            let has = INTERFACES.iter().find(|(version, _)| *version == built_for);
            let has = has.map_or(&[][..], |(_, interfaces)| interfaces);
            match built_for {
                _ if has.contains(&interface) => Ok(()),
                // It does not grow.
                Version::V0_1 => Err(format!(
                    "which this host does not have; reprieve:policy@{} has {}",
                    shown(version),
                    has.join(", ")
                )),
                Version::V0_2 => Err(not_in_this_host()),
            }
        }
        "wasi:http" => Err(
            "which policies do not get: they have no network; leave it out when the component is built (jco componentize: --disable http --disable fetch-event)"
                .to_owned(),
        ),
        wasi if WASI.contains(&wasi) && version.starts_with("0.2.") => Ok(()),
        wasi if WASI.contains(&wasi) && version.starts_with("0.3.") => {
            Err("but this host has WASI 0.2; build it for that, instead of WASI 0.3 (Rust: --target wasm32-wasip2)".to_owned())
        }
        wasi if wasi.starts_with("wasi:") => {
            Err("which policies do not get; of WASI 0.2 there are cli, clocks, filesystem, io, random and sockets, all without any effect outside".to_owned())
        }
        _ => Err("which this host does not have; a policy imports only interfaces of reprieve:policy".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages of the engine and its parser, unchanged.
    #[test]
    fn compiler_messages_are_translated() {
        for (text, expected) in [
            ("`future` requires the component model async feature", "WASI 0.2, with functions"),
            ("`error-context` requires the component model error-context feature", "for WASI 0.2"),
            ("exceptions proposal not enabled", "-fno-exceptions"),
            ("cannot define struct types when gc types are disabled", "garbage collection"),
            ("gc types are disallowed but found type which requires gc", "garbage collection"),
            ("threads must be enabled for shared memories", "one thread"),
            ("cannot define continuation types when stack switching is disabled", "stack switching"),
            ("wide arithmetic support is not enabled", "a feature of WebAssembly"),
            ("the custom page sizes proposal must be enabled to customize it", "a feature of WebAssembly"),
            ("unexpected end-of-file", "truncated or damaged"),
            ("type mismatch", "cannot be compiled"),
        ] {
            let said = not_compiled(text);
            assert!(said.contains(expected) && said.contains(text), "{said}");
        }
    }

    #[test]
    fn unknown_imports_are_refused_with_a_remedy() {
        for name in ["reprieve:policy/store@0.1.0", "wasi:io/streams@0.2.6", "reprieve:policy/log@0.1.3"] {
            assert_eq!(offered(name, Version::V0_1), Ok(()), "{name}");
        }
        for (name, expected) in [
            ("reprieve:policy/network@0.1.0", "has types, store, log"),
            ("reprieve:policy/claim@0.1.0", "has types, store, log"),
            ("wasi:http/types@0.2.3", "no network"),
            ("wasi:clocks/wall-clock@0.3.0", "has WASI 0.2; build it for that"),
            ("wasi:keyvalue/store@0.2.0", "of WASI 0.2"),
            ("acme:secrets/steal", "this host does not have"),
        ] {
            assert!(offered(name, Version::V0_1).unwrap_err().contains(expected), "{name}");
        }
    }

    #[test]
    fn the_version_follows_from_imports_and_exports() {
        let handler = "reprieve:policy/handler@0.2.0";
        let old = EXPORTS_0_1.as_slice();
        let version = |imports: &[&str], exports: &[&str]| {
            let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
            version(&ComponentInfo {
                imports: owned(imports),
                exports: owned(exports),
                ..ComponentInfo::default()
            })
        };
        assert_eq!(version(&["reprieve:policy/store@0.1.0"], old), Ok(Version::V0_1));
        assert_eq!(version(&[], old), Ok(Version::V0_1));
        assert_eq!(version(&["reprieve:policy/claim@0.2.0"], &[handler]), Ok(Version::V0_2));
        assert_eq!(version(&[], &[handler]), Ok(Version::V0_2));
        assert_eq!(version(&[], &["reprieve:policy/handler@0.2.7"]), Ok(Version::V0_2));
        for (imports, exports, expected) in [
            (&["reprieve:policy/claim@0.3.0"][..], &[handler][..], "this host has 0.1.0 and 0.2.0"),
            (&[], &["reprieve:policy/handler@0.2.0-draft"], "built for reprieve:policy@0.2.0-draft"),
            (&["reprieve:policy/log@0.1.0"], &[handler], "two versions"),
            (&["reprieve:policy/log@0.2.0"], old, "not a policy: it exports configure"),
            (&["reprieve:policy/log@0.1.0"], &["decide", "observe"], "does not export configure"),
            (&["reprieve:policy/network@0.2.0"], &[handler], "run it with a newer Reprieve"),
            (&[], &["run"], "it exports run instead"),
            (&[], &[], "it exports nothing instead"),
        ] {
            let error = version(imports, exports).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
    }

    /// Names come from a file that nobody has checked yet.
    #[test]
    fn names_in_messages_are_harmless_and_short() {
        let escape = "a\u{1b}[2J\u{202e}b".to_owned();
        let long = "long".repeat(25_000);
        for name in [&escape, &long] {
            let contract = format!("reprieve:policy/{name}@0.2.0");
            let unknown = format!("reprieve:policy/{name}@{name}");
            for (imports, exports) in [
                (vec![name.clone()], vec![]),
                (vec![], vec![name.clone()]),
                (vec![contract.clone()], vec![]),
                (vec![], vec![contract.clone()]),
                (vec![format!("reprieve:policy/{name}@0.1.0")], vec![]),
                (vec![unknown], vec![]),
                (vec![format!("wasi:{name}")], vec![]),
            ] {
                let info = ComponentInfo { imports, exports, ..ComponentInfo::default() };
                let error = version(&info).unwrap_err();
                assert!(!error.chars().any(reprieve_text::escape::is_active), "{error:?}");
                assert!(error.len() < 2_000, "{} bytes", error.len());
            }
        }
    }
}
