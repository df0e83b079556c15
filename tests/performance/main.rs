//! Instructions per poll, and latency beside a policy that misbehaves. The tests take turns.

#[path = "../support/alone.rs"]
mod alone;
#[path = "../support/mod.rs"]
#[allow(dead_code, unused_imports, reason = "these tests use a part of it")]
mod support;

mod instructions;
mod latency;
