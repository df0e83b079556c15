//! POP3 without I/O (RFC 1939, 2449, 3206, 5034): bytes go in, bytes and events come out.
//!
//! A session passes through these modules in order:
//!
//! | module | what it does |
//! | --- | --- |
//! | [`line`](mod@line) | cuts bytes from the client into lines of limited length |
//! | [`command`] | parses a line |
//! | [`authorization`] | the AUTHORIZATION state: from the banner to a login, with [`sasl`] |
//! | [`posed`] | the TRANSACTION state of a denied login, answered from a [`snapshot`] |
//! | [`relay`] | the TRANSACTION state of a passed login; its [`listing`] becomes the next snapshot |
//!
//! [`capability`] answers CAPA, [`reply`] holds the texts of Reprieve's own replies, and
//! [`user_name`] shows user names as text.
//!
//! Nothing here knows sockets, files, clocks or policies, so that tests and fuzzers run the code
//! that serves. A new command starts in [`command::Command`], and needs an answer in `authorization`,
//! `posed` and `relay`. A new response code is a text in `reply`. A new SASL mechanism starts in
//! [`credential::Mechanism`].

pub mod authorization;
pub mod capability;
pub mod command;
pub mod credential;
pub mod line;
pub mod listing;
mod message_end;
pub mod posed;
pub mod relay;
pub mod reply;
pub mod sasl;
pub mod snapshot;
pub mod user_name;
