//! Lookup tables: read-only keys and values in files that the administrator names, for policies.
//!
//! A file has one of two forms, which differ in their first bytes. The text form has a key
//! and an optional value on each line ([`mod@text`]); it is for people, and is held in memory. The
//! compiled form ([`compiled`]) is made from it by [`compile`], is mapped into memory, and is for
//! millions of keys. Both end up as a [`Table`], so a lookup costs the same.
//!
//! [`Tables`] are the tables of one virtual server. They follow their files: see
//! [`Tables::reload_changed`].

mod builder;
pub mod compiled;
mod error;
mod file;
mod mapping;
mod sigbus;
mod tables;
pub mod text;

pub use builder::{MAX_KEY, MAX_VALUE};
pub use compiled::Table;
pub use error::{Error, Problem};
pub use file::{Form, compile, read};
pub use tables::{NoSuchTable, Reload, TableState, Tables};
