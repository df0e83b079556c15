//! The seeds that every build runs, and those of `tests/simulation/run`.

use std::fmt::Write as _;
use std::time::Instant;

use super::faults::Fault;
use super::{Report, simulate};

/// Seeds that every build runs.
const SEEDS: u64 = 200;

/// A number in the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
}

fn complaint(seed: u64, report: &Report) -> String {
    let mut text = format!("seed {seed} violates what must hold:\n");
    for violation in report.violations.iter().take(5) {
        let _ = writeln!(text, "  {violation}");
    }
    let _ = write!(text, "repeat it with: tests/simulation/run 1 {seed} --trace\n{:?}", report.plan);
    text
}

#[test]
fn no_seed_violates_what_must_hold() {
    let (seeds, start) = (number("SIMULATION_SEEDS", SEEDS), number("SIMULATION_START", 0));
    let keeps_trace = std::env::var_os("SIMULATION_TRACE").is_some();
    let began = Instant::now();
    let mut failed = Vec::new();
    let mut events = 0;
    for seed in start..start + seeds {
        let report = simulate(seed, None, keeps_trace);
        events += report.fingerprint.1;
        if keeps_trace {
            println!("{}", report.trace);
        }
        if !report.violations.is_empty() {
            println!("{}", complaint(seed, &report));
            failed.push(seed);
        }
        let done = seed - start + 1;
        if done.is_multiple_of(1000) {
            println!("{done} seeds, {events} events, {:?}", began.elapsed());
        }
    }
    println!("{seeds} seeds from {start}: {events} events, {:?}, failed: {failed:?}", began.elapsed());
    assert!(failed.is_empty(), "{} of {seeds} seeds from {start} fail: {failed:?}", failed.len());
}

#[test]
fn a_seed_repeats_what_happens() {
    for seed in 0..10 {
        let [one, other] = [simulate(seed, None, true), simulate(seed, None, true)];
        if one.fingerprint != other.fingerprint {
            let differs = one.trace.lines().zip(other.trace.lines()).position(|(one, other)| one != other);
            let at = differs.unwrap_or(0);
            let lines = |report: &Report| {
                let lines: Vec<_> = report.trace.lines().skip(at.saturating_sub(5)).take(10).collect();
                lines.join("\n")
            };
            panic!("seed {seed} differs at line {at}:\n{}\n---\n{}", lines(&one), lines(&other));
        }
    }
}

/// Seeds that each build tries for each fault.
const FAULT_SEEDS: u64 = 4;
/// Faults that these find at least.
const FOUND: usize = 20;

#[test]
fn planted_faults_are_found() {
    let most = number("SIMULATION_FAULT_SEEDS", FAULT_SEEDS);
    let mut missed = Vec::new();
    println!("| fault | what is wrong | seed | what is found |\n| --- | --- | --- | --- |");
    for (fault, what) in Fault::ALL {
        let found = (0..most).find_map(|seed| {
            let report = simulate(seed, Some(*fault), false);
            report.violations.into_iter().next().map(|violation| (seed, violation))
        });
        let Some((seed, violation)) = found else {
            println!("| `{fault:?}` |{what} | none of {most} | |");
            missed.push(fault);
            continue;
        };
        // Without the details of a session.
        let violation = violation.split(" (p").next().unwrap_or_default();
        println!("| `{fault:?}` |{what} | {seed} | {violation} |");
    }
    let found = Fault::ALL.len() - missed.len();
    assert!(found >= FOUND, "only {found} are found; not found: {missed:?}");
}
