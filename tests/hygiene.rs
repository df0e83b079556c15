//! What the project depends on: licences that are allowed, sources that are known, and nothing but
//! Rust and a C compiler for the binary.

use std::collections::BTreeSet;
use std::process::Command;

fn packages() -> Vec<serde_json::Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .output()
        .expect("running cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    metadata["packages"].as_array().expect("packages").clone()
}

#[test]
fn every_dependency_has_a_licence_that_deny_toml_allows() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../deny.toml")).unwrap();
    let rules: toml::Table = text.parse().unwrap();
    let allowed: BTreeSet<&str> =
        rules["licenses"]["allow"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    for package in packages() {
        let name = &package["name"];
        let Some(expression) = package["license"].as_str() else {
            panic!("{name} states no licence");
        };
        assert!(is_allowed(expression, &allowed), "{name} is under {expression}");
    }
}

/// Of alternatives one is enough; what is joined by AND must all be allowed.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    expression
        .replace('/', " OR ")
        .replace(['(', ')'], "")
        .split(" AND ")
        .all(|part| part.split(" OR ").any(|licence| allowed.contains(licence.trim())))
}

#[test]
fn alternatives_need_one_allowed_licence_and_conjunctions_all() {
    let allowed = BTreeSet::from(["MIT", "Unicode-3.0"]);
    assert!(is_allowed("MIT OR GPL-3.0", &allowed));
    assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0", &allowed));
    assert!(!is_allowed("MIT AND GPL-3.0", &allowed));
    assert!(!is_allowed("GPL-3.0", &allowed));
}

#[test]
fn every_dependency_comes_from_the_registry() {
    for package in packages() {
        let source = package["source"].as_str().unwrap_or("here");
        assert!(source == "here" || source.starts_with("registry+"), "{} is from {source}", package["name"]);
    }
}

/// A build script could ask for a Wasm target, as one once did.
#[test]
fn the_binary_is_built_without_a_script_of_its_own() {
    let packages = packages();
    let reprieve = packages.iter().find(|package| package["name"] == "reprieve").expect("the host");
    for target in reprieve["targets"].as_array().expect("targets") {
        assert_ne!(target["kind"][0], "custom-build", "{}", target["src_path"]);
    }
}
