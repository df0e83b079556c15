//! Reprieve: a POP3 proxy that protects mail servers from clients that check for mail too often.
//! Sandboxed WebAssembly policies decide which logins pass.
//!
//! A connection goes through the modules in this order: [`net`] accepts it, [`session`] greets the
//! client and learns who is logging in, a policy (crate `reprieve-policy-host`) decides, and the
//! session is either relayed to a node of a [`pool`] or posed from the snapshot that [`maildrop`]
//! keeps. The protocol itself is in the crate `reprieve-pop3`, without I/O. [`server`] builds all
//! of it from a [`config`].

// `println!` panics if its reader is gone; see `output`.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod admin;
pub mod bench;
pub mod cli;
pub mod config;
pub mod decision_log;
pub mod demo;
mod file_watch;
pub mod logging;
pub mod maildrop;
pub mod net;
mod output;
pub mod pool;
mod privileges;
mod rlimit;
pub mod server;
mod service_manager;
pub mod session;
pub mod template;
mod terminal;
pub mod top;
pub mod traces;
