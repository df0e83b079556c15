//! Hostile policies: what the administrator is told, what the client sees, and that others go
//! on. What happens stands in `docs/hostile-policies.md`, which this suite compares with what it sees;
//! with REPRIEVE_WRITE_TABLE=1 it writes it.

#[path = "../support/judge.rs"]
mod judge;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;
mod worlds;

mod breaker;
mod loading;
mod log;
mod pair;
mod sandbox;
mod table;
