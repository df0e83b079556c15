//! Hostile policies: what the log says, what the client sees, and that other sessions continue.
//! `docs/hostile-policies.md` is compared with the results; with REPRIEVE_WRITE_TABLE=1 it is
//! written.

#[path = "../support/evaluator.rs"]
mod evaluator;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;
mod worlds;

mod breaker;
mod direct;
mod loading;
mod log;
mod pair;
mod sandbox;
mod table;
