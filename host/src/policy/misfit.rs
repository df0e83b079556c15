//! Why octets are no policy for this host, in words that say what to do. What wasmtime says is
//! meant for those who build it.

use wasmtime::component::Component;

/// Functions that the world `policy` exports.
const EXPORTS: [&str; 3] = ["configure", "decide", "observe"];

/// Refuses octets that are no component at all.
pub(super) fn not_a_component(octets: &[u8]) -> Result<(), String> {
    if octets.is_empty() {
        return Err("the file is empty".to_owned());
    }
    if !octets.starts_with(b"\0asm") {
        return Err("it is not WebAssembly".to_owned());
    }
    match octets.get(4..8) {
        Some([1, 0, 0, 0]) => Err(
            "it is a core WebAssembly module, not a component; make one of it with: wasm-tools component new"
                .to_owned(),
        ),
        Some([_, _, 1, 0]) => Ok(()),
        Some(_) => Err("it is WebAssembly of a kind that this host does not know".to_owned()),
        None => Err("it is cut off".to_owned()),
    }
}

/// What a failure to compile means.
pub(super) fn not_compiled(error: &wasmtime::Error) -> String {
    let text = format!("{error:#}");
    if ["unexpected end", "unexpected EOF", "out of bounds"].iter().any(|sign| text.contains(sign)) {
        return format!("it is cut off or damaged: {text}");
    }
    format!("it cannot be compiled: {text}")
}

/// Refuses a component that imports what is not offered, or lacks what a policy exports.
pub(super) fn not_linked(engine: &wasmtime::Engine, component: &Component) -> Result<(), String> {
    let kind = component.component_type();
    for (name, _) in kind.imports(engine) {
        offered(name).map_err(|why| format!("it imports {name}, {why}"))?;
    }
    let exported: Vec<_> = kind.exports(engine).map(|(name, _)| name.to_owned()).collect();
    let missing: Vec<_> =
        EXPORTS.into_iter().filter(|name| !exported.iter().any(|other| other == name)).collect();
    if missing.len() == EXPORTS.len() {
        let has = if exported.is_empty() { "nothing".to_owned() } else { exported.join(", ") };
        return Err(format!(
            "it is no policy: it exports {has}, but not the functions of the world `policy` (configure, decide, observe)"
        ));
    }
    if !missing.is_empty() {
        return Err(format!("it does not export {}, which a policy must", missing.join(" and ")));
    }
    Ok(())
}

/// The packages of WASI 0.2 that are there, virtual: language runtimes import them.
const WASI: [&str; 6] =
    ["wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"];
/// The version of the WIT that this host speaks.
const VERSION: &str = "0.1.0";

/// Refuses the name of an import that is not offered, with a remedy.
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
        wasi if wasi.starts_with("wasi:") => {
            Err("which policies do not get; of WASI 0.2 there are cli, clocks, filesystem, io, random and sockets, all without any effect outside".to_owned())
        }
        _ => Err("which this host does not have; a policy imports reprieve:policy/store and reprieve:policy/log".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imports_that_are_not_offered_are_refused_with_a_remedy() {
        for name in ["reprieve:policy/store@0.1.0", "wasi:io/streams@0.2.6", "reprieve:policy/log@0.1.3"] {
            assert_eq!(offered(name), Ok(()), "{name}");
        }
        for (name, expected) in [
            ("reprieve:policy/store@0.2.0", "speaks reprieve:policy@0.1.0"),
            ("reprieve:policy/network@0.1.0", "has types, store and log"),
            ("wasi:http/types@0.2.3", "no network"),
            ("wasi:clocks/wall-clock@0.3.0", "of WASI 0.2"),
            ("wasi:keyvalue/store@0.2.0", "of WASI 0.2"),
            ("acme:secrets/steal", "this host does not have"),
        ] {
            assert!(offered(name).unwrap_err().contains(expected), "{name}");
        }
    }
}
