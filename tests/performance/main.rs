//! What Reprieve costs: instructions per poll, and how long others wait for an answer. One
//! measurement at a time.

#[path = "../support/alone.rs"]
mod alone;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;

mod instructions;
mod latency;
