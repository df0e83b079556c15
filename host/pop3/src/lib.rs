//! POP3 as octets and states (RFC 1939, 2449, 3206, 5034): commands, replies, SASL, listings
//! and the posed maildrop. Nothing here knows sockets, clocks or policies, so that tests and
//! fuzzers run the very code that serves.

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
