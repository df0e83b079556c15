//! Memory of the test process, in which Reprieve runs. The tests take turns.

#[path = "../support/alone.rs"]
mod alone;
#[path = "../support/evaluator.rs"]
mod evaluator;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;

mod leaks;
mod unbounded_input;
mod users;

/// Bytes of this process that are in physical memory.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the line VmRSS");
    line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("a number") * 1024
}
