//! Explains why a file is not a policy that this host can run, and what to do. wasmtime's own messages
//! are for its developers.

use super::component_info::ComponentInfo;

/// Functions that the world `policy` exports.
const EXPORTS: [&str; 3] = ["configure", "decide", "observe"];
/// Exports that a message names.
const SHOWN: usize = 8;

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

/// Refuses a component with an import that the host does not provide or without the policy exports.
pub(super) fn not_a_policy(info: &ComponentInfo) -> Result<(), String> {
    if let Some(damage) = &info.damage {
        return Err(not_compiled(&format!("failed to parse it: {damage}")));
    }
    for name in &info.imports {
        offered(name).map_err(|why| format!("it imports {name}, {why}"))?;
    }
    let missing: Vec<_> =
        EXPORTS.into_iter().filter(|name| !info.exports.iter().any(|other| other == name)).collect();
    if missing.len() == EXPORTS.len() {
        let shown = info.exports.iter().take(SHOWN).map(String::as_str);
        let more = (info.exports.len() > SHOWN).then_some("others");
        let mut has: Vec<_> = shown.chain(more).collect();
        if has.is_empty() {
            has.push("nothing");
        }
        return Err(format!(
            "it is not a policy: it exports {} instead of configure, decide and observe",
            has.join(", ")
        ));
    }
    if !missing.is_empty() {
        return Err(format!("it does not export {}, which a policy must", missing.join(" and ")));
    }
    Ok(())
}

/// The WASI 0.2 packages that the host provides in virtual form, because language runtimes import
/// them.
const WASI: [&str; 6] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];
/// The WIT version of this host.
const VERSION: &str = "0.1.0";

/// Refuses an import that the host does not provide, with the remedy.
fn offered(name: &str) -> Result<(), String> {
    let (path, version) = name.split_once('@').unwrap_or((name, ""));
    let (package, interface) = path.split_once('/').unwrap_or((path, ""));
    match package {
        "reprieve:policy" if !matches!(interface, "types" | "store" | "log") => {
            Err(format!("which this host does not have; reprieve:policy@{VERSION} has types, store and log"))
        }
        "reprieve:policy" if !version.starts_with("0.1.") => Err(format!(
            "but this host speaks reprieve:policy@{VERSION}; build the policy with the wit folder that `reprieve policy new` writes"
        )),
        "reprieve:policy" => Ok(()),
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
        _ => Err("which this host does not have; a policy imports reprieve:policy/store and reprieve:policy/log".to_owned()),
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
            assert_eq!(offered(name), Ok(()), "{name}");
        }
        for (name, expected) in [
            ("reprieve:policy/store@0.2.0", "speaks reprieve:policy@0.1.0"),
            ("reprieve:policy/network@0.1.0", "has types, store and log"),
            ("wasi:http/types@0.2.3", "no network"),
            ("wasi:clocks/wall-clock@0.3.0", "has WASI 0.2; build it for that"),
            ("wasi:keyvalue/store@0.2.0", "of WASI 0.2"),
            ("acme:secrets/steal", "this host does not have"),
        ] {
            assert!(offered(name).unwrap_err().contains(expected), "{name}");
        }
    }
}
