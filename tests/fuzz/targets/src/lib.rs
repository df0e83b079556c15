//! Fuzz targets: functions of bytes that panic if what must hold does not.
//!
//! Two programs run them. A fuzzer (`tests/fuzz/run`) looks for bytes that reach new code or make
//! a target panic. The test `replay` runs what fuzzers have found before, and some thousand mutations of
//! it, in each CI run. See tests/fuzz/README.md.

mod input;
pub mod mutator;
pub mod targets;

/// A fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of its function, its corpus and its dictionary.
    pub name: &'static str,
    /// Runs it on some bytes.
    ///
    /// # Panics
    /// If something does not hold: a fault of the product, or of the target.
    pub run: fn(&[u8]),
    /// Mutations that the replay test runs: fewer if one takes long.
    pub mutations: usize,
}
