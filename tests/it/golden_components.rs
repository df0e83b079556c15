//! Policies built for the contracts 0.1.0 and 0.2.0 keep loading and deciding as they did. The
//! components are in `tests/golden-X.Y`, with the scenarios that they passed when they were built.

use std::path::{Path, PathBuf};

use reprieve_policy_host::scenario::Scenario;
use reprieve_policy_host::{ComponentInfo, digest};

use crate::support::dialogue::Dialogue;
use crate::support::mail_server;
use crate::support::proxy::Setup;

/// Versions of the contract, as the names of folders have them.
const SERIES: [&str; 2] = ["0.1", "0.2"];

fn folder(series: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace");
    root.join(format!("tests/golden-{series}"))
}

/// Path of a component.
fn component(series: &str, name: &str) -> PathBuf {
    folder(series).join(name).join(format!("{name}.wasm"))
}

/// Names and SHA-256 digests of the components, from the table in their README.
fn recorded(series: &str) -> Vec<(String, String)> {
    let readme = std::fs::read_to_string(folder(series).join("README.md")).expect("the README");
    let rows = readme.lines().filter(|line| line.starts_with("| `"));
    let recorded: Vec<_> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(|cell| cell.trim().trim_matches('`')).collect();
            (cells[1].to_owned(), cells[4].to_owned())
        })
        .collect();
    assert!(recorded.len() >= 4, "{recorded:?}");
    recorded
}

#[test]
fn golden_components_are_the_recorded_ones() {
    for series in SERIES {
        let mut names: Vec<_> = std::fs::read_dir(folder(series))
            .expect("the folder")
            .map(|entry| entry.expect("an entry"))
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.file_name().into_string().expect("a name"))
            .filter(|name| name != "wit")
            .collect();
        names.sort();
        let recorded = recorded(series);
        assert_eq!(names, recorded.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>());
        let version = format!("{series}.0");
        for (name, sha256) in recorded {
            let bytes = std::fs::read(component(series, &name)).expect("the component");
            let digest = digest::hex(&digest::of(&bytes));
            assert_eq!(digest, sha256, "{series} {name} has changed; restore it from Git");
            assert_eq!(ComponentInfo::of(&bytes).wit_version(), Some(&*version), "{name}");
        }
    }
}

#[test]
fn golden_components_pass_the_scenarios_of_their_time() {
    for series in SERIES {
        for (name, _) in recorded(series) {
            let logins = play_all(series, &name);
            assert!(logins >= 5, "{series} {name}: {logins} logins");
        }
    }
}

/// Plays the scenarios of a component. Returns the number of logins.
fn play_all(series: &str, name: &str) -> u64 {
    let component = component(series, name).display().to_string();
    let mut logins = 0;
    for entry in std::fs::read_dir(folder(series).join(name)).expect("the folder") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("the scenarios");
        let scenarios = Scenario::parse(&text, &path.display().to_string(), &component);
        for scenario in scenarios.unwrap_or_else(|error| panic!("{error}")) {
            let result = scenario.play().unwrap_or_else(|error| panic!("{component}: {error:#}"));
            assert!(result.succeeded(), "{component}: {result:#?}");
            logins += result.logins;
        }
    }
    logins
}

/// The note comes back, so that the second login is refused with the policy's response code.
#[test]
fn a_golden_component_decides_in_front_of_a_mail_server() {
    let mail = mail_server(1);
    let policy = format!("component = {:?}", component("0.1", "once"));
    let reprieve = Setup { policy: &policy, ..Setup::default() }.in_front_of(&[mail.address()]);
    Dialogue::log_in(&reprieve.account("alice")).quit();
    let mut refused = Dialogue::open(reprieve.address());
    refused.ok("USER alice");
    let answer = refused.err("PASS open sesame");
    assert!(answer.starts_with("-ERR [IN-USE]") && answer.contains("60"), "{answer}");
    refused.quit();
    assert_eq!(mail.stats().logins, 1);
    assert_eq!(reprieve.server.counters().policy_failures, 0);
}
