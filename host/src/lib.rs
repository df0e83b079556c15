//! Reprieve: a POP3 proxy that relieves mail servers of clients that check mail too often,
//! and asks sandboxed WebAssembly policies who may pass.
//!
//! One connection goes one way: [`net`] accepts it, [`session`] greets the client and learns
//! who is logging in, a [`policy`] gives a verdict, and the session either goes through to a
//! node of a [`pool`] or is posed from what [`maildrop`] remembers. [`pop3`] is the protocol,
//! free of I/O. [`server`] puts the rooms together by a [`config`].

// They panic if nobody reads on: see `output`.
#![cfg_attr(not(test), warn(clippy::print_stdout, clippy::print_stderr))]

pub mod admin;
pub mod bench;
pub mod cli;
pub mod clock;
pub mod config;
mod counting;
mod cpu_time;
pub mod demo;
mod harmless;
pub mod journal;
pub mod logging;
pub mod maildrop;
pub mod net;
mod output;
pub mod policy;
pub mod pool;
pub mod pop3;
mod privileges;
pub mod replay;
mod rlimit;
pub mod scenario;
mod secret_file;
pub mod server;
mod service_manager;
pub mod session;
mod shards;
mod slab;
pub mod store;
pub mod template;
mod terminal;
pub mod top;
pub mod traces;
pub mod trial;
mod watch;
pub mod wiping;
