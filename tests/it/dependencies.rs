//! Dependencies: allowed licences, known sources, no version with a security advisory, a list of those
//! that stand twice or that nobody maintains, and no build tool other than Rust and a C compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use semver::{Version, VersionReq};

/// The advisories, one per line: package, id, versions that are not affected, and `unmaintained` if it
/// is about that.
const ADVISORIES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/advisories.txt");
/// The dependencies that need an eye.
const LISTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/dependencies.txt");

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

/// The configuration of cargo-deny.
fn deny() -> toml::Table {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../deny.toml")).unwrap();
    text.parse().unwrap()
}

#[test]
fn every_dependency_has_a_licence_that_deny_toml_allows() {
    let rules = deny();
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

/// One of several alternatives must be allowed; licences joined by AND must all be.
fn is_allowed(expression: &str, allowed: &BTreeSet<&str>) -> bool {
    expression
        .replace('/', " OR ")
        .replace(['(', ')'], "")
        .split(" AND ")
        .all(|part| part.split(" OR ").any(|licence| allowed.contains(licence.trim())))
}

#[test]
fn of_alternative_licences_one_must_be_allowed_and_of_joint_ones_all() {
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

/// A build script could need a Wasm target; an earlier one did.
#[test]
fn the_binary_has_no_build_script() {
    let packages = packages();
    let reprieve = packages.iter().find(|package| package["name"] == "reprieve").expect("the host");
    for target in reprieve["targets"].as_array().expect("targets") {
        assert_ne!(target["kind"][0], "custom-build", "{}", target["src_path"]);
    }
}

/// What an advisory is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum About {
    Vulnerability,
    Unmaintained,
}

/// The advisories of a snapshot that name this version.
fn advisories<'a>(snapshot: &'a str, about: About, name: &str, version: &Version) -> Vec<&'a str> {
    let lines = snapshot.lines().filter(|line| !line.starts_with('#'));
    let of_package = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.split_once(' '));
    let is_safe = |versions: &str| {
        let ranges = versions.split('|').filter(|range| *range != "none");
        ranges.map(|range| range.parse::<VersionReq>().expect("a range")).any(|range| range.matches(version))
    };
    let of_kind = of_package.filter_map(|(id, rest)| match rest.strip_suffix(" unmaintained") {
        Some(versions) => (about == About::Unmaintained).then_some((id, versions)),
        None => (about == About::Vulnerability).then_some((id, rest)),
    });
    of_kind.filter(|(_, versions)| !is_safe(versions)).map(|(id, _)| id).collect()
}

/// The committed snapshot, or the one that `tests/advisories --live` has made.
fn snapshot() -> String {
    let path = std::env::var("ADVISORIES").unwrap_or_else(|_| ADVISORIES.to_owned());
    std::fs::read_to_string(path).expect("the snapshot of advisories")
}

/// Names and versions in Cargo.lock.
fn locked() -> Vec<(String, Version)> {
    let lock = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../Cargo.lock")).unwrap();
    let lock: toml::Table = lock.parse().unwrap();
    let text = |package: &toml::Value, key: &str| package[key].as_str().expect("a text").to_owned();
    let packages = lock["package"].as_array().expect("packages").iter();
    packages
        .map(|package| (text(package, "name"), text(package, "version").parse().expect("a version")))
        .collect()
}

#[test]
fn no_dependency_has_a_version_with_an_advisory() {
    let snapshot = snapshot();
    let rules = deny();
    let ignored =
        rules["advisories"].get("ignore").and_then(|ids| ids.as_array()).cloned().unwrap_or_default();
    let mut found = String::new();
    for (name, version) in locked() {
        for id in advisories(&snapshot, About::Vulnerability, &name, &version) {
            if !ignored.iter().any(|ignored| ignored.as_str() == Some(id)) {
                writeln!(found, "{name} {version}: https://rustsec.org/advisories/{id}").unwrap();
            }
        }
    }
    assert!(found.is_empty(), "take other versions:\n{found}");
}

/// Each of them costs build time, or will need another crate some day: none is to come unnoticed.
#[test]
fn dependencies_that_stand_twice_or_are_unmaintained_are_listed() {
    let snapshot = std::fs::read_to_string(ADVISORIES).unwrap();
    let mut versions: BTreeMap<String, BTreeSet<Version>> = BTreeMap::new();
    for (name, version) in locked() {
        versions.entry(name).or_default().insert(version);
    }
    let mut list = "# Dependencies in several versions, and those that nobody maintains (RustSec). Renew with:\n\
                    # REPRIEVE_WRITE_TABLE=1 cargo test --package 'reprieve*' --test it unmaintained_are_listed\n"
        .to_owned();
    for (name, versions) in &versions {
        if versions.len() > 1 {
            let versions: Vec<_> = versions.iter().map(ToString::to_string).collect();
            writeln!(list, "twice {name} {}", versions.join(" ")).unwrap();
        }
        for version in versions {
            for id in advisories(&snapshot, About::Unmaintained, name, version) {
                writeln!(list, "unmaintained {name} {version} {id}").unwrap();
            }
        }
    }
    if std::env::var_os("REPRIEVE_WRITE_TABLE").is_some() {
        std::fs::write(LISTED, &list).unwrap();
    }
    let listed = std::fs::read_to_string(LISTED).unwrap_or_default();
    assert_eq!(list, listed, "the dependencies have changed; if that is meant, renew the list as it says");
}

#[test]
fn an_advisory_covers_all_versions_except_patched_and_unaffected_ones() {
    let snapshot = std::fs::read_to_string(ADVISORIES).unwrap();
    assert!(snapshot.lines().count() > 500, "the snapshot is not whole");
    for (name, version, named) in [
        ("lru", "0.16.4", Some("RUSTSEC-2026-0253")),
        ("lru", "0.18.1", Some("RUSTSEC-2026-0253")),
        ("lru", "0.18.2", None),
        ("lru", "0.19.1", None),
        // Several ranges, and a single version.
        ("wasmtime", "47.0.2", Some("RUSTSEC-2026-0222")),
        ("wasmtime", "46.0.3", None),
        ("hyper", "0.13.9", Some("RUSTSEC-2021-0020")),
        // Never fixed, but later versions are unaffected.
        ("hickory-proto", "0.25.2", Some("RUSTSEC-2026-0118")),
        ("hickory-proto", "0.26.3", None),
        ("reprieve", "0.1.0", None),
        // Unmaintained, which is not a vulnerability.
        ("paste", "1.0.15", None),
    ] {
        let found = advisories(&snapshot, About::Vulnerability, name, &version.parse().unwrap());
        match named {
            Some(id) => assert!(found.contains(&id), "{name} {version}: {found:?}"),
            None => assert!(found.is_empty(), "{name} {version}: {found:?}"),
        }
    }
    let unmaintained = advisories(&snapshot, About::Unmaintained, "paste", &Version::new(1, 0, 15));
    assert_eq!(unmaintained, ["RUSTSEC-2024-0436"]);
}

/// Run by `tests/advisories`.
#[test]
#[ignore = "needs a checkout of the advisory database: tests/advisories renews the snapshot"]
fn renew_the_snapshot_of_advisories() {
    let database = std::env::var_os("ADVISORY_DB").expect("ADVISORY_DB: the folder of the checkout");
    let database = Path::new(&database);
    let mut lines = BTreeSet::new();
    for package in std::fs::read_dir(database.join("crates")).expect("the folder crates").map(Result::unwrap)
    {
        for file in package.path().read_dir().unwrap().map(|file| file.unwrap().path()) {
            let text = std::fs::read_to_string(&file).unwrap();
            let head = text.split("```").nth(1).and_then(|head| head.strip_prefix("toml")).expect("its head");
            let advisory: toml::Table =
                head.parse().unwrap_or_else(|why| panic!("{}: {why}", file.display()));
            lines.extend(line_of(&advisory));
        }
    }
    let git = Command::new("git").arg("-C").arg(database).args(["log", "-1", "--format=%cs, %h"]).output();
    let state = String::from_utf8(git.expect("running git").stdout).unwrap();
    let mut snapshot = format!(
        "# Advisories of the RustSec database ({}); tests/advisories renews this.\n\
         # Package, id, versions that are not affected. Left out: withdrawn.\n",
        state.trim()
    );
    lines.iter().for_each(|line| writeln!(snapshot, "{line}").unwrap());
    let path = std::env::var("ADVISORIES").unwrap_or_else(|_| ADVISORIES.to_owned());
    std::fs::write(path, snapshot).unwrap();
}

/// The line of an advisory; `None` if it was withdrawn, or is only a notice.
fn line_of(advisory: &toml::Table) -> Option<String> {
    let about = advisory["advisory"].as_table()?;
    let kind = about.get("informational").and_then(|kind| kind.as_str());
    if about.contains_key("withdrawn") || kind == Some("notice") {
        return None;
    }
    let versions = advisory["versions"].as_table()?;
    let lists = ["patched", "unaffected"].into_iter().filter_map(|key| versions.get(key)?.as_array());
    let ranges: Vec<_> =
        lists.flatten().filter_map(|range| range.as_str()).map(|range| range.replace(' ', "")).collect();
    let ranges = if ranges.is_empty() { "none".to_owned() } else { ranges.join("|") };
    let kind = if kind == Some("unmaintained") { " unmaintained" } else { "" };
    Some(format!("{} {} {ranges}{kind}", about["package"].as_str()?, about["id"].as_str()?))
}
