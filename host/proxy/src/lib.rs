//! Reprieve: a POP3 proxy that protects mail servers from clients that check for mail too often.
//! Sandboxed WebAssembly policies decide which logins pass.
//!
//! A connection goes through the modules in this order: `net` accepts it, [`session`] greets the
//! client and learns who is logging in, a policy (crate `reprieve-policy-host`) decides, and the
//! session is either relayed to a node of a `pool` or posed from the snapshot that [`maildrop`]
//! keeps. The protocol itself is in the crate `reprieve-pop3`, without I/O. [`server`] builds all
//! of it from a [`config`].
//!
//! Public is what the tests and benchmarks use, and what the binary starts.

// `println!` panics if its reader is gone; see `output`.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

mod admin;
mod bench;
pub mod cli;
pub mod config;
mod decision_log;
mod demo;
mod file_watch;
#[doc(hidden)]
pub mod fuzzing;
mod logging;
pub mod maildrop;
mod net;
mod new_mail;
mod output;
mod pool;
mod privileges;
mod rlimit;
pub mod server;
mod service_manager;
pub mod session;
#[cfg(test)]
mod simulation;
mod template;
mod terminal;
mod time;
mod top;
mod traces;
